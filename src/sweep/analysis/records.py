"""A run as a flat JSON record, and many of them as CSV: what `--json`, `--format csv` and the filters see.

The rule of this file: what comes out is plain JSON data; numbers that JSON cannot hold are the strings "nan", "inf" and
"-inf".
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sweep.analysis.summary import duration_s
from sweep.core.views import AttemptView, RunView

Record = dict[str, Any]

GROUPS = ("config", "defaults", "summary")
"""Fields that hold named values, known to filters and CSV as `config.lr`."""
MAPS = (*GROUPS, "attempts")


def record(run: RunView, now_s: float | None = None) -> Record:
    """Everything about a run. `started` is its first attempt's start and `ended` the end of its last attempt (ISO 8601,
    UTC); `duration_s` is the time in execution over all attempts, up to `now_s` (Unix time) for one that still runs;
    host, slot, GPUs, exit code, command and folder are the last attempt's."""
    last = run.attempts[-1] if run.attempts else None
    starts = [attempt.started_s for attempt in run.attempts if attempt.started_s is not None]
    found = {
        "id": run.id,
        "sweep": run.sweep,
        "run": run.run,
        "trial": run.trial,
        "replicate": run.replicate,
        "purpose": run.purpose,
        "attempt": run.attempt,
        "state": run.state,
        "reason": run.reason,
        "config": run.config,
        "defaults": run.defaults,
        "seed": run.seed,
        "objective": run.objective,
        "steps": run.steps,
        "summary": run.summary,
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
        "attempts": [_attempt(attempt, now_s) for attempt in run.attempts],
    }
    plain = to_json(found)
    assert isinstance(plain, dict)
    return plain


def to_json(value: Any) -> Any:
    """A copy as plain JSON data; NaN and infinities as strings."""
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
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested maps as one level with dotted names; lists and empty maps are values."""
    flat: dict[str, Any] = {}
    for key, item in tree.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(item, Mapping) and item:
            flat.update(flatten(item, name))
        else:
            flat[name] = item
    return flat


def to_csv(rows: Iterable[Record]) -> str:
    """Records as CSV with a header: the plain fields, then `config.*`, `defaults.*` and `summary.*`; lists as JSON,
    nothing for null.

    Records without a field leave it empty; attempts are left out (`--format json` has them).
    """
    lines = [flat(row) for row in rows]
    names: dict[str, None] = {}
    for group in ("plain", *GROUPS):
        for line in lines:
            names.update(dict.fromkeys(name for name in line if _group(name) == group))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(line.get(name)) for name in names] for line in lines)
    return out.getvalue()


def flat(row: Record) -> Record:
    """The plain fields, and each named value as `config.lr`, `defaults.epochs`, `summary.loss`."""
    found = {key: item for key, item in row.items() if key not in MAPS}
    for group in GROUPS:
        found |= flatten(row.get(group) or {}, group)
    return found


def _group(name: str) -> str:
    start = name.partition(".")[0]
    return start if start in GROUPS and "." in name else "plain"


def _cell(item: Any) -> Any:
    if item is None:
        return ""
    if isinstance(item, bool):
        return "true" if item else "false"
    return json.dumps(item, ensure_ascii=False) if isinstance(item, list | dict) else item


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
