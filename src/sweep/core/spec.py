"""What a sweep is asked to do: the validated content of a `sweep.yaml`, as plain frozen data.

Parsing, the W&B dialect, macros' checks and error messages live in `sweep.spec`; nothing here validates.
Every unit stands last in a name: `run_time_s` is in seconds.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from sweep.core.space import Config, Space

Method = Literal["grid", "random", "bayes"]
Goal = Literal["minimize", "maximize"]
Determinism = Literal["off", "seeded", "strict"]
Seeds = Literal["common", "independent"]
CodeFrom = Literal["snapshot", "local"]
Checkpoints = Literal["shared", "store"]

DEFAULT_COMMAND: tuple[str, ...] = ("${env}", "${interpreter}", "${program}", "${args}")
FUNCTION = "python-function"
"""Stands first in the command of a run that called a Python function; its name follows."""
DEFAULT_KILL_AFTER_S = 30.0


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """The objective: which logged value is optimised, and in which direction."""

    name: str
    goal: Goal = "minimize"
    target: float | None = None
    impute: Literal["worst", "best", "latest"] = "worst"
    impute_while_running: bool | str = False


StopperType = Literal["hyperband", "asha", "median", "percentile", "plateau", "threshold", "none"]


PATIENCE_SHARE = 0.65
"""Of the iterations that a run has done: for so long `plateau` lets it be no better, where a spec file says nothing else."""


class EarlyTerminate(msgspec.Struct, frozen=True, kw_only=True):
    """How poor runs are ended early. Where a number is None, the rule's own default holds (`sweep.stopping`)."""

    type: StopperType = "hyperband"
    min_iter: int | None = None
    max_iter: int | None = None
    s: int | None = None
    eta: float = 3.0
    strict: bool = True
    step: str | None = None
    """What an iteration is: `count` (one logged value), `logged` (the step that was logged), `metric:NAME` (the value of that
    metric), `time` (seconds); None: `count` for hyperband, `logged` for the others."""
    min_runs: int | None = None
    """So many runs must have come as far before one of our own rules compares them."""
    percentile: float | None = None
    threshold: float | None = None
    patience: int | None = None
    """For `plateau`: iterations; None: `patience_share` of those that the run has done."""
    min_delta: float = 0.0
    resume: bool = False
    """For `asha`: runs are paused instead of ended, and go on from their checkpoint when they belong to the best after all."""
    trend: bool = False
    """For `asha`, `median`, `percentile`: runs are compared by their trend, too. A spec file has it unless it says otherwise; false are sweeps
    from before there was a trend, so that they are judged, and audited, as they were."""
    patience_share: float = 0.5
    """For `plateau` without `patience`: a share of the iterations done. A spec file has more unless it says another; a half are sweeps from
    before it could be said."""


def pauses(early: EarlyTerminate | None) -> bool:
    """Whether runs that the rule condemns are paused rather than ended."""
    return early is not None and early.type == "asha" and early.resume


def unit_of(early: EarlyTerminate | None) -> str:
    """What an iteration is for the stopper: `count`, `logged`, `metric:NAME` or `time`."""
    if early is None or early.type == "none":
        return "count"
    return early.step or ("count" if early.type == "hyperband" else "logged")


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What one run gets. None means: chosen by the agent from what its node has
    (one GPU where there are GPUs, else none; the CPUs shared out evenly, else one)."""

    cpus: float | None = None
    gpus: float | None = None
    custom: dict[str, float] = {}
    """Custom resources of a Ray cluster that one run takes."""
    labels: dict[str, str] = {}
    """Labels that a node of a Ray cluster must have."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits, times in seconds; None means no limit."""

    run_time_s: float | None = None
    no_progress_s: float | None = None
    wall_time_s: float | None = None
    gpu_hours: float | None = None
    """GPU-hours of the whole sweep, failed and pruned attempts included; at its end running runs are ended."""
    kill_after_s: float = DEFAULT_KILL_AFTER_S
    cpu_hours: float | None = None
    """CPU-hours of the whole sweep, likewise."""
    energy_kwh: float | None = None
    """Energy of the whole sweep in kilowatt-hours, likewise, as far as it is measured."""


RetryClass = Literal["exit", "oom", "time", "node"]
RETRY_CLASSES: tuple[RetryClass, ...] = ("exit", "oom", "time", "node")


