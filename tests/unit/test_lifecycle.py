"""The table of transitions: every pair of a run's state and an entry, legal or not."""

from __future__ import annotations

import itertools

import pytest

from folded import Lab, make_spec
from sweep.core import entries as e
from sweep.core.evolve import IllegalDecision
from sweep.core.lifecycle import ENDED, LIVE, LOST_LIMIT, TABLE
from sweep.core.views import RunState

STATES: tuple[RunState, ...] = (
    "queued",
    "assigned",
    "running",
    "paused",
    "completed",
    "failed",
    "pruned",
    "cancelled",
)
RUN_ENTRIES: tuple[type[e.Entry], ...] = (
    e.RunAssigned,
    e.RunStarted,
    e.ObjectiveReported,
    e.RunPruned,
    e.RunPaused,
    e.RunCancelled,
    e.AttemptEnded,
)


def lab_in(state: RunState) -> Lab:
    """A lab whose run 0 is in `state`, with agent `a` offering the slot wherever it is free."""
    lab = Lab(make_spec(retry=0))
    lab.join()
    lab.work()
    if state == "queued":
        lab.end(0, "preempted")
    elif state == "assigned":
        return lab
    elif state == "cancelled":
        lab.add(e.RunCancelled(0, 1, "a", "no more"))
        lab.end(0, "cancelled")
    else:
        lab.start()
        if state in ENDED or state == "paused":
            assert state in ("completed", "failed", "pruned", "paused")
            lab.end(0, state)  # type: ignore[arg-type]
    assert lab.run().state == state
    if state not in LIVE:
        assert lab.offer() is None
    return lab


def entry_of(kind: type[e.Entry], lab: Lab, outcome: e.Outcome = "failed") -> e.AnyEntry:
    """An entry for run 0 that fits in everything but perhaps the run's state."""
    run = lab.run()
    agent = run.agent if run.state in LIVE else ""
    offer = lab.state.offers.get(("a", 0), 99)
    built: dict[type[e.Entry], e.AnyEntry] = {
        e.RunAssigned: e.RunAssigned(0, run.attempt + 1, "a", 0, offer, 0, 0, 5, {"x": 0}),
        e.RunStarted: e.RunStarted(0, run.attempt, agent, 1, "host", 0),
        e.ObjectiveReported: e.ObjectiveReported(0, run.attempt, 0, (0.0,), (1.0,)),
        e.RunPruned: e.RunPruned(0, run.attempt, agent, "poor"),
        e.RunPaused: e.RunPaused(0, run.attempt, agent, "make room"),
        e.RunCancelled: e.RunCancelled(0, run.attempt, agent, "no more"),
        e.AttemptEnded: e.AttemptEnded(0, run.attempt, agent, outcome, "because"),
        e.RetryRequested: e.RetryRequested((0,)),
    }
    return built[kind]


def try_add(lab: Lab, entry: e.AnyEntry) -> str | None:
    """Why the entry was refused, however that is said."""
    try:
        return lab.add(entry)
    except IllegalDecision as illegal:
        return str(illegal)


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(STATES, RUN_ENTRIES)))
def test_a_run_takes_an_entry_exactly_where_the_table_says(state: RunState, kind: type[e.Entry]) -> None:
    lab = lab_in(state)
    refusal = try_add(lab, entry_of(kind, lab))
    follows = TABLE.get((state, kind))
    if follows is None:
        assert refusal is not None
        assert f"a run that is {state} takes no {kind.__name__}" in refusal
        assert lab.run().state == state
    else:
        assert refusal is None
        assert lab.run().state in follows


@pytest.mark.parametrize("state", STATES)
def test_retry_is_for_failed_and_cancelled_runs(state: RunState) -> None:
    lab = lab_in(state)
    refusal = lab.add(e.RetryRequested((0,)))
    assert (refusal is None) == ((state, e.RetryRequested) in TABLE)
    assert lab.run().state == ("queued" if refusal is None else state)


