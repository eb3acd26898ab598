"""What a model is told of trials that are not whole."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sweep.core import entries as e
from sweep.core.plugins import Observation
from sweep.core.promises import Curve, Gains, seen_with_promises
from sweep.core.spec import EarlyTerminate, Goal, Metric
from sweep.search._blend import told_score
from tests.unit.folded import Lab, make_spec


def test_gains_are_those_of_runs_that_went_on() -> None:
    gains = Gains(
        [
            Curve([1, 2, 4], [8.0, 4.0, 2.0], whole=False),
            Curve([1, 2], [9.0, 6.0], whole=False),
            Curve([1, 2, 4, 6], [8.0, 5.0, 4.0, 3.5], whole=True),
        ]
    )
    assert gains.promise(10.0, 1) == 10 - 3 - 1.5 - 0.5, "the medians of (4, 3, 3), (2, 1) and (0.5)"
    assert gains.promise(10.0, 3) == 10 - 1.5 / 2 - 0.5, "half of a doubling is left"
    assert gains.promise(10.0, 8) == 10.0
    assert Gains([]).promise(1.0, 1) == 1.0
    assert Gains([Curve([1, 2], [math.inf, 2.0], whole=False)]).promise(5.0, 1) == 5.0


EARLY = EarlyTerminate(type="asha", min_iter=50, eta=2.0)


def lab_with(runs: list[list[float]], first: int, goal: Goal = "minimize", **changes: Any) -> Lab:
    """Runs that are at work and have reported these values, from step `first` on."""
    metric = Metric(name="loss", goal=goal)
    lab = Lab(
        make_spec(**{"method": "bayes", "run_cap": 9, "metric": metric, "early_terminate": EARLY, **changes}),
        limit=None if "early_terminate" in changes else 1e9,
    )
    for number, values in enumerate(runs):
        if number:
            lab.offer()
        lab.running(number)
        steps = tuple(float(step) for step in range(first, first + len(values)))
        lab.add(e.ObjectiveReported(number, 1, 0, steps, tuple(values)))
    return lab


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(("goal", "sign"), [("minimize", 1), ("maximize", -1)])
def test_open_and_ended_trials_have_a_promise(first: int, goal: Goal, sign: int) -> None:
    lab = lab_with(
        [[8 * sign, 4 * sign, 3 * sign, 2 * sign], [9 * sign, 7 * sign], [5 * sign], [math.nan] * 2],
        first,
        goal,
    )
    seen = seen_with_promises(lab.state)
    assert [one.promise for one in seen] == [2 * sign, 5 * sign, None, None], (
        "7 less the 2 of the one that went on"
    )
    assert {one.status for one in seen} == {"open"}
    assert seen_with_promises(lab.state) == seen, "asking changes nothing"
    assert all(one.promise is None for one in lab.state.observations), "nor does it stay"
    lab.end(1, "pruned")
    lab.end(0, "completed")
    assert [one.promise for one in seen_with_promises(lab.state)][:2] == [None, 5 * sign]
    lab.end(2, "failed")
    assert seen_with_promises(lab.state)[2].promise is None


def test_a_run_that_begins_again_counts_from_where_it_is() -> None:
    lab = lab_with([[8.0, 4.0, 3.0, 2.0], [9.0, 7.0]], 1)
    lab.add(e.ObjectiveReported(0, 1, 4, (1.0, 2.0), (6.0, 6.0)))
    assert [one.promise for one in seen_with_promises(lab.state)] == [2.0, 7.0], "nobody is further any more"


def test_without_a_rule_nothing_is_promised() -> None:
    lab = lab_with([[3.0, 2.0]], 1, early_terminate=None)
    assert seen_with_promises(lab.state) is lab.state.observations


def test_blend_takes_the_promise_for_the_score() -> None:
    assert told_score(Observation(0, {}, "open", None, None, 0.5)) == 0.5
    assert told_score(Observation(0, {}, "open")) is None
    assert told_score(Observation(0, {}, "pruned", 3.0, 2.0, 1.0)) == 1.0
    assert told_score(Observation(0, {}, "pruned", 3.0, 2.0, math.inf)) == 2.0
    assert told_score(Observation(0, {}, "failed")) is None
