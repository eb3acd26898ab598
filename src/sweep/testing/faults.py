"""What can go wrong in the simulated world: how often, and the store through which an agent meets it.

The rule of this file: a fault is drawn from the world's one random generator, is counted under its name when it really
happens, and ceases when the world grows quiet.
"""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

import msgspec

from sweep.core.entries import AnyEntry, Recorded
from sweep.stores.base import Appended, HistoryChunk, Index, IndexUpdate, Lease, StoreError
from sweep.stores.memory import MemoryStore

T = TypeVar("T")


class Crash(BaseException):
    """The process that was running is gone (kill -9): no handler of its own sees this."""


class Rates(msgspec.Struct, frozen=True):
    """How often each kind of fault comes, per call of the store, or in the whole life of the world."""

    failed: float
    """A call of the store has no effect and fails."""
    lost: float
    """A call has its effect, but its answer is lost."""
    doubled: float
    """An append is delivered twice."""
    late: float
    """An append, or a call about a lease, fails, and has its effect some seconds later, perhaps after a later one (only where there
    are no batches)."""
    crash: float
    """The agent dies before or after an append, or between its commit and carrying out what was ordered."""
    overtaken: float
    """Another agent takes a turn within a call."""
    events: tuple[str, ...]
    """Faults that happen at a time rather than in a call, in the order of their happening."""


EVENTS = (
    "agent crash",
    "agent frozen",
    "agent and guard frozen",
    "agent cut off",
    "guard death",
    "process crash",
    "disk full",
    "store outage",
    "bad node",
    "flapping node",
    "preemption storm",
    "interrupt",
    "terminate",
)
OF_CONTROLLERS = ("controller crash", "controller frozen")
"""Those that come only where there are controllers alone."""
CALLS = (
    "failed call",
    "lost answer",
    "doubled append",
    "late append",
    "late lease call",
    "crash in a commit",
    "overtaken",
)
SKEWS_S = (0.0, 0.0, 0.3, -2.0, 5.0, -40.0, 3600.0)
"""How far a node's clock is ahead of the store's."""


def draw_rates(rng: Random, with_bad_nodes: bool = False, with_controllers: bool = False) -> Rates:
    """Rates of a world: every kind is absent from some worlds and frequent in others."""

    def rate(most: float) -> float:
        return 0.0 if rng.random() < 0.4 else most * rng.random() ** 2

    count = rng.choice((0, 2, 4, 8, 14))
    likely = rng.sample(EVENTS, rng.randint(1, 8))
    likely += [name for name in likely if "frozen" in name] * 2
    likely += OF_CONTROLLERS * (with_controllers and rng.random() < 0.8)
    bad = ("bad node",) * rng.choice((1, 2, 3)) if with_bad_nodes else ()
    if bad and rng.random() < 0.6:  # nothing else that might be to blame
        return Rates(failed=0.0, lost=0.0, doubled=0.0, late=0.0, crash=0.0, overtaken=0.0, events=bad)
    return Rates(
        failed=rate(0.12),
        lost=rate(0.08),
        doubled=rate(0.3),
        late=rate(0.7),
        crash=rate(0.04),
        overtaken=rate(0.3),
        events=bad + tuple(rng.choice(likely) for _ in range(count)),
    )


