"""What listings, pictures and programs see of a sweep: plain records, kept as the store's index.

Views are derived from the journal alone (`sweep.core.index`), so a check can rebuild and compare them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from sweep.core.outcomes import ErrorClass, Outcome, Purpose, Usage
from sweep.core.space import Config

RunState = Literal["queued", "assigned", "running", "paused", "completed", "failed", "pruned", "cancelled"]
SweepState = Literal["active", "paused", "finishing", "ended"]


class AttemptView(msgspec.Struct, kw_only=True):
    attempt: int
    agent: str
    host: str = ""
    slot: int = 0
    gpus: tuple[str, ...] = ()
    pid: int = 0
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    folder: str = ""
    assigned_s: float | None = None
    """Unix times, seconds."""
    started_s: float | None = None
    ended_s: float | None = None
    outcome: Outcome | None = None
    reason: str = ""
    exit_code: int | None = None
    error_class: ErrorClass = ""
    rows: int = 0
    tail: str = ""
    cpu_s: float | None = None
    """CPU time of its process and the children that it waited for, of others as far as they were seen; None when it is not known."""
    maxrss_bytes: int | None = None
    wall_s: float | None = None
    """From its process's start to its end by the agent's clock: the times above are those of commits."""
    checkpoint: str = ""
    """Digest of what was kept of its checkpoint folder in the store."""
    gpu_share: float = 0.0
    """How many GPUs it holds or held; a share of one that several runs share."""
    energy_j: float | None = None
    """Its part in the sweep's energy; None when it is not known. While it runs, this and `cpu_s` are what was last reported."""
    usage: Usage | None = None
    """What it has used, as measured on its node; None before its end, and when nobody looked."""
    state: dict[str, Any] = {}
    """How far its libraries were seeded and deterministic, by what they said when they were asked."""
    code: int = 0
    """Which of its agent's `codes` it executed, from 1; 0: the code that the agent joined with."""
    code_changed: tuple[str, ...] = ()
    """Files of its code that were changed while it was at work."""

    def gpu_s(self, now_s: float) -> float:
        """GPU-seconds of this attempt, up to its end or else to `now_s` (Unix seconds)."""
        if self.started_s is None:
            return 0.0
        end_s = self.ended_s if self.ended_s is not None else max(now_s, self.started_s)
        return self.gpu_share * (end_s - self.started_s)


class ReproductionView(msgspec.Struct, frozen=True, kw_only=True):
    """What came of executing a run again (`sweep reproduce`)."""

    at_s: float
    verdict: str
    compared: int
    identical: int
    metric: str = ""
    """Where the values differ first, and at which step; empty when they don't."""
    step: float | None = None
    report: dict[str, Any] = {}
    """All of it, as `sweep reproduce --json` prints it."""
    by: str = ""