OUTCOMES = {
    # outcome -> state after it from `running`, without an order and without retry
    "completed": "completed",
    "failed": "failed",
    "pruned": "pruned",
    "paused": "paused",
    "cancelled": "cancelled",
    "lost": "queued",
    "preempted": "queued",
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_how_an_attempt_of_a_running_run_ends(outcome: e.Outcome) -> None:
    lab = lab_in("running")
    assert lab.end(0, outcome) is None
    assert lab.run().state == OUTCOMES[outcome]
    assert lab.run().reason == f"it was {outcome}"
    assert not lab.run().agent
    assert lab.state.live == set()


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_how_an_attempt_that_never_started_ends(outcome: e.Outcome) -> None:
    lab = lab_in("assigned")
    refusal = lab.end(0, outcome)
    if outcome in ("completed", "pruned", "paused"):
        assert refusal == f"a run that never started cannot be {outcome}"
        assert lab.run().state == "assigned"
    else:
        assert refusal is None
        assert lab.run().state == OUTCOMES[outcome]


ORDERED = {
    # (order, outcome) -> state after it; what is not listed is as without an order
    ("pruned", "failed"): "pruned",
    ("pruned", "lost"): "pruned",
    ("pruned", "preempted"): "pruned",
    ("cancelled", "failed"): "cancelled",
    ("cancelled", "lost"): "cancelled",
    ("cancelled", "preempted"): "cancelled",
    ("paused", "lost"): "paused",
    ("paused", "preempted"): "paused",
}
DECISIONS: dict[str, type[e.Entry]] = {
    "pruned": e.RunPruned,
    "cancelled": e.RunCancelled,
    "paused": e.RunPaused,
}


@pytest.mark.parametrize(("order", "outcome"), list(itertools.product(DECISIONS, OUTCOMES)))
def test_a_run_that_is_told_to_end_ends_as_told_unless_it_did_better(order: str, outcome: e.Outcome) -> None:
    lab = lab_in("running")
    told = lab.add(entry_of(DECISIONS[order], lab))
    assert told is None and lab.run().order == order and lab.run().state == "running"
    reason = lab.run().reason
    assert lab.end(0, outcome) is None
    expected = ORDERED.get((order, outcome), OUTCOMES[outcome])
    assert lab.run().state == expected
    assert lab.run().reason == (reason if expected == order else f"it was {outcome}")
    assert lab.run().order == ""


@pytest.mark.parametrize(("outcome", "after"), [("failed", "cancelled"), ("lost", "cancelled")])
def test_a_run_cancelled_before_it_started_is_cancelled(outcome: e.Outcome, after: str) -> None:
    lab = lab_in("assigned")
    assert lab.add(e.RunCancelled(0, 1, "a", "no more")) is None
    assert lab.run().state == "assigned"
    assert lab.end(0, outcome) is None
    assert lab.run().state == after


def test_a_run_that_is_told_to_pause_and_fails_is_tried_again() -> None:
    lab = Lab(make_spec(retry=1))
    lab.running()
    lab.add(e.RunPaused(0, 1, "a", "make room"))
    lab.end(0, "failed")
    assert lab.run().state == "queued"


def test_orders_are_given_once() -> None:
    lab = lab_in("running")
    lab.add(e.RunPruned(0, 1, "a", "poor"))
    for kind in DECISIONS.values():
        with pytest.raises(IllegalDecision, match="already told to end"):
            lab.add(entry_of(kind, lab))


@pytest.mark.parametrize("kind", [k for k in RUN_ENTRIES if k is not e.RunAssigned])
@pytest.mark.parametrize("shift", [-1, 1])
def test_only_the_current_attempt_counts(kind: type[e.Entry], shift: int) -> None:
    lab = lab_in("running")
    entry = entry_of(kind, lab)
    state = "running" if (("running", kind) in TABLE) else "assigned"
    lab = lab_in(state)
    entry = entry_of(kind, lab)
    moved = type(entry)(**{**_fields(entry), "attempt": 1 + shift})
    refusal = try_add(lab, moved)
    assert refusal is not None and f"attempt {1 + shift} is not the current one (1)" in refusal


def _fields(entry: e.AnyEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__struct_fields__}


@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_attempts_are_numbered_without_gaps(attempt: int) -> None:
    lab = lab_in("queued")
    offer = lab.state.offers["a", 0]
    with pytest.raises(IllegalDecision, match="does not follow attempt 1"):
        lab.add(e.RunAssigned(0, attempt, "a", 0, offer, 0, 0, 5, {}))


@pytest.mark.parametrize("kind", [e.AttemptEnded, e.RunStarted])
def test_an_agent_that_does_not_have_the_run_is_not_believed(kind: type[e.Entry]) -> None:
    lab = lab_in("assigned")
    entry = type(entry_of(kind, lab))(**{**_fields(entry_of(kind, lab)), "agent": "b"})
    assert lab.add(entry) == "agent b does not have this run"


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_retry_says_how_often_a_failed_run_is_tried_again(retries: int) -> None:
    lab = Lab(make_spec(retry=retries, run_cap=1))
    lab.join()
    for attempt in range(1, retries + 2):
        lab.work()
        lab.start()
        assert lab.run().attempt == attempt
        lab.end(0, "failed")
        assert lab.run().state == ("failed" if attempt == retries + 1 else "queued")
        lab.offer()
    lab.work()
    assert lab.state.phase == "ended"


@pytest.mark.parametrize("outcome", ["lost", "preempted", "paused"])
def test_what_is_not_the_runs_fault_is_not_charged(outcome: e.Outcome) -> None:
    lab = Lab(make_spec(retry=1, run_cap=1))
    lab.join()
    for _ in range(5):
        lab.work()
        lab.start()
        lab.end(0, outcome)
        assert lab.run().failures == {}
        lab.offer()
    lab.work()
    lab.start()
    lab.end(0, "failed")
    assert lab.run().state == "queued", "its one retry is still there"


def test_a_run_under_which_agents_vanish_again_and_again_has_failed() -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.join()
    for _ in range(LOST_LIMIT + 1):
        lab.work()
        assert lab.run().state == "assigned"
        lab.end(0, "lost")
        lab.offer()
    assert lab.run().state == "failed"


def test_live_and_ended_are_the_states_they_say() -> None:
    assert {state for state, kind in TABLE if kind is e.AttemptEnded} == LIVE
    assert set(STATES) - LIVE - ENDED == {"queued", "paused"}
    assert {state for follows in TABLE.values() for state in follows} <= set(STATES)
