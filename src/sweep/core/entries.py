"""The journal's vocabulary: events (facts from outside, past tense) and decisions (ours).

Entries are frozen, encoded as msgpack arrays: fields are only ever appended, with defaults, and never renamed in
meaning, so that every journal ever recorded still opens. `FORMAT` is stored with each entry; a controller that meets a
newer one refuses to lead.
"""

from __future__ import annotations

from typing import Any, TypeGuard

import msgspec

from sweep.core.entry import Decision as Decision
from sweep.core.entry import Entry as Entry
from sweep.core.entry import Event as Event
from sweep.core.grounds import ArtifactLogged as ArtifactLogged
from sweep.core.grounds import ArtifactUsed as ArtifactUsed
from sweep.core.grounds import CodeChanged as CodeChanged
from sweep.core.grounds import DataChecked as DataChecked
from sweep.core.grounds import DataUsed as DataUsed
from sweep.core.outcomes import ErrorClass as ErrorClass
from sweep.core.outcomes import Outcome as Outcome
from sweep.core.outcomes import Purpose as Purpose
from sweep.core.outcomes import Usage as Usage
from sweep.core.space import Config

FORMAT = 1


# --- the sweep -------------------------------------------------------------------------------------------------


class SweepCreated(Event, frozen=True, array_like=True, gc=False, tag=True):
    sweep: str
    spec: dict[str, Any]
    """The SweepSpec as builtins (`sweep.core.codec.spec_to_builtins`)."""
    source: str = ""
    """The YAML file as it was."""
    source_path: str = ""
    record: dict[str, Any] = {}
    """Where and with what it was created: code tree, packages, hardware (`sweep.provenance`)."""


class SpecRevised(Event, frozen=True, array_like=True, gc=False, tag=True):
    revision: int
    spec: dict[str, Any]
    source: str = ""
    by: str = ""


class PauseRequested(Event, frozen=True, array_like=True, gc=False, tag=True):
    by: str = ""


