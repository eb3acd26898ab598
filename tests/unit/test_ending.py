"""What ends a sweep besides its trials being done: GPU-hours, patience; and what a person sees of it."""

from __future__ import annotations

import math

import msgspec
import pytest

from folded import Lab, make_spec, refold
from sweep.core import entries as e
from sweep.core.ending import gpu_end_s
from sweep.core.index import rebuild
from sweep.core.rows import SWEEP_KEY, decode_sweep, decode_views
from sweep.core.spec import Limits, Metric, Resources
from sweep.testing.states import check_state, dump

HOUR = 3600.0


def gpu_lab(hours: float | None, *, gpus: float | None = None, slots: int = 1, run_cap: int = 9) -> Lab:
    spec = make_spec(run_cap=run_cap, limits=Limits(gpu_hours=hours), resources=Resources(gpus=gpus))
    lab = Lab(spec)
    lab.join(slots=slots)
    lab.work()
    return lab


def start(lab: Lab, run: int, *gpus: str) -> None:
    known = lab.run(run)
    assert lab.add(e.RunStarted(run, known.attempt, known.agent, 11, "host", 0, gpus)) is None


def kinds(made: list[e.AnyEntry]) -> list[str]:
    return [type(entry).__name__ for entry in made]


@pytest.mark.parametrize(
    ("of_a_run", "held", "share"),
    [
        (None, ("g0",), 1),
        (None, (), 0),
        (2, ("g0", "g1"), 2),
        (0.25, ("g0",), 0.25),
        (0.25, (), 0),
        (0, (), 0),
        (1, ("g0",), 1),
    ],
)
def test_gpus_of_an_attempt(of_a_run: float | None, held: tuple[str, ...], share: float) -> None:
    lab = gpu_lab(None, gpus=of_a_run)
    start(lab, 0, *held)
    assert lab.run().gpus == share
    lab.now += 10
    lab.end(0, "failed")
    assert lab.state.gpu_s == pytest.approx(10 * share)
    assert lab.run().gpus == 0


@pytest.mark.parametrize(
    "outcome", ["completed", "failed", "pruned", "cancelled", "lost", "preempted", "paused"]
)
def test_attempts_count_however_they_end(outcome: e.Outcome) -> None:
    lab = gpu_lab(1.0)
    start(lab, 0, "g0")
    lab.now += 100
    lab.end(0, outcome)
    assert lab.state.gpu_s == pytest.approx(100)


def test_an_attempt_that_never_started_costs_nothing() -> None:
    lab = gpu_lab(1.0)
    lab.now += 100
    lab.end(0, "failed")
    assert lab.state.gpu_s == 0


def test_what_runs_is_counted_up_to_now_and_ended_when_the_budget_is_spent() -> None:
    lab = gpu_lab(1.0, slots=2)
    start(lab, 0, "g0")
    lab.now += 1200
    start(lab, 1, "g1")
    lab.settle()
    # 1200 are spent, and two GPUs spend the other 2400 in 1200 seconds.
    assert lab.wakes() == [pytest.approx(lab.now + 1200)]
    lab.now = lab.wakes()[0]
    made = lab.settle()
    assert made == [e.RunCancelled(run, 1, "a", "limits.gpu_hours: 1 GPU-hours are spent") for run in (0, 1)]
    lab.now += 5
    for run in (0, 1):
        lab.end(run, "cancelled")
    assert lab.settle() == [e.SweepEnded("limits.gpu_hours: 1 GPU-hours are spent")]
    assert lab.state.gpu_s == pytest.approx(HOUR + 10)
    assert dump(refold(lab)) == dump(lab.state)


def test_what_was_spent_before_counts() -> None:
    lab = gpu_lab(1.0)
    start(lab, 0, "g0")
    lab.now += 3000
    lab.end(0, "failed")
    lab.offer()
    lab.work()
    assert gpu_end_s(lab.state) is None, "nothing holds a GPU"
    start(lab, 1, "g0")
    assert gpu_end_s(lab.state) == pytest.approx(lab.now + 600)
    lab.now += 600
    lab.end(1, "completed")
    assert gpu_end_s(lab.state) == -math.inf
    lab.offer()
    assert kinds(lab.work()) == ["SweepEnded"]


def test_a_share_is_that_of_the_spec_when_the_agent_made_its_slots() -> None:
    lab = gpu_lab(None, gpus=0.5)
    revised = msgspec.structs.replace(lab.spec, resources=Resources(gpus=1))
    lab.add(e.SpecRevised(2, msgspec.to_builtins(revised)))
    start(lab, 0, "g0")
    assert lab.run().gpus == 0.5
    lab.join("b")
    lab.work()
    start(lab, 1, "g0")
    assert lab.run(1).gpus == 1


