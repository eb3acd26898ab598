"""How the code in a folder differs from recorded code.

The rules of this file: files count by content and by executable bit; what programs leave in a folder of code (`sweep.provenance.kinds`) is no
change of it, so a log that has come or grown is neither named nor recorded; what was kept out as a secret once stays out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from sweep.provenance import CodeRecord, TreeError, known_secrets, snapshot
from sweep.provenance.code import MAX_FILE_BYTES, MAX_FILES, MAX_HASHED_BYTES, MAX_SHOWN, MAX_TOTAL_BYTES
from sweep.provenance.kinds import is_output, may_be_code
from sweep.provenance.left_out import Caps, LeftOut, explain, explain_pointers, list_bytes, parse_list
from sweep.provenance.tree import TreeFile, digest_bytes, manifest_bytes, parse_manifest
from sweep.stores import Store


class CodeChange(msgspec.Struct, frozen=True):
    """How the code on disk differs from the one that was recorded: paths below the code's root."""

    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    recorded: bool = True
    """False: there is no record to compare with."""
    now: dict[str, Any] | None = None
    """What `snapshot` says of the code on disk, as plain data; None where it is the recorded one."""
    blobs: tuple[bytes, ...] = ()
    """The contents that this names and the record does not."""

    def __bool__(self) -> bool:
        return bool(self.changed or self.added or self.removed)

    @property
    def paths(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.changed, *self.removed, *self.added)


class CodeThen(msgspec.Struct, frozen=True):
    """Recorded code, as much of it as a comparison needs: no store is asked any more."""

    tree: str
    folder: str
    files: dict[str, TreeFile]
    left_out: tuple[LeftOut, ...]

    def root(self, folder: Path) -> Path:
        """The root of the code whose part `self.folder` is at `folder`."""
        return root_above(folder, self.folder)


def root_above(folder: Path, below: str) -> Path:
    """The root of the code whose part `below` (its path below the root, '' for the root itself) is at `folder`."""
    root = folder.resolve()
    return root.parents[below.count("/")] if below else root


def code_then(store: Store, code: Mapping[str, Any]) -> CodeThen:
    """The code of a record (`CodeRecord` as plain data)."""
    return CodeThen(
        code["tree"],
        code.get("folder") or "",
        files_of(store.get_blob(code["tree"])),
        tuple(_left_out(store, code)),
    )


def code_change(
    store: Store,
    record: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    folder: Path | None = None,
    exclude: Sequence[Path] = (),
) -> CodeChange:
    """How the code on disk differs from the one in a sweep's record (`SweepCreated.record`). `folder`: where runs start, None for
    the recorded one; `exclude`: what does not count."""
    code, workdir = record.get("code") or {}, folder or record.get("workdir")
    if not code.get("tree") or not workdir:
        return CodeChange(recorded=False)
    return compare(code_then(store, code), Path(workdir), environ, exclude)


def compare(
    then: CodeThen, folder: Path, environ: Mapping[str, str], exclude: Sequence[Path] = ()
) -> CodeChange:
    """How the code that `folder` belongs to differs from that of `then`. Asks no store: it may take its time in a thread."""
    known, kept = frozenset(file.digest for file in then.files.values()), dict[str, bytes]()

    def keep(data: bytes) -> str:
        digest = digest_bytes(data)
        if digest not in known:
            kept[digest] = data
        return digest

    # What may hold secrets by the environment of whoever created the sweep stays out, although this one may not know them.
    secret = [item for item in then.left_out if item.reason.startswith("secret")]
    apart = [*exclude, *(then.root(folder) / item.path for item in secret)]
    now = snapshot(folder, keep, known_secrets=known_secrets(environ), exclude=apart)
    if now.tree == then.tree:
        return CodeChange()
    found = files_of(kept.get(now.tree))
    after = dict(_without_output(then.files, found))
    manifest = manifest_bytes(after.values())
    if digest_bytes(manifest) == then.tree:
        return CodeChange()
    kept[digest_bytes(manifest)] = manifest
    record, lists = _recorded(now, then, after, digest_bytes(manifest), secret, kept)
    named = {record.tree, *(file.digest for file in after.values())}
    return CodeChange(
        changed=tuple(path for path, file in then.files.items() if path in after and after[path] != file),
        added=tuple(path for path in after if path not in then.files),
        removed=tuple(path for path in then.files if path not in after),
        now=msgspec.json.decode(msgspec.json.encode(record)),
        blobs=(*(data for digest, data in kept.items() if digest in named), *lists),
    )


def _without_output(
    before: Mapping[str, TreeFile], now: Mapping[str, TreeFile]
) -> Iterable[tuple[str, TreeFile]]:
    """The files of `now` with what is only output as it was `before`."""
    for path, file in now.items():
        if path in before:
            yield path, before[path] if is_output(path) else file
        elif may_be_code(path, file.mode):
            yield path, file
    for path, file in before.items():
        if path not in now and is_output(path):
            yield path, file


def _recorded(
    now: CodeRecord,
    then: CodeThen,
    after: Mapping[str, TreeFile],
    tree: str,
    secret: Sequence[LeftOut],
    kept: Mapping[str, bytes],
) -> tuple[CodeRecord, list[bytes]]:
    """The record of the code as it is now, without what is only output, and the blobs that it needs beside that of its files."""
    known = {item.path for item in then.left_out}
    data = kept.get(now.left_out_blob)
    all_left_out = parse_list(data) if data is not None else list(now.left_out)
    left_out = [item for item in all_left_out if item.path in known or may_be_code(item.path)]
    left_out += [item for item in secret if item.path not in {one.path for one in left_out}]
    listed = list_bytes(left_out) if left_out else b""
    caps = Caps(MAX_FILE_BYTES, MAX_TOTAL_BYTES, MAX_FILES, MAX_HASHED_BYTES)
    record = replace(
        now,
        tree=tree,
        files=len(after),
        bytes=sum(file.size for file in after.values()),
        left_out=tuple(left_out[:MAX_SHOWN]),
        left_out_count=len(left_out),
        left_out_blob=digest_bytes(listed) if listed else "",
        complete=not left_out and (now.complete or bool(all_left_out)),
        warnings=(*explain(left_out, caps), *explain_pointers(now.pointers)),
    )
    return record, [listed] if listed else []


def files_of(manifest: bytes | None) -> dict[str, TreeFile]:
    """Path -> file of a manifest; empty for one that is missing or damaged."""
    try:
        return {file.path: file for file in parse_manifest(manifest)} if manifest is not None else {}
    except TreeError:
        return {}


def _left_out(store: Store, code: Mapping[str, Any]) -> list[LeftOut]:
    """The files that a record of code names as not in it."""
    data = store.get_blob(code["left_out_blob"]) if code.get("left_out_blob") else None
    if data is not None:
        return parse_list(data)
    return msgspec.convert(list(code.get("left_out") or ()), list[LeftOut])
