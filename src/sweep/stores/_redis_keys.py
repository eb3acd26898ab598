"""The names of a Redis store's keys. All keys of a sweep have its ID in braces, which puts them into one slot of a cluster."""

from __future__ import annotations

import functools

from sweep.core.names import controller_lease

SWEEPS = "sweep:{sweeps}:order"
"""Sorted set: sweeps in the order of their creation. One without a journal is gone, or not there yet."""
SWEEPS_ABOUT = "sweep:{sweeps}:about"
AGENTS = "sweep:{agents}:leases"
"""Hash of all leases but those of controllers."""
RUNS_PER_KEY = 128
"""`hp` is cut up so that each piece is small enough for Redis's compact form of a hash."""

_CONTROLLERS = controller_lease("")


def _escaped(name: str) -> str:
    """A brace in a name would end the part that decides the slot."""
    return name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")


class Keys:
    """The keys of one sweep."""

    def __init__(self, sweep: str) -> None:
        prefix = self.prefix = f"sweep:{{id/{_escaped(sweep)}}}:"
        self.meta = prefix + "meta"
        self.log = prefix + "log"
        self.segments = prefix + "segs"
        self.writers = prefix + "writers"
        self.addressees = prefix + "to"
        self.small_rows = prefix + "ix"
        self.rows = prefix + "rows"
        self.row_blocks = prefix + "blocks"
        self.history_blocks = prefix + "hb"
        self.leases = prefix + "leases"
        self.cache = prefix + "cache"
        self.journal = (self.meta, self.log, self.writers, self.addressees, self.small_rows, self.rows)
        """As the script APPEND wants them."""
        self.reading = (self.meta, self.log, self.segments, self.addressees)
        """As READ and PACK want them."""
        self.index = (self.meta, self.small_rows, self.rows, self.row_blocks)
        """As READ_INDEX and WRITE_INDEX want them."""

    @property
    def all_else(self) -> list[str]:
        """All but meta, leases and the history of single runs."""
        rest = [self.segments, self.row_blocks, self.history_blocks, self.cache]
        return [self.log, self.writers, self.addressees, self.small_rows, self.rows, *rest]

    def history(self, run: int) -> str:
        """Where the rows of a run stand while it may still write some."""
        return f"{self.prefix}h:{run}"

    def packed_history(self, run: int) -> str:
        """Where it says which blocks have rows of a run."""
        return f"{self.prefix}hp:{run // RUNS_PER_KEY}"


keys_of = functools.lru_cache(64)(Keys)
"""The keys of a sweep, as often as they are asked for."""


@functools.lru_cache(256)
def lease_key(name: str) -> str:
    """The hash that a lease is in: a controller's is in its sweep's slot, because an append is checked against it."""
    if name.startswith(_CONTROLLERS) and name != _CONTROLLERS:
        return keys_of(name.removeprefix(_CONTROLLERS)).leases
    return AGENTS


def blob_key(digest: str) -> str:
    """A blob is in a slot of its own."""
    return f"sweep:blob:{digest}"
