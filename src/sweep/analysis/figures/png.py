"""The pictures as PNG by matplotlib: one figure per picture.

The rule of this file: figures are built as objects (Agg), pyplot's global state is never touched, and text is never read
as mathematics, because names may hold a dollar sign.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from sweep.analysis import text
from sweep.analysis.axes import Axis
from sweep.analysis.figures import seeds_png, theme, usage
from sweep.analysis.figures.pictures import (
    BestPicture,
    Curve,
    CurvesPicture,
    ImportancePicture,
    Panel,
    ParallelPicture,
    Picture,
    Pictures,
    Point,
    SlicesPicture,
    Stairs,
)
from sweep.analysis.figures.sides_png import scale

DPI = 150
WIDTH_IN = 10.0
_TOP_IN, _BOTTOM_IN = 0.85, 0.75
_TICK_WIDTH = 14

_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": theme.INK,
    "text.parse_math": False,
    "axes.labelcolor": theme.INK,
    "axes.edgecolor": theme.MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": theme.GRID,
    "grid.linewidth": 0.8,
    "xtick.color": theme.MUTED,
    "ytick.color": theme.MUTED,
    "xtick.labelcolor": theme.INK,
    "ytick.labelcolor": theme.INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": theme.PAPER,
    "savefig.facecolor": theme.PAPER,
}


def render(pictures: Pictures, heading: str) -> dict[str, bytes]:
    """PNG files by name. `heading` says which sweep it is; it stands small above each title."""
    return {
        f"{picture.key}.png": drawn(picture, draw, heading)
        for picture, draw in (
            (pictures.importance, _importance),
            (pictures.best, _best),
            (pictures.curves, _curves),
            (pictures.parallel, _parallel),
            (pictures.slices, _slices),
            (pictures.confirmed, seeds_png.confirmed),
            (pictures.expected, seeds_png.expected),
            (pictures.usage, usage.draw),
        )
        if picture is not None
    }


def drawn(picture: Any, draw: Callable[[Any, _Sheet], None], heading: str) -> bytes:
    """A picture as a PNG file: the words around it are put here, and `draw` fills the sheet."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks shows boxes; that is no reason to fail or to warn for each glyph.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        sheet = _Sheet(picture, heading)
        if picture.empty:
            sheet.say(picture.empty)
        else:
            draw(picture, sheet)
        return sheet.png()


class _Sheet:
    """A figure with heading, title, subtitle and note; what lies between is measured in inches."""

    def __init__(self, picture: Picture, heading: str) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.picture, self.heading = picture, heading
        self.figure = Figure(figsize=(WIDTH_IN, 3.0), dpi=DPI)
        FigureCanvasAgg(self.figure)
        self.left_in, self.right_in = 0.8, 0.25
        self._notes = textwrap.wrap(picture.note, 150) if not picture.empty else []

    @property
    def _foot_in(self) -> float:
        return 0.12 + 0.17 * len(self._notes)

    def size(self, body_in: float, bottom_in: float = _BOTTOM_IN, top_in: float = 0.0) -> None:
        """Make room for a body of that height, with so much below it for ticks and labels, and above it."""
        self.height_in = _TOP_IN + top_in + body_in + bottom_in + self._foot_in
        self.figure.set_size_inches(WIDTH_IN, self.height_in)
        self.body_in, self.bottom_in = body_in, bottom_in + self._foot_in

    def axes(self, columns: int = 1, gap_x: float = 0.5) -> list[Any]:
        """Axes side by side that fill the body; gaps in inches."""
        return self.row(columns, gap_x, 0.0, self.body_in)

    def row(self, columns: int, gap_x: float, above_in: float, tall_in: float) -> list[Any]:
        """Axes side by side, `above_in` below the top of the body."""
        width = (WIDTH_IN - self.left_in - self.right_in - gap_x * (columns - 1)) / columns
        bottom = self.bottom_in + self.body_in - above_in - tall_in
        return [
            self.figure.add_axes(
                (
                    (self.left_in + column * (width + gap_x)) / WIDTH_IN,
                    bottom / self.height_in,
                    width / WIDTH_IN,
                    tall_in / self.height_in,
                )
            )
            for column in range(columns)
        ]

    def say(self, sentence: str) -> None:
        self.size(1.1, 0.1)
        words = "\n".join(textwrap.wrap(sentence, 95))
        self.figure.text(0.5, 0.42, words, ha="center", va="center", fontsize=12, color=theme.MUTED)

    def png(self) -> bytes:
        x, top = 0.25 / WIDTH_IN, self.height_in
        put = self.figure.text
        put(
            x,
            1 - 0.22 / top,
            text.shorten(self.picture.title, 64),
            fontsize=13,
            fontweight="bold",
            va="center",
        )
        put(
            x,
            1 - 0.46 / top,
            text.shorten(self.picture.subtitle, 150),
            fontsize=9.5,
            color=theme.MUTED,
            va="center",
        )
        put(
            1 - x,
            1 - 0.22 / top,
            text.shorten(self.heading, 40),
            fontsize=8.5,
            color=theme.MUTED,
            ha="right",
            va="center",
        )
        for number, line in enumerate(reversed(self._notes)):
            put(x, (0.14 + 0.17 * number) / top, line, fontsize=8.5, color=theme.MUTED, va="center")
        out = io.BytesIO()
        self.figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
        return out.getvalue()


