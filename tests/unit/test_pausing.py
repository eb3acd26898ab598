"""`early_terminate` with `resume`: who is paused, who goes on, and what becomes of those who never do."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

import sweep
from folded import Lab, make_spec, refold
from sweep.api.curves import RunCurve
from sweep.api.replaying import replay
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.spec import EarlyTerminate, Metric
from sweep.core.state import State
from sweep.stopping import make_stopper
from sweep.testing.states import check_state, dump

RULE = EarlyTerminate(type="asha", min_iter=2, eta=2.0, min_runs=2, resume=True)


@dataclasses.dataclass
class PausingLab(Lab):
    """One slot; its stopper is the spec's."""

    def fresh(self) -> State:
        return State(make_stopper)

    def train(self, number: int, *values: float) -> list[e.AnyEntry]:
        """Run `number`, which is assigned, reports these values from iteration 1, or from where it was; the decisions of then."""
        self.start(number)
        had = len(self.run(number).values)
        for at, value in enumerate(values):
            self.report(number, value, first=at, step=had + at + 1)
        return self.settle()

    def finish(self, number: int, outcome: e.Outcome) -> list[e.AnyEntry]:
        """It ends so, and its slot is free; the decisions of then."""
        self.end(number, outcome)
        self.offer()
        made = self.work()
        check_state(self.state)
        assert dump(refold(self)) == dump(self.state)
        return made


def pausing(**changes: Any) -> PausingLab:
    """A lab whose third run is paused at iteration 2; nothing else is at work, and its slot is free for the fourth."""
    lab = PausingLab(make_spec(**{"early_terminate": RULE, "run_cap": 6, **changes}))
    lab.join()
    lab.work()
    for number, level in enumerate((4.0, 1.0)):
        lab.train(number, level, level)
        lab.finish(number, "completed")
    [told] = lab.train(2, 5.0, 5.0)
    assert told == e.RunPaused(
        2, 1, "a", "iteration 2: best loss 5 is worse than the best half (4) of 3 runs"
    )
    return lab


def assigned(made: list[e.AnyEntry]) -> list[tuple[int, int]]:
    return [(entry.run, entry.attempt) for entry in made if isinstance(entry, e.RunAssigned)]


def test_a_paused_run_gives_its_slot_away_and_waits() -> None:
    lab = pausing()
    assert assigned(lab.finish(2, "paused")) == [(3, 1)]
    assert lab.run(2).state == "paused"
    assert lab.state.paused == {2}
    assert lab.state.waiting == 0


def test_it_goes_on_before_new_runs_when_it_belongs_to_the_best() -> None:
    lab = pausing()
    lab.finish(2, "paused")
    lab.train(3, 6.0, 6.0)
    assert assigned(lab.finish(3, "paused")) == [(2, 2)]
    assert lab.run(2).granted == 2


def test_it_is_not_paused_at_the_same_place_again() -> None:
    lab = pausing()
    lab.finish(2, "paused")
    lab.train(3, 6.0, 6.0)
    lab.finish(3, "paused")
    assert lab.train(2, 4.9) == [], "iteration 3: no rung"
    for number, level in enumerate((0.1, 0.2), 4):  # others make it worse than the best half again
        lab.join(f"b{number}")
        lab.work()
        lab.add(e.RunStarted(number, 1, f"b{number}", 1, "h", 0))
        lab.report(number, level, level, step=1)
        assert lab.settle() == []
    told = []
    lab.report(2, 4.8, first=1, step=4)
    for number, value in ((4, 0.1), (5, 0.2)):
        lab.report(number, value, value, first=2, step=3)
        told += lab.settle()
    assert [(type(entry).__name__, entry.run) for entry in told] == [("RunPaused", 2)], "at iteration 4"


def test_those_that_are_furthest_go_on_first() -> None:
    lab = pausing()
    lab.finish(2, "paused")
    lab.train(3, 6.0, 6.0)
    lab.report(3, 6.0, first=2, step=3)  # before it could end
    spec = msgspec.structs.replace(lab.state.spec, early_terminate=None)
    lab.add(e.SpecRevised(2, spec_to_builtins(spec)))
    assert assigned(lab.finish(3, "paused")) == [(3, 2)]


def test_what_is_paused_when_nothing_is_left_ends_pruned() -> None:
    lab = pausing(run_cap=3)
    made = lab.finish(2, "paused")
    assert [type(entry) for entry in made] == [e.RunPruned, e.SweepEnded]
    assert made[0].reason.endswith("of 3 runs; paused until the end")  # type: ignore[union-attr]
    assert (lab.run(2).state, lab.run(2).score) == ("pruned", 5.0)


