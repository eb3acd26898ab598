"""Learning curves to replay: those that a sweep recorded, or a table of them.

The rule of this file: what comes out is whole. A run that was ended early, or failed, says nothing of what it would have become.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from sweep.analysis.history import History
from sweep.api.finding import find_sweep
from sweep.api.reading import load_views
from sweep.core.errors import SweepError
from sweep.stores import Store

_COLUMNS = ("run", "step", "value")
_FEWEST = 3


class NoCurves(SweepError):
    """There is nothing to replay; the message says why."""


class RunCurve(msgspec.Struct, frozen=True):
    """One whole run: the objective at each report."""

    run: str
    steps: tuple[float, ...]
    values: tuple[float, ...]
    seconds: tuple[float, ...]
    """Since the run's start, increasing."""


class Curves(msgspec.Struct, frozen=True):
    """What can be replayed, and what cannot."""

    source: str
    runs: tuple[RunCurve, ...]
    left_out: int = 0
    """Runs that were ended early, failed, or logged no value."""

    @property
    def length(self) -> float:
        """The last step of the longest run, counted from 1."""
        return max(run.steps[-1] + (run.steps[0] == 0) for run in self.runs)


def read_table(path: Path) -> Curves:
    """A CSV file with the columns run, step, value and, where it is known, seconds (since the run's start). Raises NoCurves."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                have = ", ".join(reader.fieldnames or ()) or "none"
                raise NoCurves(
                    f"{path}:1: it has no column {missing[0]}; it needs run, step, value (and may have seconds), and has {have}"
                )
            rows = list(_rows(path, reader))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NoCurves(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    return _whole(str(path), _by_run(rows).items(), 0)


def recorded_curves(store: Store, text: str, metric: str) -> Curves:
    """The completed runs of the sweep that `text` names, by what they logged of `metric`. Raises NotFound and NoCurves."""
    sweep = find_sweep(store, text)
    found: list[tuple[str, list[tuple[float, float, float]]]] = []
    left_out = 0
    searched = [run for run in load_views(store, sweep).runs if run.purpose == "search"]
    for run in searched:
        if run.state != "completed":
            left_out += 1
            continue
        series = History.from_chunks(store.read_history(sweep, run.run)).series(metric)
        points = list(zip(series.steps, series.values, _onward(series.seconds), strict=True))
        if points:
            found.append((run.id, points))
        else:
            left_out += 1
    return _whole(f"sweep {sweep}", found, left_out)


def _rows(path: Path, reader: csv.DictReader[str]) -> Iterator[tuple[str, float, float, float]]:
    for row in reader:
        where = f"{path}:{reader.line_num}"
        step, value = (_number(row[name], name, where) for name in ("step", "value"))
        seconds = _number(row["seconds"], "seconds", where) if row.get("seconds") else math.nan
        if not math.isfinite(step):
            raise NoCurves(f"{where}: step must be a finite number")
        yield row["run"] or "", step, value, seconds


def _number(text: str | None, name: str, where: str) -> float:
    try:
        return float(text or "nan") if name == "value" else float(text or "")
    except ValueError:
        raise NoCurves(f"{where}: {name} must be a number, not {(text or 'nothing')[:40]!r}") from None


def _by_run(
    rows: Iterable[tuple[str, float, float, float]],
) -> Mapping[str, list[tuple[float, float, float]]]:
    runs: dict[str, list[tuple[float, float, float]]] = {}
    for run, step, value, seconds in rows:
        runs.setdefault(run, []).append((step, value, seconds))
    for points in runs.values():
        points.sort(key=lambda point: point[0])
    return runs


def _whole(
    source: str, found: Iterable[tuple[str, list[tuple[float, float, float]]]], left_out: int
) -> Curves:
    runs = []
    for name, points in found:
        steps, values, seconds = (tuple(column) for column in zip(*points, strict=True))
        if any(math.isnan(second) for second in seconds):
            first = steps[0] - 1 if steps[0] != 0 else -1.0  # a step takes a second
            seconds = tuple(step - min(first, 0.0) for step in steps)
        if any(math.isfinite(value) for value in values):
            runs.append(RunCurve(name, steps, values, tuple(_onward(seconds))))
        else:
            left_out += 1
    if len(runs) < _FEWEST:
        raise NoCurves(
            f"{source} has {len(runs)} whole runs with values, and {left_out} that were ended early or have none; "
            f"a replay needs at least {_FEWEST}"
        )
    return Curves(source, tuple(runs), left_out)


def _onward(seconds: Iterable[float]) -> list[float]:
    """Seconds that never go back: a later attempt counts from its own start, and goes on where the one before stopped."""
    passed, last, onward = 0.0, 0.0, []
    for second in seconds:
        if second < last:
            passed += last
        last = second
        onward.append(passed + second)
    return onward
