"""The checks of `sweep doctor` that look at a store on a Redis server. The rule of this file: see `checkup`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from sweep.api.checkup import Finding, Place

SLOW_TRIP_S = 0.02
NEARLY_FULL = 0.9


def server(place: Place) -> list[Finding]:
    """Whether it can be reached and can serve, what "recorded" means there, and how far away it is."""
    from sweep.api.checkup_record import recorded_files
    from sweep.stores import StoreError, open_store

    try:
        with closing(open_store(place.store_url, place.cwd or Path("/"))) as opened:
            sweeps, leases = opened.sweeps(), opened.leases("agent/")
            facts = opened.describe()  # type: ignore[attr-defined]
            files = recorded_files(opened)
    except StoreError as error:
        return [Finding("store", "broken", str(error), "do what it says, or correct --store or SWEEP_STORE")]
    agents = f", {len(leases)} agent{'s' if len(leases) != 1 else ''} at work" if leases else ""
    count = f"{len(sweeps):,} sweep{'s' if len(sweeps) != 1 else ''}"
    found = f"{facts['url']}: {facts['server']}, format {facts['schema']}, {count}{agents}"
    if facts["replica"]:
        advice = "name its primary server: agents must write"
        return [
            Finding("store", "broken", f"{found}; it is a read-only replica", advice),
            files,
            *_about(facts),
        ]
    return [Finding("store", "ok", found), files, *_about(facts)]


def _about(facts: dict[str, Any]) -> Iterator[Finding]:
    yield _durability(facts)
    yield _memory(facts)
    yield _trip(facts["round_trip_s"])


def _durability(facts: dict[str, Any]) -> Finding:
    name, found = "store's durability", facts["durability"]
    if found.startswith("not known"):
        return Finding(name, "warning", found, "as the server's administrator: ACL SETUSER NAME +info")
    if not facts["appendonly"]:
        return Finding(name, "warning", found, "set `appendonly yes` and `appendfsync always` (or everysec)")
    if facts["appendfsync"] == "always":
        return Finding(name, "ok", found)
    return Finding(name, "note", found)


def _memory(facts: dict[str, Any]) -> Finding:
    name, used, most = "store's memory", facts["memory_bytes"], facts["max_memory_bytes"]
    found = f"{used / 1e6:,.1f} MB used" + (f" of {most / 1e6:,.1f} MB" if most else "")
    if most and used > NEARLY_FULL * most:
        return Finding(name, "warning", found, "raise `maxmemory` before nothing can be recorded any more")
    if facts["eviction"].startswith("allkeys"):
        advice = "set `maxmemory-policy noeviction`, or it throws recorded entries away as soon as it has a `maxmemory`"
        return Finding(name, "warning", f"{found}; maxmemory-policy is {facts['eviction']}", advice)
    return Finding(name, "ok", f"{found}; nothing is thrown away ({facts['eviction']})")


def _trip(trip_s: float) -> Finding:
    name, found = "store's round trip", f"{trip_s * 1000:.2f} ms"
    if trip_s > SLOW_TRIP_S:
        return Finding(
            name, "warning", found, "use a server nearer to the agents: every decision takes a few trips"
        )
    return Finding(name, "ok", found)
