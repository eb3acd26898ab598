"""What each picture holds, as the renderers get it (`sweep.analysis.figures.prepare` makes it)."""

from __future__ import annotations

from typing import Any

import msgspec

from sweep.analysis.axes import Axis
from sweep.analysis.expected import ExpectedRow
from sweep.analysis.importance import ImportanceRow


class Picture(msgspec.Struct, kw_only=True):
    """Base of all: the words around it."""

    key: str
    """File name without extension, and the page's anchor."""
    title: str
    subtitle: str = ""
    note: str = ""
    empty: str = ""
    """Why there is nothing to draw; empty when there is something."""


class ImportancePicture(Picture, kw_only=True):
    rows: tuple[ImportanceRow, ...] = ()
    noise: float = 0.0
    high: float = 1.0
    """Where the axis of the importance ends."""


class Point(msgspec.Struct, frozen=True):
    """One trial on a picture; `y` is a position on the objective's axis. Without a score it is a mark on the side of
    the worse values; `over` where the score lies outside the axis and is drawn at its edge."""

    trial: int
    x: float
    y: float
    state: str
    score: float | None = None
    over: bool = False


class Stairs(msgspec.Struct, frozen=True):
    """Best so far, over one kind of x."""

    label: str
    low: float
    high: float
    points: tuple[Point, ...]
    best_x: tuple[float, ...]
    best_y: tuple[float, ...]
    whole: bool = False
    """Whether x counts something."""
    singles: tuple[Point, ...] = ()
    """The runs of trials that have several."""


class BestPicture(Picture, kw_only=True):
    axis: Axis | None = None
    panels: tuple[Stairs, ...] = ()
    """Over finished trials, then over time."""
    low: float = 0.0
    high: float = 1.0
    """The objective's axis with room for the marks of trials without a score."""


class Curve(msgspec.Struct, frozen=True):
    run: int
    trial: int
    state: str
    rank: int | None
    """0 for the best of the highlighted ones; None for the others."""
    steps: tuple[float, ...]
    places: tuple[float, ...]
    """Positions on the objective's axis; NaN where a value was not finite: a gap."""
    score: float | None


class MeanCurve(msgspec.Struct, frozen=True):
    """The mean of a trial's curves over the steps that all of them have, and the band from the lowest to the highest."""

    trial: int
    rank: int
    runs: int
    steps: tuple[float, ...]
    places: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    score: float | None


class CurvesPicture(Picture, kw_only=True):
    axis: Axis | None = None
    low: float = 0.0
    high: float = 1.0
    curves: tuple[Curve, ...] = ()
    """Drawn in this order: highlighted ones last, the best at the very end."""
    means: tuple[MeanCurve, ...] = ()
    """Of the best trials, where trials have several runs; the best first."""


class Line(msgspec.Struct, frozen=True):
    trial: int
    places: tuple[float, ...]
    """One position per axis, the objective's last; categories carry a small offset so that lines do not all coincide."""
    colour: float
    """0 best … 1 worst, by rank of the position on the objective's axis."""
    score: float


class ParallelPicture(Picture, kw_only=True):
    axes: tuple[Axis, ...] = ()
    """Parameters, then the objective."""
    lines: tuple[Line, ...] = ()
    """Worst first, so that the best is drawn over the others."""
    best_on_top: bool = False
    """Where the objective's axis has its best end, and so where the scale of colours beside it has its own."""


class Panel(msgspec.Struct, frozen=True):
    axis: Axis
    points: tuple[Point, ...]
    singles: tuple[Point, ...] = ()


class SlicesPicture(Picture, kw_only=True):
    axis: Axis | None = None
    panels: tuple[Panel, ...] = ()


class SeedRow(msgspec.Struct, frozen=True):
    """One config of the result table; positions on the objective's axis."""

    trial: int
    label: str
    chosen: bool
    tied: bool
    score: float | None
    """Of the search."""
    choosing: tuple[float, ...]
    reporting: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None


class ConfirmedPicture(Picture, kw_only=True):
    axis: Axis | None = None
    rows: tuple[SeedRow, ...] = ()
    """The chosen one first."""


class ExpectedPicture(Picture, kw_only=True):
    axis: Axis | None = None
    rows: tuple[ExpectedRow, ...] = ()
    """Positions on the objective's axis."""


class Pictures(msgspec.Struct, kw_only=True):
    """All pictures of a sweep, in the order in which a person wants them."""

    importance: ImportancePicture
    best: BestPicture
    curves: CurvesPicture
    parallel: ParallelPicture
    slices: SlicesPicture
    confirmed: ConfirmedPicture | None = None
    """The result on fresh seeds, where there are some."""
    expected: ExpectedPicture | None = None
    """Where it was asked for."""
    usage: Any = None  # a `usage.UsagePicture`; None where nothing was sampled
