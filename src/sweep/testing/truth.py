"""The oracle's account against the rest of the record: the listing, the history, and what the processes really did.

The rule of this file: nothing of the code under test is used; each comparison is written as a person would make it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweep.core.views import RunView, SweepView
from sweep.testing.accounts import AttemptAccount, RunAccount, gpu_seconds
from sweep.testing.ledger import Violation
from sweep.testing.naive import effective_values, naive_score
from sweep.testing.oracle import Account

if TYPE_CHECKING:
    from sweep.testing.world import World


def check_listing(account: Account, views: Sequence[RunView], sweep: SweepView) -> None:
    """Compare what listings say of the sweep and of each run with the account. Raises Violation."""
    told = (sweep.run_cap, sweep.revision, sweep.tags, sweep.note)
    known = (account.cap, account.revision, *account.notes.get(-1, ((), "")))
    if told != known:
        raise Violation(f"the index says of the sweep {told}, it should be {known}")
    ended = [attempt for run in account.runs for attempt in run.attempts if attempt.ended is not None]
    spent = (
        gpu_seconds(account.runs, None),
        *(sum(max(one[k] for one in attempt.used) for attempt in ended) for k in (1, 2)),
    )
    shown = (sweep.gpu_s, sweep.cpu_s, sweep.energy_j)
    if any(abs(one - other) > 0.001 for one, other in zip(shown, spent, strict=True)):
        raise Violation(f"the index says that the sweep has spent {shown}, it should be {spent}")
    if len(views) != len(account.runs):
        raise Violation(f"the index lists {len(views)} runs, there are {len(account.runs)}")
    for run, view in zip(account.runs, views, strict=True):
        expected = {
            "state": run.final or ("paused" if run.paused else _unfinished(run)),
            "objective": naive_score(run, account.world.goal),
            "steps": len(effective_values(run.attempts)),
            "attempts": [_attempt_facts(attempt) for attempt in run.attempts],
            "notes": account.notes.get(run.added.run, ((), "")),
        }
        found = {
            "state": view.state,
            "objective": view.objective,
            "steps": view.steps,
            "attempts": [
                (a.attempt, a.agent, a.slot, a.gpu_share, a.outcome, a.exit_code, a.error_class, a.rows)
                for a in view.attempts
            ],
            "notes": (view.tags, view.note),
        }
        if found != expected:
            raise Violation(f"run {run.added.run}: the index says {found}, it should be {expected}")


def _attempt_facts(attempt: AttemptAccount) -> tuple[object, ...]:
    assigned, ended = attempt.assigned, attempt.ended
    known: tuple[object, ...] = (None, None, "", 0)
    if ended is not None:
        known = (ended.outcome, ended.exit_code, ended.error_class, ended.rows)
    return (assigned.attempt, assigned.agent, assigned.slot, attempt.gpus, *known)


def _unfinished(run: RunAccount) -> str:
    if not run.attempts or run.attempts[-1].ended is not None:
        return "queued"
    return "running" if run.attempts[-1].started else "assigned"


def check_truth(account: Account, history: dict[tuple[int, int], list[bytes]]) -> None:
    """Compare the journal and the history with what the processes really did. Raises Violation."""
    _check_overlaps(account.world)
    truth = {(p.run, p.attempt): p for p in account.world.processes}
    if len(truth) != len(account.world.processes):
        raise Violation("an attempt was started twice")
    for run in account.runs:
        completed = [attempt for attempt in run.attempts if _outcome(attempt) == "completed"]
        if len(completed) > 1:
            raise Violation(f"run {run.added.run} was completed {len(completed)} times")
        for attempt in run.attempts:
            process = truth.get((run.added.run, attempt.assigned.attempt))
            if attempt.started and process is None:
                raise Violation(f"run {run.added.run} was reported as started, but no process was")
            if process is not None:
                _check_attempt(attempt, process, history)


def _outcome(attempt: AttemptAccount) -> str:
    return attempt.ended.outcome if attempt.ended is not None else ""


def _check_attempt(
    attempt: AttemptAccount, process: Any, history: dict[tuple[int, int], list[bytes]]
) -> None:
    name = f"run {process.run}, attempt {process.attempt}"
    logged = [(float(step), repr(value)) for step, value, _ in process.rows]
    reported = [
        pair for r in attempt.reports for pair in zip(r.steps, [repr(v) for v in r.values], strict=True)
    ]
    if reported != logged[: len(reported)]:
        raise Violation(f"{name} logged {logged}, but the journal has {reported}")
    rows = history.get((process.run, process.attempt), [])
    if rows != [text for _, _, text in process.rows][: len(rows)]:
        raise Violation(f"{name}: the history is not what was logged")
    ended = attempt.ended
    if ended is None or ended.outcome == "lost":
        return
    blameless = process.guard_died and ended.error_class not in ("run_time", "no_progress")
    if ended.outcome == "failed" and blameless:
        raise Violation(f"{name} was ended by the death of its guard, but counts as failed")
    if ended.outcome == "failed" and process.code == 0 and not ended.error_class:
        raise Violation(f"{name} ended with code 0, but counts as failed")
    if ended.outcome == "completed" and process.code != 0:
        raise Violation(f"{name} ended with code {process.code}, but counts as completed")
    if ended.outcome in ("completed", "failed") and ended.exit_code is not None and len(rows) < len(logged):
        raise Violation(f"{name} logged {len(logged)} rows, but the history has {len(rows)}")
    if ended.outcome == "completed" and len(reported) < len(logged):
        raise Violation(f"{name} logged {len(logged)} values, but {len(reported)} count")


def _check_overlaps(world: World) -> None:
    """Two attempts of one run, or two on one slot, run at a time only where agent and guard of the earlier were frozen."""
    for one in world.processes:
        if one.alive:
            raise Violation(f"run {one.run}, attempt {one.attempt} was left behind and runs for ever")
    for key in ("run", "slot"):
        groups: dict[Any, list[Any]] = {}
        for process in world.processes:
            owner = process.run if key == "run" else (process.guard.listener.node, process.slot)
            groups.setdefault(owner, []).append(process)
        for group in groups.values():
            _check_group(sorted(group, key=lambda p: (p.began_s, p.attempt)))


def _check_group(group: list[Any]) -> None:
    for index, early in enumerate(group):
        for late in group[index + 1 :]:
            if late.began_s < early.ended_s and not (early.guard.was_frozen or late.guard.was_frozen):
                raise Violation(
                    f"run {early.run}, attempt {early.attempt} ran until {early.ended_s:.2f} s, "
                    f"but run {late.run}, attempt {late.attempt} began at {late.began_s:.2f} s"
                )
