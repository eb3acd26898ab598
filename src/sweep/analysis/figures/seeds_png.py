"""The pictures of seeds by matplotlib.

The rule of this file is that of `png`: figures as objects, no global state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweep.analysis import text
from sweep.analysis.figures import theme
from sweep.analysis.figures.pictures import ConfirmedPicture, CurvesPicture, ExpectedPicture, Point
from sweep.analysis.figures.sides_png import scale


def draw_singles(ax: Any, points: Sequence[Point]) -> None:
    """Single runs: small, and below their means."""
    inside = [point for point in points if not point.over]
    if inside:
        ax.scatter(
            [p.x for p in inside], [p.y for p in inside], s=9, color=theme.MUTED, alpha=0.45, linewidths=0, zorder=2
        )  # fmt: skip


def draw_means(ax: Any, picture: CurvesPicture) -> None:
    """Means and bands of the best configs over their runs' curves."""
    for curve in reversed(picture.means):
        colour, order = theme.HIGHLIGHTS[curve.rank], 5 - 0.1 * curve.rank
        score = f"  {text.number(curve.score)}" if curve.score is not None else ""
        ax.fill_between(curve.steps, curve.low, curve.high, color=colour, alpha=0.14, linewidth=0, zorder=2)
        ax.plot(
            curve.steps, curve.places, color=colour, linewidth=2.2, zorder=order,
            label=f"trial {curve.trial}{score} (n={curve.runs})",
        )  # fmt: skip


def confirmed(picture: ConfirmedPicture, sheet: Any) -> None:
    """One row per config: every seed's value, and the interval of the mean."""
    assert picture.axis is not None
    rows = picture.rows[::-1]
    sheet.left_in = 1.7
    sheet.size(0.42 * len(rows) + 0.3)
    (ax,) = sheet.axes()
    scale(ax, picture.axis, "x")
    for place, row in enumerate(rows):
        colour = theme.HIGHLIGHTS[0] if row.chosen else theme.INK
        ax.scatter(
            row.choosing, [place + 0.16] * len(row.choosing), s=22, facecolors="none", edgecolors=theme.MUTED, zorder=3
        )  # fmt: skip
        ax.scatter(
            row.reporting, [place - 0.16] * len(row.reporting), s=20, color=colour, alpha=0.6, zorder=3
        )
        if row.low is not None and row.high is not None:
            ax.plot([row.low, row.high], [place - 0.16] * 2, color=colour, linewidth=1.6, zorder=2)
        if row.mean is not None:
            ax.plot([row.mean], [place - 0.16], marker="|", markersize=13, color=colour, zorder=4)
        if row.score is not None:
            ax.plot([row.score], [place + 0.16], marker="x", markersize=6, color=theme.NOISE, zorder=4)
    ax.set_yticks(range(len(rows)), [row.label for row in rows])
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def expected(picture: ExpectedPicture, sheet: Any) -> None:
    """The mean and its interval over m."""
    assert picture.axis is not None
    sheet.size(3.4, 0.65)
    (ax,) = sheet.axes()
    scale(ax, picture.axis, "y")
    m = [row.m for row in picture.rows]
    ax.fill_between(
        m, [row.low for row in picture.rows], [row.high for row in picture.rows], color=theme.BAR, alpha=0.18, linewidth=0
    )  # fmt: skip
    ax.plot(
        m,
        [row.mean for row in picture.rows],
        color=theme.BAR,
        linewidth=2.0,
        marker="o" if len(m) < 30 else None,
    )
    ax.set_xlabel("m, number of trials")
    ax.xaxis.get_major_locator().set_params(integer=True)