class UseView(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that a run has used."""

    at_s: float
    asked: str
    sweep: str
    name: str
    version: int
    digest: str
    type: str = ""
    manifest: str = ""
    place: str = ""
    folder: str = ""


class DataView(msgspec.Struct, frozen=True, kw_only=True):
    """A file or a folder that a run reads."""

    attempt: int
    path: str
    digest: str = ""
    """As it was when the attempt began; empty for what could not be read."""
    size: int = 0
    files: int = 0
    listing: str = ""
    place: str = ""
    problem: str = ""
    changed: bool | None = None
    """Whether it was another one when the attempt had ended; None while nobody has looked."""


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an artifact."""

    version: int
    digest: str
    size: int
    files: int
    at_s: float
    """When it was logged first (Unix seconds)."""
    manifest: str
    place: str = ""
    folder: str = ""
    host: str = ""
    description: str = ""
    metadata: dict[str, Any] = {}
    runs: tuple[int, ...] = ()
    """The runs that have logged this content."""
    doubt: str = ""
    """Why it may not be what the first of them meant."""


class ArtifactView(msgspec.Struct, kw_only=True):
    """Everything that was logged under one name in a sweep."""

    name: str
    type: str
    versions: list[VersionView] = []
    """Version n at place n."""
    aliases: dict[str, int] = {}
    """Alias -> number of the version; `latest` is what was logged last."""


class RunView(msgspec.Struct, kw_only=True):
    """One run with all its attempts, the last one last."""

    sweep: str
    run: int
    trial: int
    replicate: int
    purpose: Purpose
    seed: int
    config: Config
    state: RunState = "queued"
    reason: str = ""
    objective: float | None = None
    """Best finite value of the metric over all attempts that count, in the metric's own direction."""
    steps: int = 0
    """How many objective values it has reported."""
    summary: dict[str, Any] = {}
    defaults: Config = {}
    """What the program's own defaults added to the config."""
    attempts: list[AttemptView] = []
    tags: tuple[str, ...] = ()
    note: str = ""
    reproduced: tuple[ReproductionView, ...] = ()
    used: tuple[UseView, ...] = ()
    """Artifacts that it has used, over all attempts."""
    data: tuple[DataView, ...] = ()
    """Data that its attempts read."""

    @property
    def tainted(self) -> bool:
        """Whether data changed while the last attempt read it."""
        return any(one.changed for one in self.data if one.attempt == self.attempt)

    @property
    def attempt(self) -> int:
        """Number of the last attempt, 0 before the first."""
        return self.attempts[-1].attempt if self.attempts else 0

    @property
    def id(self) -> str:
        """`<sweep>-<run>`."""
        return f"{self.sweep}-{self.run}"


class SlotKeptView(msgspec.Struct, frozen=True):
    """A slot that is not offered, and why. `lasting`: it is set aside; else it waits."""

    slot: int
    reason: str
    lasting: bool = False

    @property
    def words(self) -> str:
        """For a person."""
        return f"slot {self.slot} {'is set aside' if self.lasting else 'waits'}: {self.reason}"


class AgentView(msgspec.Struct, kw_only=True):
    agent: str
    host: str
    pid: int
    slots: int
    gpus: tuple[str, ...] = ()
    state: Literal["joined", "left", "lost"] = "joined"
    reason: str = ""
    joined_s: float = 0.0
    ended_s: float | None = None
    record: dict[str, Any] = {}
    """Python, packages, hardware and OS of its node (`sweep.provenance`)."""
    aside: str = ""
    """Why its node was set aside, '' where it was not."""
    kept: tuple[SlotKeptView, ...] = ()
    """Slots that it does not offer because of their GPUs."""
    codes: tuple[dict[str, Any], ...] = ()
    """What its runs have executed since it joined, each time that this changed: `code` and `place` as in `record`, and `files`."""


class SweepView(msgspec.Struct, kw_only=True):
    sweep: str
    name: str
    state: SweepState
    reason: str = ""
    created_s: float = 0.0
    ended_s: float | None = None
    revision: int = 1
    trials: int = 0
    exhausted: bool = False
    run_cap: int | None = None
    counts: dict[str, int] = {}
    """State of runs -> how many."""
    best_run: int | None = None
    """The completed or pruned run with the best objective; with replicates, of the trial with the best mean."""
    best: float | None = None
    """That objective; with replicates, that mean."""
    gpu_s: float = 0.0
    """GPU-seconds of all attempts that have ended; those that run come on top (`AttemptView.gpu_s`)."""
    cpu_s: float = 0.0
    """CPU time and energy of all attempts that have ended, as far as they were measured."""
    energy_j: float = 0.0
    tags: tuple[str, ...] = ()
    note: str = ""
    confirming: bool = False
    """The search has ended, and its best configs run again on fresh seeds."""
    looks: int = 0
    """How often somebody has looked at `report_metric`."""
    best_trial: int | None = None
    best_seeds: tuple[float, ...] = ()
    """With replicates: the trial with the best mean, and the objectives that it is the mean of; else nothing."""


class SpecView(msgspec.Struct, kw_only=True):
    """The current spec and how the sweep was created."""

    spec: dict[str, Any]
    """The SweepSpec as builtins (`sweep.core.codec`)."""
    source: str
    source_path: str
    record: dict[str, Any]


def nodes_aside(agents: Iterable[AgentView]) -> dict[str, str]:
    """Node -> why it is set aside, of the agents of one sweep, oldest first. An agent that joins anew takes its node back."""
    last = {agent.host: agent.aside for agent in agents}
    return {host: reason for host, reason in last.items() if reason}
