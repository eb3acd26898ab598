"""How every figure here is taken: rows in turn, medians of rounds, ratios round by round. See README.md beside this file."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLOOR, SOURCE = HERE / "floor", HERE.parent / "src"

Figures = dict[str, float]
"""Name with its unit -> value: `{"CPU ms": 12.5, "peak MB": 9.1}`."""

DECISIONS_FIRST = (
    "decisions and a run's end are on disk (fsync) before they are acted on, objective values at once, other rows within a "
    "second"
)


@dataclass
class Row:
    """One thing that is measured; `measure` is called once a round."""

    label: str
    measure: Callable[[], Figures]


@dataclass
class Goal:
    """What `label` must reach in `figure`: at most `ratio` times the row `to` (the first one unless said), or an absolute
    value. With `at_least` the row `to` must be so many times as much as this one, or the value is a lower limit."""

    label: str
    figure: str
    ratio: float | None = None
    to: str | None = None
    most: float | None = None
    least: float | None = None
    at_least: float | None = None


@dataclass
class Table:
    """Rows that are measured together. The first row is what the others are compared with."""

    title: str
    rows: list[Row]
    goals: list[Goal] = field(default_factory=list)
    durability: str = ""
    """What is on disk when, for the rows that are ours."""
    note: str = ""
    rounds: float = 1.0
    """So many times the rounds that were asked for: cheap rows can have more."""


@dataclass
class Context:
    """What a benchmark may use."""

    folder: Path
    """Its own, empty, gone afterwards."""
    peers: Path | None
    rounds: int
    missing: set[str] = field(default_factory=set)
    """Peers that were asked for and are not there."""

    def peer(self, name: str) -> str | None:
        """The Python of a peer's environment (`peers.sh`), None when it is not there."""
        python = self.peers / name / "bin" / "python" if self.peers is not None else None
        if python is None or not python.exists():
            self.missing.add(name)
            return None
        return str(python)


@dataclass
class Result:
    table: Table
    figures: dict[str, dict[str, list[float]]]
    """Figure -> row -> one value a round."""

    def median(self, figure: str, label: str) -> float:
        return statistics.median(self.figures[figure][label])

    def ratio(self, figure: str, label: str, to: str | None = None) -> float:
        """Median of the rounds' ratios to the row `to`."""
        rows = self.figures[figure]
        base = rows[to if to is not None else self.table.rows[0].label]
        return statistics.median(a / b for a, b in zip(rows[label], base, strict=True) if b)

    def reached(self, goal: Goal) -> tuple[float, bool] | None:
        """(the value that the goal speaks of, whether it is reached); None when a row was not measured."""
        rows = self.figures.get(goal.figure, {})
        base = goal.to if goal.to is not None else self.table.rows[0].label
        if goal.label not in rows or base not in rows:
            return None
        if goal.ratio is not None:
            value = self.ratio(goal.figure, goal.label, base)
            return value, value <= goal.ratio
        if goal.at_least is not None:
            value = self.ratio(goal.figure, base, goal.label)
            return value, value >= goal.at_least
        value = self.median(goal.figure, goal.label)
        return value, (goal.most is None or value <= goal.most) and (
            goal.least is None or value >= goal.least
        )


def take(table: Table, rounds: int) -> Result:
    """Measure all rows once a round, odd rounds backwards, after one round that is not recorded."""
    for row in table.rows:
        row.measure()
    figures: dict[str, dict[str, list[float]]] = {}
    for number in range(max(1, round(rounds * table.rounds))):
        for row in table.rows if number % 2 == 0 else reversed(table.rows):
            for name, value in row.measure().items():
                figures.setdefault(name, {}).setdefault(row.label, []).append(value)
    return Result(table, figures)


# --- tools of the benchmarks -----------------------------------------------------------------------------------


def environment(folder: Path, **more: str) -> dict[str, str]:
    """This environment without what concerns sweep, with byte code cached in `folder`."""
    mine = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith(("SWEEP_", "WANDB_"))
    }
    return {**mine, "PYTHONPYCACHEPREFIX": str(folder / "pycache"), **more}


def process(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[Figures, str]:
    """({"CPU ms", "wall ms"} of a process and the children that it waited for, what it printed). It must succeed."""
    import time

    began = time.perf_counter()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(command, cwd=cwd, env=env, stdout=out, stderr=errors)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
        out.seek(0)
        errors.seek(0)
        if child.returncode != 0:
            raise SystemExit(f"exit code {child.returncode} of {command}:\n{errors.read().decode()[-2000:]}")
        text = out.read().decode()
    return {"CPU ms": 1e3 * (usage.ru_utime + usage.ru_stime), "wall ms": 1e3 * wall}, text


@contextmanager
def draining() -> Iterator[str]:
    """A process that reads what is sent and throws it away; gives the path of its socket."""
    drain = subprocess.Popen(
        [sys.executable, str(FLOOR / "drain.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert drain.stdin is not None and drain.stdout is not None
    try:
        yield drain.stdout.readline().strip()
    finally:
        drain.stdin.close()
        drain.wait()
        drain.stdout.close()


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that at least `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
