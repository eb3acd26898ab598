"""Taking in what runs log: CPU per row from the socket into the store, at 10,000 rows a second and more."""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
import time
from collections.abc import Iterator

from measure import Context, Figures, Goal, Row, Table

from sweep.agents.sockets import RunServer
from sweep.core import entries as e
from sweep.stores import HistoryChunk
from sweep.stores.sqlite import SqliteStore

ROWS, COMMIT_EVERY_S = 60_000, 1.0


def tables(context: Context) -> Iterator[Table]:
    """One metric and five, of which one is the objective; and as the only thing to do, without an objective."""
    yield Table(
        f"{ROWS:,} rows of a run, as the SDK sends them, as fast as they come",
        [
            Row("1 metric", lambda: _flood(context, 1, "loss")),
            Row("1 metric, not the objective", lambda: _flood(context, 1, "other")),
            Row("5 metrics", lambda: _flood(context, 5, "loss")),
        ],
        [Goal("1 metric", "CPU µs a row", most=2.5), Goal("1 metric", "rows/s", least=10_000)],
        "commits with synchronous=FULL: rows within a second, objective values every 50 ms",
    )


def _lines(metrics: int) -> bytes:
    names = ("loss", "accuracy", "lr", "grad_norm", "seen")[:metrics]
    values = {name: 0.12345678901 * (number + 1) for number, name in enumerate(names)}
    return b"".join(
        json.dumps({"i": i, "s": i, "t": round(i * 0.001, 3), "m": values}, separators=(",", ":")).encode()
        + b"\n"
        for i in range(ROWS)
    )


def _flood(context: Context, metrics: int, objective: str) -> Figures:
    """The agent's own socket, inbox and store; the sender is another thread, whose CPU does not count."""
    store = SqliteStore(context.folder / "store.db", create=True)
    selector = selectors.DefaultSelector()
    server = RunServer(selector, str(context.folder / "s"))
    inbox = server.expect(0, "bench/0", 1, objective)
    data = b'{"op":"hello","run":"bench/0","attempt":1,"pid":%d,"v":1}\n' % os.getpid() + _lines(metrics)
    sender = threading.Thread(target=_send, args=(server.path, data))
    sender.start()
    began, cpu = time.perf_counter(), time.thread_time()
    seq, due = 0, 0.0
    while inbox.rows < ROWS or inbox.has_objective or inbox.pending_bytes:
        for key, _ in selector.select(0.05):
            key.data()
        now = time.perf_counter()
        list(server.poll(now))
        if now < due and inbox.rows < ROWS:
            continue
        due = now + (0.05 if objective == "loss" else COMMIT_EVERY_S)
        taken = inbox.take()
        with store.batch():
            if taken.steps:
                seq += 1
                entry = e.ObjectiveReported(0, 1, taken.first, tuple(taken.steps), tuple(taken.values))
                store.append("bench", [entry], writer="agent", first_seq=seq)
            store.append_history("bench", [HistoryChunk(0, 1, taken.first_row, taken.count, taken.data)])
    cpu, wall = time.thread_time() - cpu, time.perf_counter() - began
    sender.join()
    server.close()
    selector.close()
    store.close()
    for file in context.folder.glob("store.db*"):
        file.unlink()
    return {"CPU µs a row": 1e6 * cpu / ROWS, "rows/s": ROWS / wall}


def _send(path: str, data: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(data)