# --- importance ------------------------------------------------------------------------------------------------


def _importance(picture: ImportancePicture, sheet: _Sheet) -> None:
    rows = picture.rows[::-1]
    names = [text.shorten(row.parameter, 38) for row in rows]
    sheet.left_in = min(0.45 + 0.082 * max(map(len, names)), 3.7)
    sheet.right_in = 0.25
    sheet.size(0.34 * len(rows) + 0.25)
    bars, dots = sheet.axes(2, 0.45)
    _widths(bars, dots)
    places = range(len(rows))
    colours = [theme.BAR if row.above_noise else theme.BAR_QUIET for row in rows]
    bars.barh(places, [row.importance for row in rows], color=colours, height=0.62)
    for place, row in enumerate(rows):
        bars.plot([row.low, row.high], [place, place], color=theme.INK, linewidth=1.3, solid_capstyle="butt")
    bars.axvline(picture.noise, color=theme.NOISE, linewidth=1.2, linestyle="--")
    bars.annotate(
        "noise level", (picture.noise, 1), xycoords=("data", "axes fraction"), xytext=(3, 2),
        textcoords="offset points", fontsize=8, color=theme.MUTED, va="bottom",
    )  # fmt: skip
    bars.set_xlim(0, picture.high)
    bars.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    bars.set_yticks(places, names)
    bars.grid(axis="y", visible=False)
    bars.set_xlabel("importance, share of all (pale: not clear of the noise)")
    _correlations(dots, rows)
    for ax in (bars, dots):
        ax.set_ylim(-0.6, len(rows) - 0.4)
        ax.tick_params(axis="y", length=0)


def _widths(bars: Any, dots: Any) -> None:
    """Two thirds for the bars, one third for the correlations."""
    first, second = bars.get_position(), dots.get_position()
    gap, total = second.x0 - first.x1, second.x1 - first.x0
    bars.set_position((first.x0, first.y0, (total - gap) * 0.66, first.height))
    dots.set_position((first.x0 + (total - gap) * 0.66 + gap, first.y0, (total - gap) * 0.34, first.height))


def _correlations(ax: Any, rows: Sequence[Any]) -> None:
    ax.axvline(0, color=theme.MUTED, linewidth=0.8)
    for place, row in enumerate(rows):
        if row.correlation is None:
            continue
        rank = row.correlation_kind == "rho"
        ax.plot([0, row.correlation], [place, place], color=theme.MUTED, linewidth=1.2)
        ax.plot(
            [row.correlation], [place], marker="o" if rank else "s", color=theme.INK, markersize=5.5,
            markerfacecolor=theme.INK if rank else theme.PAPER,
        )  # fmt: skip
    ax.set_xlim(-1.08, 1.08)
    ax.set_xticks([-1, -0.5, 0, 0.5, 1], ["-1", "-0.5", "0", "0.5", "1"])
    ax.set_yticks(range(len(rows)), [""] * len(rows))
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("correlation (● Spearman, □ eta)")


