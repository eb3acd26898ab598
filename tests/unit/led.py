"""A sweep in a memory store with a clock that the test moves, for tests of the driver and of sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweep.controller.driver import Driver
from sweep.controller.searching import Answer, Request, SearchFailed
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.names import agent_lease, controller_lease
from sweep.core.plugins import Observation, Proposals
from sweep.core.spec import SweepSpec
from sweep.core.state import State
from sweep.stores.base import Lease
from sweep.stores.memory import MemoryStore

SWEEP = "s1"


class Search:
    """A searcher's port that answers when the test says so, or at once."""

    def __init__(self, *, at_once: bool = True, lookahead: int = 0) -> None:
        self.at_once, self.lookahead = at_once, lookahead
        self.asked: list[tuple[SweepSpec, Request, list[Observation]]] = []
        self.ready = 0
        self.failure: str | None = None
        self.closed = 0
        self._open: Request | None = None

    @property
    def busy(self) -> bool:
        return self._open is not None

    def ask(self, spec: SweepSpec, request: Request, seen: Sequence[Observation]) -> None:
        assert self._open is None
        self.asked.append((spec, request, list(seen)))
        self._open = request
        self.ready = 1 if self.at_once else 0

    def poll(self) -> Answer | None:
        if self._open is None or not self.ready:
            return None
        request, self._open = self._open, None
        if self.failure:
            raise SearchFailed(self.failure)
        configs = tuple({"x": request.first + i} for i in range(request.n))
        return Answer(request, Proposals(configs), "fake", "1")

    def fileno(self) -> int | None:
        return 77

    def close(self) -> None:
        self.closed += 1
        self._open = None


class Led:
    """One sweep in one store, with a driver."""

    def __init__(self, spec: SweepSpec, store: Any = None, search: Search | None = None) -> None:
        self.now = 1000.0
        self.memory = MemoryStore(clock=lambda: self.now, now=lambda: self.now)
        self.store = store(self.memory) if store is not None else self.memory
        self.search = search or Search()
        self.warnings: list[str] = []
        self.seqs: dict[str, int] = {}
        self.outside(e.SweepCreated(SWEEP, spec_to_builtins(spec)))
        self.driver = self.lead()

    def lead(self, ttl_s: float = 1e6) -> Driver:
        """A new driver under a new lease."""
        lease = self.memory.acquire(controller_lease(SWEEP), "test", ttl_s)
        assert lease is not None
        return self.make(lease)

    def make(self, lease: Lease) -> Driver:
        return Driver(self.store, SWEEP, lease, lambda _: None, lambda _: self.search, self.warnings.append)

    def outside(self, *entries: e.AnyEntry, writer: str = "test") -> None:
        """Entries from somebody else, past whatever stands before the store."""
        first = self.seqs.get(writer, 0) + 1
        self.memory.append(SWEEP, entries, writer=writer, first_seq=first)
        self.seqs[writer] = first + len(entries) - 1

    def join(self, agent: str = "a", slots: int = 1, ttl_s: float = 1e6) -> Lease:
        """An agent joins, with its lease, and offers its slots."""
        lease = self.memory.acquire(agent_lease(agent), agent, ttl_s)
        assert lease is not None
        offers = [e.SlotOffered(agent, slot, slot + 1) for slot in range(slots)]
        self.outside(e.AgentJoined(agent, "h", 1, slots), *offers, writer=agent)
        return lease

    def step(self) -> None:
        with self.store.batch():
            self.driver.step(self.now)

    def entries(self) -> list[e.AnyEntry]:
        return [recorded.entry for recorded in self.memory.read(SWEEP, 0)]

    def of(self, kind: type[e.Entry]) -> list[Any]:
        return [entry for entry in self.entries() if isinstance(entry, kind)]

    def check_index(self) -> None:
        """The stored index is what a rebuild up to its position gives."""
        index = self.memory.read_index(SWEEP)
        journal = self.memory.read(SWEEP, 0)[: index.upto]
        assert index.rows == rebuild(State(lambda _: None), journal)
