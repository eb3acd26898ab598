"""Runs, trials and logged rows as typed columns: what DataFrames and Parquet files are made of.

The rule of this file: whatever was recorded, every column has one type. Values that do not fit one type together become
text; nothing raises, and numbers that JSON cannot hold are numbers again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sweep.analysis.history import History
from sweep.analysis.records import GROUPS, Record, flat
from sweep.core.views import RunView

Kind = Literal["bool", "int", "float", "text", "texts", "time"]

_KNOWN: dict[str, Kind] = {
    "exit_code": "int",
    "slot": "int",
    "objective": "float",
    "score": "float",
    "duration_s": "float",
    "gpus": "texts",
    "command": "texts",
    "tags": "texts",
    "started": "time",
    "ended": "time",
}
"""What a column holds also when no row has a value for it."""

_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_OWN = ("id", "run", "trial", "replicate", "step", "seconds")


class Column(NamedTuple):
    """One column; None stands for no value. `time`: Unix time in whole milliseconds; `texts`: lists of text."""

    name: str
    kind: Kind
    values: list[Any]
    mixed: list[Any] | None = None
    """Where values of several types were turned into text: the values as they were."""


def run_columns(records: Iterable[Record], usage: bool = False) -> list[Column]:
    """One row per record (`sweep.analysis.records.record`): its plain fields, then `config.*`, `defaults.*`, `summary.*`, with
    `usage` also `usage.*`. Attempts are left out."""
    return columns([flat(row, usage) for row in records])


def columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """Flat rows as columns: the plain names as they first occur, then those of the groups."""
    names: dict[str, None] = {}
    for group in ("", *GROUPS, "usage"):
        for row in rows:
            names.update(dict.fromkeys(name for name in row if _group(name) == group))
    return [_column(name, [row.get(name) for row in rows]) for name in names]


def history_columns(runs: Iterable[tuple[RunView, History]]) -> list[Column]:
    """All logged rows that count, run by run: `id`, `run`, `trial`, `replicate`, `step`, `seconds` (since the program's
    start), and one column per metric, without a value where a row lacks it. A metric with one of these names is called
    `metric.<name>`."""
    own: dict[str, list[Any]] = {name: [] for name in _OWN}
    metrics: dict[str, list[float | None]] = {}
    length = 0
    for view, history in runs:
        count = len(history)
        for name, value in (
            ("id", view.id),
            ("run", view.run),
            ("trial", view.trial),
            ("replicate", view.replicate),
        ):
            own[name] += [value] * count
        own["step"] += history.steps
        own["seconds"] += history.seconds
        for name in history.metrics:
            found = metrics.setdefault(name, [])
            found += [None] * (length - len(found))
            found += history.aligned(name)
        length += count
    for found in metrics.values():
        found += [None] * (length - len(found))
    kinds: dict[str, Kind] = {"id": "text", "step": "float", "seconds": "float"}
    return [
        *(Column(name, kinds.get(name, "int"), values) for name, values in own.items()),
        *(
            Column(f"metric.{name}" if name in _OWN else name, "float", list(found))
            for name, found in metrics.items()
        ),
    ]


def rows_of(found: Sequence[Column]) -> Iterator[dict[str, Any]]:
    """Columns as rows of plain values, without the fields that a row has no value for."""
    names = [column.name for column in found]
    for values in zip(*(column.values for column in found), strict=True):
        yield {name: value for name, value in zip(names, values, strict=True) if value is not None}


def _group(name: str) -> str:
    start, dot, _ = name.partition(".")
    return start if dot and (start in GROUPS or start == "usage") else ""


def _column(name: str, values: list[Any]) -> Column:
    known = _KNOWN.get(name)
    if known == "time":
        return Column(name, "time", [_milliseconds(value) for value in values])
    kinds = {_kind(value) for value in values if value is not None}
    kind = _together(kinds, known or ("float" if _group(name) == "summary" else None))
    if kind == "float":
        return Column(name, kind, [None if value is None else _number(value) for value in values])
    if kind == "text":
        plain = [None if value is None else _text(value) for value in values]
        return Column(name, kind, plain, None if kinds <= {"text", "number in words"} else values)
    if kind == "texts":
        return Column(name, kind, [v if v is None else [_clean(item) for item in v] for v in values])
    return Column(name, kind, values)


_Seen = Literal["bool", "int", "float", "text", "texts", "number in words", "other"]


def _kind(value: Any) -> _Seen:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if -(2**63) <= value < 2**63 else "other"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "number in words" if value in _NON_FINITE else "text"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "texts"
    return "other"


def _together(kinds: set[_Seen], expected: Kind | None) -> Kind:
    """The one type that holds values of all these kinds. `number in words` (nan) is a number only beside numbers, or
    where one is expected: a config may well have the text "inf"."""
    if not kinds:
        return expected or "text"
    if len(kinds) == 1:
        (only,) = kinds
        if only in ("bool", "int", "float", "texts"):
            return only
        return "float" if only == "number in words" and expected == "float" else "text"
    return "float" if kinds <= {"int", "float", "number in words"} else "text"


def _number(value: Any) -> float:
    return _NON_FINITE[value] if isinstance(value, str) else float(value)


def _text(value: Any) -> str:
    return _clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _clean(text: str) -> str:
    """Without the halves of characters that no file can hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _milliseconds(value: str | None) -> int | None:
    return None if value is None else round(datetime.fromisoformat(value).timestamp() * 1000)
