"""The store for many machines: a Redis server (6.2 or newer), a Valkey one, or a Redis Cluster.

The rules of this file: each operation is one script, that is one atomic step, in the slot of one sweep (`sweep:{ID}:…`), and
may be sent twice; a batch is no transaction here (others write in between, and what was written stays), so that nobody ever waits for
anybody. What is old is compressed behind the readers' backs (`_redis_tidy`), between batches.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from redis import exceptions as wrong

from sweep.core.entries import AnyEntry, Recorded
from sweep.core.rows import SWEEP_KEY
from sweep.stores import _redis_append as appending
from sweep.stores import _redis_pack as packing
from sweep.stores import _redis_scripts as scripts
from sweep.stores import _redis_words as words
from sweep.stores._common import check_chunk, digest_of, without
from sweep.stores._redis_clock import machine_s
from sweep.stores._redis_keys import AGENTS, SWEEPS, SWEEPS_ABOUT, blob_key, keys_of, lease_key
from sweep.stores._redis_link import Link
from sweep.stores._redis_listener import RedisListener
from sweep.stores._redis_tidy import Tidy
from sweep.stores._redis_url import Address, from_anywhere, parse
from sweep.stores.base import (
    Appended,
    Damaged,
    HistoryChunk,
    Index,
    IndexUpdate,
    Lease,
    StoreError,
)

FORMAT = "1"
"""How a Redis store is laid out; this version opens no other."""
_CLOCK_AGE_S = 60.0
"""After so long the server's clock is read again, if no lease was renewed meanwhile."""
_LONGEST_WAIT_S = 2.0
_LONGEST_HOLD_S = 0.5
"""Who has waited for the controller for so long appends in spite of it."""
_FIRST_WAIT_S = 0.0005


