"""A run as a flat JSON record, and many of them field by field: what `--json`, `--format csv` and the filters see.

The rule of this file: what comes out is plain JSON data; numbers that JSON cannot hold are the strings "nan", "inf" and
"-inf".
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from sweep.core.views import AttemptView, RunView

Record = dict[str, Any]

GROUPS = ("config", "defaults", "summary")
"""Fields that hold named values, known to filters and CSV as `config.lr`."""
MAPS = (*GROUPS, "usage", "attempts")
_MILLISECONDS = tuple(f".{number:03d}Z" for number in range(1000))
_JSON = frozenset((type(None), bool, int, str))
_WRITTEN = frozenset((type(None), bool, int, float, str))


@functools.lru_cache(4096)  # a run's times are also those of its attempt, and of others in the same commit
def iso_time(at_s: float | None) -> str | None:
    """Unix seconds as ISO 8601 in UTC with milliseconds: `2025-01-31T12:00:00.000Z`."""
    if at_s is None:
        return None
    second, micros = divmod(round(at_s * 1e6), 1_000_000)
    return _second(second) + _MILLISECONDS[micros // 1000]


@functools.lru_cache(10_000)  # of many runs much happens within one second
def _second(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()[:-6]  # without +00:00


_Field = Callable[[Sequence[RunView], Sequence[AttemptView | None], float | None], list[Any]]

_FIELDS: dict[str, _Field] = {
    "id": lambda runs, _, __: [f"{run.sweep}-{run.run}" for run in runs],
    "sweep": lambda runs, _, __: [run.sweep for run in runs],
    "run": lambda runs, _, __: [run.run for run in runs],
    "trial": lambda runs, _, __: [run.trial for run in runs],
    "replicate": lambda runs, _, __: [run.replicate for run in runs],
    "purpose": lambda runs, _, __: [run.purpose for run in runs],
    "attempt": lambda _, lasts, __: [last.attempt if last else 0 for last in lasts],
    "state": lambda runs, _, __: [run.state for run in runs],
    "reason": lambda runs, _, __: [run.reason for run in runs],
    "config": lambda runs, _, __: _maps([run.config for run in runs]),
    "defaults": lambda runs, _, __: _maps([run.defaults for run in runs]),
    "seed": lambda runs, _, __: [run.seed for run in runs],
    "objective": lambda runs, _, __: _as_json([run.objective for run in runs]),
    "steps": lambda runs, _, __: [run.steps for run in runs],
    "tags": lambda runs, _, __: [list(run.tags) for run in runs],
    "note": lambda runs, _, __: [run.note for run in runs],
    "summary": lambda runs, _, __: _maps([run.summary for run in runs]),
    "host": lambda _, lasts, __: [last.host if last else None for last in lasts],
    "slot": lambda _, lasts, __: [last.slot if last else None for last in lasts],
    "gpus": lambda _, lasts, __: [list(last.gpus) if last else [] for last in lasts],
    "started": lambda runs, _, __: [iso_time(_started_s(run)) for run in runs],
    "ended": lambda _, lasts, __: [iso_time(last.ended_s) if last else None for last in lasts],
    "duration_s": lambda runs, _, now_s: [_rounded(duration_s(run, now_s)) for run in runs],
    "exit_code": lambda _, lasts, __: [last.exit_code if last else None for last in lasts],
    "error_class": lambda _, lasts, __: [last.error_class if last else "" for last in lasts],
    "command": lambda _, lasts, __: [list(last.command) if last else [] for last in lasts],
    "folder": lambda _, lasts, __: [last.folder if last else "" for last in lasts],
}
"""What a record says, field by field: for many runs, their last attempts, and now (Unix time)."""

_ATTEMPT: dict[str, Callable[[Sequence[AttemptView], float | None], list[Any]]] = {
    "attempt": lambda all_, _: [one.attempt for one in all_],
    "agent": lambda all_, _: [one.agent for one in all_],
    "host": lambda all_, _: [one.host for one in all_],
    "slot": lambda all_, _: [one.slot for one in all_],
    "gpus": lambda all_, _: [list(one.gpus) for one in all_],
    "pid": lambda all_, _: [one.pid for one in all_],
    "outcome": lambda all_, _: [one.outcome for one in all_],
    "reason": lambda all_, _: [one.reason for one in all_],
    "exit_code": lambda all_, _: [one.exit_code for one in all_],
    "error_class": lambda all_, _: [one.error_class for one in all_],
    "assigned": lambda all_, _: [iso_time(one.assigned_s) for one in all_],
    "started": lambda all_, _: [iso_time(one.started_s) for one in all_],
    "ended": lambda all_, _: [iso_time(one.ended_s) for one in all_],
    "duration_s": lambda all_, now_s: [_rounded(work_s(one, now_s)) for one in all_],
    "rows": lambda all_, _: [one.rows for one in all_],
    "command": lambda all_, _: [list(one.command) for one in all_],
    "env": lambda all_, _: [one.env.copy() for one in all_],
    "determinism": lambda all_, _: [one.state.copy() for one in all_],
    "folder": lambda all_, _: [one.folder for one in all_],
    "tail": lambda all_, _: [one.tail for one in all_],
}
"""What a record says of each attempt."""

FIELDS, ATTEMPT_FIELDS = tuple(_FIELDS), tuple(_ATTEMPT)
PLAIN = tuple(name for name in FIELDS if name not in GROUPS)


def record(run: RunView, now_s: float | None = None) -> Record:
    """Everything about a run. `started` is its first attempt's start and `ended` the end of its last attempt (ISO 8601,
    UTC); `duration_s` is the time at work over all attempts whose length is known, up to `now_s` (Unix time) for one that
    still runs; host, slot, GPUs, exit code, command and folder are the last attempt's."""
    return records((run,), now_s)[0]


