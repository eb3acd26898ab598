"""A run as a flat JSON record, and many of them as CSV: what `--json`, `--format csv` and the filters see.

The rule of this file: what comes out is plain JSON data; numbers that JSON cannot hold are the strings "nan", "inf" and
"-inf".
"""

from __future__ import annotations

import csv
import functools
import io
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sweep.core.views import AttemptView, RunView

Record = dict[str, Any]

GROUPS = ("config", "defaults", "summary")
"""Fields that hold named values, known to filters and CSV as `config.lr`."""
MAPS = (*GROUPS, "attempts")
_JSON = frozenset((type(None), bool, int, str))
_WRITTEN = frozenset((type(None), int, float, str))
"""What the CSV writer writes as it should be, None as nothing."""
_cell_text = json.JSONEncoder(ensure_ascii=False).encode


def record(run: RunView, now_s: float | None = None, *, attempts: bool = True) -> Record:
    """Everything about a run; all about its single attempts with `attempts` only. `started` is its first attempt's start and `ended` the end of its last attempt (ISO 8601,
    UTC); `duration_s` is the time in execution over all attempts, up to `now_s` (Unix time) for one that still runs;
    host, slot, GPUs, exit code, command and folder are the last attempt's."""
    last = run.attempts[-1] if run.attempts else None
    starts = [attempt.started_s for attempt in run.attempts if attempt.started_s is not None]
    found: Record = {
        "id": run.id,
        "sweep": run.sweep,
        "run": run.run,
        "trial": run.trial,
        "replicate": run.replicate,
        "purpose": run.purpose,
        "attempt": run.attempt,
        "state": run.state,
        "reason": run.reason,
        "config": _values(run.config),
        "defaults": _values(run.defaults),
        "seed": run.seed,
        "objective": to_json(run.objective),
        "steps": run.steps,
        "tags": list(run.tags),
        "note": run.note,
        "summary": _values(run.summary),
        "host": last.host if last else None,
        "slot": last.slot if last else None,
        "gpus": list(last.gpus) if last else [],
        "started": iso_time(min(starts, default=None)),
        "ended": iso_time(last.ended_s if last else None),
        "duration_s": _rounded(duration_s(run, now_s)),
        "exit_code": last.exit_code if last else None,
        "error_class": last.error_class if last else "",
        "command": list(last.command) if last else [],
        "folder": last.folder if last else "",
    }
    if attempts:
        found["attempts"] = [_attempt(attempt, now_s) for attempt in run.attempts]
    return found


def _values(named: Mapping[str, Any]) -> dict[str, Any]:
    """`to_json`, quickly for what mostly comes: names and finite numbers, words, nothing nested."""
    for value in named.values():
        if type(value) not in _JSON and not (type(value) is float and math.isfinite(value)):
            return {str(key): to_json(item) for key, item in named.items()}
    return dict(named)


def duration_s(run: RunView, now_s: float | None = None) -> float | None:
    """Seconds in execution over all attempts of `run`; an attempt that has not ended counts up to `now_s` where that
    is given. None when it never started, or has no attempt of known length."""
    lengths = [
        max(end - attempt.started_s, 0.0)
        for attempt in run.attempts
        if attempt.started_s is not None
        and (end := now_s if attempt.ended_s is None else attempt.ended_s) is not None
    ]
    return sum(lengths) if lengths else None


def to_json(value: Any) -> Any:
    """A copy as plain JSON data; NaN and infinities as strings."""
    if type(value) in _JSON:
        return value
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    return str(value)


def iso_time(at_s: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC with milliseconds: `2025-01-31T12:00:00.000Z`."""
    if at_s is None:
        return None
    second, micros = divmod(round(at_s * 1e6), 1_000_000)
    return f"{_second(second)}.{micros // 1000:03d}Z"


@functools.lru_cache(10_000)  # of many runs much happens within one second
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:-6]  # without +00:00


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested maps as one level with dotted names; lists and empty maps are values."""
    flat: dict[str, Any] = {}
    for key, item in tree.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if type(item) not in _WRITTEN and isinstance(item, Mapping) and item:
            flat.update(flatten(item, name))
        else:
            flat[name] = item
    return flat


def to_csv(rows: Iterable[Record]) -> str:
    """Records as CSV with a header: the plain fields, then `config.*`, `defaults.*` and `summary.*`; lists as JSON,
    nothing for null.

    Records without a field leave it empty; attempts are left out (`--format json` has them).
    """
    rows = list(rows)
    names = [name for name in _keys(rows) if name not in MAPS]
    columns = [_column([row.get(name) for row in rows]) for name in names]
    for group in GROUPS:
        lines = [flatten(row.get(group) or {}, group) for row in rows]
        within = _keys(lines)
        names += within
        columns += [_column([line.get(name) for line in lines]) for name in within]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(zip(*columns, strict=True))
    return out.getvalue()


def _keys(rows: Iterable[Record]) -> list[str]:
    """All keys, in the order in which they come."""
    found: dict[str, None] = {}
    for row in rows:
        if not found.keys() >= row.keys():
            found.update(dict.fromkeys(row))
    return list(found)


def _column(items: list[Any]) -> list[Any]:
    """Cells of a column: what the writer cannot write itself as text."""
    return items if _WRITTEN.issuperset(map(type, items)) else list(map(_cell, items))


def flat(row: Record) -> Record:
    """The plain fields, and each named value as `config.lr`, `defaults.epochs`, `summary.loss`."""
    found = row.copy()
    for name in MAPS:
        found.pop(name, None)
    for group in GROUPS:
        if values := row.get(group):
            found |= flatten(values, group)
    return found


def _cell(item: Any) -> Any:
    if type(item) in _WRITTEN:
        return item
    if isinstance(item, bool):
        return "true" if item else "false"
    if not isinstance(item, list | dict):
        return item
    return _cell_text(item) if item else "[]" if isinstance(item, list) else "{}"


def _attempt(attempt: AttemptView, now_s: float | None) -> Record:
    end_s = attempt.ended_s if attempt.ended_s is not None else now_s
    length = (
        max(end_s - attempt.started_s, 0.0) if end_s is not None and attempt.started_s is not None else None
    )
    return {
        "attempt": attempt.attempt,
        "agent": attempt.agent,
        "host": attempt.host,
        "slot": attempt.slot,
        "gpus": list(attempt.gpus),
        "pid": attempt.pid,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
        "exit_code": attempt.exit_code,
        "error_class": attempt.error_class,
        "assigned": iso_time(attempt.assigned_s),
        "started": iso_time(attempt.started_s),
        "ended": iso_time(attempt.ended_s),
        "duration_s": _rounded(length),
        "rows": attempt.rows,
        "command": list(attempt.command),
        "env": dict(attempt.env),
        "folder": attempt.folder,
        "tail": attempt.tail,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
