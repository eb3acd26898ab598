"""What is kept beside a sweep about its latest launch: where it is, so that `--status` and `--down` find it from any terminal.

Kept as a cache of the sweep: it may vanish, and then `--ray ADDRESS` says where to look.
"""

from __future__ import annotations

import msgspec

from sweep.stores import Store

_NAME = "launch"


class LaunchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The latest launch of a sweep. Times are Unix seconds."""

    address: str
    """Of the Ray cluster."""
    ours: bool
    """A Ray that the launch itself has started, on `host`."""
    host: str
    folder: str
    """Where the token of such a Ray is kept."""
    pid: int
    began_s: float
    leaving: bool | None = None
    """It was told to leave, and (true) to end its runs; None while it works."""
    ended: bool = False
    reason: str = ""
    broken: bool = False


def read_record(store: Store, sweep: str) -> LaunchRecord | None:
    """The latest launch; None when there was none, or nothing is known of it."""
    data = store.get_cache(sweep, _NAME)
    try:
        return None if data is None else msgspec.json.decode(data, type=LaunchRecord)
    except msgspec.DecodeError:
        return None


def write_record(store: Store, sweep: str, record: LaunchRecord) -> None:
    """Replace what is kept."""
    store.put_cache(sweep, _NAME, msgspec.json.encode(record))


def note_end(store: Store, sweep: str, reason: str, broken: bool) -> None:
    """The launch is over."""
    record = read_record(store, sweep)
    if record is not None:
        write_record(store, sweep, msgspec.structs.replace(record, ended=True, reason=reason, broken=broken))


def note_leaving(store: Store, sweep: str, now: bool) -> None:
    """The launch was told to leave. Cheap when that is known already."""
    record = read_record(store, sweep)
    if record is not None and record.leaving != now:
        write_record(store, sweep, msgspec.structs.replace(record, leaving=now))
