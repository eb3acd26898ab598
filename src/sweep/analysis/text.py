"""How numbers, durations, values and names are written for people: on pictures, on the page and in the terminal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

ELLIPSIS = "…"


def number(value: float, digits: int = 4) -> str:
    """`value` with so many significant digits, as short as possible: 0.0123, 1.2e-5, 128."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == int(value) and abs(value) < 10**6:
        return str(int(value))
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def duration(seconds: float | None) -> str:
    """Two units at most: 4.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h; a dash for None."""
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for size, unit, below_size, below in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // below_size
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    return f"{whole} s"


def value(item: Any) -> str:
    """A config's value on one line."""
    if item is None:
        return "none"
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, float):
        return number(item, 6)
    if isinstance(item, int):
        return (
            str(item)
            if -(10**20) < item < 10**20
            else number(float(item) if abs(item) < 10**300 else math.inf)
        )
    if isinstance(item, str):
        return " ".join(item.split()) or '""'
    return json.dumps(item, ensure_ascii=False, separators=(",", ":"), default=str)


def shorten(text: str, width: int) -> str:
    """At most `width` characters; the middle is what is left out, because names differ at both ends."""
    if len(text) <= width:
        return text
    if width <= 1:
        return ELLIPSIS[:width]
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + ELLIPSIS + (text[-tail:] if tail else "")


def padded(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A line per row, its cells below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def plural(count: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def time_unit(longest_s: float) -> tuple[float, str]:
    """(seconds in it, its name) of an axis' unit."""
    for limit, size, unit in ((120, 1.0, "seconds"), (7200, 60.0, "minutes"), (172_800, 3600.0, "hours")):
        if longest_s <= limit:
            return size, unit
    return 86_400.0, "days"
