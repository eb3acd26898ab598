"""The check of `sweep doctor` that reads what the store keeps of code, packages, data and artifacts. The rule of this file: see
`checkup`."""

from __future__ import annotations

import time

from sweep.api.blobs import BlobUse
from sweep.api.checkup import Finding
from sweep.stores import Store, StoreError
from sweep.stores.base import sound_blob

READ_FOR_S = 5.0
"""How long contents are read for; that they are there is looked at for all."""
_SOME = 3


def recorded_files(store: Store) -> Finding:
    """Whether everything that the sweeps' records name is there, and what its name says."""
    name = "store's files"
    use, until = BlobUse(store), time.monotonic() + READ_FOR_S
    try:
        use.refresh()
        needed = {sweep: use.recorded(sweep) for sweep in store.sweeps()}
        every = set[str]().union(*needed.values())
        missing = every - store.blobs().keys()
        read = 0
        damaged = set[str]()
        for digest in sorted(every - missing):
            if time.monotonic() > until:
                break
            read += 1
            if sound_blob(store, digest) is None:
                damaged.add(digest)
    except StoreError as error:
        return Finding(name, "broken", str(error), _advice("it"))
    if damaged:
        found = f"{len(damaged)} of {read:,} are damaged{_whose(needed, damaged)}"
        return Finding(name, "broken", found, _advice("them"))
    if missing:
        found = f"{len(missing)} of {len(every):,} are missing{_whose(needed, missing)}"
        return Finding(name, "warning", found, _advice("them"))
    all_of = f"{len(every):,} of code, packages, data and artifacts"
    if read < len(every):
        return Finding(
            name, "ok", f"{all_of} are there; the {read:,} read in {READ_FOR_S:.0f} s are undamaged"
        )
    return Finding(name, "ok", f"{all_of}, all there and undamaged" if every else "none")


def _whose(needed: dict[str, set[str]], digests: set[str]) -> str:
    sweeps = [sweep for sweep, names in needed.items() if names & digests]
    more = f" and {len(sweeps) - _SOME} more" if len(sweeps) > _SOME else ""
    return f": sweep{'s' if len(sweeps) > 1 else ''} {', '.join(sweeps[:_SOME])}{more}"


def _advice(them: str) -> str:
    return f"runs that need {them} cannot be restored or reproduced; a backup, or a bundle of `sweep export`, may have {them}"
