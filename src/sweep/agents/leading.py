"""Being the controller of a sweep when it is this process's turn: the lease is sought, renewed, and given back.

The rule of this file: whoever holds the lease leads, and nobody else does. What a driver writes carries the lease's token, so
one that was frozen beyond its lease cannot write any more; here it only stops trying.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from sweep.core.entries import Recorded
from sweep.core.names import controller_lease
from sweep.core.views import SweepView
from sweep.stores.base import Lease, Store


class Leading(Protocol):
    """The controller's driver, as much of it as is needed here."""

    lease: Lease
    wake_at_s: float | None
    """Store's time (Unix seconds) at which it wants to step again at the latest."""
    wrote_s: float | None
    """Store's time of the last entry that its last step wrote; None when it wrote none."""
    latest: int
    """The highest position of the journal that its last step saw; it may have folded less."""
    stirred: bool
    """Whether its last step found what others than this process had written."""

    def step(self, now_s: float, written: Sequence[Recorded] = (), position: int | None = None) -> None: ...
    def forget(self) -> None: ...
    def close(self) -> None: ...
    def search_fileno(self) -> int | None: ...
    def view(self) -> tuple[int, SweepView | None]: ...
    def orders(self, after: int) -> list[Recorded] | None: ...


MakeDriver = Callable[[Lease], Leading]


class Lead:
    """One process's claim to lead one sweep."""

    def __init__(
        self, store: Store, sweep: str, holder: str, make_driver: MakeDriver | None, ttl_s: float
    ) -> None:
        """`make_driver`: None for a process that never leads. `ttl_s`: how long the lease lives unless it is renewed."""
        self._store, self._name, self._holder = store, controller_lease(sweep), holder
        self._make_driver, self._ttl_s = make_driver, ttl_s
        self.driver: Leading | None = None
        """While this process leads."""
        self._seek_at = 0.0

    @property
    def willing(self) -> bool:
        """Whether it would ever lead."""
        return self._make_driver is not None

    def seek(self) -> None:
        """Take the lead where nobody has it. Asks the store ten times in the life of a lease at most."""
        if self.driver is not None or self._make_driver is None:
            return
        now = self._store.clock()
        if now < self._seek_at:
            return
        self._seek_at = now + self._ttl_s / 10
        lease = self._store.acquire(self._name, self._holder, self._ttl_s)
        if lease is not None:
            self.driver = self._make_driver(lease)

    def hold_back(self, seconds: float) -> None:
        """Do not seek the lead for so long."""
        self._seek_at = self._store.clock() + seconds

    def renew(self) -> None:
        """Keep the lead; without the lease, stop. To be called three times in the life of a lease."""
        if self.driver is None:
            return
        lease = self._store.renew(self.driver.lease, self._ttl_s)
        if lease is None:
            self.stop()
        else:
            self.driver.lease = lease

    def stop(self, release: bool = False) -> None:
        """Lead no more; with `release` another one may at once."""
        if self.driver is None:
            return
        driver, self.driver = self.driver, None
        driver.close()
        if release:
            self._store.release(driver.lease)

    def held(self) -> Lease | None:
        """The lease of whoever leads at present, None when nobody does."""
        return next((lease for lease in self._store.leases(self._name) if lease.name == self._name), None)
