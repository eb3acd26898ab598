"""Export and import: a whole sweep as JSON lines, without loss.

Lines: one header, then every journal entry, every chunk of history, what each attempt used over time, every blob that the
record names.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from sweep.core import entries as e
from sweep.core.index import rebuild
from sweep.core.journal import from_jsonable, to_jsonable
from sweep.core.names import usage_cache
from sweep.core.state import State
from sweep.provenance import blobs_of
from sweep.provenance.artifact import blobs_of_artifact
from sweep.provenance.checkpoint import blobs_of_checkpoint
from sweep.stopping import make_stopper
from sweep.stores import HistoryChunk, Index, Store

FORMAT = "sweep-export/1"
BATCH = 500


class BadExport(ValueError):
    """This is not an export, or not a whole one; the message says where."""


def export_lines(store: Store, sweep: str, wanted: Callable[[str], bool] = lambda _: True) -> Iterator[str]:
    """The lines of an export, without line ends. `wanted` says of an artifact's manifest whether its contents go along, as far as the
    store keeps them; the manifest itself does."""
    journal = store.read(sweep, 0)
    yield _line({"format": FORMAT, "sweep": sweep, "entries": len(journal)})
    runs, digests, attempts = 0, list[str](), list[tuple[int, int]]()
    for recorded in journal:
        yield _line({"entry": to_jsonable(recorded)})
        entry = recorded.entry
        if isinstance(entry, e.RunAdded):
            runs += 1
        elif isinstance(entry, e.RunAssigned):
            attempts.append((entry.run, entry.attempt))
        elif isinstance(entry, e.SweepCreated | e.AgentJoined):
            digests += blobs_of(entry.record, store.get_blob)
        elif isinstance(entry, e.CodeChanged):
            digests += blobs_of({"code": entry.code}, store.get_blob)
        elif isinstance(entry, e.AttemptEnded) and entry.checkpoint:
            digests += sorted(blobs_of_checkpoint(entry.checkpoint, store.get_blob))
        elif isinstance(entry, e.ArtifactLogged | e.ArtifactUsed) and entry.manifest:
            more = blobs_of_artifact(entry.manifest, store.get_blob) if wanted(entry.manifest) else ()
            digests += [entry.manifest, *sorted(more)]
        elif isinstance(entry, e.DataUsed) and entry.listing:
            digests.append(entry.listing)
    for run in range(runs):
        for chunk in store.read_history(sweep, run):
            yield _line(
                {"history": {**_chunk_fields(chunk), "data": chunk.data.decode("utf-8", "surrogateescape")}}
            )
    for run, attempt in attempts:
        samples = store.get_cache(sweep, usage_cache(run, attempt))
        if samples:
            data = base64.b64encode(samples).decode("ascii")
            yield _line({"usage": {"run": run, "attempt": attempt, "data": data}})
    for digest in dict.fromkeys(digests):
        blob = store.get_blob(digest)
        if blob is not None:
            yield _line({"blob": {"digest": digest, "data": base64.b64encode(blob).decode("ascii")}})
    yield _line({"end": sweep})


def import_lines(store: Store, lines: Iterable[str]) -> str:
    """Record an exported sweep in `store`, under its own ID. All or nothing. Raises BadExport."""
    records = _parse(lines)
    with store.batch():
        number, header = next(records, (1, {}))
        sweep = _check_header(store, header)
        try:
            return _import(store, sweep, header, number, records)
        except BaseException:
            if not store.whole_batches:
                store.delete_sweep(sweep)
            raise


def _check_header(store: Store, header: dict[str, Any]) -> str:
    """The sweep's ID. Raises BadExport."""
    if header.get("format") != FORMAT:
        raise BadExport(
            f"line 1: this is not an export of a sweep (its first line should name the format {FORMAT})"
        )
    sweep = str(header["sweep"])
    if store.position(sweep):
        raise BadExport(f"sweep {sweep} is already in this store")
    return sweep


def _import(
    store: Store,
    sweep: str,
    header: dict[str, Any],
    number: int,
    records: Iterator[tuple[int, dict[str, Any]]],
) -> str:
    pending: list[e.Recorded] = []
    journal: list[e.Recorded] = []
    complete = False
    for number, record in records:
        try:
            if "entry" in record:
                pending.append(from_jsonable(record["entry"]))
                if len(pending) >= BATCH:
                    journal += _append(store, sweep, pending)
            elif "history" in record:
                fields = record["history"]
                data = fields.pop("data").encode("utf-8", "surrogateescape")
                store.append_history(sweep, [HistoryChunk(data=data, **fields)])
            elif "usage" in record:
                name = usage_cache(int(record["usage"]["run"]), int(record["usage"]["attempt"]))
                store.put_cache(sweep, name, base64.b64decode(record["usage"]["data"], validate=True))
            elif "blob" in record:
                _put(store, record["blob"])
            else:
                complete = record.get("end") == sweep
        except (KeyError, TypeError, ValueError) as error:
            raise BadExport(f"line {number}: {error}") from error
    journal += _append(store, sweep, pending)
    if not complete or len(journal) != header["entries"]:
        raise BadExport(f"line {number}: the export ends too early; nothing was imported")
    store.write_index(sweep, Index(len(journal), rebuild(State(make_stopper), journal)))
    return sweep


def _append(store: Store, sweep: str, pending: list[e.Recorded]) -> list[e.Recorded]:
    """Write entries as they were, those together that were written together."""
    written: list[e.Recorded] = []
    while pending:
        first, count = pending[0], 1
        while count < len(pending) and _together(pending[count - 1], pending[count]):
            count += 1
        appended = store.append(
            sweep,
            [recorded.entry for recorded in pending[:count]],
            writer=first.writer,
            first_seq=first.seq,
            based_on=first.based_on,
            at_s=first.at_s,
        )
        written += appended.recorded
        del pending[:count]
    return written


def _together(one: e.Recorded, other: e.Recorded) -> bool:
    """Whether `other`, which stands behind `one`, can have come with the same append."""
    same = (one.writer, one.at_s, one.based_on) == (other.writer, other.at_s, other.based_on)
    return same and one.seq + 1 == other.seq


def _put(store: Store, blob: dict[str, str]) -> None:
    if store.put_blob(base64.b64decode(blob["data"], validate=True)) != blob["digest"]:
        raise ValueError(f"the content of blob {blob['digest'][:12]} does not match its digest")


def _parse(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise BadExport(f"line {number}: not JSON ({error})") from error
        if not isinstance(record, dict):
            raise BadExport(f"line {number}: expected an object")
        yield number, record


def _chunk_fields(chunk: HistoryChunk) -> dict[str, int]:
    return {"run": chunk.run, "attempt": chunk.attempt, "first_row": chunk.first_row, "count": chunk.count}


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":"))