# --- best so far -----------------------------------------------------------------------------------------------


def _best(picture: BestPicture, sheet: _Sheet) -> None:
    assert picture.axis is not None
    sheet.size(3.5, 0.95)
    left, right = sheet.axes(2, 0.3)
    for ax, stairs in zip((left, right), picture.panels, strict=True):
        _draw_stairs(ax, stairs, picture)
    right.yaxis.set_ticklabels([])
    right.yaxis.set_label_text("")
    handles, labels = left.get_legend_handles_labels()
    sheet.figure.legend(
        handles, labels, loc="lower center", ncols=len(labels), bbox_to_anchor=(0.5, (sheet.bottom_in - 0.93) / sheet.height_in)
    )  # fmt: skip


def _draw_stairs(ax: Any, stairs: Stairs, picture: BestPicture) -> None:
    assert picture.axis is not None
    scale(ax, picture.axis, "y")
    ax.set_ylim(picture.low, picture.high)
    ax.set_xlim(stairs.low, stairs.high)
    seeds_png.draw_singles(ax, stairs.singles)
    for state in ("completed", "pruned", "failed"):
        _marks(ax, [p for p in stairs.points if p.state == state], state)
    ax.step(
        stairs.best_x,
        stairs.best_y,
        where="post",
        color=theme.INK,
        linewidth=2.0,
        label="best so far",
        zorder=4,
    )
    ax.plot(stairs.best_x[:1], stairs.best_y[:1], marker="o", markersize=4, color=theme.INK, zorder=4)
    ax.set_xlabel(stairs.label)
    ax.xaxis.get_major_locator().set_params(integer=stairs.whole)


def _marks(ax: Any, points: Sequence[Point], state: str) -> None:
    """Scatter of one state; those beyond the axis as arrows at its edge."""
    if not points:
        return
    style = theme.STATES[state]
    hollow = state in theme.OPEN_MARKERS
    size = 26 if len(points) < 100 else 14
    inside = [p for p in points if not p.over]
    face = {"facecolors": "none", "edgecolors": style.colour} if hollow else {"color": style.colour}
    ax.scatter(
        [p.x for p in inside], [p.y for p in inside], s=size, marker=style.marker, linewidths=1.1,
        alpha=min(style.opacity + 0.3, 1.0), label=style.label, zorder=3, **face,
    )  # fmt: skip
    over = [p for p in points if p.over]
    if over:
        low, high = ax.get_ylim()
        up = over[0].y > (low + high) / 2
        ax.scatter(
            [p.x for p in over], [p.y for p in over], s=size * 1.4, marker="^" if up else "v",
            facecolors="none", edgecolors=style.colour, linewidths=1.0, zorder=3, clip_on=False,
        )  # fmt: skip


# --- learning curves -------------------------------------------------------------------------------------------


def _curves(picture: CurvesPicture, sheet: _Sheet) -> None:
    assert picture.axis is not None
    sheet.right_in = 2.1
    sheet.size(4.2, 0.65)
    (ax,) = sheet.axes()
    scale(ax, picture.axis, "y", most=9)
    pad = 0.01 * (picture.high - picture.low)
    ax.set_xlim(picture.low - pad, picture.high + pad)
    ax.set_xlabel("step")
    many = len(picture.curves) > 60
    named: set[str] = set()
    for curve in picture.curves:
        _draw_curve(ax, curve, many, named, grouped=bool(picture.means))
    seeds_png.draw_means(ax, picture)
    ax.xaxis.get_major_locator().set_params(integer=all(s == int(s) for c in picture.curves for s in c.steps))
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: (not labels[i].startswith(("run ", "trial ")), -i))
    legend = ax.legend(
        [handles[i] for i in order], [labels[i] for i in order],
        loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, handlelength=2.6,
    )  # fmt: skip
    for handle in legend.legend_handles:
        handle.set(alpha=1.0, linewidth=max(handle.get_linewidth(), 1.3))