class RetryRule(msgspec.Struct, frozen=True, kw_only=True):
    """What is special about retrying failures of one class."""

    max: int | None = None
    """How often at most for failures of this class; None: `Retry.max` decides."""
    wait_s: float = 0.0
    """How long a run waits before it is tried again."""
    env: dict[str, str] = {}
    """Variables that the next attempt gets on top of the spec's `env`."""


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How often a run that failed is tried again (0: never), and after which kinds of failure."""

    max: int = 0
    on: tuple[RetryClass, ...] = ("exit", "oom", "node")
    rules: dict[RetryClass, RetryRule] = {}


class Confirm(msgspec.Struct, frozen=True, kw_only=True):
    """What happens when the search has ended: its best configs run again, on seeds that it never saw."""

    top: int = 5
    seeds: int = 5
    choose: int | None = None
    """The first so many of these seeds choose among the configs, the others say how good the chosen one is; None: half of
    them, rounded down."""

    @property
    def choosing(self) -> int:
        """How many seeds choose."""
        return max(1, self.seeds // 2) if self.choose is None else self.choose


ABOUT: dict[str, str] = {
    "question": "What the sweep is to find out.",
    "data_statistics": "The data in numbers: examples, classes, sizes.",
    "data_splits": "How it is split into train, validation and test, and how many examples each has.",
    "excluded_data": "What was left out, and how the data was prepared.",
    "data_link": "Where the data or the environment can be had.",
    "data_collection": "How the data was collected: instructions, annotators, quality control.",
    "evaluation": "Which code evaluates, and on what.",
    "pretrained": "Pre-trained models that were used, or that none were.",
    "measure": "What the metric is, and how it is computed.",
    "notes": "Anything else that a reader should know.",
}
"""What a report asks the author for: keys of `about`, and what each is to say."""


class Known(msgspec.Struct, frozen=True):
    """A result from elsewhere: a config, and its score in the metric's own direction."""

    config: Config
    score: float


class SweepSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A whole validated spec. `seed` is always set: drawn once at creation when the file gives none."""

    method: Method
    space: Space
    seed: int
    metric: Metric | None = None
    name: str | None = None
    description: str | None = None
    program: str | None = None
    command: tuple[str, ...] = DEFAULT_COMMAND
    run_cap: int | None = None
    initial: tuple[Config, ...] = ()
    """Configs to try first, as far as they are given; see `sweep.core.initial`."""
    learn_from: tuple[str, ...] = ()
    """Earlier sweeps and tables that `knowledge` was read from when the spec was recorded."""
    knowledge: tuple[Known, ...] = ()
    """Results that model-based searchers know before the first trial."""
    patience: int | None = None
    """The sweep ends when so many finished trials in a row have not improved the best score; None: never."""
    early_terminate: EarlyTerminate | None = None
    replicates: int = 1
    engine: str | None = None
    """For `method: bayes`: the searcher's name (`auto`, `blend`, `optuna-tpe`, …); None otherwise."""
    resources: Resources = Resources()
    limits: Limits = Limits()
    retry: Retry = Retry()
    env: dict[str, str] = {}
    preload: tuple[str, ...] = ()
    """Modules that a warm process imports once, from which runs are forked; empty: every run starts afresh."""
    determinism: Determinism = "seeded"
    """How far runs are kept from differing by chance."""
    workdir: str | None = None
    """Folder that runs start in, relative to the spec file's folder; None: that folder itself."""
    code: CodeFrom | None = None
    """What runs execute where a node has other code than the one recorded; None: in the folder that the sweep was created in,
    what is there, and elsewhere what was recorded."""
    links: tuple[str, ...] = ()
    """Paths below the folder that runs start in: not part of the recorded code, each node provides them."""
    checkpoints: Checkpoints = "shared"
    """Where checkpoints are for another node: in a folder that all share, or in the store."""
    outputs: str | None = None
    """Where whole outputs go that are too long for the store: a folder that nodes share, or a URL; None: they stay on their node."""
    priority: int = 0
    """Among the sweeps that share an agent, those with the highest get its slots first."""
    extra: dict[str, Any] = {}
    """Accepted keys of the dialect that have no effect here (project, entity, ...), kept as they were."""
    confirm: Confirm | None = None
    """How the best configs are confirmed on fresh seeds when the search has ended; None: not at all."""
    report_metric: str | None = None
    """A logged value that the search never sees, of which the result is told beside the metric: a test metric."""
    inputs: tuple[str, ...] = ()
    """Files and folders that every run reads, from the folder it starts in: their content is recorded, and looked at again at its end."""
    seeds: Seeds = "common"
    """Whether all configs run on the same seeds, so that they can be compared in pairs, or each on seeds of its own."""
    about: dict[str, str] = {}
    """What only the author knows (the data, what the metric means), by `ABOUT` key, for the report."""


def calls_function(spec: SweepSpec) -> bool:
    """Whether only a Python function can be what its runs call: it names no program."""
    return spec.program is None and "${program}" in spec.command
