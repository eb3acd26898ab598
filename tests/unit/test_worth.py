"""What a run is worth that was ended early, and how a searcher learns of it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sweep.core import entries as e
from sweep.core.plugins import Observation
from sweep.core.space import Numeric, Parameter, Space
from sweep.core.spec import EarlyTerminate, Goal
from sweep.core.worth import Yardstick, references
from sweep.search._model import score_of
from sweep.testing.states import check_state
from tests.unit.folded import Lab, make_spec

STEPS = [1.0, 2.0, 3.0, 4.0]
WHOLE = [
    (STEPS, [9.0, 5.0, 4.0, 3.0], 3.0),
    (STEPS, [8.0, 6.0, 4.0, 2.0], 2.0),
    (STEPS, [8.0, 4.0, math.nan, 1.0], 1.0),
]


@pytest.mark.parametrize(("goal", "sign"), [("minimize", 1), ("maximize", -1)])
def test_it_becomes_as_much_better_as_whole_runs_did(goal: Goal, sign: int) -> None:
    whole = [(at, [sign * value for value in values], sign * score) for at, values, score in WHOLE]
    by_step, by_count = Yardstick(whole, goal, False), Yardstick(whole, goal, True)
    assert by_step.worth([1.0, 2.0], sign * 9.0) == sign * (9 - 3), "gains from step 2 on are 2, 4 and 3"
    assert by_step.worth([2.5], sign * 9.0) == sign * 6
    assert by_count.worth([2.5], sign * 9.0) == sign * (9 - 6), "gains from the first value on: 6, 6 and 7"
    assert by_step.worth([2.0], sign * 4.5) == sign * 2, "no better than the median of whole runs"
    assert by_step.worth([9.0], sign * 7.0) == sign * 7


def test_where_nothing_is_known_the_score_stays() -> None:
    assert Yardstick([], "minimize", True).worth([1.0], 5.0) == 5.0
    late = Yardstick([([5.0], [1.0], 1.0)], "minimize", False)
    assert late.worth([2.0], 5.0) == 5.0, "no whole run had a value by then"
    assert late.worth([], 5.0) == 5.0


def test_it_changes_only_when_twice_as_many_runs_are_whole() -> None:
    assert [references(n) for n in range(10)] == [0, 1, 2, 2, 4, 4, 4, 4, 8, 8]


def pruned_lab(**changes: Any) -> Lab:
    space = Space((Parameter(("x",), Numeric(0.0, 1.0)),))
    early = EarlyTerminate(type="asha", min_iter=1, step="logged")
    return Lab(make_spec(method="random", space=space, run_cap=9, early_terminate=early, **changes))


def run_through(lab: Lab, number: int, values: list[float], outcome: e.Outcome) -> None:
    if number:
        lab.offer()
    lab.running(number)
    steps = tuple(float(step) for step in range(1, len(values) + 1))
    lab.add(e.ObjectiveReported(number, 1, 0, steps, tuple(values)))
    lab.end(number, outcome)
    check_state(lab.state)


def test_a_searcher_is_told_what_a_pruned_trial_is_worth() -> None:
    lab = pruned_lab()
    run_through(lab, 0, [8.0, 7.0], "pruned")
    seen = lab.state.observations
    assert (seen[0].score, seen[0].worth) == (7.0, None), "there is nothing to compare it with yet"
    run_through(lab, 1, [9.0, 5.0, 1.0], "completed")
    assert (seen[0].score, seen[0].worth) == (7.0, 3.0)
    assert (seen[1].score, seen[1].worth) == (1.0, None)
    run_through(lab, 2, [6.0], "pruned")
    assert seen[2].worth == 1.0, "no better than the median of whole runs"
    run_through(lab, 3, [9.0, 8.0, 2.0], "completed")
    assert seen[0].worth == 2.0, "gains from step 2 on: 4 and 6"
    assert [score_of(one) for one in seen[:4]] == [2.0, 1.0, seen[2].worth, 2.0]


def test_models_learn_the_worth() -> None:
    assert score_of(Observation(0, {}, "pruned", 5.0, 2.0)) == 2.0
    assert score_of(Observation(0, {}, "pruned", 5.0)) == 5.0
    assert score_of(Observation(0, {}, "pruned", None, math.inf)) is None
    assert score_of(Observation(0, {}, "failed", None)) is None
