"""The pictures of seeds as plotly.js figures.

The rule of this file is that of `web`: plain dicts, ready to be written as JSON.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from sweep.analysis import text
from sweep.analysis.axes import Axis
from sweep.analysis.figures import theme
from sweep.analysis.figures.packing import pack, pack_ints
from sweep.analysis.figures.pictures import (
    ConfirmedPicture,
    CurvesPicture,
    ExpectedPicture,
    Point,
    SeedRow,
)
from sweep.analysis.figures.web_layout import (
    BUTTONS,
    Figure,
    axis_layout,
    base_layout,
    plain_axis,
    raw,
    safe,
)


def singles_trace(points: Sequence[Point], axis: Axis, labels: Axis | None = None) -> list[Figure]:
    """Single runs: small, and below their means."""
    inside = [point for point in points if not point.over]
    if not inside:
        return []
    xs = [point.x for point in inside]
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "showlegend": False,
            "x": pack(xs if labels is None else raw(labels, xs)),
            "y": pack(raw(axis, [point.y for point in inside])),
            "customdata": pack_ints(point.trial for point in inside),
            "marker": {"size": 3.5, "color": theme.MUTED, "opacity": 0.5},
            "hovertemplate": "one run of trial %{customdata}: %{y:.5g}<extra></extra>",
        }
    ]


def mean_traces(picture: CurvesPicture, axis: Axis) -> list[Figure]:
    """Means and bands of the best configs over their runs' curves."""
    traces: list[Figure] = []
    for curve in reversed(picture.means):
        colour = theme.HIGHLIGHTS[curve.rank]
        score = f"  {text.number(curve.score)}" if curve.score is not None else ""
        around = {
            "type": "scatter",
            "mode": "lines",
            "x": pack((*curve.steps, *reversed(curve.steps))),
            "y": pack(raw(axis, (*curve.low, *reversed(curve.high)))),
            "fill": "toself",
            "fillcolor": colour,
            "opacity": 0.14,
            "line": {"width": 0, "color": colour},
            "showlegend": False,
            "hoverinfo": "skip",
        }
        mean = {
            "type": "scatter",
            "mode": "lines",
            "name": f"trial {curve.trial}{score} (n={curve.runs})",
            "x": pack(curve.steps),
            "y": pack(raw(axis, curve.places)),
            "line": {"color": colour, "width": 2.6},
            "customdata": pack_ints([curve.trial] * len(curve.steps)),
            "hovertemplate": f"trial {curve.trial}, mean of {curve.runs}<br>step %{{x}}: %{{y:.5g}}<extra></extra>",
        }
        traces += [around, mean]
    return traces


def confirmed_figure(picture: ConfirmedPicture) -> Figure:
    """One row per config: every seed's value, and the interval of the mean."""
    assert picture.axis is not None
    axis, rows = picture.axis, picture.rows[::-1]
    places = list(range(len(rows)))
    data = [
        _dots(
            "seeds that chose", [(row, row.choosing) for row in rows], 0.16, "circle-open", theme.MUTED, axis
        ),
        _dots("seeds that report", [(row, row.reporting) for row in rows], -0.16, "circle", theme.BAR, axis),
        _dots(
            "score in the search",
            [(row, () if row.score is None else (row.score,)) for row in rows],
            0.16,
            "x-thin-open",
            theme.NOISE,
            axis,
        ),
        _means(rows, axis),
    ]
    yaxis = plain_axis("") | {
        "tickvals": places,
        "ticktext": [safe(row.label) for row in rows],
        "range": [-0.6, len(rows) - 0.4],
        "showgrid": False,
        "fixedrange": True,
    }
    layout = base_layout(height=150 + 40 * len(rows), xaxis=axis_layout(axis), yaxis=yaxis)
    layout["legend"] = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"size": 11}}
    return {"data": data, "layout": layout, "buttons": BUTTONS}


def _dots(
    name: str,
    rows: Sequence[tuple[SeedRow, Sequence[float]]],
    off: float,
    symbol: str,
    colour: str,
    axis: Axis,
) -> Figure:
    pairs = [(number, row, place) for number, (row, found) in enumerate(rows) for place in found]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": pack(raw(axis, [place for _, _, place in pairs])),
        "y": pack(number + off for number, _, _ in pairs),
        "customdata": pack_ints(row.trial for _, row, _ in pairs),
        "marker": {
            "symbol": symbol,
            "size": 8,
            "color": colour,
            "opacity": 0.8,
            "line": {"width": 1.3, "color": colour},
        },
        "hovertemplate": f"trial %{{customdata}}, {name}: %{{x:.5g}}<extra></extra>",
    }


def _means(rows: Sequence[SeedRow], axis: Axis) -> Figure:
    xs: list[float] = []
    ys: list[float] = []
    for number, row in enumerate(rows):
        if row.low is not None and row.high is not None:
            xs += [*raw(axis, (row.low, row.high)), math.nan]
            ys += [number - 0.16, number - 0.16, math.nan]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "95 % interval of the mean",
        "x": pack(xs),
        "y": pack(ys),
        "connectgaps": False,
        "line": {"color": theme.INK, "width": 1.6},
        "hoverinfo": "skip",
    }


def expected_figure(picture: ExpectedPicture) -> Figure:
    """The mean and its interval over m."""
    assert picture.axis is not None
    axis, m = picture.axis, [float(row.m) for row in picture.rows]
    band = [*(row.low for row in picture.rows), *(row.high for row in reversed(picture.rows))]
    around = {
        "type": "scatter",
        "mode": "lines",
        "x": pack((*m, *reversed(m))),
        "y": pack(raw(axis, band)),
        "fill": "toself",
        "fillcolor": theme.BAR,
        "opacity": 0.18,
        "line": {"width": 0, "color": theme.BAR},
        "showlegend": False,
        "hoverinfo": "skip",
    }
    mean = {
        "type": "scatter",
        "mode": "lines",
        "x": pack(m),
        "y": pack(raw(axis, [row.mean for row in picture.rows])),
        "line": {"color": theme.BAR, "width": 2.4},
        "showlegend": False,
        "hovertemplate": "best of %{x} trials: %{y:.5g} on average<extra></extra>",
    }
    layout = base_layout(height=360, xaxis=plain_axis("m, number of trials"), yaxis=axis_layout(axis))
    return {"data": [around, mean], "layout": layout, "buttons": BUTTONS}
