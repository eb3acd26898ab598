"""What each picture shows, worked out once for both renderers: which points and curves, on which axes, in which words.

The rule of this file: a renderer decides nothing but how a thing looks. Where there is too little to draw, `empty` holds
the sentence that is shown instead. Everything is thinned here, with the best always kept, and `note` says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from sweep.analysis import text
from sweep.analysis.axes import Axis, objective_axis, parameter_axis
from sweep.analysis.figures import seeds
from sweep.analysis.figures.outline import outline as _outline
from sweep.analysis.figures.outline import thin as _thin
from sweep.analysis.figures.pictures import (
    BestPicture,
    Curve,
    CurvesPicture,
    ImportancePicture,
    Line,
    Panel,
    ParallelPicture,
    Pictures,
    Point,
    SlicesPicture,
    Stairs,
)
from sweep.analysis.figures.usage import prepare_usage
from sweep.analysis.history import Series
from sweep.analysis.importance import Importance
from sweep.analysis.table import ABSENT, SweepTable, TrialRow
from sweep.core.space import Parameter
from sweep.core.views import RunView

MOST_BARS = 20
MOST_PANELS = 12
MOST_AXES = 10
MOST_POINTS = 2000
MOST_LINES = 1000
MOST_CURVES = 300
MOST_CURVE_POINTS = 40_000
TOP_CURVES = 5


def prepare(table: SweepTable, importance: Importance, expected: bool = False) -> Pictures:
    """Everything that `write_plots` draws."""
    return Pictures(
        importance=prepare_importance(table, importance),
        best=prepare_best(table),
        curves=seeds.with_means(table, prepare_curves(table)),
        parallel=prepare_parallel(table, importance),
        slices=prepare_slices(table, importance),
        confirmed=seeds.prepare_confirmed(table),
        expected=seeds.prepare_expected(table) if expected else None,
        usage=prepare_usage(table),
    )


# --- importance ------------------------------------------------------------------------------------------------


def prepare_importance(table: SweepTable, importance: Importance) -> ImportancePicture:
    metric = table.metric or "the objective"
    picture = ImportancePicture(key="importance", title=f"Which parameters mattered for {metric}")
    if not importance.enough:
        picture.empty = _sentence(importance.note or "not enough signal.")
        return picture
    picture.rows = importance.rows[:MOST_BARS]
    picture.noise = importance.noise
    picture.high = 1.05 * max([row.high for row in picture.rows] + [importance.noise, 0.05])
    picture.subtitle = f"{importance.method[0].upper()}{importance.method[1:]}, {importance.n} trials"
    hidden = len(importance.rows) - len(picture.rows)
    picture.note = _notes(
        "Lines span 90% of bootstrap resamples over trials.",
        importance.note or "",
        f"{text.plural(hidden, 'parameter')} of less importance {'is' if hidden == 1 else 'are'} not shown."
        if hidden
        else "",
    )
    return picture


# --- best so far -----------------------------------------------------------------------------------------------


def prepare_best(table: SweepTable) -> BestPicture:
    picture = BestPicture(key="best-so-far", title="Best so far")
    ended = sorted(
        (
            row
            for row in table.trials
            if row.ended_s is not None and row.state in ("completed", "pruned", "failed")
        ),
        key=lambda row: (row.ended_s or 0.0, row.trial),
    )
    scores = [row.score for row in ended if row.score is not None]
    if not scores or table.metric is None:
        picture.empty = _no_scores(table)
        return picture
    picture.axis = axis = _objective_axis(table, [*scores, *seeds.single_values(ended)])
    picture.subtitle = f"{table.metric}, {table.direction}"
    start_s = min(
        a.started_s for row in ended for run in row.runs for a in run.attempts if a.started_s is not None
    )
    times = [(row.ended_s or start_s) - start_s for row in ended]
    size, unit = text.time_unit(max(times))
    picture.panels = (
        _stairs("finished trials", [float(i + 1) for i in range(len(ended))], ended, table, axis, whole=True),
        _stairs(f"time since the first start ({unit})", [t / size for t in times], ended, table, axis),
    )
    room = 0.09 * (axis.high - axis.low) if len(scores) < len(ended) else 0.0
    worse_is_up = table.goal == "minimize"
    picture.low, picture.high = (
        axis.low - (0.0 if worse_is_up else room),
        axis.high + (room if worse_is_up else 0.0),
    )
    picture.note = _notes(seeds.singles_note(table), axis.beyond_note)
    return picture


def _stairs(
    label: str, xs: list[float], rows: list[TrialRow], table: SweepTable, axis: Axis, *, whole: bool = False
) -> Stairs:
    best: float | None = None
    best_x: list[float] = []
    best_y: list[float] = []
    for x, row in zip(xs, rows, strict=True):
        if row.score is not None and (best is None or table.rank_key(row) < best):
            best = table.rank_key(row)
            best_x.append(x)
            best_y.append(axis.clip(axis.position(row.score)))
    high = max(xs) or 1.0
    if best_x and best_x[-1] < xs[-1]:
        best_x.append(xs[-1])
        best_y.append(best_y[-1])
    kept = _thin(list(zip(xs, rows, strict=True)), MOST_POINTS, lambda pair: table.rank_key(pair[1]))
    points = tuple(_point(row, x, axis, table.goal == "minimize") for x, row in kept)
    singles = tuple(point for x, row in kept for point in seeds.run_points(row, x, axis))
    return Stairs(label, 0.0, high * 1.03, points, tuple(best_x), tuple(best_y), whole, singles)


def _point(row: TrialRow, x: float, axis: Axis, worse_is_up: bool) -> Point:
    if row.score is None:
        edge = axis.high if worse_is_up else axis.low
        middle = edge + (0.045 if worse_is_up else -0.045) * (axis.high - axis.low)
        return Point(row.trial, x, middle, "failed")
    place = axis.position(row.score)
    clipped = axis.clip(place)
    return Point(row.trial, x, clipped, row.state, row.score, over=clipped != place)


# --- learning curves -------------------------------------------------------------------------------------------


def prepare_curves(table: SweepTable) -> CurvesPicture:
    picture = CurvesPicture(key="learning-curves", title="Learning curves")
    searched = [run for run in table.runs if run.purpose == "search"]
    series = [(run, found) for run in searched if (found := table.curve(run)) is not None]
    kept = _thin(series, MOST_CURVES, lambda pair: _run_key(pair[0], table))
    picture.empty = _no_curves(table, kept)
    if picture.empty:
        return picture
    picture.axis = axis = _objective_axis(table, _curve_values(kept))
    most = max(MOST_CURVE_POINTS // len(kept), 60)
    scored = [run for run, _ in kept if math.isfinite(_run_key(run, table))]
    best = sorted(scored, key=lambda run: _run_key(run, table))[:TOP_CURVES]
    ranks = {run.run: rank for rank, run in enumerate(best)}
    curves = [_curve(run, s.steps, s.values, axis, ranks.get(run.run), most) for run, s in kept]
    picture.curves = tuple(sorted(curves, key=lambda c: (c.rank is not None, -(c.rank or 0), c.run)))
    steps = [step for curve in curves for step in (curve.steps[0], curve.steps[-1])]
    picture.low, picture.high = min(steps), max(steps) if max(steps) > min(steps) else min(steps) + 1.0
    top = f"; the best {len(ranks)} of {text.plural(len(series), 'run')} in colour" if ranks else ""
    picture.subtitle = f"{table.metric}, {table.direction}{top}"
    picture.note = _curves_note(picture, axis, len(series))
    return picture


def _no_curves(table: SweepTable, series: Sequence[tuple[RunView, Series]]) -> str:
    if table.metric is None:
        return _NO_METRIC
    if not series:
        return f"No run has logged {table.metric} yet."
    if not any(math.isfinite(v) for _, s in series for v in s.values):
        return f"No finite value of {table.metric} was logged."
    if all(len(s.values) < 2 for _, s in series):
        return f"Every run logged {table.metric} once: there is no curve to draw."
    return ""


def _curves_note(picture: CurvesPicture, axis: Axis, total: int) -> str:
    shown = len(picture.curves)
    places = [place for curve in picture.curves for place in curve.places]
    outside = any(axis.clip(place) != place for place in places if not math.isnan(place))
    return _notes(
        f"{shown} of {total:,} curves are drawn, the best among them." if shown < total else "",
        "Some values lie beyond the axis." if outside else "",
        "A gap stands for values that were not finite." if any(map(math.isnan, places)) else "",
    )


def _curve_values(series: Iterable[tuple[RunView, Series]]) -> list[float]:
    """Values that choose the axis: enough of each curve, its start left out where it is long, because the first steps
    of training say little and are far from the rest."""
    values: list[float] = []
    for _, found in series:
        column = found.values
        start = len(column) // 20 if len(column) >= 100 else 0
        values.extend(v for v in column[start :: max(len(column) // 50, 1)] if math.isfinite(v))
        values.extend(v for v in column[-1:] if math.isfinite(v))
    return values or [v for _, found in series for v in found.values if math.isfinite(v)]


def _curve(
    run: RunView, steps: Sequence[float], values: Sequence[float], axis: Axis, rank: int | None, most: int
) -> Curve:
    chosen = _outline(values, most)
    places = tuple(axis.position(values[i]) if math.isfinite(values[i]) else math.nan for i in chosen)
    state = run.state if run.state in ("completed", "pruned", "failed", "cancelled") else "running"
    return Curve(
        run.run, run.trial, state, rank, tuple(float(steps[i]) for i in chosen), places, run.objective
    )


def _run_key(run: RunView, table: SweepTable) -> float:
    if run.objective is None or not math.isfinite(run.objective) or run.state in ("failed", "cancelled"):
        return math.inf
    return run.objective if table.goal == "minimize" else -run.objective


# --- parallel coordinates and slices ---------------------------------------------------------------------------


def prepare_parallel(table: SweepTable, importance: Importance) -> ParallelPicture:
    picture = ParallelPicture(key="parallel-coordinates", title="Parallel coordinates")
    picture.empty = _too_few(table)
    if picture.empty:
        return picture
    chosen, hidden = _chosen(table, importance, MOST_AXES)
    rows = _thin(table.scored, MOST_LINES, table.rank_key)
    axes = [parameter_axis(p, [row.value(p) for row in table.trials]) for p in chosen]
    objective = _objective_axis(table, [row.score or 0.0 for row in table.scored])
    picture.axes = (*axes, objective)
    picture.best_on_top = table.goal == "maximize"
    order = {row.trial: rank for rank, row in enumerate(sorted(rows, key=table.rank_key))}
    picture.lines = tuple(
        Line(
            row.trial,
            (
                *(_spread(axis, row, p) for axis, p in zip(axes, chosen, strict=True)),
                _on(objective, row.score),
            ),
            order[row.trial] / max(len(rows) - 1, 1),
            row.score or 0.0,
        )
        for row in sorted(rows, key=table.rank_key, reverse=True)
    )
    picture.subtitle = f"One line per trial, coloured by its rank in {table.metric}, {table.direction}"
    unscored = len(table.trials) - len(table.scored)
    picture.note = _notes(
        f"{text.plural(unscored, 'trial')} without a score {'is' if unscored == 1 else 'are'} not shown."
        if unscored
        else "",
        _thinned(len(rows), len(table.scored)),
        _inactive(rows, [p for p, axis in zip(chosen, axes, strict=True) if axis.scale != "category"]),
        hidden,
        objective.beyond_note,
    )
    return picture


def _inactive(rows: list[TrialRow], parameters: list[Parameter]) -> str:
    """A sentence where lines run along the end of an axis because the trial lacks the parameter."""
    if not any(row.value(parameter) is ABSENT for parameter in parameters for row in rows):
        return ""
    return "At the lower end of a numeric axis run the trials without that parameter."


def prepare_slices(table: SweepTable, importance: Importance) -> SlicesPicture:
    picture = SlicesPicture(key="slices", title="Slices")
    picture.empty = _too_few(table)
    if picture.empty:
        return picture
    chosen, hidden = _chosen(table, importance, MOST_PANELS)
    rows = _thin(table.scored, MOST_POINTS, table.rank_key)
    scores = [row.score or 0.0 for row in table.scored]
    picture.axis = objective = _objective_axis(table, [*scores, *seeds.single_values(table.scored)])
    panels = []
    for parameter in chosen:
        axis = parameter_axis(parameter, [row.value(parameter) for row in table.trials])
        shown = [
            (row, _spread(axis, row, parameter))
            for row in rows
            if row.value(parameter) is not ABSENT or not parameter.when
        ]
        points = [_point(row, x, objective, table.goal == "minimize") for row, x in shown]
        singles = [point for row, x in shown for point in seeds.run_points(row, x, objective)]
        panels.append(Panel(axis, tuple(points), tuple(singles)))
    picture.panels = tuple(panels)
    picture.subtitle = f"{table.metric} against each parameter, {table.direction}"
    picture.note = _notes(
        seeds.singles_note(table), _thinned(len(rows), len(table.scored)), hidden, objective.beyond_note
    )
    return picture


def _chosen(table: SweepTable, importance: Importance, most: int) -> tuple[list[Parameter], str]:
    """The parameters to show, most important first where that is known, and a sentence about the others."""
    order = {row.parameter: place for place, row in enumerate(importance.rows)}
    ranked = sorted(table.parameters, key=lambda p: order.get(p.name, len(order)))
    hidden = len(ranked) - most
    kind = "less important parameter" if order else "further parameter"
    said = f"{text.plural(hidden, kind)} {'is' if hidden == 1 else 'are'} not shown." if hidden > 0 else ""
    return ranked[:most], said


def _spread(axis: Axis, row: TrialRow, parameter: Parameter) -> float:
    """Position of a trial on a parameter's axis, at its lower end without a value; on a categorical axis moved by an
    offset that depends on the trial."""
    place = axis.position(row.value(parameter))
    if axis.scale != "category" or math.isnan(place):
        return axis.low if math.isnan(place) else place
    return place + 0.44 * (math.modf(row.trial * 0.618033988749895)[0] - 0.5)


def _on(axis: Axis, score: float | None) -> float:
    return axis.clip(axis.position(score if score is not None else 0.0))


# --- shared ----------------------------------------------------------------------------------------------------

_NO_METRIC = "The spec names no metric, so there is nothing to compare: add metric: {name: …}."


def _no_scores(table: SweepTable) -> str:
    if table.metric is None:
        return _NO_METRIC
    ended = [row for row in table.trials if row.state != "open"]
    if ended and all(row.state == "failed" for row in ended):
        return f"All {text.plural(len(ended), 'trial')} that ended have failed: there is no {table.metric} to show."
    return f"No trial has finished with a finite {table.metric} yet."


def _too_few(table: SweepTable) -> str:
    if not table.scored:
        return _no_scores(table)
    if not table.parameters:
        return "No parameter took more than one value."
    if len(table.scored) < 2:
        return (
            f"Only one trial has finished with a finite {table.metric}: there is nothing to compare it with."
        )
    return ""


def _objective_axis(table: SweepTable, values: Iterable[float]) -> Axis:
    return objective_axis(table.metric or "objective", values, table.goal == "minimize")


def _thinned(shown: int, total: int) -> str:
    return f"{shown:,} of {total:,} trials are drawn, the best among them." if shown < total else ""


def _notes(*sentences: str) -> str:
    return " ".join(sentence for sentence in sentences if sentence)


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:]
