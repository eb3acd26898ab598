"""One side of a plot by matplotlib."""

from __future__ import annotations

from typing import Any

from sweep.analysis import text
from sweep.analysis.axes import Axis


def scale(ax: Any, axis: Axis, which: str, *, most: int = 7, shorten: int = 26, title: int = 34) -> None:
    """Range, ticks and label of one side of `ax`."""
    ticks = axis.ticks(most)
    side = ax.xaxis if which == "x" else ax.yaxis
    side.set_ticks([tick.position for tick in ticks], [text.shorten(tick.label, shorten) for tick in ticks])
    (ax.set_xlim if which == "x" else ax.set_ylim)(axis.low, axis.high)
    side.set_label_text(axis.title(title) if title else "")
