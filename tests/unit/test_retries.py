"""Retries by class: which failures are tried again, how often, when, and what the next attempt is told."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from folded import Lab, make_spec, refold
from sweep.core import entries as e
from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.decide import Propose
from sweep.core.retries import RETRY_CLASS, rule_of, tried_again
from sweep.core.spec import RETRY_CLASSES, Retry, RetryRule
from sweep.testing.states import check_state, dump

ALL = RETRY_CLASSES


def lab_with(retry: Retry, *, run_cap: int = 1, slots: int = 1) -> Lab:
    lab = Lab(msgspec.structs.replace(make_spec(run_cap=run_cap), retry=retry))
    lab.join(slots=slots)
    lab.work()
    return lab


def fail(lab: Lab, error: e.ErrorClass, run: int = 0, *, at_s: float | None = None) -> None:
    """The attempt of `run` starts and fails, and its slot is on offer again."""
    slot = next(
        r.entry.slot
        for r in reversed(lab.journal)
        if isinstance(r.entry, e.RunAssigned) and r.entry.run == run
    )
    lab.start(run)
    lab.now = lab.now if at_s is None else at_s
    lab.end(run, "failed", error_class=error)
    lab.offer(slot=slot)
    lab.work()


def attempts(retry: Retry, *errors: e.ErrorClass) -> int:
    """How many attempts a run makes that fails by these errors in turn."""
    lab = lab_with(retry)
    for error in errors:
        if lab.run().state != "assigned":
            break
        fail(lab, error)
    return lab.run().attempt


def test_every_error_has_a_class() -> None:
    assert set(RETRY_CLASS) == set(get_args(e.ErrorClass))
    assert set(RETRY_CLASS.values()) == set(RETRY_CLASSES)


@pytest.mark.parametrize(
    ("retry", "errors", "expected"),
    [
        (Retry(max=0), ["exit"] * 3, 1),
        (Retry(max=2), ["exit"] * 5, 3),
        (Retry(max=2), ["exit", "gpu_memory", "node", "exit"], 3),
        (Retry(max=2), ["run_time"] * 3, 1),
        (Retry(max=2), ["exit", "run_time"], 2),
        (Retry(max=2, on=("time",)), ["run_time", "no_progress", "run_time"], 3),
        (Retry(max=2, on=("time",)), ["exit"], 1),
        (Retry(max=0, rules={"oom": RetryRule(max=2)}), ["gpu_memory", "memory", "gpu_memory"], 3),
        (Retry(max=0, rules={"oom": RetryRule(max=2)}), ["gpu_memory", "exit"], 2),
        (Retry(max=1, rules={"oom": RetryRule(max=1)}), ["gpu_memory", "exit", "signal"], 3),
        (Retry(max=1, rules={"oom": RetryRule(max=1)}), ["exit", "gpu_memory", "gpu_memory"], 3),
        (Retry(max=5, rules={"node": RetryRule(max=0)}), ["start"], 1),
        (Retry(max=1, rules={"oom": RetryRule(wait_s=0.0)}), ["exit", "gpu_memory"], 2),
        (Retry(max=1), ["", ""], 2),
    ],
)
def test_how_often_a_run_is_tried(retry: Retry, errors: list[e.ErrorClass], expected: int) -> None:
    assert attempts(retry, *errors) == expected


def test_a_class_without_a_max_of_its_own_shares_the_total() -> None:
    retry = Retry(max=1, on=ALL, rules={"oom": RetryRule(max=3), "node": RetryRule(env={"A": "1"})})
    assert tried_again(retry, {"oom": 3, "node": 1}, "node")
    assert tried_again(retry, {"oom": 3, "node": 1}, "oom")
    assert not tried_again(retry, {"exit": 1, "node": 1}, "node")
    assert not tried_again(retry, {"oom": 4}, "oom")


def test_lost_and_preempted_attempts_are_not_counted_and_hide_no_failure() -> None:
    lab = lab_with(Retry(max=1))
    fail(lab, "gpu_memory")
    assert [r.entry.after for r in lab.journal if isinstance(r.entry, e.RunAssigned)] == ["", "gpu_memory"]
    for outcome in ("lost", "preempted"):
        lab.start()
        lab.end(0, outcome)  # type: ignore[arg-type]
        lab.offer()
        made = lab.work()
        assert isinstance(made[0], e.RunAssigned) and made[0].after == "gpu_memory"
    fail(lab, "exit")
    assert (lab.run().state, lab.run().attempt) == ("failed", 4)


def test_a_failure_is_told_by_the_last_one() -> None:
    lab = lab_with(Retry(max=3))
    for error in ("exit", "gpu_memory"):
        fail(lab, error)  # type: ignore[arg-type]
    assert lab.run().after == "gpu_memory"
    assert lab.run().failures == {"exit": 1, "oom": 1}


def test_a_retry_by_hand_counts_anew_and_still_tells_the_last_error() -> None:
    lab = lab_with(Retry(max=1))
    fail(lab, "node")
    fail(lab, "node")
    assert lab.run().state == "failed"
    assert lab.add(e.RetryRequested((0,))) is None
    lab.work()
    assert (lab.run().state, lab.run().failures, lab.run().after) == ("assigned", {}, "node")
    fail(lab, "node")
    assert lab.run().state == "assigned"


# --- waiting

WAITING = Retry(max=2, rules={"oom": RetryRule(wait_s=30.0)})


def test_a_run_that_waits_is_assigned_when_its_time_has_come() -> None:
    lab = lab_with(WAITING)
    fail(lab, "gpu_memory", at_s=1500.0)
    assert lab.run().state == "queued"
    assert lab.wakes() == [1530.0]
    lab.now = 1529.9
    assert lab.work() == []
    lab.now = 1530.0
    made = lab.work()
    assert isinstance(made[0], e.RunAssigned) and (made[0].run, made[0].attempt) == (0, 2)
    assert lab.wakes() == []
    assert dump(refold(lab)) == dump(lab.state)


def test_a_failure_of_another_class_does_not_wait() -> None:
    lab = lab_with(WAITING)
    fail(lab, "exit")
    assert lab.run().state == "assigned"


def test_a_run_that_waits_holds_up_no_other() -> None:
    lab = lab_with(WAITING, run_cap=3)
    fail(lab, "gpu_memory")
    assert lab.states() == ["queued", "assigned"], "the slot went to a new trial"
    assert lab.state.waiting == 1
    check_state(lab.state)
    lab.now += 60
    lab.start(1)
    lab.end(1, "completed")
    lab.offer()
    lab.work()
    assert lab.states() == ["assigned", "completed"], "the lower number goes first"


def test_slots_that_only_wait_ask_for_proposals() -> None:
    lab = lab_with(WAITING, run_cap=9, slots=2)
    for run in (0, 1):
        lab.start(run)
        lab.end(run, "failed", error_class="memory")
        lab.offer(slot=run)
    lab.settle()
    assert lab.commands[-1] == Propose(2)


def test_a_sweep_does_not_end_while_a_run_waits() -> None:
    lab = lab_with(WAITING)
    fail(lab, "gpu_memory")
    assert lab.state.phase == "active"
    lab.add(e.StopRequested())
    made = lab.settle()
    assert [type(entry).__name__ for entry in made] == ["RunCancelled", "SweepEnded"]
    lab.add(e.ResumeRequested())
    lab.work()
    assert lab.run().state == "assigned", "who goes on by hand waits no longer"


def test_waiting_survives_a_clock_that_goes_back() -> None:
    lab = lab_with(WAITING)
    fail(lab, "gpu_memory", at_s=1500.0)
    lab.add(e.SlotWithdrawn("a", 0, lab.state.offers["a", 0]))
    lab.now = 1531.0
    assert lab.settle() == [], "it is ready, but there is no slot"
    lab.offer()
    lab.now = 1510.0
    assert lab.settle() == []
    lab.now = 1531.0
    assert [type(entry).__name__ for entry in lab.settle()] == ["RunAssigned"]


# --- the record


def test_the_rule_of_a_class() -> None:
    rule = RetryRule(env={"A": "1"})
    retry = Retry(rules={"oom": rule})
    assert rule_of(retry, "gpu_memory") is rule_of(retry, "memory") is rule
    assert rule_of(retry, "exit") == rule_of(retry, "") == RetryRule()


def test_a_spec_from_before_failures_had_classes_tries_all_of_them_again() -> None:
    old = spec_to_builtins(make_spec())
    old["retry"] = {"max": 2}
    assert spec_from_builtins(old).retry == Retry(max=2, on=ALL)
    del old["retry"]
    assert spec_from_builtins(old).retry == Retry()


def test_a_spec_with_rules_survives_the_journal() -> None:
    retry = Retry(max=1, on=("oom",), rules={"oom": RetryRule(max=3, wait_s=1.5, env={"A": "1"})})
    spec = msgspec.structs.replace(make_spec(), retry=retry)
    assert spec_from_builtins(spec_to_builtins(spec)) == spec