class RedisStore:
    """A store on the server that `url` names. One object belongs to one thread; many may use the same server."""

    whole_batches = False

    def __init__(self, url: str, cwd: Path | None = None, **options: float) -> None:
        """`options`: those of Link, for tests. Raises StoreError for a server that cannot be reached or cannot serve."""
        self._address: Address = parse(url, cwd or Path.cwd())
        self.url = self._address.shown
        self.secret_url = from_anywhere(url, cwd or Path.cwd())
        self._link = Link(self._address, **options)
        self._tidy = Tidy(self._link)
        self._batch = _Batch(self._tidy.work)
        self._known: set[str] = set()
        self._proclaimed: dict[str, tuple[object, ...]] = {}
        """What the listings of sweeps say to all their agents, as this handle has last written it."""
        try:
            self._check_server()
        except BaseException:
            self._link.close()
            raise

    def _check_server(self) -> None:
        info = self._info()
        words.refuse_unfit(info, self._address)
        self._link.clustered = info.get("cluster_enabled") == "1"
        if self._link.clustered and self._address.db:
            raise StoreError(f"{self.url}: a Redis cluster has database 0 only")
        format = self._link.command("HGET", SWEEPS_ABOUT, "format", key=SWEEPS_ABOUT)
        if format is not None:
            self._check_format(format)
        self._link.read_clock()

    def _check_format(self, found: bytes) -> None:
        if found != FORMAT.encode():
            raise StoreError(
                f"what {self.url} holds was written by another version of sweep (its format is {found.decode()}, this version "
                f"knows {FORMAT}); upgrade sweep, or name another store with --store"
            )

    def _info(self) -> dict[str, str]:
        """What the server says about itself; empty when this user may not ask."""
        try:
            return words.parse_info(self._link.command("INFO"))
        except StoreError as error:
            if isinstance(error.__cause__, wrong.NoPermissionError):
                return {}
            raise

    def close(self) -> None:
        with contextlib.suppress(StoreError):
            self._tidy.finish()
        self._link.close()

    def batch(self) -> _Batch:
        return self._batch

    def _tidy_up(self) -> None:
        if not self._batch.open:
            self._tidy.work()

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
        said, written = appending.prepare(entries, writer, first_seq, fence, after, based_on, index)
        said.existing, said.pack_at = existing, self._tidy.pack_at
        if at_s is not None:
            said.at = repr(at_s)
        if index is not None:
            said.concerns_all = self._concerns_all(sweep, index.rows.get(SWEEP_KEY))
        answer = self._send(sweep, said)
        if answer[0] != b"ok":
            appending.refuse(sweep, said, fence, answer)
        _, position, at, skip, pack, hot = answer
        self._tidy.appended(sweep, bool(pack), hot)
        recorded = appending.as_recorded(written[skip:], position, float(at), writer, based_on)
        self._tidy_up()
        return Appended(position + len(recorded), recorded)

    def _send(self, sweep: str, said: appending.Appending) -> Any:
        """The answer to an append. A controller that is overtaken has others wait until it has read and decided again."""
        patient_until_s, pause_s = time.monotonic() + _LONGEST_HOLD_S, _FIRST_WAIT_S
        while True:
            said.known = sweep in self._known
            answer = self._link.call(appending.call_of(sweep, said.fence), appending.pack(said))
            if answer[0] == b"new":
                self._register(sweep)
            elif answer[0] == b"wait":
                time.sleep(min(pause_s, answer[1] / 1e6))  # most often it is over long before its time
                pause_s *= 2
                said.eager = time.monotonic() > patient_until_s
            else:
                return answer

    def _concerns_all(self, sweep: str, row: bytes | None) -> bool:
        """Whether each agent of the sweep should look at its listing now; `row`: the sweep's own."""
        if row is None:
            return False
        says = packing.proclaimed(row)
        before, self._proclaimed[sweep] = self._proclaimed.get(sweep), says
        return says != before

    def _register(self, sweep: str) -> None:
        """Have a sweep listed, before its journal begins: one that is listed without a journal is passed over."""
        self._check_format(
            self._link.run(scripts.REGISTER, [SWEEPS, SWEEPS_ABOUT], [sweep, FORMAT], kept=True)
        )
        self._known.add(sweep)

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
        deadline_s = time.monotonic() + wait_s
        seen = after
        while True:
            most = -1 if limit is None else limit
            found, position = self._read_now(sweep, max(after, 0), addressee, most, bare)
            left_s = deadline_s - time.monotonic()
            if found or left_s <= 0 or self._batch.open:
                return found
            seen = max(seen, position)
            self._wait(sweep, seen, min(left_s, _LONGEST_WAIT_S))

    def _read_now(
        self, sweep: str, after: int, addressee: str | None, limit: int, bare: bool
    ) -> tuple[list[Recorded], int]:
        args: list[bytes | str | int] = [after, limit, addressee or "", int(addressee is not None)]
        position, old, new = self._link.run(scripts.READ, keys_of(sweep).reading, args)
        found: list[Recorded] = []
        for segment in old:
            if bare and addressee is None:
                found += packing.bare_segment(sweep, segment, after)
            else:
                found += packing.recorded_segment(sweep, segment, after, addressee)
        found += packing.recorded_items(sweep, new)
        return found if limit < 0 else found[:limit], position

    def look(self, sweep: str, after: int, addressee: str, key: str) -> tuple[list[Recorded], Index, int]:
        """As `read` of entries for `addressee`, `read_index` of the row `key`, which is no run's, and `position`, in one round
        trip."""
        keys = keys_of(sweep)
        args: list[bytes | str | int] = [max(after, 0), addressee, key]
        old, new, upto, position, row = self._link.run(scripts.LOOK, [*keys.reading, keys.small_rows], args)
        found: list[Recorded] = []
        for segment in old:
            found += packing.recorded_segment(sweep, segment, after, addressee)
        found += packing.recorded_items(sweep, new)
        return found, Index(int(upto), {} if row is None else {key: row}), int(position)

    def _wait(self, sweep: str, position: int, timeout_s: float) -> None:
        """Until somebody has written behind `position`, or the time is over."""
        key = keys_of(sweep).log
        block = ("BLOCK", max(1, round(timeout_s * 1000)), "COUNT", 1)
        self._link.command("XREAD", *block, "STREAMS", key, f"{max(position, 0)}-{2**63}", key=key)

    def position(self, sweep: str) -> int:
        key = keys_of(sweep).meta
        return int(self._link.command("HGET", key, "p", key=key) or 0)

    def sweeps(self) -> list[str]:
        listed = self._link.command("ZRANGE", SWEEPS, 0, -1, key=SWEEPS)
        names = [name.decode() for name in listed]
        there = self._link.commands([("HEXISTS", keys_of(name).meta, "p") for name in names])
        return [name for name, exists in zip(names, there, strict=True) if exists]

    def last_seq(self, sweep: str, writer: str) -> int:
        key = keys_of(sweep).writers
        return int(self._link.command("HGET", key, writer, key=key) or 0)

    # --- index

    def read_index(self, sweep: str, prefix: str = "") -> Index:
        block = packing.block_of(prefix)
        if block is not None:
            what = "one"
        elif prefix.startswith(packing.RUN_PREFIX):
            what = "runs"
        else:
            what = "all" if packing.RUN_PREFIX.startswith(prefix) else "few"
        upto, found, blocks = self._link.run(
            scripts.READ_INDEX, keys_of(sweep).index, [prefix, what, block or ""]
        )
        rows: dict[str, bytes] = {}
        for packed in blocks[1::2]:
            rows |= packing.unpack_rows(packed)
        rows |= {key.decode(): row for key, row in zip(found[::2], found[1::2], strict=True)}
        return Index(int(upto), {key: rows[key] for key in sorted(rows) if key.startswith(prefix)})

    def write_index(self, sweep: str, index: Index) -> None:
        rows: list[bytes | str | int] = [part for item in index.rows.items() for part in item]
        hot = self._link.run(scripts.WRITE_INDEX, keys_of(sweep).index, [index.upto, *rows], kept=True)
        self._tidy.appended(sweep, False, hot)
        self._tidy_up()

    # --- history

    def append_history(self, sweep: str, chunks: Sequence[HistoryChunk]) -> None:
        for chunk in chunks:
            check_chunk(chunk)
        chunks = [chunk for chunk in chunks if chunk.count]
        if not chunks:
            return
        for number in self._add_history(sweep, chunks, checked=False):
            chunk = chunks[number]
            present = [
                (one.first_row, one.count) for one in self.read_history(sweep, chunk.run, chunk.attempt)
            ]
            pieces = without(chunk, present)
            if pieces:
                self._add_history(sweep, pieces, checked=True)

    def _add_history(self, sweep: str, chunks: Sequence[HistoryChunk], checked: bool) -> list[int]:
        """Add chunks, except those of which rows may be there already: their numbers come back."""
        keys = keys_of(sweep)
        where, args = [keys.meta], list[bytes | str | int]()
        for chunk in chunks:
            where += [keys.history(chunk.run), keys.packed_history(chunk.run)]
            flag = b"1" if checked else b"0"
            args += [chunk.run, chunk.attempt, chunk.first_row, chunk.count, flag + chunk.data]
        refused: list[int] = self._link.run(scripts.APPEND_HISTORY, where, args, kept=True)
        return refused

    def read_history(self, sweep: str, run: int, attempt: int | None = None) -> list[HistoryChunk]:
        keys = keys_of(sweep)
        where = [keys.history(run), keys.packed_history(run), keys.history_blocks]
        flat, blocks = self._link.run(scripts.READ_HISTORY, where, [run])
        chunks = packing.open_chunks(run, flat)
        for block in blocks:
            chunks += packing.unpack_block(block, run)
        wanted = [chunk for chunk in chunks if attempt in (None, chunk.attempt)]
        return sorted(wanted, key=lambda chunk: (chunk.attempt, chunk.first_row))

    # --- news

    def listener(self, sweep: str, addressee: str) -> RedisListener:
        """What hears of entries for `addressee` (`sweep.stores.listen`)."""
        prefix = keys_of(sweep).prefix
        channels = (f"{prefix}to:{addressee}", f"{prefix}all", f"{prefix}events")
        return RedisListener(self._link.another, sweep, *channels)

    # --- leases

    def clock(self) -> float:
        clock, here_s = self._link.clock, machine_s()
        if here_s - clock.read_at > _CLOCK_AGE_S:
            with contextlib.suppress(StoreError):
                self._link.read_clock()
            here_s = machine_s()
        return clock.at_s(here_s)

    def acquire(self, name: str, holder: str, ttl_s: float) -> Lease | None:
        asked_s = machine_s()
        args = [name, holder, _micros(ttl_s), secrets.token_hex(8)]
        held, token, expires, now = self._link.run(scripts.ACQUIRE, [lease_key(name)], args, kept=True)
        self._link.clock.read(int(now) / 1e6, asked_s, machine_s())
        return Lease(name, holder, int(token), int(expires) / 1e6) if held else None

    def renew(self, lease: Lease, ttl_s: float) -> Lease | None:
        asked_s = machine_s()
        args: list[bytes | str | int] = [lease.name, lease.holder, lease.token, _micros(ttl_s)]
        held, expires, now = self._link.run(scripts.RENEW, [lease_key(lease.name)], args)
        self._link.clock.read(int(now) / 1e6, asked_s, machine_s())
        return Lease(lease.name, lease.holder, lease.token, int(expires) / 1e6) if held else None

    def release(self, lease: Lease) -> None:
        self._link.run(scripts.RELEASE, [lease_key(lease.name)], [lease.name, lease.holder, lease.token])

    def leases(self, prefix: str) -> list[Lease]:
        found: list[Lease] = []
        for key in self._lease_keys(prefix):
            now, flat = self._link.run(scripts.LEASES, [key])
            for name, value in zip(flat[::2], flat[1::2], strict=True):
                lease = None if name == scripts.TOKEN_FIELD else _as_lease(name, value, int(now))
                if lease is not None and lease.name.startswith(prefix):
                    found.append(lease)
        return sorted(found, key=lambda lease: lease.name)

    def _lease_keys(self, prefix: str) -> list[str]:
        """Where leases of such names may be."""
        if lease_key(prefix + "x") != AGENTS:
            return [keys_of(name).leases for name in self.sweeps()]
        if "controller/".startswith(prefix):
            return [AGENTS, *(keys_of(name).leases for name in self.sweeps())]
        return [AGENTS]

    # --- blobs

    def put_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        key = blob_key(digest)
        if not self._link.command("TOUCH", key, key=key):  # whoever clears up leaves it alone for a while
            self._link.command("SET", key, packing.pack_whole(data), key=key, kept=True)
        return digest

    def get_blob(self, digest: str) -> bytes | None:
        key = blob_key(digest)
        packed = self._link.command("GET", key, key=key)
        if packed is None:
            return None
        data = packing.unpack_whole(packed)
        if data is None or digest_of(data) != digest:
            raise Damaged(f"{self.url}: the blob {digest[:12]} is damaged")
        return data

    def blobs(self, idle_s: float = 0.0) -> dict[str, int]:
        keys = [key.decode() for key in self._link.scan(blob_key("*"))]
        if idle_s:  # Redis counts it in seconds, with a resolution of about one
            idle = self._link.commands([("OBJECT", "IDLETIME", key) for key in keys])
            keys = [key for key, seconds in zip(keys, idle, strict=True) if (seconds or 0) > idle_s]
        sizes = self._link.commands([("STRLEN", key) for key in keys])
        return {key.rpartition(":")[2]: size for key, size in zip(keys, sizes, strict=True) if size}

    def delete_blobs(self, digests: Collection[str]) -> None:
        self._link.commands([("UNLINK", blob_key(digest)) for digest in digests])

    # --- caches

    def put_cache(self, sweep: str, name: str, data: bytes) -> None:
        key = keys_of(sweep).cache
        self._link.command("HSET", key, name, packing.pack_whole(data), key=key)

    def get_cache(self, sweep: str, name: str) -> bytes | None:
        key = keys_of(sweep).cache
        packed = self._link.command("HGET", key, name, key=key)
        return None if packed is None else packing.unpack_whole(packed)

    # --- housekeeping

    def delete_sweep(self, sweep: str) -> None:
        keys = keys_of(sweep)
        self._link.run(scripts.DELETE_SWEEP, [keys.meta, keys.leases, *keys.all_else], [keys.prefix])
        self._known.discard(sweep)
        self._proclaimed.pop(sweep, None)
        self._tidy.forget(sweep)

    def compact(self) -> bool:
        for sweep in self.sweeps():
            self._tidy.whole(sweep)
        return True

    def describe(self) -> dict[str, Any]:
        """What a person who looks after the store wants to know; plain values, sizes in bytes."""
        fsync = ""
        with contextlib.suppress(StoreError):  # this user may not ask
            fsync = (self._link.command("CONFIG", "GET", "appendfsync") or [b"", b""])[1].decode()
        begin_s = time.perf_counter()
        self._link.command("PING")
        trip_s = time.perf_counter() - begin_s
        return {
            "url": self.url,
            **words.describe(self._info(), fsync),
            "round_trip_s": trip_s,
            "schema": FORMAT,
        }


class _Batch:
    """Of a store: one after the other. A class, because it is opened for each thing that an agent has to say."""

    def __init__(self, done: Callable[[], None]) -> None:
        self.open = False
        self._done = done

    def __enter__(self) -> None:
        if self.open:
            raise RuntimeError("a batch is open already: batches do not nest")
        self.open = True

    def __exit__(self, kind: object, *_: object) -> None:
        self.open = False
        if kind is None:
            self._done()


def _micros(seconds: float) -> str:
    return str(max(0, round(seconds * 1e6)))


def _as_lease(name: bytes, value: bytes, now: int) -> Lease | None:
    token, expires, _, _, holder = value.split(b"|", 4)
    if int(expires) <= now:
        return None
    return Lease(name.decode(), holder.decode(), int(token), int(expires) / 1e6)
