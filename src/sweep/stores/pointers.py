"""What a store has of a run's checkpoints: per attempt one cache, which names the last whole copy and all blobs.

The rule of this file: it knows where copies are, not what is in them (`sweep.provenance.checkpoint`).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from sweep.core.names import checkpoint_cache
from sweep.core.rows import decode_run, run_key
from sweep.stores.base import Store


class Pointer(msgspec.Struct, frozen=True, array_like=True):
    """What an attempt has in the store."""

    manifest: str = ""
    """Of its last whole copy; empty before there is one."""
    blobs: bytes = b""
    """The digests of all its blobs, 32 bytes each."""

    @property
    def digests(self) -> set[str]:
        text = self.blobs.hex()
        return {text[at : at + 64] for at in range(0, len(text), 64)}


_decode = msgspec.msgpack.Decoder(Pointer).decode


def read_pointer(store: Store, sweep: str, run: int, attempt: int) -> Pointer:
    """What an attempt has in the store; nothing where that is not known (any more)."""
    data = store.get_cache(sweep, checkpoint_cache(run, attempt))
    try:
        return _decode(data) if data else Pointer()
    except (msgspec.DecodeError, ValueError):
        return Pointer()


def write_pointer(store: Store, sweep: str, run: int, attempt: int, manifest: str, digests: set[str]) -> None:
    """Note what an attempt has in the store."""
    pointer = Pointer(manifest, bytes.fromhex("".join(sorted(digests))))
    store.put_cache(sweep, checkpoint_cache(run, attempt), msgspec.msgpack.encode(pointer))


def kept_copies(store: Store, sweep: str, run: int, newest: int) -> Iterator[tuple[int, str]]:
    """(attempt, manifest) of what is kept of the attempts of a run up to number `newest`, the newest first. What the journal says
    serves where the caches are gone, as after an import."""
    row = store.read_index(sweep, run_key(run)).rows.get(run_key(run))
    recorded = {view.attempt: view.checkpoint for view in decode_run(row).attempts} if row else {}
    for number in range(newest, 0, -1):
        manifest = read_pointer(store, sweep, run, number).manifest or recorded.get(number)
        if manifest:
            yield number, manifest
