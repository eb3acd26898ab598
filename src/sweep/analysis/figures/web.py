"""The pictures as plotly.js figures: plain dicts, ready to be written as JSON.

The rule of this file: no plotly objects. Building them in Python costs seconds that the page does not need; the tests
hand these dicts to plotly's own validator. Coordinates are packed as 32-bit floats, which keeps a page small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import msgspec

from sweep.analysis import text
from sweep.analysis.axes import Axis, Scale
from sweep.analysis.figures import seeds_web, theme
from sweep.analysis.figures.packing import pack, pack_ints
from sweep.analysis.figures.pictures import (
    BestPicture,
    Curve,
    CurvesPicture,
    ImportancePicture,
    Panel,
    ParallelPicture,
    Pictures,
    Point,
    SlicesPicture,
    Stairs,
)
from sweep.analysis.figures.usage import web_figures
from sweep.analysis.figures.web_layout import (
    BUTTONS,
    LOG_LABELS,
    TITLE,
    Figure,
    axis_layout,
    base_layout,
    legend_below,
    plain_axis,
    raw,
    safe,
)


def figures(pictures: Pictures) -> dict[str, list[Figure]]:
    """Figures by picture key; none for a picture that is empty, several for one with panels."""
    found = {
        pictures.importance.key: [importance_figure(pictures.importance)]
        if not pictures.importance.empty
        else [],
        pictures.best.key: [best_figure(pictures.best)] if not pictures.best.empty else [],
        pictures.curves.key: [curves_figure(pictures.curves)] if not pictures.curves.empty else [],
        pictures.parallel.key: [parallel_figure(pictures.parallel)] if not pictures.parallel.empty else [],
        pictures.slices.key: slice_figures(pictures.slices) if not pictures.slices.empty else [],
        **({} if pictures.usage is None else {pictures.usage.key: web_figures(pictures.usage)}),
    }
    if pictures.confirmed is not None:
        found[pictures.confirmed.key] = [seeds_web.confirmed_figure(pictures.confirmed)]
    if pictures.expected is not None:
        drawn = not pictures.expected.empty
        found[pictures.expected.key] = [seeds_web.expected_figure(pictures.expected)] if drawn else []
    return found


# --- importance ------------------------------------------------------------------------------------------------


def importance_figure(picture: ImportancePicture) -> Figure:
    rows = picture.rows[::-1]
    places = list(range(len(rows)))
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": places,
        "x": [row.importance for row in rows],
        "marker": {"color": [theme.BAR if row.above_noise else theme.BAR_QUIET for row in rows]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [max(row.high - row.importance, 0.0) for row in rows],
            "arrayminus": [max(row.importance - row.low, 0.0) for row in rows],
            "color": theme.INK,
            "thickness": 1.4,
            "width": 3,
        },
        "customdata": [[safe(row.parameter), row.low, row.high] for row in rows],
        "hovertemplate": "%{customdata[0]}<br>%{x:.1%} (90%: %{customdata[1]:.1%} to %{customdata[2]:.1%})<extra></extra>",
        "width": 0.62,
        "showlegend": False,
    }
    layout = base_layout(
        height=90 + 30 * len(rows),
        xaxis=plain_axis("importance, share of all (pale: not clear of the noise)", domain=[0, 0.64])
        | {"range": [0, picture.high], "tickformat": ".0%"},
        xaxis2=plain_axis("correlation (● Spearman, □ eta)", domain=[0.69, 1])
        | {"range": [-1.1, 1.1], "dtick": 0.5, "zeroline": True, "zerolinecolor": theme.MUTED},
        yaxis=plain_axis("")
        | {
            "tickvals": places,
            "ticktext": [safe(text.shorten(row.parameter, 40)) for row in rows],
            "range": [-0.6, len(rows) - 0.4],
            "showgrid": False,
            "fixedrange": True,
        },
        shapes=[_noise_line(picture.noise)],
        annotations=[_noise_label(picture.noise)],
        margin={"t": 24, "r": 20, "b": 44, "l": 10},
    )
    return {"data": [bars, *_correlations(rows)], "layout": layout, "buttons": []}


def _correlations(rows: Sequence[Any]) -> list[Figure]:
    traces = []
    for kind, symbol, said in (("rho", "circle", "Spearman's ρ"), ("eta", "square-open", "η")):
        places = [
            i for i, row in enumerate(rows) if row.correlation_kind == kind and row.correlation is not None
        ]
        if places:
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "xaxis": "x2",
                    "y": places,
                    "x": [rows[i].correlation for i in places],
                    "marker": {"symbol": symbol, "color": theme.INK, "size": 8},
                    "error_x": {
                        "type": "data",
                        "symmetric": False,
                        "array": [max(-rows[i].correlation, 0.0) for i in places],
                        "arrayminus": [max(rows[i].correlation, 0.0) for i in places],
                        "color": theme.MUTED,
                        "thickness": 1.2,
                        "width": 0,
                    },
                    "text": [safe(rows[i].parameter) for i in places],
                    "hovertemplate": f"%{{text}}<br>{said} %{{x:.2f}}<extra></extra>",
                    "showlegend": False,
                }
            )
    return traces


def _noise_line(noise: float) -> Figure:
    line = {"color": theme.NOISE, "width": 1.3, "dash": "dash"}
    return {"type": "line", "x0": noise, "x1": noise, "y0": 0, "y1": 1, "yref": "y domain", "line": line}


def _noise_label(noise: float) -> Figure:
    return {
        "x": noise, "y": 1, "yref": "y domain", "yanchor": "bottom", "xanchor": "left", "showarrow": False,
        "text": "noise level", "font": {"size": 11, "color": theme.MUTED},
    }  # fmt: skip


# --- best so far -----------------------------------------------------------------------------------------------


def best_figure(picture: BestPicture) -> Figure:
    assert picture.axis is not None
    axis = picture.axis
    data: list[Figure] = []
    for number, stairs in enumerate(picture.panels):
        data.extend(_stairs_traces(stairs, axis, "x" if number == 0 else "x2", legend=number == 0))
    sides = {
        f"xaxis{'' if number == 0 else number + 1}": plain_axis(
            stairs.label, domain=[0, 0.49] if number == 0 else [0.51, 1]
        )
        | {"range": [stairs.low, stairs.high]}
        for number, stairs in enumerate(picture.panels)
    }
    yaxis = axis_layout(axis) | {"range": [picture.low, picture.high]}
    layout = base_layout(height=400, yaxis=yaxis, **sides, legend=legend_below(-0.2))
    return {"data": data, "layout": layout, "buttons": BUTTONS}


def _stairs_traces(stairs: Stairs, axis: Axis, xaxis: str, *, legend: bool) -> list[Figure]:
    traces = [trace | {"xaxis": xaxis} for trace in seeds_web.singles_trace(stairs.singles, axis)]
    traces += [
        _marks([p for p in stairs.points if p.state == state], state, axis, legend=legend) | {"xaxis": xaxis}
        for state in ("completed", "pruned", "failed")
        if any(p.state == state for p in stairs.points)
    ]
    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "legendgroup": "best",
        "showlegend": legend,
        "x": pack(stairs.best_x),
        "y": pack(raw(axis, stairs.best_y)),
        "line": {"shape": "hv", "color": theme.INK, "width": 2.4},
        "hovertemplate": "best so far %{y:.5g}<extra></extra>",
        "xaxis": xaxis,
    }
    return [*traces, line]


def _marks(points: Sequence[Point], state: str, axis: Axis, *, legend: bool, labels: Any = None) -> Figure:
    """The points of one state; arrows where they lie beyond the axis."""
    style = theme.STATES[state]
    edge = (axis.low + axis.high) / 2
    arrows = ["triangle-up-open" if p.y > edge else "triangle-down-open" for p in points if p.over]
    arrow = iter(arrows)
    symbol: Any = [next(arrow) if p.over else style.symbol for p in points] if arrows else style.symbol
    said = "failed" if state == "failed" else f"{safe(axis.name)} %{{text}}"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": style.label,
        "legendgroup": state,
        "showlegend": legend,
        "x": pack(p.x for p in points) if labels is None else pack(raw(labels, [p.x for p in points])),
        "y": pack(raw(axis, [p.y for p in points])),
        "customdata": pack_ints(p.trial for p in points),
        "text": [text.number(p.score) if p.score is not None else "" for p in points],
        "marker": {
            "symbol": symbol,
            "color": style.colour,
            "size": 8 if len(points) < 100 else 6,
            "opacity": min(style.opacity + 0.35, 1.0),
            "line": {"width": 1.4 if symbol != "circle" else 0, "color": style.colour},
        },
        "hovertemplate": f"trial %{{customdata}}, {style.label}<br>{said}<extra></extra>",
        "cliponaxis": False,
    }


# --- learning curves -------------------------------------------------------------------------------------------


def curves_figure(picture: CurvesPicture) -> Figure:
    assert picture.axis is not None
    axis = picture.axis
    data = [
        _faded([c for c in picture.curves if c.rank is None and c.state == state], state, axis)
        for state in theme.STATES
        if any(c.rank is None and c.state == state for c in picture.curves)
    ]
    best = sorted((c for c in picture.curves if c.rank is not None), key=lambda c: -(c.rank or 0))
    data.extend(_highlighted(curve, axis, grouped=bool(picture.means)) for curve in best)
    data.extend(seeds_web.mean_traces(picture, axis))
    pad = 0.01 * (picture.high - picture.low)
    xaxis = plain_axis("step") | {"range": [picture.low - pad, picture.high + pad]}
    if picture.high - picture.low <= 8 and all(s == int(s) for c in picture.curves for s in c.steps):
        xaxis["dtick"] = 1  # there is no step 0.5
    layout = base_layout(
        height=480, xaxis=xaxis, yaxis=axis_layout(axis), margin={"t": 46, "r": 16, "b": 48, "l": 10}
    )
    if axis.scale == "log" or all(p > 0 for c in picture.curves for p in c.places if not math.isnan(p)):
        layout["updatemenus"] = [_scale_buttons(axis)]
    layout["showlegend"] = True
    layout["legend"] = {"traceorder": "reversed", "x": 1.01, "y": 1, "font": {"size": 12}}
    return {"data": data, "layout": layout, "buttons": BUTTONS}


def _scale_buttons(axis: Axis) -> Figure:
    native = [axis.low, axis.high]
    chosen: Figure = {
        "yaxis.type": axis.scale,
        "yaxis.range": native,
        "yaxis.title.text": safe(axis.title(TITLE)),
    }
    other: Scale = "linear" if axis.scale == "log" else "log"
    title = msgspec.structs.replace(axis, scale=other).title(TITLE)
    switched: Figure = {"yaxis.type": other, "yaxis.autorange": True, "yaxis.title.text": safe(title)}
    own = axis_layout(axis)
    for name in ("dtick", "tickformat"):  # a tick distance of one scale is another one on the other
        chosen[f"yaxis.{name}"] = own.get(name)
        switched[f"yaxis.{name}"] = LOG_LABELS if (name, other) == ("tickformat", "log") else None
    by_scale = {axis.scale: chosen, other: switched}
    return {
        "type": "buttons", "direction": "right", "x": 0, "xanchor": "left", "y": 1.0, "yanchor": "bottom",
        "showactive": True, "active": 1 if axis.scale == "log" else 0, "font": {"size": 11}, "pad": {"b": 4},
        "buttons": [
            {"label": f"{scale} axis", "method": "relayout", "args": [by_scale[scale]]} for scale in ("linear", "log")
        ],
    }  # fmt: skip


def _faded(curves: Sequence[Curve], state: str, axis: Axis) -> Figure:
    """All curves of one state as one trace with gaps between them: hundreds of traces would be slow."""
    style = theme.STATES[state]
    steps: list[float] = []
    places: list[float] = []
    runs: list[int] = []
    for curve in curves:
        steps.extend((*curve.steps, curve.steps[-1]))
        places.extend((*raw(axis, curve.places), math.nan))
        runs.extend([curve.run] * (len(curve.steps) + 1))
    many = len(curves) > 60
    return {
        "type": "scatter",
        "mode": "lines",
        "name": f"{style.label} ({len(curves)})",
        "x": pack(steps),
        "y": pack(places),
        "customdata": pack_ints(runs),
        "connectgaps": False,
        "opacity": style.opacity * (0.7 if many else 1.0),
        "line": {
            "color": theme.MUTED if state == "completed" else style.colour,
            "width": 0.9 if many else 1.3,
            "dash": style.dash,
        },
        "hovertemplate": f"run %{{customdata}}, {style.label}<br>step %{{x}}: %{{y:.5g}}<extra></extra>",
        "meta": "runs",
    }


def _highlighted(curve: Curve, axis: Axis, grouped: bool) -> Figure:
    score = f"  {text.number(curve.score)}" if curve.score is not None else ""
    return {
        "type": "scatter",
        "mode": "lines" if len(curve.steps) > 1 else "markers",
        "name": f"run {curve.run}{score}",
        "x": pack(curve.steps),
        "y": pack(raw(axis, curve.places)),
        "customdata": pack_ints([curve.run] * len(curve.steps)),
        "line": {
            "color": theme.HIGHLIGHTS[curve.rank or 0],
            "width": 0.9 if grouped else 2.4,
            "dash": theme.STATES[curve.state].dash,
        },
        "opacity": 0.6 if grouped else 1.0,
        "showlegend": not grouped,
        "hovertemplate": f"run {curve.run}, {curve.state}<br>step %{{x}}: %{{y:.5g}}<extra></extra>",
        "meta": "runs",
    }


# --- parallel coordinates and slices ---------------------------------------------------------------------------


def parallel_figure(picture: ParallelPicture) -> Figure:
    slanted, on_top = len(picture.axes) > 7, picture.best_on_top
    trace = {
        "type": "parcoords",
        "dimensions": [_dimension(axis, number, picture) for number, axis in enumerate(picture.axes)],
        "line": {
            "color": pack(1 - line.colour if on_top else line.colour for line in picture.lines),
            "cmin": 0,
            "cmax": 1,
            "colorscale": [[i / (len(theme.SCALE) - 1), colour] for i, colour in enumerate(theme.SCALE)],
            "reversescale": on_top,
            "showscale": True,
            "colorbar": {
                "tickvals": [0.02, 0.98],
                "ticktext": ["worst", "best"] if on_top else ["best", "worst"],
                "thickness": 12,
                "len": 1.0,
                "outlinewidth": 0,
            },
        },
        "unselected": {"line": {"color": "#c3cad1", "opacity": 0.12}},
        "labelangle": -18 if slanted else 0,
        "labelfont": {"size": 12, "color": theme.INK},
        "tickfont": {"size": 11, "color": theme.INK},
        "rangefont": {"size": 1, "color": "rgba(0,0,0,0)"},
    }
    layout = base_layout(height=520, margin={"t": 96 if slanted else 56, "b": 20, "l": 70, "r": 70})
    return {
        "data": [trace],
        "layout": layout,
        "buttons": ["toImage"],
        "trials": [line.trial for line in picture.lines],
        "minWidth": 105 * len(picture.axes) if len(picture.axes) > 8 else 0,
    }


def _dimension(axis: Axis, number: int, picture: ParallelPicture) -> Figure:
    ticks = [tick for tick in axis.ticks(7) if axis.low <= tick.position <= axis.high]
    label = text.shorten(axis.name, 24) + (" (log)" if axis.scale == "log" else "")
    return {
        "label": safe(label),
        "values": pack(axis.clip(line.places[number]) for line in picture.lines),
        "range": [axis.low, axis.high],
        "tickvals": [tick.position for tick in ticks],
        "ticktext": [
            text.shorten(tick.label, 16) for tick in ticks
        ],  # the only labels that plotly takes as they are
    }


def slice_figures(picture: SlicesPicture) -> list[Figure]:
    assert picture.axis is not None
    states = [
        s
        for s in ("completed", "pruned")
        if any(p.state == s for panel in picture.panels for p in panel.points)
    ]
    return [
        _slice(panel, picture.axis, states, legend=number == 0 and len(states) > 1)
        for number, panel in enumerate(picture.panels)
    ]


def _slice(panel: Panel, objective: Axis, states: Sequence[str], *, legend: bool) -> Figure:
    data = seeds_web.singles_trace(panel.singles, objective, panel.axis)
    for state in states:
        points = [p for p in panel.points if p.state == state]
        if points:
            data.append(_marks(points, state, objective, legend=legend, labels=panel.axis))
    xaxis = axis_layout(panel.axis, 5)
    yaxis = axis_layout(objective, 5, 24)
    height = 340 if panel.axis.crowded else 290
    layout = base_layout(
        height=height, xaxis=xaxis, yaxis=yaxis, margin={"t": 24 if legend else 12, "r": 12, "b": 10, "l": 10}
    )
    if legend:
        layout["legend"] = {
            "orientation": "h",
            "x": 1,
            "xanchor": "right",
            "y": 1.0,
            "yanchor": "bottom",
            "font": {"size": 11},
        }
    return {"data": data, "layout": layout, "buttons": []}