def _draw_curve(ax: Any, curve: Curve, many: bool, named: set[str], grouped: bool) -> None:
    style = theme.STATES[curve.state]
    dash = theme.matplotlib_dash(style.dash)
    if curve.rank is not None and grouped:
        look = {"color": theme.HIGHLIGHTS[curve.rank], "linewidth": 0.9, "alpha": 0.6, "zorder": 3}
        ax.plot(curve.steps, curve.places, linestyle=dash, **look)
        return
    if curve.rank is not None:
        score = f"  {text.number(curve.score)}" if curve.score is not None else ""
        look = {"color": theme.HIGHLIGHTS[curve.rank], "linewidth": 2.0, "zorder": 5 - 0.1 * curve.rank}
        ax.plot(curve.steps, curve.places, linestyle=dash, label=f"run {curve.run}{score}", **look)
        return
    colour = theme.MUTED if curve.state == "completed" else style.colour
    label = style.label if style.label not in named else None
    named.add(style.label)
    ax.plot(
        curve.steps, curve.places, color=colour, linestyle=dash, linewidth=0.8 if many else 1.1,
        alpha=style.opacity * (0.6 if many else 1.0), label=label, zorder=2,
    )  # fmt: skip
    if curve.state != "completed" or len(curve.steps) == 1:
        ax.plot(
            curve.steps[-1:], curve.places[-1:], marker=style.marker, color=colour, markersize=3.5 if many else 4.5,
            markerfacecolor=theme.PAPER if curve.state in theme.OPEN_MARKERS else colour, alpha=0.8, linestyle="none", zorder=3,
        )  # fmt: skip


# --- parallel coordinates --------------------------------------------------------------------------------------


def _parallel(picture: ParallelPicture, sheet: _Sheet) -> None:
    longest = max(len(text.shorten(tick.label, _TICK_WIDTH)) for tick in picture.axes[0].ticks(6))
    sheet.left_in, sheet.right_in = max(0.75, 0.3 + 0.08 * longest), 1.0
    slanted = len(picture.axes) > 6
    sheet.size(4.4, 0.25, 0.65 if slanted else 0.2)
    (ax,) = sheet.axes()
    count = len(picture.axes)
    alpha = 0.85 if len(picture.lines) <= 40 else max(0.18, 0.85 - 0.0022 * len(picture.lines))
    for number, line in enumerate(picture.lines):
        unit = [_unit(axis, place) for axis, place in zip(picture.axes, line.places, strict=True)]
        best = number == len(picture.lines) - 1
        ax.plot(
            range(count), unit, color=theme.colour_at(line.colour), linewidth=2.6 if best else 1.0,
            alpha=1.0 if best else alpha, zorder=3 if best else 2, solid_joinstyle="round",
        )  # fmt: skip
    ax.set_xlim(-0.02, count - 1 + 0.02)
    ax.set_ylim(0, 1)
    ax.axis("off")
    for place, axis in enumerate(picture.axes):
        _upright(ax, place, axis, last=place == count - 1, slanted=slanted, crowd=count)
    _colour_bar(sheet, picture.best_on_top)


def _unit(axis: Axis, place: float) -> float:
    return (axis.clip(place) - axis.low) / (axis.high - axis.low) if not math.isnan(place) else math.nan