class ResumeRequested(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Ends a pause; an ended sweep is reopened."""

    by: str = ""


class StopRequested(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Start no new runs, let running ones finish."""

    by: str = ""


class CancelRequested(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Start no new runs, end running ones."""

    by: str = ""


class ExtendRequested(Event, frozen=True, array_like=True, gc=False, tag=True):
    run_cap: int
    by: str = ""


class ConfirmRequested(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Run the best configs again on fresh seeds, when the search has ended; replaces the spec's `confirm`. A sweep that has ended
    is reopened for this alone."""

    top: int
    seeds: int
    choose: int | None = None
    by: str = ""


class ReportShown(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Somebody has looked at the value of `report_metric`. Each look at the same figures by the same person with the same command
    has the same writer, and is in the journal once."""

    metric: str
    command: str = ""
    by: str = ""


class Annotated(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Somebody tagged the sweep, or one of its runs, or wrote a note about it."""

    run: int = -1
    """-1: the sweep itself."""
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()
    note: str | None = None
    """Replaces the note; None leaves it, empty text removes it."""
    by: str = ""


class RunReproduced(Event, frozen=True, array_like=True, gc=False, tag=True):
    """A run that has ended was executed again and compared with its record."""

    run: int
    verdict: str
    """See `sweep.analysis.reproduction`."""
    compared: int = 0
    """Values that both executions have, and how many of them are the same to the last bit."""
    identical: int = 0
    metric: str = ""
    """Where they differ first; empty when they don't."""
    step: float | None = None
    report: dict[str, Any] = {}
    """All of it, as `sweep reproduce --json` prints it."""
    by: str = ""


class RetryRequested(Event, frozen=True, array_like=True, gc=False, tag=True):
    """A new attempt of these runs (each ended as failed or cancelled)."""

    runs: tuple[int, ...]
    by: str = ""


class SweepEnded(Decision, frozen=True, array_like=True, gc=False, tag=True):
    reason: str


class SweepReopened(Decision, frozen=True, array_like=True, gc=False, tag=True):
    reason: str


# --- agents ----------------------------------------------------------------------------------------------------


class AgentJoined(Event, frozen=True, array_like=True, gc=False, tag=True):
    agent: str
    host: str
    pid: int
    slots: int
    gpus: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    format: int = FORMAT
    record: dict[str, Any] = {}
    """Python, packages, CPU, memory, GPUs, driver, OS of the node (`sweep.provenance`)."""


class AgentLeft(Event, frozen=True, array_like=True, gc=False, tag=True):
    agent: str
    reason: str = ""


class AgentLost(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Its lease ran out by the store's clock; appended by the driver."""

    agent: str


class NodeSetAside(Decision, frozen=True, array_like=True, gc=False, tag=True):
    """Runs fail on this node as they do not elsewhere. Addressed to one of its agents, which takes its offers back, lets its runs
    finish and leaves; there is one of these for each ("": the node has none any more). What fails there from now on is not charged to
    the run. An agent that joins anew takes the node back."""

    host: str
    agent: str
    reason: str
    runs: tuple[int, ...] = ()
    """Runs that failed there, which was the node's fault: they are not charged with it, and those that had failed for good go on."""


class SlotOffered(Event, frozen=True, array_like=True, gc=False, tag=True):
    """A credit: this agent can take one run on this slot. Offers are numbered per agent, from 1."""

    agent: str
    slot: int
    offer: int


class SlotWithdrawn(Event, frozen=True, array_like=True, gc=False, tag=True):
    agent: str
    slot: int
    offer: int


class SlotKept(Event, frozen=True, array_like=True, gc=False, tag=True):
    """An agent offers a slot no more because of its GPUs; without a reason: it goes on. For people; decides nothing."""

    agent: str
    slot: int
    reason: str = ""
    lasting: bool = False
    """Set aside for as long as the agent lives; else it waits for another program to leave."""


# --- trials and runs -------------------------------------------------------------------------------------------


class TrialsProposed(Decision, frozen=True, array_like=True, gc=False, tag=True):
    """Trials `first`, `first`+1, … get these configs."""

    first: int
    configs: tuple[Config, ...]
    exhausted: bool
    revision: int
    engine: str
    engine_version: str
    seen: int
    """Journal position up to which the searcher had seen results."""


class RunAdded(Decision, frozen=True, array_like=True, gc=False, tag=True):
    run: int
    trial: int
    replicate: int
    seed: int
    purpose: Purpose = "search"


class RunAssigned(Decision, frozen=True, array_like=True, gc=False, tag=True):
    """Addressed to the agent; consumes exactly one offer."""

    run: int
    attempt: int
    agent: str
    slot: int
    offer: int
    trial: int
    replicate: int
    seed: int
    config: Config
    after: ErrorClass = ""
    """Why the last attempt of this run failed, where it did: a retry can be treated differently."""


class RunStarted(Event, frozen=True, array_like=True, gc=False, tag=True):
    run: int
    attempt: int
    agent: str
    pid: int
    host: str
    slot: int
    gpus: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    """Variables that sweep set for the run (nothing inherited, nothing secret)."""
    folder: str = ""
    code: int = 0
    """The number of the code that it executes (`CodeChanged`); 0: what its agent joined with."""


class ObjectiveReported(Event, frozen=True, array_like=True, gc=False, tag=True):
    """Values number `first`, `first`+1, … (0-based, within the attempt) of the objective; one entry per run and commit."""

    run: int
    attempt: int
    first: int
    steps: tuple[float, ...]
    values: tuple[float, ...]
    progress: tuple[float, ...] = ()
    """How far the attempt was at each value, in the unit of `early_terminate.step`, NaN where that is not known; seconds count from the
    attempt's own start. Empty: the steps say it."""


class UsageReported(Event, frozen=True, array_like=True, gc=False, tag=True):
    """What an attempt that goes on has used up to now; None: not measured. Its last word on that is in AttemptEnded, if it
    has one."""

    run: int
    attempt: int
    agent: str
    cpu_s: float | None = None
    energy_j: float | None = None


class RunPruned(Decision, frozen=True, array_like=True, gc=False, tag=True):
    """Addressed to the agent (empty for a run that is paused, which ends with it), which ends the attempt with outcome `pruned`."""

    run: int
    attempt: int
    agent: str
    reason: str


class RunPaused(Decision, frozen=True, array_like=True, gc=False, tag=True):
    """Addressed to the agent, which ends the attempt with outcome `paused`: its checkpoint is what a later one goes on from."""

    run: int
    attempt: int
    agent: str
    reason: str


class RunCancelled(Decision, frozen=True, array_like=True, gc=False, tag=True):
    """Addressed to the agent (empty for a run that never started), which ends the attempt with outcome `cancelled`."""

    run: int
    attempt: int
    agent: str
    reason: str


class AttemptEnded(Event, frozen=True, array_like=True, gc=False, tag=True):
    """The last word on an attempt. The controller itself writes it for the runs of a lost agent."""

    run: int
    attempt: int
    agent: str
    outcome: Outcome
    reason: str = ""
    exit_code: int | None = None
    """Exit status; -N when signal N ended the process; None when it is not known."""
    error_class: ErrorClass = ""
    score: float | None = None
    """Best finite objective over this attempt's history and summary, None without one."""
    summary: dict[str, Any] = {}
    checkpoint: str = ""
    rows: int = 0
    """History rows of this attempt."""
    tail: str = ""
    """Last lines of output, for a failed attempt."""
    defaults: Config = {}
    """What the program's own defaults added to the config that it was given."""
    cpu_s: float | None = None
    """CPU time of the attempt's process and the children that it waited for, and of others as far as they were seen; None when
    it is not known."""
    maxrss_bytes: int | None = None
    """The largest resident memory of a single process among them."""
    wall_s: float | None = None
    """From its process's start to its end by the agent's clock; None when it is not known, or never started."""
    usage: Usage | None = None
    """What else it has used; None when nobody looked."""
    state: dict[str, Any] = {}
    """How far the libraries of its process were seeded and deterministic, by what they said when they were asked."""


AnyEntry = (
    SweepCreated
    | SpecRevised
    | PauseRequested
    | ResumeRequested
    | StopRequested
    | CancelRequested
    | ExtendRequested
    | ConfirmRequested
    | ReportShown
    | RetryRequested
    | Annotated
    | RunReproduced
    | SweepEnded
    | SweepReopened
    | AgentJoined
    | AgentLeft
    | AgentLost
    | NodeSetAside
    | SlotOffered
    | SlotWithdrawn
    | SlotKept
    | TrialsProposed
    | RunAdded
    | RunAssigned
    | RunStarted
    | ObjectiveReported
    | UsageReported
    | RunPruned
    | RunPaused
    | RunCancelled
    | AttemptEnded
    | ArtifactLogged
    | ArtifactUsed
    | DataUsed
    | DataChecked
    | CodeChanged
)


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An entry as it stands in a journal."""

    position: int
    """1, 2, 3, … without gaps within a sweep."""
    at_s: float
    """Unix time of the append by the store's clock; never decreases within a sweep."""
    writer: str
    seq: int
    """This writer's own number for it, from 1."""
    entry: AnyEntry
    addressee: str | None = None
    based_on: int | None = None
    """For decisions: the journal position they were based on."""
    format: int = FORMAT


def is_decision(entry: Entry) -> TypeGuard[Decision]:
    """Whether the controller decided this (and must therefore find it legal)."""
    return isinstance(entry, Decision)


def addressee_of(entry: Entry) -> str | None:
    """The agent that must read this entry, None when only the controller does."""
    if type(entry) in _ADDRESSED:
        agent: str = entry.agent  # type: ignore[attr-defined]
        return agent or None
    return None


_ADDRESSED = frozenset((RunAssigned, RunPruned, RunPaused, RunCancelled, NodeSetAside))
