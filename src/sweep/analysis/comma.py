"""Runs as CSV: the plain fields, then `config.*`, `defaults.*` and `summary.*`; lists as JSON, nothing for null.

The rule of this file: column by column, a cell at a time only where a column needs it; what comes out is what Python's
own writer would write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from sweep.analysis.records import (
    GROUPS,
    MAPS,
    PLAIN,
    Record,
    field_columns,
    flatten,
    group_columns,
    keys_of,
)
from sweep.analysis.usage import usage_columns
from sweep.core.views import RunView

_find_special = re.compile('[,"\n\r]').search
_find_escaped = re.compile('["\\\\\x00-\x1f]').search
_NUMBERS = frozenset((float, type(None)))
_json = json.JSONEncoder(ensure_ascii=False).encode


def to_csv(rows: Iterable[Record], usage: bool = False) -> str:
    """Records as CSV with a header; `usage`: with what they used.

    Records without a field leave it empty; attempts are left out (`--format json` has them).
    """
    rows = list(rows)
    names = [name for name in keys_of(rows) if name not in MAPS]
    columns = [[row.get(name) for row in rows] for name in names]
    for group in (*GROUPS, *(("usage",) if usage else ())):
        lines = [flatten(row.get(group) or {}, group) for row in rows]
        within = keys_of(lines)
        names += within
        columns += [[line.get(name) for line in lines] for name in within]
    return columns_to_csv(names, columns)


def runs_to_csv(
    runs: Sequence[RunView],
    now_s: float,
    usage: bool = False,
    more: Mapping[str, list[Any]] = MappingProxyType({}),
) -> str:
    """`to_csv` of these runs' records, without making them; `more`: columns that come last, by name."""
    if not runs:
        return to_csv([])
    names, columns = list(PLAIN), field_columns(runs, PLAIN, now_s)
    for group in GROUPS:
        within = group_columns(runs, group)
        names += within
        columns += within.values()
    if usage:
        used = usage_columns(runs, now_s)
        names += used
        columns += used.values()
    return columns_to_csv([*names, *more], [*columns, *more.values()])


def columns_to_csv(names: Sequence[str], columns: Sequence[list[Any]]) -> str:
    """Named columns of one length as CSV with a header."""
    cells = [_texts(items) for items in columns]
    if len(cells) == 1:  # an empty line would be no row
        cells = [[cell or '""' for cell in cells[0]]]
    return "\n".join([",".join(_texts(list(names))), *map(",".join, zip(*cells, strict=True)), ""])


def _texts(items: list[Any]) -> list[str]:
    """The cells of a column."""
    kinds = set(map(type, items))
    if kinds == {str}:
        return items if not _find_special("".join(items)) else list(map(_quoted, items))
    if kinds <= _NUMBERS and float in kinds:
        return _floats(items)
    if kinds == {int}:
        return list(map(str, items))
    if kinds == {list} and (quick := _lists_of_text(items)) is not None:
        return quick
    return list(map(_cell, items))


def _floats(items: list[float | None]) -> list[str]:
    """Each as `repr` writes it, which is five times slower, and nothing for None."""
    known = [item for item in items if item is not None]
    texts = msgspec.json.encode(known)[1:-1].decode().split(",")
    cells = iter(
        repr(item) if "e" in text or "0.0000" in text or text == "null" else text
        for item, text in zip(known, texts, strict=True)
    )
    return (
        list(cells) if len(known) == len(items) else ["" if item is None else next(cells) for item in items]
    )


def _lists_of_text(items: list[list[Any]]) -> list[str] | None:
    """The cells of a column of lists; None where something in them must be escaped or is no text."""
    try:
        if _find_escaped("".join(map("".join, items))):
            return None
    except TypeError:
        return None
    return ['"[""' + '"", ""'.join(item) + '""]"' if item else "[]" for item in items]


def _cell(item: Any) -> str:
    if item is None:
        return ""
    if type(item) is float or type(item) is int:
        return repr(item)
    if isinstance(item, bool):
        return "true" if item else "false"
    return _quoted(item if isinstance(item, str) else _json(item))


def _quoted(text: str) -> str:
    """As a cell: in quotes where it has a comma, a quote or the end of a line."""
    return text if not _find_special(text) else '"' + text.replace('"', '""') + '"'
