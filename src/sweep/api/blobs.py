"""Which blobs the sweeps of a store need.

The rule of this file: whoever deletes looks again inside the batch that deletes. Blobs are put into the store in one commit with
the entry that names them, so that what nobody names there is needed by nobody; where a store's batch is no transaction, this
holds only for what nobody has touched for `IDLE_S`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from sweep.core import entries as e
from sweep.core.rows import (
    AGENT_PREFIX,
    ARTIFACT_PREFIX,
    RUN_PREFIX,
    SPEC_KEY,
    decode_agents,
    decode_artifacts,
    decode_run,
    decode_spec,
)
from sweep.core.views import AttemptView
from sweep.provenance import blobs_of
from sweep.provenance.artifact import blobs_of_artifact
from sweep.provenance.checkpoint import blobs_of_checkpoint
from sweep.stores import Store
from sweep.stores.pointers import read_pointer


def checkpoint_blobs(store: Store, sweep: str, run: int, attempts: Sequence[AttemptView]) -> set[str]:
    """What is kept of the checkpoints of a run's attempts."""
    found: set[str] = set()
    for attempt in attempts:
        found |= read_pointer(store, sweep, run, attempt.attempt).digests
        if attempt.checkpoint and attempt.checkpoint not in found:
            found |= blobs_of_checkpoint(attempt.checkpoint, store.get_blob)
    return found


class _Needs(msgspec.Struct):
    """What a sweep needs, as of a position of its journal."""

    position: int = 0
    digests: set[str] = set()
    keeps: bool = False
    """It keeps checkpoints in the store, or has."""
    attempts: dict[tuple[int, int], str] = {}
    """(run, attempt) -> the digest of the checkpoint that it ended with, '' for none (yet)."""


IDLE_S = 600.0


class BlobUse:
    """Follows which sweep needs which blobs; looking again costs only what was recorded since."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, _Needs] = {}
        self._present: dict[str, int] = {}

    def refresh(self) -> None:
        """Take in what has been recorded since the last time."""
        # The blobs first: what is kept later than this is not taken for an orphan, even where no batch keeps others out.
        self._present = self._store.blobs(IDLE_S)
        self._known = {sweep: self._follow(sweep) for sweep in self._store.sweeps()}

    def orphans(self, without: str = "") -> dict[str, int]:
        """Blobs that no sweep (other than `without`) needs, with their sizes in bytes. As of the last `refresh`."""
        needed = set[str]().union(*(self.of(name) for name in self._known if name != without))
        return {digest: size for digest, size in self._present.items() if digest not in needed}

    def of(self, sweep: str) -> set[str]:
        """What `sweep` needs, as of the last `refresh`."""
        known = self._known.get(sweep)
        if known is None:
            return set()
        return known.digests | self._checkpoints(sweep, known) if known.keeps else known.digests

    def recorded(self, sweep: str) -> set[str]:
        """What its record and its artifacts are made of, as of the last `refresh`: `of` without checkpoints, which may be freed."""
        return self._known.get(sweep, _Needs()).digests

    def _follow(self, sweep: str) -> _Needs:
        known = self._known.get(sweep, _Needs())
        end = self._store.position(sweep)
        if end < known.position or not known.position:  # new, or another sweep of that name
            known = self._from_index(sweep)
        if known.position < end:
            for recorded in self._store.read(sweep, known.position):
                self._take(known, recorded.entry)
            known.position = end
        return known

    def _take(self, known: _Needs, entry: e.AnyEntry) -> None:
        if isinstance(entry, e.SweepCreated | e.AgentJoined):
            known.digests |= self._digests([entry.record])
        elif isinstance(entry, e.CodeChanged):
            known.digests |= self._digests([{"code": entry.code}])
        if isinstance(entry, e.SweepCreated | e.SpecRevised):
            known.keeps |= entry.spec.get("checkpoints") == "store"
        elif isinstance(entry, e.ArtifactLogged | e.ArtifactUsed) and entry.manifest:
            known.digests |= blobs_of_artifact(entry.manifest, self._store.get_blob)
        elif isinstance(entry, e.DataUsed) and entry.listing:
            known.digests.add(entry.listing)
        elif isinstance(entry, e.RunAssigned):
            known.attempts.setdefault((entry.run, entry.attempt), "")
        elif isinstance(entry, e.AttemptEnded) and entry.checkpoint:
            known.attempts[entry.run, entry.attempt] = entry.checkpoint
            known.keeps = True

    def _from_index(self, sweep: str) -> _Needs:
        index = self._store.read_index(sweep, SPEC_KEY)
        if SPEC_KEY not in index.rows:
            return _Needs()
        agents = self._store.read_index(sweep, AGENT_PREFIX)
        view = decode_spec(index.rows[SPEC_KEY])
        here = decode_agents(agents.rows)
        records = [view.record, *(agent.record for agent in here), *(c for one in here for c in one.codes)]
        artifacts = self._store.read_index(sweep, ARTIFACT_PREFIX)
        known = _Needs(min(index.upto, agents.upto, artifacts.upto), self._digests(records))
        for artifact in decode_artifacts(artifacts.rows).values():
            for version in artifact.versions:
                known.digests |= blobs_of_artifact(version.manifest, self._store.get_blob)
        known.keeps = view.spec.get("checkpoints") == "store"
        runs = self._store.read_index(sweep, RUN_PREFIX)
        known.position = min(known.position, runs.upto)
        for run in map(decode_run, runs.rows.values()):
            known.digests |= {data.listing for data in run.data if data.listing}
            if known.keeps:
                known.attempts |= {(run.run, view.attempt): view.checkpoint for view in run.attempts}
        return known

    def _checkpoints(self, sweep: str, known: _Needs) -> set[str]:
        found: set[str] = set()
        for (run, attempt), manifest in known.attempts.items():
            view = AttemptView(attempt=attempt, agent="", checkpoint=manifest)
            found |= checkpoint_blobs(self._store, sweep, run, [view])
        return found

    def _digests(self, records: Iterable[dict[str, object]]) -> set[str]:
        return {digest for record in records for digest in blobs_of(record, self._store.get_blob)}