def _upright(ax: Any, place: int, axis: Axis, *, last: bool, slanted: bool, crowd: int) -> None:
    """One vertical axis with its ticks, and its name above."""
    ax.plot([place, place], [0, 1], color=theme.INK, linewidth=1.1, zorder=4)
    halo = {"facecolor": theme.PAPER, "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for tick in axis.ticks(6):
        height = _unit(axis, tick.position)
        if not 0 <= height <= 1:
            continue
        ax.plot(
            [place - 0.012 * crowd / 6, place], [height, height], color=theme.INK, linewidth=1.0, zorder=4
        )
        ax.annotate(
            text.shorten(tick.label, _TICK_WIDTH), (place, height), xytext=(-5, 0), textcoords="offset points",
            ha="right", va="center", fontsize=7.5, zorder=5, bbox=halo, annotation_clip=False,
        )  # fmt: skip
    slanted = slanted and not last
    room = 16 if last else (22 if slanted else max(12, 100 // crowd))
    name = text.shorten(axis.name, room) + (" (log)" if axis.scale == "log" else "")
    ax.annotate(
        name, (place, 1), xytext=(-2 if slanted else 0, 6), textcoords="offset points", rotation=22 if slanted else 0,
        ha="left" if slanted else "center", va="bottom", fontsize=9, fontweight="bold" if last else "normal",
        annotation_clip=False, rotation_mode="anchor" if slanted else "default",
    )  # fmt: skip


def _colour_bar(sheet: _Sheet, best_on_top: bool) -> None:
    bar = sheet.figure.add_axes(
        (
            1 - 0.62 / WIDTH_IN,
            sheet.bottom_in / sheet.height_in,
            0.14 / WIDTH_IN,
            sheet.body_in / sheet.height_in,
        )
    )
    steps = 128
    for number in range(steps):
        place = (number + 0.5) / steps
        bar.axhspan(
            number / steps,
            (number + 1) / steps,
            color=theme.colour_at(1 - place if best_on_top else place),
            linewidth=0,
        )
    bar.set_ylim(0, 1)
    bar.set_xticks([])
    bar.yaxis.tick_right()
    bar.set_yticks([0.01, 0.99], ["worst", "best"] if best_on_top else ["best", "worst"])
    bar.tick_params(length=0)
    bar.grid(visible=False)
    for spine in bar.spines.values():
        spine.set_visible(False)


# --- slices ----------------------------------------------------------------------------------------------------


def _slices(picture: SlicesPicture, sheet: _Sheet) -> None:
    assert picture.axis is not None
    columns = min(3, max(len(picture.panels), 2))
    rows = [picture.panels[i : i + columns] for i in range(0, len(picture.panels), columns)]
    below = [1.35 if any(panel.axis.crowded for panel in row) else 0.7 for row in rows]
    tall = 2.1
    sheet.size(tall * len(rows) + sum(below[:-1]), below[-1] + 0.1)
    grid = []
    for number, row in enumerate(rows):
        drawn = sheet.row(columns, 0.35, tall * number + sum(below[:number]), tall)
        for spare in drawn[len(row) :]:
            spare.set_visible(False)
        for ax, panel in zip(drawn, row, strict=False):
            _panel(ax, panel, picture.axis, first=ax is drawn[0])
            grid.append(ax)
    states = {point.state for panel in picture.panels for point in panel.points}
    if len(states) > 1:
        handles: dict[str, Any] = {}
        for ax in grid:
            for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
                handles.setdefault(label, handle)
        sheet.figure.legend(
            list(handles.values()), list(handles), loc="upper right", ncols=len(handles),
            bbox_to_anchor=(1 - 0.15 / WIDTH_IN, 1 - 0.33 / sheet.height_in),
        )  # fmt: skip


def _panel(ax: Any, panel: Panel, objective: Axis, *, first: bool) -> None:
    scale(ax, panel.axis, "x", most=5, shorten=18, title=28)
    scale(ax, objective, "y", most=5, title=20 if first else 0)
    if not first:
        ax.yaxis.set_ticklabels([])
    if panel.axis.crowded:
        for label in ax.get_xticklabels():
            label.set(rotation=35, ha="right", fontsize=7, rotation_mode="anchor")
    if panel.axis.scale == "category":
        ax.grid(axis="x", visible=False)
    seeds_png.draw_singles(ax, panel.singles)
    for state in ("completed", "pruned"):
        _marks(ax, [p for p in panel.points if p.state == state], state)
