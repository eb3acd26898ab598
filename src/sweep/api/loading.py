"""`sweep.load(ID)`: a recorded sweep as Python data and, where pandas is installed, as DataFrames."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sweep.analysis.columns import Column, columns, history_columns, run_columns
from sweep.analysis.history import History
from sweep.analysis.inference import mean_interval
from sweep.analysis.records import Record, flat, iso_time, records
from sweep.analysis.table import SweepTable, TrialRow
from sweep.analysis.usage import samples_record, spent, spent_record
from sweep.api.finding import NotFound, find_sweep
from sweep.api.reading import load_views
from sweep.core.errors import SweepError
from sweep.core.names import run_id, usage_cache
from sweep.core.rows import Views
from sweep.core.samples import unpack
from sweep.core.spec import SweepSpec
from sweep.core.views import RunView
from sweep.stores import Store, open_store

if TYPE_CHECKING:
    import pandas as pd


class Sweep:
    """A sweep as it stood when it was loaded; `refresh` reads it again. Made by `load`.

    `runs`, `trials` and `history` are DataFrames and need pandas (`pip install pandas`; without it they raise
    ImportError and say so); everything else does not.
    """

    def __init__(self, store: Store | str | Path | None, text: str) -> None:
        self._store = store
        self._folder = Path.cwd()
        with self._opened() as opened:
            self.id = find_sweep(opened, text)
            """The sweep's ID."""
            self._read(opened)

    def refresh(self) -> Sweep:
        """Read the sweep again; returns itself. Raises StoreError."""
        with self._opened() as opened:
            self._read(opened)
        self.__dict__.pop("runs", None)
        self.__dict__.pop("trials", None)
        return self

    @property
    def name(self) -> str:
        """The spec's `name`, empty without one."""
        return self._views.sweep.name

    @property
    def state(self) -> str:
        """active, paused, finishing or ended."""
        return self._views.sweep.state

    @property
    def reason(self) -> str:
        """Why it has ended; empty before."""
        return self._views.sweep.reason

    @property
    def spec(self) -> SweepSpec:
        """What the sweep was asked to do, in its newest revision."""
        return self._views.spec

    @property
    def spent(self) -> Record:
        """What the sweep has used: by how attempts ended (`total`: all of them) the number of attempts, wall_s, cpu_s, gpu_s,
        energy_kwh (None where nothing was measured), and of how many CPU time and energy were not measured."""
        return spent_record(spent(self._views.runs, self._read_s))

    def usage(self, run: int | str) -> list[Record]:
        """What a run used over time, by its number or ID: one dict per attempt that was sampled, with `seconds` since its start and a
        list per column (`cpu.percent`, `memory.bytes`, `gpu.watts`, …; None: not measured). Reads the store now. Raises
        NotFound."""
        view = self._views.runs[self._number(run)]
        with self._opened() as opened:
            found = [
                (a.attempt, unpack(opened.get_cache(self.id, usage_cache(view.run, a.attempt))))
                for a in view.attempts
            ]
        return [samples_record(attempt, samples) for attempt, samples in found if samples is not None]

    @property
    def best(self) -> Record | None:
        """The completed or pruned run with the best objective, as in `rows`; with replicates, the best run of the trial with the best
        mean. None while there is none."""
        best = self._views.sweep.best_run
        self._count_look([run for run in self._views.runs if run.run == best])
        return None if best is None else next(row for row in self._records if row["run"] == best)

    def result(self) -> dict[str, Any]:
        """The result table: the chosen config, the search's scores, the means on fresh seeds with their 95 % intervals, which configs
        are tied, and in `words` what may be said of it; as `sweep best ID --json` has it. Seeing `report_metric` is recorded."""
        from sweep.api.results import look, result

        with self._opened() as opened:
            found = look(opened, result(self._views), "load", os.environ.get("USER") or "")
        return msgspec.to_builtins(found)  # type: ignore[no-any-return]

    def rows(self) -> list[Record]:
        """One dict per run: id, trial, replicate, state, objective, seed, nested `config`, `defaults` and `summary`, `usage`, times
        (ISO 8601, UTC), host, command, all attempts. Plain JSON data; NaN and infinities are text ("nan")."""
        self._count_look(self._views.runs)
        return [dict(row) for row in self._records]

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per run; `config.lr`, `defaults.epochs`, `summary.accuracy` are columns. Needs pandas."""
        self._count_look(self._views.runs)
        return _frame(run_columns(self._records))

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per trial of the search: trial, state, score (the mean over its replicates), runs (how many), with replicates
        also sd, low and high (over seeds; the ends of the 95 % interval of the mean), ended, and `config.lr`, …. Needs pandas."""
        found = SweepTable(self._views.spec, self._views.sweep, self._views.runs)
        rows = [
            flat(
                {
                    "trial": row.trial,
                    "state": row.state,
                    "score": row.score,
                    "runs": len(row.runs),
                    **_spread(row),
                    "ended": iso_time(row.ended_s),
                    "config": row.config,
                }
            )
            for row in found.trials
        ]
        return _frame(columns(rows))

    def history(self, run: int | str | None = None) -> pd.DataFrame:
        """Every logged row that counts, in order: id, run, trial, replicate, step, seconds, and a column per metric (NaN
        where a row lacks it). `run`: only this one, by its number or ID. Reads the store now. Needs pandas; raises
        NotFound for a run that the sweep has not."""
        wanted = self._views.runs if run is None else [self._views.runs[self._number(run)]]
        self._count_look(wanted)
        with self._opened() as opened:
            found = [
                (view, History.from_chunks(opened.read_history(self.id, view.run)))
                for view in wanted
                if view.attempts
            ]
        return _frame(history_columns(found))

    def _count_look(self, runs: Sequence[RunView]) -> None:
        """Values of `report_metric` among a program's data count as looked at, where they can be counted."""
        if self.spec.report_metric is None:
            return
        from sweep.api.results import look_at_runs

        with suppress(SweepError), self._opened() as opened:
            look_at_runs(opened, self.id, self.spec, runs, "load", os.environ.get("USER") or "")

    def __len__(self) -> int:
        """How many runs it has."""
        return len(self._views.runs)

    def __repr__(self) -> str:
        name = f" ({self.name})" if self.name else ""
        counts = ", ".join(f"{count} {state}" for state, count in self._views.sweep.counts.items())
        metric, best = self.spec.metric, self._views.sweep
        score = ""
        if metric is not None and best.best is not None and best.best_run is not None:
            where = run_id(self.id, best.best_run)
            if best.best_trial is not None:
                where = f"trial {best.best_trial}, the mean of {len(best.best_seeds)}"
            score = f", best {metric.name} {best.best:.6g} in {where}"
        return f"<sweep {self.id}{name}, {self.state}: {counts or 'no runs yet'}{score}>"

    @contextmanager
    def _opened(self) -> Iterator[Store]:
        store = self._store
        if store is None or isinstance(store, str | Path):
            url = os.environ.get("SWEEP_STORE") or None if store is None else str(store)
            with closing(open_store(url, self._folder)) as opened:
                yield opened
        else:
            yield store

    def _read(self, store: Store) -> None:
        self._views: Views = load_views(store, self.id)
        self._read_s = time.time()
        self._records = records(self._views.runs, self._read_s)

    def _number(self, run: int | str) -> int:
        text = str(run).removeprefix(f"{self.id}-")
        if not text.isdigit() or int(text) >= len(self._views.runs):
            raise NotFound(f"sweep {self.id} has no run {run!r}; it has {len(self._views.runs)} runs")
        return int(text)


def load(sweep: str = "latest", store: Store | str | Path | None = None) -> Sweep:
    """The sweep that `sweep` names: its ID, a unique beginning of it, or "latest".

    `store`: an open store, the URL or path of one, or None for what the command line would take: SWEEP_STORE, else
    `.sweep/store.db` in the project around the current folder. Raises NotFound (a LookupError) and StoreError.
    """
    return Sweep(store, sweep)


def _spread(row: TrialRow) -> dict[str, float | None]:
    """How far seeds spread the values of a trial; nothing for one that has a single run."""
    if len(row.runs) < 2:
        return {}
    values = [r.objective for r in row.runs if r.state in ("completed", "pruned") and r.objective is not None]
    mean = mean_interval([value for value in values if math.isfinite(value)])
    return (
        {"sd": None, "low": None, "high": None}
        if mean is None
        else {
            "sd": mean.sd,
            "low": mean.low,
            "high": mean.high,
        }
    )


def _frame(found: Sequence[Column]) -> pd.DataFrame:
    from sweep.analysis.tabular import to_frame

    return to_frame(found)
