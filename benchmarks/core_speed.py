"""The controller: entries a second, in memory and with the SQLite store; how long an ended run waits for the answer."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator

from measure import DECISIONS_FIRST, Context, Figures, Goal, Row, Table, percentile
from recorded import Worker, create, lead, record, spec

from sweep.core import entries as e
from sweep.core.decide import decide
from sweep.core.evolve import evolve
from sweep.core.index import IndexFold
from sweep.core.state import State
from sweep.stopping import make_stopper
from sweep.stores.memory import MemoryStore
from sweep.stores.sqlite import SqliteStore

RUNS, REPORTS, SLOTS = 1000, 10, 8
ENDS_PER_S, ENDS = 2000, 4000


def tables(context: Context) -> Iterator[Table]:
    """Folding and deciding; the whole loop with its store; answers under load."""
    store = MemoryStore()
    record(store, "bench", spec(RUNS), REPORTS, slots=SLOTS)
    journal = store.read("bench", 0)
    yield Table(
        f"evolve and decide: {RUNS} runs with {REPORTS} reports, an entry each, on {SLOTS} slots, decided after every append",
        [
            Row("evolve", lambda: _fold(journal, decided=False)),
            Row("evolve and decide", lambda: _fold(journal, decided=True)),
            Row("evolve and the index of listings", lambda: _index(journal)),
        ],
        [Goal("evolve and decide", "entries/s", least=250_000)],
    )
    yield Table(
        f"the same through the SQLite store: decoding, encoding, index, commits of {SLOTS} slots' events",
        [Row("sweep", lambda: _through_store(context))],
        [Goal("sweep", "entries per CPU s", least=50_000)],
        f"synchronous=FULL: {DECISIONS_FIRST}",
    )
    yield Table(
        f"from a run's end to the next one's assignment, {ENDS_PER_S} ends a second",
        [Row("fdatasync of 16 kB alone", lambda: _syncs(context)), Row("sweep", lambda: _answers(context))],
        [Goal("sweep", "p99 ms", most=20)],
        "synchronous=FULL: the end and the assignment are on disk when the answer is there",
        "wall time: on a machine that others use, compare with the disk's own figure in the row above",
    )


def _fold(journal: list[e.Recorded], decided: bool) -> Figures:
    state = State(make_stopper)
    commits = [list(group) for _, group in itertools.groupby(journal, lambda one: (one.writer, one.at_s))]
    began = time.process_time()
    for commit in commits:
        for recorded in commit:
            evolve(state, recorded)
        if decided:
            decide(state, recorded.at_s)
    return {"entries/s": len(journal) / (time.process_time() - began)}


def _index(journal: list[e.Recorded]) -> Figures:
    fold = IndexFold(State(make_stopper), {}.get)
    began = time.process_time()
    for recorded in journal:
        fold.fold(recorded)
    return {"entries/s": len(journal) / (time.process_time() - began)}


def _through_store(context: Context) -> Figures:
    path = context.folder / "store.db"
    store = SqliteStore(path, create=True)
    began, wall = time.process_time(), time.perf_counter()
    record(store, "bench", spec(RUNS, method="grid"), REPORTS, slots=SLOTS)
    cpu, wall = time.process_time() - began, time.perf_counter() - wall
    entries = store.position("bench")
    store.close()
    _remove(context)
    return {"entries per CPU s": entries / cpu, "entries per wall s": entries / wall}


def _remove(context: Context) -> None:
    for file in context.folder.glob("store.db*"):
        file.unlink()


def _syncs(context: Context) -> Figures:
    """What the disk takes for the least that a commit is."""
    waits = []
    with (context.folder / "syncs").open("wb", buffering=0) as file:
        for _ in range(200):
            began = time.perf_counter()
            file.write(b"x" * 16_384)
            os.fdatasync(file.fileno())
            waits.append(1e3 * (time.perf_counter() - began))
            time.sleep(0.002)
    return {"p50 ms": percentile(waits, 50), "p99 ms": percentile(waits, 99)}


def _answers(context: Context) -> Figures:
    """Ends arrive evenly; whatever has arrived when the controller is free goes into one commit, as in an agent."""
    store = SqliteStore(context.folder / "store.db", create=True)
    create(store, "bench", spec(ENDS, method="grid"))
    worker = Worker(store, "bench", SLOTS * 8, 0)
    driver = lead(store, "bench")
    with store.batch():
        driver.step(time.time())
    waiting: list[e.RunAssigned] = []
    waits: list[float] = []
    begin, given = time.perf_counter(), 0
    cpu = time.process_time()
    while given < ENDS:
        waiting += worker.orders()
        due = min(int((time.perf_counter() - begin) * ENDS_PER_S), ENDS)
        taken, waiting = waiting[: due - given], waiting[due - given :]
        if not taken:
            time.sleep(0.0001)
            continue
        arrived = [begin + (given + number) / ENDS_PER_S for number in range(len(taken))]
        with store.batch():
            worker.work(taken)
            driver.step(time.time(), worker.written())
        answered = time.perf_counter()
        waits += [1e3 * (answered - at) for at in arrived]
        given += len(taken)
    cpu = time.process_time() - cpu
    driver.close()
    store.close()
    _remove(context)
    return {
        "p50 ms": percentile(waits, 50),
        "p99 ms": percentile(waits, 99),
        "CPU µs an end": 1e6 * cpu / given,
        "ends/s": given / (time.perf_counter() - begin),
    }
