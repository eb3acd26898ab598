"""Reading what is recorded: the listing index where it is current, the journal itself where it is not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sweep.api.finding import NotFound
from sweep.core.names import controller_lease, usage_cache
from sweep.core.rows import (
    AGENT_PREFIX,
    SPEC_KEY,
    SWEEP_KEY,
    Views,
    decode_run,
    decode_sweep,
    decode_views,
    run_key,
)
from sweep.core.views import RunView, SweepView
from sweep.stores import HistoryChunk, Index, Store

if TYPE_CHECKING:
    from sweep.core.samples import Samples

CATCH_UP_S = 0.3
"""How long to wait for a living controller to bring the index up to date before folding the journal ourselves."""


def load_rows(store: Store, sweep: str, *prefixes: str) -> tuple[int, dict[str, bytes]]:
    """(journal position, index rows) as of now; only the rows whose keys begin with one of `prefixes`, where there are some.
    Raises NotFound for an unknown sweep."""
    end = store.position(sweep)
    if end == 0:
        raise NotFound(f"there is no sweep {sweep}")
    until = time.monotonic() + CATCH_UP_S
    wanted = prefixes or ("",)
    index = _read(store, sweep, wanted)
    while index.upto < end and time.monotonic() < until and store.leases(controller_lease(sweep)):
        time.sleep(0.02)
        index = _read(store, sweep, wanted)
    if index.upto >= end:
        return index.upto, index.rows
    return _follow(store, sweep, wanted)


def _read(store: Store, sweep: str, prefixes: Sequence[str]) -> Index:
    """The rows under these prefixes, all of one moment; the position is 0 where they were not."""
    parts = [store.read_index(sweep, prefix) for prefix in prefixes]
    upto = parts[0].upto if len({part.upto for part in parts}) == 1 else 0
    return Index(upto, {key: row for part in parts for key, row in part.rows.items()})


def _follow(store: Store, sweep: str, prefixes: Sequence[str]) -> tuple[int, dict[str, bytes]]:
    """What the index will be when a controller has brought it up to date. Only here a listing pays for what folds a journal."""
    from sweep.controller.recovery import recover
    from sweep.core.index import IndexFold
    from sweep.stopping import make_stopper

    index = store.read_index(sweep)
    state = recover(store, sweep, index.upto, make_stopper)
    fold = IndexFold(state, index.rows.get)
    for recorded in store.read(sweep, state.position):
        fold.fold(recorded)
    rows = {**index.rows, **fold.take()}
    return state.position, {key: row for key, row in rows.items() if key.startswith(tuple(prefixes))}


def load_views(store: Store, sweep: str, runs: Iterable[int] | None = None) -> Views:
    """Everything that listings and pictures need of a sweep; of its runs only those with the numbers in `runs`, where given:
    then it costs as little for a large sweep as for a small one. Raises NotFound for an unknown sweep."""
    if runs is None:
        return decode_views(*load_rows(store, sweep))
    keys = map(run_key, runs)
    return decode_views(*load_rows(store, sweep, SWEEP_KEY, SPEC_KEY, AGENT_PREFIX, *keys))


def load_best(store: Store, sweep: str) -> Views:
    """`load_views` with the best run only; with none where there is no best run. Raises NotFound for an unknown sweep."""
    views = load_views(store, sweep, ())
    while (best := views.sweep.best_run) is not None and best not in (run.run for run in views.runs):
        views = load_views(store, sweep, (best,))
    return views


def load_outcome(store: Store, sweep: str) -> Views:
    """What is said of a sweep at its end: `load_best`, and all of its runs where some confirm its result. Raises NotFound."""
    views = load_best(store, sweep)
    return load_views(store, sweep) if views.spec.confirm is not None else views


def load_run(store: Store, sweep: str, number: int) -> RunView:
    """One run. Raises NotFound for an unknown one."""
    row = load_rows(store, sweep, run_key(number))[1].get(run_key(number))
    if row is None:
        raise NotFound(f"sweep {sweep} has no run {number}")
    return decode_run(row)


def count_runs(store: Store, sweep: str) -> int:
    """How many runs a sweep has; they are numbered from 0 without gaps."""
    return sum(load_sweep_view(store, sweep).counts.values())


def read_history(store: Store, sweep: str, runs: list[int]) -> dict[int, list[HistoryChunk]]:
    """The logged rows of these runs, as recorded."""
    return {run: store.read_history(sweep, run) for run in runs}


def read_samples(store: Store, run: RunView) -> dict[int, Samples]:
    """Attempt -> what it used over time, of those that were sampled."""
    from sweep.core.samples import unpack

    found = {}
    for attempt in run.attempts:
        samples = unpack(store.get_cache(run.sweep, usage_cache(run.run, attempt.attempt)))
        if samples is not None and len(samples):
            found[attempt.attempt] = samples
    return found


def load_sweep_views(store: Store) -> list[SweepView]:
    """The rows of all sweeps, the latest last."""
    found = []
    for sweep in store.sweeps():
        with contextlib.suppress(NotFound):  # removed in between
            found.append(load_sweep_view(store, sweep))
    return found


def load_sweep_view(store: Store, sweep: str) -> SweepView:
    """The sweep's own row, without reading its runs. Raises NotFound for an unknown one."""
    return decode_sweep(load_rows(store, sweep, SWEEP_KEY)[1][SWEEP_KEY])
