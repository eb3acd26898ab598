"""What the figures of plotly.js have in common: axes, fonts, safe words."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Any

from sweep.analysis import text
from sweep.analysis.axes import Axis
from sweep.analysis.figures import theme

Figure = dict[str, Any]
"""`data` and `layout` as plotly.js takes them, and which `buttons` it has; for brushed lines also their `trials`."""

TITLE = 46
LOG_LABELS = "~g"
"""Of ticks on log axes: whole numbers (0.002). Plotly's own are a small 2 between powers of ten."""
BUTTONS = ["toImage", "zoom2d", "pan2d", "resetScale2d"]


def axis_layout(axis: Axis, most: int = 7, title: int = TITLE) -> Figure:
    """One axis as plotly draws it: its own ticks on a linear or log axis (they follow a zoom), ours on categories."""
    layout = plain_axis(safe(axis.title(title))) | {
        "range": [axis.low, axis.high],
        "automargin": True,
    }
    if axis.scale == "category":
        ticks = axis.ticks(most)
        layout |= {
            "tickvals": [tick.position for tick in ticks],
            "ticktext": [safe(text.shorten(tick.label, 20)) for tick in ticks],
            "showgrid": False,
            "ticklabeloverflow": "allow",
            "tickangle": -35 if axis.crowded else 0,
        }
    elif axis.scale == "log":
        span = axis.high - axis.low
        layout |= {"type": "log", "tickformat": LOG_LABELS, "nticks": most + 1}
        if span >= 0.5:
            layout["dtick"] = math.ceil(span / 8) if span >= 2 else "D2"
    else:
        layout |= {"nticks": most + 1, "exponentformat": "power"}
    return layout


def raw(axis: Axis, places: Iterable[float]) -> list[float]:
    """Positions as values: plotly takes the logarithm on a log axis itself."""
    if axis.scale != "log":
        return list(places)
    return [10.0 ** min(place, 300.0) if not math.isnan(place) else math.nan for place in places]


def base_layout(*, height: int, **more: Any) -> Figure:
    """What all figures have in common."""
    base = {
        "height": height,
        "font": {"family": ", ".join(theme.FONT), "size": 12, "color": theme.INK},
        "paper_bgcolor": theme.PAPER,
        "plot_bgcolor": theme.PAPER,
        "hovermode": "closest",
        "margin": {"t": 30, "r": 16, "b": 48, "l": 10},
        "hoverlabel": {"bgcolor": theme.PAPER, "font": {"size": 12, "color": theme.INK}, "align": "left"},
    }
    return base | more


def plain_axis(title: str, domain: list[float] | None = None) -> Figure:
    """An axis for numbers."""
    axis: Figure = {
        "title": {"text": title, "font": {"size": 12}, "standoff": 8},
        "automargin": True,
        "gridcolor": theme.GRID,
        "linecolor": theme.MUTED,
        "showline": True,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": theme.MUTED,
        "zeroline": False,
    }
    return axis | {"domain": domain} if domain else axis


def legend_below(y: float) -> Figure:
    return {"orientation": "h", "x": 0.5, "xanchor": "center", "y": y, "yanchor": "top", "font": {"size": 12}}


def safe(words: str) -> str:
    """Plotly reads a few HTML tags in labels; names are never meant as such."""
    return html.escape(words, quote=False)
