"""What pictures show of seeds: single runs beside their mean, curves with bands, and the result on fresh seeds.

The rule of this file: every run's value is drawn. A mean stands over the points that it is the mean of, never in their place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from sweep.analysis import text
from sweep.analysis.axes import Axis, objective_axis
from sweep.analysis.expected import ExpectedRow, expected
from sweep.analysis.figures.pictures import (
    ConfirmedPicture,
    CurvesPicture,
    ExpectedPicture,
    MeanCurve,
    Point,
    SeedRow,
)
from sweep.analysis.honest import Honest, HonestRow, honest, in_words
from sweep.analysis.table import SweepTable, TrialRow

MOST_ROWS = 12
TOP_MEANS = 5


# --- single runs -----------------------------------------------------------------------------------------------


def run_points(row: TrialRow, x: float, axis: Axis) -> list[Point]:
    """The runs of a trial that has several, beside the point of their mean."""
    places = [(value, axis.position(value)) for value in single_values([row])]
    return [
        Point(row.trial, x, axis.clip(place), "completed", value, over=axis.clip(place) != place)
        for value, place in places
    ]


def single_values(rows: Sequence[TrialRow]) -> list[float]:
    """The values of all runs of trials that have several."""
    return [
        run.objective
        for row in rows
        if len(row.runs) > 1 and row.score is not None
        for run in row.runs
        if run.state in ("completed", "pruned") and run.objective is not None and math.isfinite(run.objective)
    ]


def singles_note(table: SweepTable) -> str:
    """What small points are, where there are some."""
    if all(len(row.runs) < 2 for row in table.trials):
        return ""
    return "Small points are single runs, large ones the means over a config's seeds."


def with_means(table: SweepTable, picture: CurvesPicture) -> CurvesPicture:
    """Curves of one config in one colour, with their mean and a band, where configs ran on several seeds."""
    if picture.empty or picture.axis is None or all(len(row.runs) < 2 for row in table.trials):
        return picture
    best = sorted(table.scored, key=lambda row: (table.rank_key(row), row.trial))[:TOP_MEANS]
    found = [mean_curve(table, row, rank, picture.axis) for rank, row in enumerate(best)]
    picture.means = tuple(curve for curve in found if curve is not None)
    ranks = {curve.trial: curve.rank for curve in picture.means}
    replace = msgspec.structs.replace
    curves = [replace(curve, rank=ranks.get(curve.trial)) for curve in picture.curves]
    picture.curves = tuple(sorted(curves, key=lambda c: (c.rank is not None, -(c.rank or 0), c.run)))
    top = f"; the best {len(ranks)} of {text.plural(len(table.trials), 'config')} in colour" if ranks else ""
    picture.subtitle = f"{table.metric}, {table.direction}{top}"
    said = "Thick lines are means over the seeds of a config, bands reach from its lowest to its highest run."
    picture.note = " ".join(filter(None, [said if ranks else "", picture.note]))
    return picture


def mean_curve(table: SweepTable, row: TrialRow, rank: int, axis: Axis) -> MeanCurve | None:
    """The mean curve of a trial; None where its runs have no step in common."""
    found = [curve for run in row.runs if (curve := table.curve(run)) is not None]
    columns = [
        {float(s): v for s, v in zip(curve.steps, curve.values, strict=True) if math.isfinite(v)}
        for curve in found
    ]
    common = sorted(set(columns[0]).intersection(*columns[1:])) if columns else []
    if not common:
        return None
    common = common[:: max(1, len(common) // 400)]
    values = [[column[step] for column in columns] for step in common]

    def places(of: list[float]) -> tuple[float, ...]:
        return tuple(axis.position(value) for value in of)

    return MeanCurve(
        row.trial,
        rank,
        len(columns),
        tuple(common),
        places([math.fsum(several) / len(several) for several in values]),
        places([min(several) for several in values]),
        places([max(several) for several in values]),
        row.score,
    )


# --- the result on fresh seeds ---------------------------------------------------------------------------------


def prepare_confirmed(table: SweepTable) -> ConfirmedPicture | None:
    """The result table as a picture; None where nothing ran on fresh seeds."""
    found = honest(table)
    if all(not row.choosing and not row.reporting for row in found.rows):
        return None
    rows = found.rows[:MOST_ROWS]
    values = [value for row in rows for value in _values(row)]
    picture = ConfirmedPicture(key="confirmed", title="The result on fresh seeds")
    picture.axis = axis = objective_axis(found.metric, values, found.goal == "minimize")
    picture.rows = tuple(_seed_row(row, found, axis) for row in rows)
    picture.subtitle = found.words[0]
    left = len(found.rows) - len(rows)
    picture.note = " ".join(
        filter(
            None,
            [
                f"○ seeds that chose, ● seeds that report; lines: mean and 95 % interval over the {found.metric} of the latter;",
                "× the search's score, which had a part in the choice.",
                f"{text.plural(left, 'config')} not shown." if left else "",
                axis.beyond_note,
                *in_words(msgspec.structs.replace(found, report_metric=None))[1:],
            ],
        )
    )
    return picture


def _values(row: HonestRow) -> list[float]:
    ends = [row.confirmed.low, row.confirmed.high, row.score] if row.confirmed is not None else [row.score]
    return [p.value for p in (*row.choosing, *row.reporting)] + [v for v in ends if v is not None]


def _seed_row(row: HonestRow, found: Honest, axis: Axis) -> SeedRow:
    def place(value: float | None) -> float | None:
        return None if value is None else axis.clip(axis.position(value))

    def places(values: list[float]) -> tuple[float, ...]:
        return tuple(axis.clip(axis.position(value)) for value in values)

    mean = row.confirmed
    chosen = row.trial == found.chosen
    mark = " (chosen)" if chosen else " (tied)" if row.tied else ""
    return SeedRow(
        row.trial,
        f"trial {row.trial}{mark}",
        chosen,
        row.tied,
        place(row.score),
        places([p.value for p in row.choosing]),
        places([p.value for p in row.reporting]),
        place(mean.mean) if mean is not None else None,
        place(mean.low) if mean is not None else None,
        place(mean.high) if mean is not None else None,
    )


# --- the best of m ---------------------------------------------------------------------------------------------


def prepare_expected(table: SweepTable) -> ExpectedPicture:
    """The expected best of m trials; a sentence where it does not hold."""
    found = expected(table)
    picture = ExpectedPicture(key="expected-best", title="Expected best of m trials")
    if found.refused:
        picture.empty = f"It is not shown: {found.refused}."
        return picture
    ends = [value for row in found.rows for value in (row.low, row.mean, row.high)]
    picture.axis = axis = objective_axis(found.metric, ends, found.goal == "minimize")
    picture.rows = tuple(
        ExpectedRow(row.m, *(axis.clip(axis.position(v)) for v in (row.mean, row.low, row.high)))
        for row in found.rows
    )
    picture.subtitle = f"{found.metric}, {table.direction}; Dodge et al. 2019, V-statistic"
    picture.note = " ".join(found.notes)
    return picture