def test_listings_say_what_was_spent() -> None:
    lab = gpu_lab(1.0, slots=2)
    start(lab, 0, "g0")
    start(lab, 1, "g1")
    lab.now += 100
    lab.end(0, "completed")
    rows = rebuild(lab.fresh(), lab.journal)
    assert decode_sweep(rows[SWEEP_KEY]).gpu_s == pytest.approx(100)
    runs = decode_views(len(lab.journal), rows).runs
    assert [run.attempts[0].gpu_s(lab.now + 50) for run in runs[:2]] == [
        pytest.approx(100),
        pytest.approx(150),
    ]
    assert runs[1].attempts[0].gpu_share == 1


# --- patience


def patient(patience: int | None, *, replicates: int = 1, run_cap: int = 20, slots: int = 1) -> Lab:
    spec = make_spec(run_cap=run_cap, patience=patience, replicates=replicates, metric=Metric(name="loss"))
    lab = Lab(spec)
    lab.join(slots=slots)
    lab.work()
    return lab


def finish(lab: Lab, run: int, score: float | None, outcome: e.Outcome = "completed", slot: int = 0) -> None:
    lab.start(run)
    lab.end(run, outcome, score=score)
    lab.offer(slot=slot)
    lab.work()


def test_patience_ends_the_sweep_after_so_many_trials_without_a_better_score() -> None:
    lab = patient(2)
    for run, score in enumerate([5.0, 4.0, 4.5, 3.0, 3.0]):
        finish(lab, run, score)
        assert lab.state.phase == "active"
    finish(lab, 5, 3.5)
    assert lab.state.phase == "ended"
    assert lab.state.reason == "patience: 2 trials in a row were no better than loss 3"
    assert len(lab.state.trials) == 6
    assert dump(refold(lab)) == dump(lab.state)


@pytest.mark.parametrize("outcome", ["completed", "failed", "pruned"])
def test_however_a_trial_finishes_it_counts(outcome: e.Outcome) -> None:
    lab = patient(2)
    finish(lab, 0, 1.0)
    for run in (1, 2):
        finish(lab, run, 2.0 if outcome != "failed" else None, outcome)
    assert lab.state.phase == "ended"


def test_trials_without_any_score_are_no_better_than_none() -> None:
    lab = patient(2)
    finish(lab, 0, None)
    finish(lab, 1, None, "failed")
    assert lab.state.reason == "patience: 2 trials in a row were no better than none at all"


def test_a_pruned_trial_can_be_the_best() -> None:
    lab = patient(1)
    finish(lab, 0, 3.0)
    finish(lab, 1, 2.0, "pruned")
    assert lab.state.phase == "active"


def test_the_order_of_finishing_counts_and_what_runs_finishes() -> None:
    lab = patient(2, slots=3)
    for run, score in ((2, 1.0), (1, 2.0)):
        lab.start(run)
        lab.end(run, "completed", score=score)
    lab.start(0)
    lab.settle()
    assert lab.state.phase == "active"
    lab.offer(slot=1)
    lab.work()
    lab.start(3)
    lab.end(3, "failed")
    assert lab.settle() == [], "run 0 may finish"
    assert lab.run(0).order == ""
    lab.end(0, "completed", score=0.5)
    assert kinds(lab.settle()) == ["SweepEnded"], "a better one that comes late changes nothing"
    assert "were no better than loss 1" in lab.state.reason


def test_replicates_finish_together_with_their_mean() -> None:
    lab = patient(1, replicates=2)
    for run, score in enumerate([1.0, 3.0, 0.5, 3.5]):
        assert lab.state.phase == "active"
        finish(lab, run, score)
    assert lab.state.phase == "ended", "the mean of the second is no better, though its best run is"


def test_what_waited_goes_on_and_patience_counts_anew_after_resume() -> None:
    lab = patient(1)
    finish(lab, 0, 1.0)
    lab.add(e.StopRequested())  # not patience yet
    lab.add(e.ResumeRequested())
    finish(lab, 1, 2.0)
    assert lab.state.phase == "ended"
    lab.add(e.ResumeRequested("ann"))
    made = lab.work()
    assert kinds(made)[0] == "SweepReopened"
    assert lab.state.stalled == "" and lab.state.unimproved == 0
    finish(lab, 2, 3.0)
    assert lab.state.phase == "ended"


def test_trials_that_nobody_tried_do_not_count() -> None:
    lab = patient(1, slots=2, run_cap=4)
    lab.end(0, "preempted")
    lab.add(e.CancelRequested())
    lab.settle()
    lab.end(1, "cancelled")
    lab.settle()
    assert lab.state.unimproved == 0
    check_state(lab.state)


def test_without_patience_nothing_is_counted_out() -> None:
    lab = patient(None, run_cap=4)
    for run in range(4):
        finish(lab, run, 1.0)
    assert lab.state.reason == "run_cap: all 4 trials are done"