@pytest.mark.parametrize("request_", [e.StopRequested("ann"), e.CancelRequested("ann")])
def test_a_sweep_that_is_stopped_keeps_what_paused_runs_have_reached(request_: e.AnyEntry) -> None:
    lab = pausing()
    lab.finish(2, "paused")
    lab.add(request_)
    lab.settle()
    assert (lab.run(2).state, lab.run(2).score) == ("pruned", 5.0)
    lab.end(3, "cancelled")
    lab.settle()
    assert lab.state.phase == "ended"


def test_a_run_at_work_is_pruned_for_good_once_the_sweep_is_on_its_way_out() -> None:
    lab = PausingLab(make_spec(early_terminate=RULE, run_cap=6))
    lab.join()
    lab.work()
    for number, level in enumerate((4.0, 1.0)):
        lab.train(number, level, level)
        lab.finish(number, "completed")
    lab.add(e.StopRequested("ann"))
    assert [type(entry) for entry in lab.train(2, 5.0, 5.0)] == [e.RunPruned]


def test_the_searcher_knows_a_paused_run_until_it_goes_on() -> None:
    lab = pausing()
    lab.finish(2, "paused")
    seen = lab.state.observations[2]
    assert (seen.status, seen.score) == ("pruned", 5.0)
    assert seen.worth is not None
    lab.train(3, 6.0, 6.0)
    lab.finish(3, "paused")
    assert lab.state.observations[2].status == "open"


def test_a_rule_that_pauses_nobody_ends_those_that_are_paused() -> None:
    lab = pausing()
    lab.finish(2, "paused")
    spec = msgspec.structs.replace(
        lab.state.spec, early_terminate=msgspec.structs.replace(RULE, resume=False)
    )
    lab.add(e.SpecRevised(2, spec_to_builtins(spec)))
    assert e.RunPruned(2, 1, "", lab.run(2).reason) in lab.settle()
    assert lab.run(2).state == "pruned"


def test_without_a_rule_they_go_on() -> None:
    lab = pausing()
    lab.finish(2, "paused")
    spec = msgspec.structs.replace(lab.state.spec, early_terminate=None)
    lab.add(e.SpecRevised(2, spec_to_builtins(spec)))
    lab.settle()
    lab.train(3, 9.0)
    assert assigned(lab.finish(3, "completed")) == [(2, 2)]


def test_a_replay_goes_on_where_a_run_was_paused() -> None:
    levels = (4.0, 1.0, 5.0, 6.0, 7.0)
    steps = tuple(float(step) for step in range(1, 9))
    curves = [RunCurve(f"r{level}", steps, (level,) * 8, steps) for level in levels]
    rule = msgspec.structs.replace(RULE, max_iter=4)
    outcome = replay(curves, Metric(name="loss"), rule, slots=1)
    assert [(end.curve, end.reports, bool(end.reason)) for end in outcome.ended] == [
        (0, 8, False),
        (1, 8, False),
        (2, 8, False),  # 2 iterations, and 6 more after the fourth had its two
        (3, 2, True),
        (4, 2, True),
    ]
    assert outcome.clock_s == outcome.slot_s == 8 + 8 + 8 + 2 + 2


def test_an_optimizer_gives_a_paused_trial_again() -> None:
    opt = sweep.Optimizer(
        {
            "method": "grid",
            "metric": {"name": "loss"},
            "parameters": {"level": {"values": [4, 1, 5, 6, 7]}},
            "early_terminate": {
                "type": "asha",
                "min_iter": 2,
                "max_iter": 4,
                "min_runs": 2,
                "resume": True,
            },
        }
    )
    asked, trained = [], dict[int, int]()
    while not opt.done:
        trial = opt.ask()
        asked.append((trial.config["level"], trial.attempt))
        step = trained.get(trial.id, 0)
        while step < 8:
            step += 1
            if opt.report(trial, step, trial.config["level"]):
                assert "is worse than the best half" in opt.reason(trial)
                break
        trained[trial.id] = step
        opt.tell(trial)
    assert asked == [(4, 1), (1, 1), (5, 1), (6, 1), (5, 2), (7, 1)]
    assert list(trained.values()) == [8, 8, 8, 2, 2]
    assert [result.state for result in opt.trials] == ["completed"] * 3 + ["pruned"] * 2
    assert opt.best is not None and opt.best.config == {"level": 1}
