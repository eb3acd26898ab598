"""The importance as lines of plain text, for `sweep plot`.

No colours and no library: the caller prints the lines. Bars are eighths of a block where the encoding has them.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from sweep.analysis import text
from sweep.analysis.importance import Importance, ImportanceRow

_EIGHTHS = " ▏▎▍▌▋▊▉█"


class _Marks(NamedTuple):
    blocks: str
    interval: str
    rho: str
    eta: str


_UNICODE = _Marks(_EIGHTHS, "–", "ρ", "η")
_ASCII = _Marks(" #", "-", "rho", "eta")


def importance_lines(
    importance: Importance, width: int = 80, encoding: str = "utf-8", most: int = 20
) -> list[str]:
    """A horizontal bar chart at most `width` columns wide (at least 40), with interval and correlation; the `most`
    important parameters. Plain ASCII when `encoding` is no form of UTF. Without enough signal: the sentence."""
    width = max(width, 40)
    marks = _UNICODE if encoding.lower().replace("_", "-").startswith(("utf", "u8")) else _ASCII
    if not importance.enough:
        return _plain([*_wrap(_sentence(importance.note), width)], marks)
    rows = importance.rows[:most]
    names = [text.shorten(row.parameter, max(width // 3, 12)) for row in rows]
    column = max(_columns(name) for name in names)
    tails = [_tail(row, marks) for row in rows]
    if width - column - max(map(len, tails)) < 10:  # no room for a bar: leave the correlation out
        tails = [_share(row, marks) for row in rows]
    room = width - column - max(map(len, tails)) - 2
    scale = max([row.importance for row in rows] + [1e-9])
    lines = [
        f"{name}{' ' * (column - _columns(name))} {_bar(row.importance / scale, room, marks)} {tail}".rstrip()
        for name, row, tail in zip(names, rows, tails, strict=True)
    ]
    if len(importance.rows) > most:
        lines.append(f"and {text.plural(len(importance.rows) - most, 'parameter')} that matter less")
    footer = (
        f"{importance.n} trials, {importance.method}; in brackets 90% of bootstrap resamples; "
        f"noise level {importance.noise:.0%}."
    )
    return _plain([*lines, *_wrap(footer, width), *_wrap(importance.note or "", width)], marks)


def _share(row: ImportanceRow, marks: _Marks) -> str:
    return f"{row.importance:4.0%} [{row.low:4.0%}{marks.interval}{row.high:4.0%}]"


def _tail(row: ImportanceRow, marks: _Marks) -> str:
    found = _share(row, marks)
    if row.correlation is None:
        return found
    sign = "+" if row.correlation_kind == "rho" else ""
    kind = marks.rho if row.correlation_kind == "rho" else marks.eta
    return f"{found} {kind} {round(row.correlation, 2) + 0.0:{sign}.2f}"


def _bar(share: float, room: int, marks: _Marks) -> str:
    if room < 4:
        return ""
    per_cell = len(marks.blocks) - 1
    filled = round(min(max(share, 0.0), 1.0) * room * per_cell)
    full, part = divmod(filled, per_cell)
    bar = marks.blocks[-1] * full + (marks.blocks[part] if part else "")
    return bar.ljust(room)


def _columns(name: str) -> int:
    """Terminal columns: East Asian wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(c) else (2 if unicodedata.east_asian_width(c) in "WF" else 1) for c in name
    )


def _wrap(sentence: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(sentence, width)


def _sentence(note: str | None) -> str:
    said = note or "not enough signal."
    return said[0].upper() + said[1:]


def _plain(lines: list[str], marks: _Marks) -> list[str]:
    if marks is _UNICODE:
        return lines
    known = {text.ELLIPSIS: "~", "–": "-", "²": "2"}
    return ["".join(known.get(c, c if c.isascii() else "?") for c in line) for line in lines]
