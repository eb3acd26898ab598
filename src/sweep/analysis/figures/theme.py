"""Colours, marks and words that both renderers use. Categorical colours are Okabe and Ito's, which people with any common
colour blindness can tell apart; state is never told by colour alone but by mark or dash, too."""

from __future__ import annotations

from typing import NamedTuple

INK = "#1f2933"
MUTED = "#616e7c"
GRID = "#e4e7eb"
PAPER = "#ffffff"
BAR = "#0072B2"
BAR_QUIET = "#9db8cb"
NOISE = "#8a94a0"

FONT = ("Inter", "Helvetica Neue", "Arial", "DejaVu Sans", "sans-serif")

HIGHLIGHTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
"""Of the best runs' curves, best first."""

SCALE = ("#2d0a57", "#3d4489", "#2f6c8e", "#22908c", "#37b578", "#8fd744", "#e6d94a")
"""Best to worst: viridis without the end that vanishes on white."""


class StateStyle(NamedTuple):
    label: str
    colour: str
    marker: str
    """Matplotlib's name."""
    symbol: str
    """Plotly's name."""
    dash: str
    """Plotly's name; `matplotlib_dash` translates it."""
    opacity: float


STATES = {
    "completed": StateStyle("completed", "#0072B2", "o", "circle", "solid", 0.45),
    "pruned": StateStyle("pruned", "#E69F00", "D", "diamond-open", "dash", 0.4),
    "failed": StateStyle("failed", "#D55E00", "x", "x-thin-open", "dot", 0.6),
    "running": StateStyle("running", "#56B4E9", "s", "square-open", "solid", 0.8),
    "cancelled": StateStyle("cancelled", "#8a94a0", "v", "triangle-down-open", "dashdot", 0.5),
}
OPEN_MARKERS = frozenset(("pruned", "running", "cancelled"))

_DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-."}


def matplotlib_dash(name: str) -> str:
    return _DASHES[name]


def colour_at(place: float) -> str:
    """The colour between best (0) and worst (1) as #rrggbb."""
    place = min(max(place, 0.0), 1.0) * (len(SCALE) - 1)
    index = min(int(place), len(SCALE) - 2)
    share = place - index
    mixed = [
        round(int(SCALE[index][i : i + 2], 16) * (1 - share) + int(SCALE[index + 1][i : i + 2], 16) * share)
        for i in (1, 3, 5)
    ]
    return "#" + "".join(f"{part:02x}" for part in mixed)
