"""What the pictures show: points, curves, lines, and the sentences where there is nothing to draw."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysed import SPACE, history, parameter, run_view, sweep, table_of
from sweep.analysis.figures import prepare as p
from sweep.analysis.importance import Importance, ImportanceRow
from sweep.analysis.table import SweepTable
from sweep.core.space import Categorical, Numeric, Space
from sweep.core.views import RunState

NOTHING = Importance(method="none", metric="loss", n=0, note="not enough signal: too few.")


def _mixed(number: int) -> RunState:
    return "failed" if number % 5 == 0 else ("pruned" if number % 5 == 1 else "completed")


def _ranked(*names: str) -> Importance:
    rows = tuple(
        ImportanceRow(parameter=name, importance=1 / (i + 2), low=0.0, high=1.0, above_noise=True)
        for i, name in enumerate(names)
    )
    return Importance(method="a forest", metric="loss", n=9, rows=rows, noise=0.1)


# --- importance ------------------------------------------------------------------------------------------------


def test_importance_shows_the_first_twenty_and_counts_the_rest() -> None:
    picture = p.prepare_importance(sweep(3), _ranked(*(f"p{i}" for i in range(23))))
    assert len(picture.rows) == 20
    assert "3 parameters of less importance are not shown" in picture.note
    assert picture.subtitle == "A forest, 9 trials"


def test_importance_without_signal_is_a_sentence() -> None:
    picture = p.prepare_importance(sweep(3), NOTHING)
    assert picture.empty == "Not enough signal: too few."
    assert picture.rows == ()


# --- best so far -----------------------------------------------------------------------------------------------


def _scores(values: list[float | None], goal: str = "minimize") -> SweepTable:
    runs = [
        run_view(i + 1, {"x": 0.1 * i}, "failed" if v is None else "completed", v)
        for i, v in enumerate(values)
    ]
    return table_of(runs, space=Space((parameter("x", Numeric(0, 9)),)), goal=goal)


@pytest.mark.parametrize(
    ("goal", "steps"), [("minimize", [3.0, 2.0, 1.0, 1.0]), ("maximize", [3.0, 5.0, 5.0])]
)
def test_best_so_far_only_improves(goal: str, steps: list[float]) -> None:
    picture = p.prepare_best(_scores([3.0, 5.0, None, 2.0, 4.0, 1.0, 2.5], goal))
    over_trials, over_time = picture.panels
    assert list(over_trials.best_y) == steps
    assert list(over_time.best_y) == steps
    assert over_trials.best_x[0] == 1.0 and over_trials.best_x[-1] == 7.0


def test_failed_trials_are_marked_on_the_worse_side() -> None:
    for goal, worse in (("minimize", 1), ("maximize", -1)):
        picture = p.prepare_best(_scores([3.0, None, 5.0], goal))
        assert picture.axis is not None
        (failed,) = [point for point in picture.panels[0].points if point.state == "failed"]
        assert failed.score is None
        assert failed.y > picture.axis.high if worse > 0 else failed.y < picture.axis.low
        assert picture.low <= failed.y <= picture.high


def test_time_begins_with_the_first_start_and_has_a_fitting_unit() -> None:
    picture = p.prepare_best(_scores([1.0, 2.0]))
    assert picture.panels[1].label == "time since the first start (seconds)"
    assert [point.x for point in picture.panels[1].points] == [10.0, 15.0]
    days = _scores([1.0, 2.0])
    days.runs[1].attempts[0].ended_s = (days.runs[1].attempts[0].ended_s or 0.0) + 86_400 * 5
    assert "(days)" in p.prepare_best(table_of(days.runs, space=days.spec.space)).panels[1].label


def test_trials_are_in_the_order_in_which_they_ended() -> None:
    table = _scores([1.0, 2.0, 3.0])
    table.runs[0].attempts[0].ended_s = 1_800_000_000.0
    points = p.prepare_best(table_of(table.runs, space=table.spec.space)).panels[0].points
    assert [point.trial for point in points] == [1, 2, 0]


def test_many_trials_are_thinned_and_the_best_stays() -> None:
    picture = p.prepare_best(_scores([float(abs(i - 3333)) for i in range(5000)]))
    points = picture.panels[0].points
    assert len(points) == p.MOST_POINTS
    assert any(point.score == 0.0 for point in points)
    assert points[-1].x > 4900


# --- learning curves -------------------------------------------------------------------------------------------


def test_the_best_curves_are_ranked_and_drawn_last() -> None:
    picture = p.prepare_curves(sweep(30, state=_mixed))
    ranks = [curve.rank for curve in picture.curves]
    assert ranks[-5:] == [4, 3, 2, 1, 0]
    assert set(ranks[:-5]) == {None}
    scores = [curve.score for curve in picture.curves[-5:] if curve.score is not None]
    assert scores == sorted(scores, reverse=True)
    assert all(curve.state != "failed" for curve in picture.curves[-5:])


def test_a_value_that_is_not_finite_is_a_gap() -> None:
    table = table_of(
        [run_view(1, {}), run_view(2, {})],
        {1: history([1.0, "nan", 0.5, "inf"]), 2: history([1.0, 0.9])},
        space=Space(()),
    )
    picture = p.prepare_curves(table)
    places = next(curve.places for curve in picture.curves if curve.run == 1)
    assert [math.isnan(place) for place in places] == [False, True, False, True]
    assert "not finite" in picture.note


@given(st.lists(st.floats(), min_size=1, max_size=400), st.integers(4, 60))
def test_an_outline_keeps_ends_and_extremes(values: list[float], most: int) -> None:
    kept = p._outline(values, most)
    assert kept == sorted(set(kept))
    assert kept[0] == 0 and kept[-1] == len(values) - 1
    assert len(kept) <= max(most, 4)
    finite = [v for v in values if math.isfinite(v)]
    if finite:
        shown = [values[i] for i in kept if math.isfinite(values[i])]
        assert (min(shown), max(shown)) == (min(finite), max(finite))


def test_long_and_many_curves_are_thinned() -> None:
    runs = [run_view(i, {"x": i / 500}, objective=float(i)) for i in range(1, 401)]
    histories = {i: history([float(i + k % 7) for k in range(2000)]) for i in range(1, 401)}
    picture = p.prepare_curves(table_of(runs, histories, space=Space((parameter("x", Numeric(0, 1)),))))
    assert len(picture.curves) == p.MOST_CURVES
    assert sum(len(curve.steps) for curve in picture.curves) <= 1.1 * p.MOST_CURVE_POINTS
    assert {curve.run for curve in picture.curves} >= set(range(1, 151))
    assert "300 of 400 curves" in picture.note


# --- parallel coordinates and slices ---------------------------------------------------------------------------


def test_lines_end_on_the_objective_and_the_best_is_last() -> None:
    table = sweep(30, state=_mixed)
    picture = p.prepare_parallel(table, NOTHING)
    assert [axis.name for axis in picture.axes] == [*(q.name for q in SPACE.parameters[:-1]), "loss"]
    assert [axis.scale for axis in picture.axes[:3]] == ["log", "category", "category"]
    best = table.best
    assert best is not None
    assert (picture.lines[-1].trial, picture.lines[-1].colour, picture.lines[0].colour) == (
        best.trial,
        0.0,
        1.0,
    )
    assert all(len(line.places) == len(picture.axes) for line in picture.lines)
    assert "6 trials without a score are not shown" in picture.note


def test_important_parameters_come_first() -> None:
    picture = p.prepare_slices(sweep(10), _ranked("dropout", "batch"))
    assert [panel.axis.name for panel in picture.panels][:2] == ["dropout", "batch"]


def test_too_many_parameters_are_counted() -> None:
    space = Space(tuple(parameter(f"p{i}", Numeric(0, 1)) for i in range(15)))
    table = sweep(10, space=space, objective=lambda config: float(config["p0"]))
    assert len(p.prepare_parallel(table, NOTHING).axes) == p.MOST_AXES + 1
    slices = p.prepare_slices(table, NOTHING)
    assert len(slices.panels) == p.MOST_PANELS
    assert "3 further parameters are not shown" in slices.note


def test_points_stay_near_their_category() -> None:
    table = sweep(
        60,
        space=Space((parameter("o", Categorical(("a", "b", "c"))),)),
        objective=lambda c: float(ord(c["o"])),
    )
    (panel,) = p.prepare_slices(table, NOTHING).panels
    for point in panel.points:
        assert round(point.x) == panel.axis.position(table.trials[point.trial].config["o"])
    assert len({point.x for point in panel.points}) > 50


def test_hopeless_trials_are_drawn_at_the_edge_and_counted() -> None:
    values: list[float | None] = [*(1.0 + 0.01 * i for i in range(30)), 50.0]
    picture = p.prepare_slices(_scores(values), NOTHING)
    assert picture.axis is not None
    (far,) = [point for point in picture.panels[0].points if point.over]
    assert (far.score, far.y) == (50.0, picture.axis.high)
    assert "1 trial much worse than the others is drawn at the edge" in picture.note


# --- nothing to draw -------------------------------------------------------------------------------------------


def _pictures(table: SweepTable) -> dict[str, str]:
    pictures = p.prepare(table, NOTHING)
    return {name: getattr(pictures, name).empty for name in ("best", "curves", "parallel", "slices")}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (lambda: table_of([]), {"best": "No trial has finished", "curves": "No run has logged loss yet", "parallel": "No trial has", "slices": "No trial has"}),
        (lambda: table_of(sweep(3).runs, metric=None), dict.fromkeys(("best", "curves", "parallel", "slices"), "names no metric")),
        (lambda: sweep(9, state=lambda _: "failed"), {"best": "All 9 trials that ended have failed", "curves": "", "slices": "have failed"}),
        (lambda: sweep(1), {"best": "", "curves": "", "parallel": "No parameter took more than one value"}),
        (lambda: sweep(4, state=lambda n: "failed" if n > 1 else "completed"), {"slices": "Only one trial has finished"}),
        (lambda: sweep(4, steps=1), {"curves": "logged loss once", "best": ""}),
        (lambda: table_of([run_view(1, {})], {1: history(["nan", "nan"])}), {"curves": "No finite value of loss"}),
    ],
)  # fmt: skip
def test_a_sentence_says_why_there_is_nothing(table: Any, said: dict[str, str]) -> None:
    found = _pictures(table())
    for name, words in said.items():
        assert (words in found[name]) if words else not found[name], name
