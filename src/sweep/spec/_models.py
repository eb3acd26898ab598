"""The keys of a `sweep.yaml`: their types, defaults and meaning. The reference page and the JSON schema are made of this.

The rule of this file: structure only. What needs two keys at once (min below max, a grid without continuous parameters)
is checked in `_parameters` and `_build`, so that the message can name both.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SkipValidation

from sweep.core.spec import ABOUT, DEFAULT_COMMAND, DEFAULT_KILL_AFTER_S, StopperType
from sweep.spec import _fields as f
from sweep.spec._distribution_models import (
    BetaParameter,
    CategoricalParameter,
    ConstantParameter,
    IntUniformParameter,
    Model,
    NormalParameter,
    Parameter,
    QBetaParameter,
    QNormalParameter,
    QUniformParameter,
    UniformParameter,
    WeightedParameter,
)

Engine = Literal[
    "auto", "blend", "optuna-tpe", "optuna-gp", "optuna-cmaes", "skopt-et", "skopt-rf", "skopt-gp", "sobol"
]


# --- the other groups of keys ----------------------------------------------------------------------------------


class MetricModel(Model):
    """The objective: which logged value is optimised, and in which direction."""

    name: f.Text = Field(description="Name under which the program logs it.", examples=["val/loss"])
    goal: Literal["minimize", "maximize"] = Field(
        default="minimize", description="Which direction is better."
    )
    target: f.Number | None = Field(
        default=None, description="No new runs start once a run has reached this value.", examples=[0.95]
    )
    impute: Literal["worst", "best", "latest"] = Field(
        default="worst",
        description="Accepted for compatibility. A run without a value counts as the worst one seen.",
    )
    impute_while_running: f.ImputeWhileRunning = Field(
        default=False, description="Accepted for compatibility."
    )


class EarlyTerminateModel(Model):
    """Ends poor runs early. Which keys a rule has, and its defaults, stand [below](#rules-that-end-runs-early)."""

    type: StopperType = Field(description="The rule; `none` switches it off.", examples=["hyperband"])
    min_iter: f.AtLeastOne | None = Field(
        default=None,
        description="The first iteration at which a run may be ended (`hyperband`, `asha`: further ones at min_iter·eta^k).",
        examples=[3],
    )
    max_iter: f.AtLeastOne | None = Field(
        default=None,
        description="The length of a whole run: from there on nobody is ended. `hyperband`: runs may be ended at max_iter/eta^k, k = 1 … s.",
        examples=[27],
    )
    s: f.AtLeastOne | None = Field(
        default=None, description="`hyperband`: how many such iterations there are.", examples=[2]
    )
    eta: f.AboveOne | None = Field(
        default=None,
        description="`hyperband`, `asha`: at each of these iterations about 1 run in eta goes on. Not given: 3, for `asha` 2.",
        examples=[3],
    )
    strict: f.Bool = Field(
        default=True,
        description="`hyperband`: compare a run's value at that iteration; false compares the best value up to it.",
    )
    step: f.Step | None = Field(
        default=None,
        description="What an iteration is: `count` (one logged value of the metric), `logged` (the step that the program gave with it), `metric:NAME` (the last value of another metric, such as `metric:epoch`), or `time` (seconds of the run's own time). Not given: `logged`, for `hyperband` `count`.",
        examples=["metric:epoch"],
    )
    min_runs: f.AtLeastOne | None = Field(
        default=None,
        description="`asha`, `median`, `percentile`: so many runs must have come as far before they are compared. Not given: more at first than later; see below.",
        examples=[8],
    )
    percentile: f.Percentile | None = Field(
        default=None,
        description="`percentile`: so many percent of the runs, the best ones, go on. Not given: 60, with `trend: false` 65.",
        examples=[25],
    )
    threshold: f.Number | None = Field(
        default=None,
        description="`threshold`: the value that a run must have reached.",
        examples=[0.7],
    )
    patience: f.AtLeastOne | None = Field(
        default=None,
        description="`plateau`: a run may be no better for so many iterations. Not given: for `patience_share` of those that it has done.",
        examples=[10],
    )
    min_delta: f.NotNegative = Field(
        default=0.0, description="`plateau`: by how much at least it must be better.", examples=[0.001]
    )
    resume: f.Bool = Field(
        default=False,
        description="`asha`: runs are paused instead of ended. Their slots go to others, and when they belong to the best after all they go on from their checkpoint.",
        examples=[True],
    )
    trend: f.Bool = Field(
        default=True,
        description="`asha`, `median`, `percentile`: a run that is worse than others goes on while it still becomes better fast enough to be among the best soon; false compares by the best value alone.",
    )
    patience_share: f.Part | None = Field(
        default=None,
        description="`plateau` without `patience`: for what part of the iterations that it has done a run may be no better. Not given: 0.65.",
        examples=[0.5],
    )


class ConfirmModel(Model):
    """Runs the best configs again, on fresh seeds, when the search has ended. See the guide, "Honest results"."""

    top: f.AtLeastOne = Field(default=5, description="How many of the best configs.", examples=[3])
    seeds: f.AtLeastTwo = Field(
        default=5,
        description="On how many fresh seeds each; the seeds are the same for all of them.",
        examples=[10],
    )
    choose: f.AtLeastOne | None = Field(
        default=None,
        description="The first so many of these seeds choose among the configs, the others say how good the chosen one is. Not given: half of them, rounded down.",
        examples=[2],
    )


class ResourcesModel(Model):
    """What one run gets."""

    cpus: f.Positive | None = Field(
        default=None, description="CPU cores. Not given: the node's cores shared out evenly.", examples=[4]
    )
    gpus: f.Gpus | None = Field(
        default=None,
        description="GPUs: a whole number, or a share of one below 1. Not given: one where the node has GPUs, else none.",
        examples=[0.5],
    )
    custom: dict[str, f.Positive] = Field(
        default={},
        description="Custom resources of a Ray cluster's nodes that each run takes. Only under `sweep launch`.",
        examples=[{"licence": 1}],
    )
    labels: dict[str, f.Text] = Field(
        default={},
        description="Labels that a Ray cluster's node must have. Only under `sweep launch`.",
        examples=[{"gpu": "h100"}],
    )


class LimitsModel(Model):
    """What a run and the sweep may take. Times: `90s`, `2h`, `1h30m`, `500ms`, or seconds as a number."""

    run_time: f.Limit | None = Field(
        default=None, description="The longest that one attempt may take; then it fails.", examples=["2h"]
    )
    no_progress: f.Limit | None = Field(
        default=None,
        description="The longest that a run may log nothing; then the attempt fails.",
        examples=["15m"],
    )
    wall_time: f.Limit | None = Field(
        default=None,
        description="How long the sweep may take, from its first agent on; then its runs are ended.",
        examples=["12h"],
    )
    gpu_hours: f.Positive | None = Field(
        default=None,
        description="GPU-hours that all attempts may take together, failed and pruned ones too; then the sweep's runs are ended. A share of a GPU counts as that share.",
        examples=[100],
    )
    cpu_hours: f.Positive | None = Field(
        default=None,
        description="CPU-hours that all attempts may use together, failed and pruned ones too; then the sweep's runs are ended. What counts is CPU time that was used, not CPUs that were held.",
        examples=[500],
    )
    energy_kwh: f.Positive | None = Field(
        default=None,
        description="Energy (kWh) that all attempts may use together, failed and pruned ones too; then the sweep's runs are ended. Only what can be measured counts (see the guide, What a run used).",
        examples=[20],
    )
    kill_after: f.Duration = Field(
        default=DEFAULT_KILL_AFTER_S,
        description="How long a run may take to end after SIGTERM, before SIGKILL.",
        examples=["30s"],
    )


class RetryRuleModel(Model):
    """What is special about retrying failures of one class."""

    max: f.AtLeastZero | None = Field(
        default=None,
        description="How often a run is tried again after failures of this class, counted by itself. Not given: they count towards `retry.max`.",
        examples=[1],
    )
    wait: f.Duration = Field(
        default=0.0, description="How long the run waits before it is tried again.", examples=["30s"]
    )
    env: dict[str, f.Word] = Field(
        default={},
        description="Variables that the next attempt gets on top of the spec's `env`; the same rules hold.",
        examples=[{"BATCH_FACTOR": "0.5"}],
    )


class RetryModel(Model):
    """What happens to runs that fail. A lost or preempted node is never counted."""

    max: f.AtLeastZero = Field(
        default=0,
        description="How often a run is tried again after failures of the classes that have no `max` of their own, counted together.",
        examples=[2],
    )
    on: list[Literal["exit", "oom", "time", "node"]] | None = Field(
        default=None,
        description="The classes of failure after which a run is tried again. Not given: `node`, `oom`, `exit`, and those that have a rule below.",
        examples=[["node", "oom"]],
    )
    exit: RetryRuleModel | None = Field(
        default=None, description="After an exit code of its own, or a signal that sweep did not send."
    )
    oom: RetryRuleModel | None = Field(
        default=None, description="After running out of GPU memory, or of the node's."
    )
    time: RetryRuleModel | None = Field(
        default=None, description="After `limits.run_time` or `limits.no_progress`."
    )
    node: RetryRuleModel | None = Field(
        default=None,
        description="After what is the node's fault: a GPU or driver that failed, a full disk, a program that could not be started.",
    )


class AboutModel(Model):
    """What only the author knows: `sweep report` prints it, and has no answer where it is not given. Nothing acts on it."""

    question: f.Text | None = Field(default=None, description=ABOUT["question"])
    data_statistics: f.Text | None = Field(default=None, description=ABOUT["data_statistics"])
    data_splits: f.Text | None = Field(default=None, description=ABOUT["data_splits"])
    excluded_data: f.Text | None = Field(default=None, description=ABOUT["excluded_data"])
    data_link: f.Text | None = Field(default=None, description=ABOUT["data_link"])
    data_collection: f.Text | None = Field(default=None, description=ABOUT["data_collection"])
    evaluation: f.Text | None = Field(default=None, description=ABOUT["evaluation"])
    pretrained: f.Text | None = Field(default=None, description=ABOUT["pretrained"])
    measure: f.Text | None = Field(default=None, description=ABOUT["measure"])
    notes: f.Text | None = Field(default=None, description=ABOUT["notes"])


class SweepFile(Model):
    """A whole `sweep.yaml`."""

    method: Literal["grid", "random", "bayes"] = Field(
        description="How configs are chosen: every point of the grid, independent draws, or by a model of the results so far.",
        examples=["bayes"],
    )
    parameters: SkipValidation[dict[str, Parameter]] = Field(
        description="The search space: a mapping from each parameter's name to its distribution."
    )
    constraints: list[f.Text] | None = Field(
        default=None,
        description="Expressions over parameters that every config satisfies. See [constraints](#constraints).",
        examples=[["batch_size * accum <= 256"]],
    )
    metric: MetricModel | None = Field(
        default=None, description="The objective. `bayes` and `early_terminate` need it."
    )
    program: f.Text | None = Field(
        default=None,
        description="The training script. Not needed when `command` does without it.",
        examples=["train.py"],
    )
    command: list[f.Word] | None = Field(
        default=None,
        description="The command line of a run, one item per argument, with macros.",
        examples=[list(DEFAULT_COMMAND)],
    )
    run_cap: f.AtLeastOne | None = Field(
        default=None, description="The most trials that the sweep makes.", examples=[100]
    )
    initial: SkipValidation[list[Any]] | None = Field(
        default=None,
        description="Configs to try first; what one leaves open is drawn. They count towards `run_cap`. See [initial configs](#initial-configs).",
        examples=[[{"lr": 0.1}]],
    )
    learn_from: list[f.Text] | None = Field(
        default=None,
        description="Earlier sweeps (IDs) and tables (`.csv`, relative to this file) whose results a model knows from the start. See [knowledge](#knowledge).",
        examples=[["first-look.csv"]],
    )
    patience: f.AtLeastOne | None = Field(
        default=None,
        description="The sweep ends when so many trials in a row have finished without improving the best score; runs at work finish. Needs a metric.",
        examples=[20],
    )
    early_terminate: EarlyTerminateModel | None = Field(default=None, description="Ends poor runs early.")
    name: f.Text | None = Field(default=None, description="For people.", examples=["first look"])
    description: f.Text | None = Field(default=None, description="For people.")
    seed: f.Seed | None = Field(
        default=None,
        description="Decides every random choice. Not given: drawn once, and recorded.",
        examples=[1],
    )
    seeds: Literal["common", "independent"] = Field(
        default="common",
        description="`common`: the k-th run of each config has the same seed, so that configs can be compared in pairs; `independent`: each config has seeds of its own.",
        examples=["independent"],
    )
    replicates: f.AtLeastOne = Field(
        default=1,
        description="Runs per config, each with its own seed; the trial's score is their mean.",
        examples=[3],
    )
    engine: Engine | None = Field(
        default=None,
        description="The searcher of `method: bayes`. Not given: `auto`.",
        examples=["skopt-et"],
    )
    resources: ResourcesModel = Field(default=ResourcesModel(), description="What one run gets.")
    limits: LimitsModel = Field(default=LimitsModel(), description="What a run and the sweep may take.")
    retry: RetryModel = Field(default=RetryModel(), description="What happens to failed runs.")
    env: dict[str, f.Word] = Field(
        default={},
        description="Environment variables of the runs. `${envvar:X}` is replaced on the node that runs it; secrets must be given so.",
        examples=[{"OMP_NUM_THREADS": "1", "HF_TOKEN": "${envvar:HF_TOKEN}"}],
    )
    preload: list[f.Text] | None = Field(
        default=None,
        description="Modules that a warm process imports once; runs are forked from it. For commands that run a Python program; Linux. See the guide.",
        examples=[["numpy", "sklearn"]],
    )
    determinism: f.Determinism = Field(
        default="seeded",
        description="What is set so that a run repeats: nothing; its hash seed and the seeds of random, numpy, torch, tensorflow and keras; or also what makes GPU and maths libraries deterministic. Not `strict` together with `preload`.",
        examples=["strict"],
    )
    workdir: f.Text | None = Field(
        default=None,
        description="Folder that runs start in, relative to the file's own folder (the default).",
    )
    code: Literal["snapshot", "local"] | None = Field(
        default=None,
        description="What runs execute on a node whose files are not those that were recorded: the recorded ones, or the node's own. Not given: in the folder that the sweep was created in what is there, elsewhere what was recorded. See the guide.",
        examples=["snapshot"],
    )
    links: list[f.Text] | None = Field(
        default=None,
        description="Folders or files, relative to where runs start, that are no part of the recorded code: each node provides them (`sweep agent --link data=/mnt/data`).",
        examples=[["data"]],
    )
    checkpoints: Literal["shared", "store"] = Field(
        default="shared",
        description="Where a run's checkpoints are for the next node: in the run's folder, which nodes share or not, or kept in the store.",
        examples=["store"],
    )
    outputs: f.Text | None = Field(
        default=None,
        description="Where the whole output of a run goes when it is longer than what the store keeps of it, and artifacts that are too large for the store: an absolute path that all nodes share, or a URL for `fsspec` (`pip install 'sweep[fsspec]'`). Not given: it stays on the run's node.",
        examples=["s3://bucket/outputs"],
    )
    priority: f.Priority = Field(
        default=0,
        description="Among the sweeps that one agent works on, those with the highest get its slots first; equal ones share them.",
        examples=[10],
    )
    confirm: ConfirmModel | None = Field(
        default=None,
        description="When the search has ended, the best configs run again on fresh seeds. Needs a metric.",
    )
    report_metric: f.Text | None = Field(
        default=None,
        description="A logged value that neither selects nor stops anything, such as a test accuracy: shown for the chosen config only, and how often is counted.",
        examples=["test/accuracy"],
    )
    inputs: list[f.Text] | None = Field(
        default=None,
        description="Files and folders that every run reads, relative to where runs start: what was in them is recorded (BLAKE3), and compared again when the run has ended.",
        examples=[["data/train.csv", "data/images"]],
    )
    about: AboutModel = Field(default=AboutModel(), description="What only the author knows, for the report.")
    project: Any = Field(default=None, description="Kept, without effect.")
    entity: Any = Field(default=None, description="Kept, without effect.")
    apiVersion: Any = Field(default=None, description="Kept, without effect.")
    kind: Any = Field(default=None, description="Kept, without effect.")
    controller: Any = Field(default=None, description="Kept, without effect.")
    job: Any = Field(default=None, description="Kept, without effect.")
    image_uri: Any = Field(default=None, description="Kept, without effect.")
    scheduler: Any = Field(default=None, description="Kept, without effect.")
    metrics: Any = Field(default=None, description="Kept, without effect.")


HOSTED_KEYS = (
    "project",
    "entity",
    "apiVersion",
    "kind",
    "controller",
    "job",
    "image_uri",
    "scheduler",
    "metrics",
)

GROUPS: dict[str, type[Model]] = {
    "metric": MetricModel,
    "confirm": ConfirmModel,
    "early_terminate": EarlyTerminateModel,
    "resources": ResourcesModel,
    "limits": LimitsModel,
    "retry": RetryModel,
    "about": AboutModel,
}

DISTRIBUTIONS: dict[str, tuple[type[Model], str]] = {
    "constant": (ConstantParameter, "Always `value`. Inferred from `value`."),
    "categorical": (CategoricalParameter, "One of `values`, equally likely. Inferred from `values`."),
    "categorical_w_probabilities": (
        WeightedParameter,
        "One of `values` with these `probabilities`. Inferred when both are given. Not in a grid.",
    ),
    "int_uniform": (
        IntUniformParameter,
        "A whole number from `min` to `max`, both included. Inferred when both are whole numbers.",
    ),
    "uniform": (
        UniformParameter,
        "Uniform between `min` and `max`. Inferred when either has a decimal point.",
    ),
    "q_uniform": (QUniformParameter, "`uniform`, rounded to a multiple of `q` inside the bounds."),
    "log_uniform_values": (
        UniformParameter,
        "Uniform in the logarithm between the values `min` > 0 and `max`: for learning rates.",
    ),
    "q_log_uniform_values": (QUniformParameter, "`log_uniform_values`, rounded to a multiple of `q`."),
    "inv_log_uniform_values": (
        UniformParameter,
        "X with log(1/X) uniform; `min` and `max` are the bounds of X: the same as `log_uniform_values`.",
    ),
    "log_uniform": (
        UniformParameter,
        "The old form of `log_uniform_values`: `min` and `max` are exponents, X lies in [exp(min), exp(max)].",
    ),
    "q_log_uniform": (
        QUniformParameter,
        "`log_uniform` (bounds are exponents), rounded to a multiple of `q`.",
    ),
    "inv_log_uniform": (
        UniformParameter,
        "X with log(1/X) uniform between `min` and `max`: X lies in [exp(-max), exp(-min)].",
    ),
    "normal": (NormalParameter, "Normal(`mu`, `sigma`)."),
    "q_normal": (QNormalParameter, "`normal`, rounded to a multiple of `q`."),
    "log_normal": (NormalParameter, "exp of Normal(`mu`, `sigma`)."),
    "q_log_normal": (QNormalParameter, "`log_normal`, rounded to a multiple of `q`."),
    "beta": (BetaParameter, "Beta(`a`, `b`) on [0, 1]."),
    "q_beta": (QBetaParameter, "`beta`, rounded to a multiple of `q`."),
}
