"""The life of a run: one table of legal transitions, from which the code acts and the docs' diagram is drawn.

An event that the table does not allow is ignored with a reason; a decision that it does not allow is a bug.
"""

from __future__ import annotations

from typing import Protocol

from sweep.core import entries as e
from sweep.core.retries import RETRY_CLASS, rule_of, tried_again
from sweep.core.spec import Retry, RetryClass
from sweep.core.views import RunState

LOST_LIMIT = 20
"""So many agents may vanish under a run before it counts as failed: it may be what kills them."""

LIVE: frozenset[RunState] = frozenset(("assigned", "running"))
ENDED: frozenset[RunState] = frozenset(("completed", "failed", "pruned", "cancelled"))

# (state, entry) -> states that may follow. A single one is taken; where there are several, `_after_attempt` chooses.
TABLE: dict[tuple[RunState, type[e.Entry]], tuple[RunState, ...]] = {
    ("queued", e.RunAssigned): ("assigned",),
    ("queued", e.RunCancelled): ("cancelled",),
    ("assigned", e.RunStarted): ("running",),
    ("assigned", e.RunCancelled): ("assigned",),
    ("assigned", e.AttemptEnded): ("queued", "failed", "cancelled"),
    ("running", e.ObjectiveReported): ("running",),
    ("running", e.UsageReported): ("running",),
    ("running", e.RunPruned): ("running",),
    ("running", e.RunPaused): ("running",),
    ("running", e.RunCancelled): ("running",),
    ("running", e.AttemptEnded): ("completed", "failed", "pruned", "paused", "cancelled", "queued"),
    ("paused", e.RunAssigned): ("assigned",),
    ("paused", e.RunPruned): ("pruned",),
    ("failed", e.RetryRequested): ("queued",),
    ("failed", e.NodeSetAside): ("queued",),
    ("failed", e.ConfirmRequested): ("queued",),
    ("cancelled", e.RetryRequested): ("queued",),
    ("cancelled", e.ConfirmRequested): ("queued",),
    ("cancelled", e.ResumeRequested): ("queued",),
    ("cancelled", e.SweepReopened): ("queued",),
    ("cancelled", e.SpecRevised): ("queued",),
    ("cancelled", e.ExtendRequested): ("queued",),
}


class RunLike(Protocol):
    """What the table reads and writes of a run."""

    state: RunState
    attempt: int
    agent: str
    failures: dict[RetryClass, int]
    """How many attempts failed since it was last asked for, by class."""
    after: e.ErrorClass
    """Why the last attempt that failed did; '' when none has. Lost and preempted ones between change nothing."""
    ready_s: float
    """Not to be assigned before this Unix time; 0: at any time."""
    lost: int
    order: str
    """'', or what the controller has ordered for the running attempt: pruned, paused, cancelled."""
    shelved: bool
    """Cancelled while it waited: it goes on when the sweep does."""
    reason: str


RunEntry = (
    e.RunAssigned
    | e.RunStarted
    | e.ObjectiveReported
    | e.UsageReported
    | e.RunPruned
    | e.RunPaused
    | e.RunCancelled
    | e.AttemptEnded
)

_ORDERS: dict[type[e.Entry], str] = {
    e.RunPruned: "pruned",
    e.RunPaused: "paused",
    e.RunCancelled: "cancelled",
}


def refuse(run: RunLike, entry: RunEntry) -> str | None:
    """None when `entry` may happen to `run` now, else why not."""
    kind = type(entry)
    if (run.state, kind) not in TABLE:
        return f"a run that is {run.state} takes no {kind.__name__}"
    if kind is e.RunAssigned:
        if entry.attempt != run.attempt + 1:
            return f"attempt {entry.attempt} does not follow attempt {run.attempt}"
    elif entry.attempt != run.attempt:
        return f"attempt {entry.attempt} is not the current one ({run.attempt})"
    elif isinstance(entry, e.ObjectiveReported):  # by far the most frequent, and it names no agent
        return None
    elif entry.agent and entry.agent != run.agent and run.state in LIVE:
        return f"agent {entry.agent} does not have this run"
    if kind in _ORDERS and run.order:
        return f"the run is already told to end ({run.order})"
    if (
        isinstance(entry, e.AttemptEnded)
        and run.state == "assigned"
        and entry.outcome in ("completed", "pruned", "paused")
    ):
        return f"a run that never started cannot be {entry.outcome}"
    return None


def advance(run: RunLike, entry: RunEntry, retry: Retry, at_s: float, charged: bool = True) -> None:
    """Let `entry`, which `refuse` let through and which was recorded at `at_s`, happen to `run`. `charged`: a failure would be
    the run's, not its node's."""
    kind = type(entry)
    if kind is e.AttemptEnded:
        _end_attempt(run, entry, retry, at_s, charged)  # type: ignore[arg-type]
        return
    order = _ORDERS.get(kind)
    if order is not None and run.state in LIVE:
        run.order = order
        run.reason = entry.reason  # type: ignore[union-attr]
        return
    run.state = TABLE[run.state, kind][0]
    if kind is e.RunAssigned:
        run.attempt, run.agent, run.order, run.reason = entry.attempt, entry.agent, "", ""  # type: ignore[union-attr]
        run.ready_s = 0.0
    elif kind is e.RunCancelled:
        run.reason, run.shelved, run.ready_s = entry.reason, True, 0.0  # type: ignore[union-attr]
    elif kind is e.RunPruned:
        run.reason = entry.reason  # type: ignore[union-attr]


def _end_attempt(run: RunLike, entry: e.AttemptEnded, retry: Retry, at_s: float, charged: bool) -> None:
    if entry.outcome == "failed":
        run.after = entry.error_class or "exit"
        name = RETRY_CLASS[run.after]
        run.failures[name] = run.failures.get(name, 0) + charged
    spared = entry.outcome == "failed" and not charged
    after = _after_attempt(run, "preempted" if spared else entry.outcome, retry)
    if entry.outcome == "failed" and after == "queued" and (wait_s := rule_of(retry, run.after).wait_s):
        run.ready_s = at_s + wait_s
    if not (run.order and after == run.order):
        run.reason = entry.reason
    run.state, run.agent, run.order = after, "", ""


def _after_attempt(run: RunLike, outcome: e.Outcome, retry: Retry) -> RunState:
    """Lost and preempted attempts go again, unless the run was told to end anyway; failures as often as `retry` says."""
    after: RunState
    if outcome == "failed":
        after = "queued" if tried_again(retry, run.failures, RETRY_CLASS[run.after]) else "failed"
    elif outcome == "lost" or outcome == "preempted":
        run.lost += outcome == "lost"
        after = "failed" if run.lost > LOST_LIMIT else "queued"
    else:
        return outcome
    if run.order == "pruned":
        return "pruned"
    if run.order == "paused" and outcome != "failed" and after == "queued":
        return "paused"
    return "cancelled" if run.order == "cancelled" else after


def diagram() -> str:
    """The table as a Mermaid state diagram, for the docs."""
    lines = ["stateDiagram-v2", "    [*] --> queued: RunAdded"]
    for (state, entry), following in TABLE.items():
        lines += [f"    {state} --> {after}: {entry.__name__}" for after in following if after != state]
    lines += [f"    {state} --> [*]" for state in ("completed", "failed", "pruned", "cancelled")]
    return "\n".join(lines)
