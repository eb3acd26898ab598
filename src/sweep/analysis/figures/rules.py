"""What rules that end runs early save and lose, as one picture: the clock saved against the winner kept, a mark a rule.

The rule of this file: it is told shares and intervals, and computes nothing.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep.analysis import text
from sweep.analysis.figures import page, png, theme, web_layout
from sweep.analysis.figures.pictures import Picture
from sweep.analysis.figures.write import write_file

MARKS = (
    ("o", "circle"),
    ("D", "diamond"),
    ("s", "square"),
    ("^", "triangle-up"),
    ("v", "triangle-down"),
    ("P", "cross"),
)
"""Matplotlib's and plotly's names: a rule is never told by its colour alone."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_HEAD = ("rule", "clock saved", "slot time saved", "keeps the best", "worse by", "ended early")


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule; shares between 0 and 1, and their 95 % intervals."""

    name: str
    saved: float
    saved_interval: tuple[float, float]
    kept: float
    kept_interval: tuple[float, float]
    cells: tuple[str, ...]
    """Its row of the table, in words."""


class RulesPicture(Picture, kw_only=True):
    rules: tuple[Rule, ...] = ()
    enough: float = 0.95
    """The share of the replays that a good rule keeps the best run in."""


def picture_of(rules: Sequence[Rule], subtitle: str, note: str, enough: float) -> RulesPicture:
    """The picture of these rules, of which there is at least one."""
    return RulesPicture(
        key="rules",
        title="What each rule saves and keeps",
        subtitle=subtitle,
        note=note,
        rules=tuple(rules),
        enough=enough,
    )


def write_rules(picture: RulesPicture, path: Path, source: str) -> Path:
    """Write it to a file that ends in `.html` or `.png`. Raises OSError where it cannot be written."""
    if path.suffix == ".png":
        return write_file(path, png.drawn(picture, _draw, text.shorten(source, 40)))
    return write_file(path, _page(picture, source).encode("utf-8", "replace"))


def _lows(picture: RulesPicture) -> tuple[float, float]:
    """Where the axes begin: at 0, or where the worst rule is, and so that what is compared has room."""
    saved = min(rule.saved_interval[0] for rule in picture.rules)
    kept = min(rule.kept_interval[0] for rule in picture.rules)
    return min(-0.02, math.floor(saved * 10) / 10), max(0.0, math.floor(kept * 10 - 0.5) / 10)


def _draw(picture: RulesPicture, sheet: png._Sheet) -> None:
    sheet.right_in = 2.4
    sheet.size(4.2)
    [ax] = sheet.axes()
    left, low = _lows(picture)
    ax.axhspan(picture.enough, 1.02, color=theme.GRID, alpha=0.6, linewidth=0)
    for number, rule in enumerate(picture.rules):
        colour, mark = COLOURS[number % len(COLOURS)], MARKS[number % len(MARKS)][0]
        ax.plot(rule.saved_interval, (rule.kept,) * 2, color=colour, linewidth=1.3, solid_capstyle="butt")
        ax.plot((rule.saved,) * 2, rule.kept_interval, color=colour, linewidth=1.3, solid_capstyle="butt")
        ax.plot(
            [rule.saved],
            [rule.kept],
            mark,
            color=colour,
            markersize=7,
            markeredgecolor=theme.PAPER,
            label=text.shorten(rule.name, 30),
        )
    ax.set_xlim(left, 1)
    ax.set_ylim(low, 1.02)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda share, _: f"{share:.0%}")
    ax.set_xlabel("clock saved (more is to the right)")
    ax.set_ylabel("replays that keep the best run")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1.02), borderaxespad=0, labelspacing=0.9)


def _page(picture: RulesPicture, source: str) -> str:
    rows = "".join(f"<tr>{''.join(map(_cell, rule.cells))}</tr>" for rule in picture.rules)
    head = "".join(f"<th>{html.escape(word)}</th>" for word in _HEAD)
    body = [
        f'<header class="top"><div><h1>{html.escape(picture.title)}</h1>',
        f'<p class="about"><span class="id">{html.escape(source)}</span> · {html.escape(picture.subtitle)}</p>',
        '</div></header><main><section><div class="scroll"><div id="rules"></div></div>',
        f'<p class="note">{html.escape(picture.note)}</p></section>',
        f'<section><h2>Rules</h2><div class="scroll"><table class="runs"><thead><tr>{head}</tr></thead>',
        f"<tbody>{rows}</tbody></table></div></section></main>",
    ]
    script = (
        "const drawn = JSON.parse(document.getElementById('data').textContent);"
        "Plotly.newPlot('rules', drawn.data, drawn.layout, {responsive: true, displayModeBar: false});"
    )
    return page.shell(f"{picture.title} · {source}", body, _figure(picture), script)


def _cell(words: str) -> str:
    return f'<td style="max-width: none">{html.escape(words)}</td>'


def _figure(picture: RulesPicture) -> web_layout.Figure:
    left, low = _lows(picture)
    layout = web_layout.base_layout(
        height=520,
        xaxis=web_layout.plain_axis("clock saved") | {"range": [left, 1], "tickformat": ".0%"},
        yaxis=web_layout.plain_axis("replays that keep the best run") | {"range": [low, 1.02], "tickformat": ".0%"},
        shapes=[
            {
                "type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": picture.enough, "y1": 1.02,
                "fillcolor": theme.GRID, "opacity": 0.6, "line": {"width": 0}, "layer": "below",
            }
        ],
        legend={"x": 1.02, "y": 1, "font": {"size": 12}},
    )  # fmt: skip
    return {"data": [_mark(number, rule) for number, rule in enumerate(picture.rules)], "layout": layout}


def _mark(number: int, rule: Rule) -> dict[str, Any]:
    colour = COLOURS[number % len(COLOURS)]

    def bars(value: float, interval: tuple[float, float]) -> dict[str, Any]:
        return {
            "type": "data", "symmetric": False, "array": [interval[1] - value], "arrayminus": [value - interval[0]],
            "color": colour, "thickness": 1.4, "width": 0,
        }  # fmt: skip

    return {
        "type": "scatter",
        "mode": "markers",
        "name": html.escape(text.shorten(rule.name, 60)),
        "x": [rule.saved],
        "y": [rule.kept],
        "error_x": bars(rule.saved, rule.saved_interval),
        "error_y": bars(rule.kept, rule.kept_interval),
        "marker": {"color": colour, "symbol": MARKS[number % len(MARKS)][1], "size": 11},
        "hovertemplate": "saves %{x:.0%}, keeps the best in %{y:.0%}<extra>%{fullData.name}</extra>",
    }
