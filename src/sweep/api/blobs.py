"""Which blobs the sweeps of a store need.

The rule of this file: whoever deletes looks again inside the batch that deletes. Blobs are put into the store in one commit with
the entry that names them, so that what nobody names there is needed by nobody; where a store's batch is no transaction, this
holds only for what nobody has touched for `IDLE_S`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sweep.core import entries as e
from sweep.core.index import AGENT_PREFIX, SPEC_KEY, decode_agents, decode_spec
from sweep.provenance import blobs_of
from sweep.stores import Store

IDLE_S = 600.0


class BlobUse:
    """Follows which sweep needs which blobs; looking again costs only what was recorded since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[int, set[str]]] = {}

    def refresh(self) -> None:
        """Take in what has been recorded since the last time."""
        sweeps = self._store.sweeps()
        self._known = {sweep: self._follow(sweep) for sweep in sweeps}

    def orphans(self, without: str = "") -> dict[str, int]:
        """Blobs that no sweep (other than `without`) needs, with their sizes in bytes. As of the last `refresh`."""
        needed = set[str]().union(*(found for name, (_, found) in self._known.items() if name != without))
        return {digest: size for digest, size in self._store.blobs(IDLE_S).items() if digest not in needed}

    def of(self, sweep: str) -> set[str]:
        """What `sweep` needs, as of the last `refresh`."""
        return self._known.get(sweep, (0, set[str]()))[1]

    def _follow(self, sweep: str) -> tuple[int, set[str]]:
        position, found = self._known.get(sweep, (0, set[str]()))
        end = self._store.position(sweep)
        if end < position or not position:  # new, or another sweep of that name
            position, found = self._from_index(sweep)
        if position < end:
            entries = self._store.read(sweep, position)
            kinds = (e.SweepCreated, e.AgentJoined)
            found = found | self._digests(r.entry.record for r in entries if isinstance(r.entry, kinds))
        return end, found

    def _from_index(self, sweep: str) -> tuple[int, set[str]]:
        index = self._store.read_index(sweep, SPEC_KEY)
        if SPEC_KEY not in index.rows:
            return 0, set()
        agents = self._store.read_index(sweep, AGENT_PREFIX)
        records = [decode_spec(index.rows[SPEC_KEY]).record]
        records += [agent.record for agent in decode_agents(agents.rows)]
        return min(index.upto, agents.upto), self._digests(records)

    def _digests(self, records: Iterable[dict[str, object]]) -> set[str]:
        return {digest for record in records for digest in blobs_of(record, self._store.get_blob)}
