"""Runs as they are written as JSON: what their records say (`sweep.analysis.records`), without making these.

The rule of this file: column by column, for many runs at once; what is encoded is to the letter what their records would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

import msgspec

from sweep.analysis.records import ATTEMPT_FIELDS, FIELDS, attempt_columns, field_columns
from sweep.analysis.usage import FIELDS as USED
from sweep.analysis.usage import usage_of_run
from sweep.core.views import RunView


def _row(name: str, fields: Sequence[str]) -> Any:
    return msgspec.defstruct(name, [(field, Any) for field in fields], gc=False)


_Used, _Attempt = _row("Used", USED), _row("Attempt", ATTEMPT_FIELDS)
_Run = _row("Run", (*FIELDS, "usage", "attempts"))


def written(runs: Sequence[RunView], now_s: float | None) -> list[Any]:
    """What msgspec encodes as it does `records(runs, now_s)`."""
    attempts = _attempts(runs, now_s)
    return list(map(_Run, *field_columns(runs, FIELDS, now_s), _usage(runs, now_s), attempts))


def _attempts(runs: Sequence[RunView], now_s: float | None) -> list[list[Any]]:
    views = [attempt for run in runs for attempt in run.attempts]
    rows = map(_Attempt, *attempt_columns(views, now_s))
    return [[next(rows) for _ in run.attempts] for run in runs]


def _usage(runs: Sequence[RunView], now_s: float | None) -> list[Any]:
    """Most runs have one attempt, of which only CPU time, the time on GPUs and the largest process are known: the others come by
    their records."""
    found: list[Any] = [None] * len(runs)
    plain = []
    for place, run in enumerate(runs):
        attempts = run.attempts
        if len(attempts) == 1 and attempts[0].usage is None and attempts[0].started_s is not None:
            plain.append(place)
        else:
            found[place] = usage_of_run(run, now_s)
    views = [runs[place].attempts[0] for place in plain]
    known: dict[str, Any] = {
        "cpu_s": [one.cpu_s for one in views],
        "gpu_s": [one.gpu_s(one.started_s or 0.0 if now_s is None else now_s) for one in views],
        "energy_j": [one.energy_j for one in views],
        "memory_bytes": [one.maxrss_bytes or None for one in views],
    }
    for place, row in zip(plain, map(_Used, *(known.get(name, repeat(None)) for name in USED)), strict=True):
        found[place] = row
    return found
