"""What the checks of a store share: the world they see, and short ways to make entries and rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from sweep.core import entries as e
from sweep.core.entries import AnyEntry, Recorded
from sweep.stores import HistoryChunk, Lease, Store


class StoreWorld(Protocol):
    """An empty store under test."""

    def open(self) -> Store:
        """One more handle on the same data; every call may come from another thread."""
        ...

    def advance(self, seconds: float) -> None:
        """Let the store's lease clock go on by at least that much."""
        ...


Check = Callable[[StoreWorld], None]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Make a function one of the checks."""
    CHECKS[function.__name__] = function
    return function


@contextmanager
def raises(kind: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def reports(count: int, first: int = 0) -> list[AnyEntry]:
    return [e.ObjectiveReported(run, 1, 0, (1.0,), (run / 7,)) for run in range(first, first + count)]


def assigned(agent: str, run: int = 1) -> AnyEntry:
    return e.RunAssigned(run, 1, agent, 0, 1, run, 0, 7, {"lr": 0.1})


def positions(records: list[Recorded]) -> list[int]:
    return [recorded.position for recorded in records]


def hold(store: Store, name: str = "lead", holder: str = "one", ttl_s: float = 60.0) -> Lease:
    lease = store.acquire(name, holder, ttl_s)
    assert lease is not None, f"{name} should have been free"
    return lease


def chunk(first_row: int, count: int, run: int = 1, attempt: int = 1, mark: str = "") -> HistoryChunk:
    rows = [f'{{"row":{row}{mark}}}' for row in range(first_row, first_row + count)]
    return HistoryChunk(run, attempt, first_row, count, "\n".join(rows).encode())


def rows_of(store: Store, run: int = 1, attempt: int = 1) -> list[tuple[int, bytes]]:
    """Every stored row with its number."""
    rows: list[tuple[int, bytes]] = []
    for chunk in store.read_history("s", run, attempt):
        parts = chunk.data.split(b"\n")
        assert len(parts) == chunk.count, "count is the number of rows"
        rows += enumerate(parts, chunk.first_row)
    return rows