def records(runs: Sequence[RunView], now_s: float | None = None) -> list[Record]:
    """`record` of each of these runs."""
    fields = field_columns(runs, FIELDS, now_s)
    found = [dict(zip(FIELDS, values, strict=True)) for values in zip(*fields, strict=True)]
    from sweep.analysis.usage import usage_of_run  # it reads records itself

    views = [attempt for run in runs for attempt in run.attempts]
    attempts = zip(*attempt_columns(views, now_s), strict=True)
    for run, row in zip(runs, found, strict=True):
        row["usage"] = usage_of_run(run, now_s)
        row["attempts"] = [dict(zip(ATTEMPT_FIELDS, next(attempts), strict=True)) for _ in run.attempts]
    return found


def attempt_columns(attempts: Sequence[AttemptView], now_s: float | None) -> list[list[Any]]:
    """Of each of ATTEMPT_FIELDS its values, one an attempt, as in the records of their runs."""
    return [values(attempts, now_s) for values in _ATTEMPT.values()]


def field_columns(runs: Sequence[RunView], names: Iterable[str], now_s: float | None) -> list[list[Any]]:
    """Of each of these FIELDS its values, one a run, as in their records."""
    lasts = [run.attempts[-1] if run.attempts else None for run in runs]
    return [_FIELDS[name](runs, lasts, now_s) for name in names]


def group_columns(runs: Sequence[RunView], group: str) -> dict[str, list[Any]]:
    """All that is in `group`: name (`config.lr`) -> its values, one a run, None where a run has none. Names in the order in
    which they come."""
    lines: list[dict[str, Any]] = [getattr(run, group) for run in runs]
    plain = {f"{group}.{key}": [line.get(key) for line in lines] for key in keys_of(lines)}
    if all(set(map(type, values)) <= _WRITTEN for values in plain.values()):
        return {name: _as_json(values) for name, values in plain.items()}
    flattened = [flatten(line, group) for line in _maps(lines)]
    return {name: [line.get(name) for line in flattened] for name in keys_of(flattened)}


def _as_json(values: list[Any]) -> list[Any]:
    """`to_json` of each, quickly for what mostly comes."""
    return values if _are_json(values) else list(map(to_json, values))


def _started_s(run: RunView) -> float | None:
    attempts = run.attempts
    if len(attempts) == 1:
        return attempts[0].started_s
    return min((one.started_s for one in attempts if one.started_s is not None), default=None)


def _maps(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`to_json` of each, quickly for what mostly comes: names with finite numbers and words, nothing nested."""
    if _are_json(list(chain.from_iterable([line.values() for line in lines]))):
        return list(map(dict, lines))
    return [{str(key): to_json(item) for key, item in line.items()} for line in lines]


def _are_json(values: Sequence[Any]) -> bool:
    """Whether these are finite numbers, words and None. A sum is finite only where all that is added up is."""
    kinds = set(map(type, values))
    if kinds <= _JSON:
        return True
    return kinds <= _WRITTEN and math.isfinite(sum([value for value in values if type(value) is float]))


def duration_s(run: RunView, now_s: float | None = None) -> float | None:
    """Seconds at work over all attempts of `run`; an attempt that has not ended counts up to `now_s` where that
    is given. None when it never started, or has no attempt of known length."""
    attempts = run.attempts
    if len(attempts) == 1:  # as mostly
        return work_s(attempts[0], now_s)
    lengths = [length for attempt in attempts if (length := work_s(attempt, now_s)) is not None]
    return sum(lengths) if lengths else None


def work_s(attempt: AttemptView, now_s: float | None = None) -> float | None:
    """Seconds at work. None for an attempt that was lost, too: it died somewhere between its start and the moment in which
    its agent's lease had run out, and nobody knows when."""
    return None if attempt.outcome == "lost" and attempt.wall_s is None else length_s(attempt, now_s)


def length_s(attempt: AttemptView, now_s: float | None = None) -> float | None:
    """Seconds that its slot was taken: what the agent measured, else between the commits of its start and its end."""
    if attempt.started_s is None:
        return None
    if attempt.wall_s is not None:
        return attempt.wall_s
    end_s = now_s if attempt.ended_s is None else attempt.ended_s
    return None if end_s is None else max(end_s - attempt.started_s, 0.0)


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


def keys_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys, in the order in which they come."""
    orders = dict.fromkeys(map(tuple, rows))  # mostly one
    return list(dict.fromkeys(chain.from_iterable(orders)))


def flat(row: Record, usage: bool = False) -> Record:
    """The plain fields, and each named value as `config.lr`, `defaults.epochs`, `summary.loss`; with `usage` also what was used, as
    `usage.cpu_s`."""
    found = row.copy()
    for name in MAPS:
        found.pop(name, None)
    for group in (*GROUPS, *(("usage",) if usage else ())):
        if values := row.get(group):
            found |= flatten(values, group)
    return found


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