class Surroundings(Protocol):
    """What a store's faults need to know of the world."""

    rng: Random
    rates: Rates
    counts: Counter[str]
    quiet: bool
    disk_full: bool
    store_out: bool
    atomic: bool
    asked: int
    """How often the searcher was asked."""

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have `call` made in `delay_s` seconds."""
        ...

    def overtake(self, agent: str) -> bool:
        """Let another agent than `agent` take a turn now; whether one did."""
        ...


class FaultyStore:
    """One agent's way to the store. Behaves as a `Store`; `cut` says whether the agent is cut off."""

    url = "memory:"

    def __init__(self, inner: MemoryStore, world: Surroundings, agent: str, cut: Callable[[], bool]) -> None:
        self._inner, self._world, self._agent, self._cut = inner, world, agent, cut
        self.plain, self.whole_batches = inner, world.atomic
        """The store without faults, for a look that must not change what happens."""
        self._in_batch = False

    def close(self) -> None:
        self._inner.close()

    def describe(self) -> dict[str, Any]:
        return self._inner.describe()

    # --- batches

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """In an atomic world a batch of the store; elsewhere every call stands alone, as in a store without batches."""
        if not self._world.atomic:
            yield
            return
        self._before(write=True)
        with self._inner.batch():
            self._in_batch = True
            asked = self._world.asked
            try:
                yield
                self._maybe_crash()
                # Likely where it hurts most: when the searcher was told of what will now not have happened.
                self._maybe_fail_in_batch(20.0 if asked != self._world.asked else 1.0)
            finally:
                self._in_batch = False
        self._maybe_crash()
        self._maybe_lose()

    # --- what can fail

    def _before(self, write: bool) -> None:
        world = self._world
        if self._cut():
            world.counts["call while cut off"] += 1
            raise StoreError("the store cannot be reached")
        if world.store_out:
            world.counts["call during an outage"] += 1
            raise StoreError("the store does not answer")
        if write and world.disk_full:
            world.counts["write while disk full"] += 1
            raise StoreError("the disk is full")
        if self._chance(world.rates.failed):
            world.counts["failed call"] += 1
            raise StoreError("the store did not answer")

    def _chance(self, rate: float) -> bool:
        world = self._world
        return bool(rate) and not world.quiet and world.rng.random() < rate

    def _maybe_fail_in_batch(self, likelier: float = 1.0) -> None:
        if self._chance(likelier * self._world.rates.failed):
            self._world.counts["failed call in a batch"] += 1
            raise StoreError("the store did not answer")

    def _maybe_lose(self) -> None:
        if self._chance(self._world.rates.lost):
            self._world.counts["lost answer"] += 1
            raise StoreError("the connection broke before the answer came")

    def _maybe_crash(self) -> None:
        if self._chance(self._world.rates.crash):
            self._world.counts["crash in a commit"] += 1
            raise Crash

    def _maybe_overtaken(self) -> None:
        if not self._in_batch and self._chance(self._world.rates.overtaken):
            self._world.counts["overtaken"] += self._world.overtake(self._agent)

    def _do(self, call: Callable[[], T], write: bool) -> T:
        """One call with everything that can happen to it; within a batch the batch has the faults."""
        if self._in_batch:
            if write:
                self._maybe_fail_in_batch()
            return call()
        self._before(write)
        result = call()
        if write:
            self._maybe_lose()
        self._maybe_overtaken()
        return result

    # --- journal

    def append(
        self,
        sweep: str,
        entries: Sequence[AnyEntry],
        *,
        writer: str,
        first_seq: int,
        fence: Lease | None = None,
        after: int | None = None,
        based_on: int | None = None,
        index: IndexUpdate | None = None,
        at_s: float | None = None,
        existing: bool = False,
    ) -> Appended:
        """As `Store.append`. A crash can come before and after it, in a batch as well."""
        call = functools.partial(
            self._inner.append,
            sweep,
            tuple(entries),
            writer=writer,
            first_seq=first_seq,
            fence=fence,
            after=after,
            based_on=based_on,
            index=index,
            at_s=at_s,
            existing=existing,
        )
        self._maybe_crash()
        if not self._in_batch and self._chance(self._world.rates.late / (1 if fence is not None else 2)):
            self._world.counts["late append"] += 1
            self._world.after(self._world.rng.choice((0.3, 2.0, 5.0)), functools.partial(_ignoring, call))
            raise StoreError("the store did not answer in time")
        self._maybe_overtaken()
        result = self._do(call, write=True)
        if self._chance(self._world.rates.doubled):
            self._world.counts["doubled append"] += 1
            _ignoring(call)
        self._maybe_crash()
        return result

    def read(
        self,
        sweep: str,
        after: int,
        *,
        addressee: str | None = None,
        limit: int | None = None,
        wait_s: float = 0.0,
        bare: bool = False,
    ) -> list[Recorded]:
        return self._do(
            lambda: self._inner.read(
                sweep, after, addressee=addressee, limit=limit, wait_s=wait_s, bare=bare
            ),
            write=False,
        )

    def position(self, sweep: str) -> int:
        return self._do(lambda: self._inner.position(sweep), write=False)

    def sweeps(self) -> list[str]:
        return self._do(self._inner.sweeps, write=False)

    def last_seq(self, sweep: str, writer: str) -> int:
        return self._do(lambda: self._inner.last_seq(sweep, writer), write=False)

    # --- index, history, blobs

    def read_index(self, sweep: str, prefix: str = "") -> Index:
        return self._do(lambda: self._inner.read_index(sweep, prefix), write=False)

    def write_index(self, sweep: str, index: Index) -> None:
        self._do(lambda: self._inner.write_index(sweep, index), write=True)

    def append_history(self, sweep: str, chunks: Sequence[HistoryChunk]) -> None:
        self._do(lambda: self._inner.append_history(sweep, chunks), write=True)

    def read_history(self, sweep: str, run: int, attempt: int | None = None) -> list[HistoryChunk]:
        return self._do(lambda: self._inner.read_history(sweep, run, attempt), write=False)

    def put_blob(self, data: bytes) -> str:
        return self._do(lambda: self._inner.put_blob(data), write=True)

    def get_blob(self, digest: str) -> bytes | None:
        return self._do(lambda: self._inner.get_blob(digest), write=False)

    def blobs(self, idle_s: float = 0.0) -> dict[str, int]:
        return self._do(functools.partial(self._inner.blobs, idle_s), write=False)

    def delete_blobs(self, digests: Collection[str]) -> None:
        self._do(lambda: self._inner.delete_blobs(digests), write=True)

    def put_cache(self, sweep: str, name: str, data: bytes) -> None:
        self._do(lambda: self._inner.put_cache(sweep, name, data), write=True)

    def get_cache(self, sweep: str, name: str) -> bytes | None:
        return self._do(lambda: self._inner.get_cache(sweep, name), write=False)

    def delete_sweep(self, sweep: str) -> None:
        self._do(lambda: self._inner.delete_sweep(sweep), write=True)

    def compact(self) -> bool:
        return self._do(self._inner.compact, write=True)

    # --- leases

    def clock(self) -> float:
        """The clock is no call over the wire here: it never fails."""
        return self._inner.clock()

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        return self._do_lease(lambda: self._inner.acquire(name, holder, ttl_s))

    def renew(self, lease: Lease, ttl_s: float) -> Lease | None:
        return self._do_lease(lambda: self._inner.renew(lease, ttl_s))

    def release(self, lease: Lease) -> None:
        self._do_lease(lambda: self._inner.release(lease))

    def _do_lease(self, call: Callable[[], T]) -> T:
        """A call about a lease: it may come late, when its caller has given it up."""
        if not self._in_batch and self._chance(self._world.rates.late / 10):
            self._world.counts["late lease call"] += 1
            self._world.after(self._world.rng.choice((0.3, 2.0, 5.0)), functools.partial(_ignoring, call))
            raise StoreError("the store did not answer in time")
        return self._do(call, write=True)

    def leases(self, prefix: str) -> list[Lease]:
        return self._do(lambda: self._inner.leases(prefix), write=False)


def _ignoring(call: Callable[[], object]) -> None:
    """A delivery that nobody waits for."""
    with contextlib.suppress(StoreError):
        call()
