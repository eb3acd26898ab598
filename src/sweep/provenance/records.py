"""The records of a sweep (`SweepCreated.record`) and of a node (`AgentJoined.record`): plain data, nothing secret.

Large parts are blobs, named by their digest. A key is never renamed or removed: old records must stay readable.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep import __version__
from sweep.provenance.code import CodeRecord, snapshot
from sweep.provenance.environment import (
    ProbeError,
    editable_folders,
    interpreter_record,
    lock_files,
    packages_record,
    python_record,
)
from sweep.provenance.hardware import hardware_record
from sweep.provenance.scrub import known_secrets, scrub, scrub_arguments
from sweep.provenance.tree import TreeError, TreeFile, display, parse_manifest
from sweep.provenance.variables import environ_record

RECORD_FORMAT = 1

PutBlob = Callable[[bytes], str]
MAX_EDITABLE = 8
"""So many packages that were installed in place are recorded with their code; more are named in a warning."""


def record_sweep(
    folder: Path,
    spec_path: Path | None,
    put_blob: PutBlob,
    environ: Mapping[str, str],
    argv: Sequence[str],
    *,
    exclude: Sequence[Path] = (),
) -> dict[str, Any]:
    """Where, by whom and with what a sweep was created.

    `code`: the tree that `folder` belongs to (see `snapshot`); `editable`: the code of packages installed in place
    outside of it, by name; `spec`: the spec's path below the code's root; `lock_files`, `python`, `packages` (a blob),
    `hardware`, `environ`, `created_by`, `sweep_version`, `command`; and `warnings`, for a person to read.

    `exclude` names files that are not code (the store). Store the blobs in one `batch`. What cannot be recorded is said
    in a warning; the only errors raised are those of `put_blob`.
    """
    known = known_secrets(environ)
    packages = packages_record()
    code = snapshot(folder, put_blob, known_secrets=known, exclude=exclude)
    # Not `code.root`: that is made for reading. The folder's name says how far below the root it stands.
    folder = folder.resolve()
    root = folder.parents[code.folder.count("/")] if code.folder else folder
    editable, warnings = _editable_code(packages, root, put_blob, known, exclude)
    return {
        **_basics(environ),
        "code": _plain(code),
        "editable": editable,
        "spec": scrub(display(os.path.relpath(spec_path.resolve(), root)), known) if spec_path else "",
        "lock_files": lock_files(folder, root),
        "python": python_record(),
        "packages": _put_json(put_blob, packages),
        "command": scrub_arguments(argv, known),
        "warnings": [*code.warnings, *warnings],
    }


def record_node(
    put_blob: PutBlob | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    interpreter: str | None = None,
) -> dict[str, Any]:
    """What a node is when an agent joins: `python` and `packages` of `interpreter`, the program that runs training
    scripts (None: this one), `hardware`, `environ`, `created_by`, `sweep_version`, and `warnings`.

    `packages` is the digest of a blob, or, without `put_blob`, the list itself. `environ` None means this process's own.
    """
    environ = os.environ if environ is None else environ
    warnings: list[str] = []
    if interpreter is None or interpreter == sys.executable:
        python, packages = python_record(), packages_record()
    else:
        try:
            python, packages = interpreter_record(interpreter, environ)
        except ProbeError as error:
            python, packages = {"executable": scrub(interpreter)}, []
            warnings.append(f"Python and packages of the runs are not recorded: {error}")
    return {
        **_basics(environ),
        "python": python,
        "packages": _put_json(put_blob, packages) if put_blob else packages,
        "warnings": warnings,
    }


def blobs_of(record: Mapping[str, Any], get_blob: Callable[[str], bytes | None]) -> list[str]:
    """The digests of all blobs that a record of this module needs, each once, in a fixed order: for copying it elsewhere.
    A manifest that is missing or damaged adds nothing but itself; an empty record needs none."""
    found: dict[str, None] = {}
    codes = [record.get("code"), *record.get("editable", {}).values()]
    for code in codes:
        if not code:
            continue
        found[code["tree"]] = None
        found.update(dict.fromkeys(file.digest for file in _files(get_blob(code["tree"]))))
        if code["left_out_blob"]:
            found[code["left_out_blob"]] = None
    if isinstance(packages := record.get("packages"), str):
        found[packages] = None
    return list(found)


def _files(manifest: bytes | None) -> tuple[TreeFile, ...]:
    try:
        return parse_manifest(manifest) if manifest is not None else ()
    except TreeError:
        return ()


def _basics(environ: Mapping[str, str]) -> dict[str, Any]:
    return {
        "format": RECORD_FORMAT,
        "sweep_version": __version__,
        "created_by": {"user": _user(), "host": socket.gethostname()},
        "hardware": hardware_record(),
        "environ": environ_record(environ),
    }


def _editable_code(
    packages: Sequence[Mapping[str, Any]],
    root: Path,
    put_blob: PutBlob,
    known: Sequence[str],
    exclude: Sequence[Path],
) -> tuple[dict[str, Any], list[str]]:
    """The code of packages installed in place that is not part of the sweep's own, and the warnings about it."""
    outside = {
        name: place for name, place in editable_folders(packages).items() if not place.is_relative_to(root)
    }
    records: dict[str, Any] = {}
    warnings: list[str] = []
    for name, place in list(outside.items())[:MAX_EDITABLE]:
        record = snapshot(place, put_blob, known_secrets=known, exclude=exclude)
        records[name] = _plain(record)
        if name != "sweep":  # it records runs, and no value depends on it
            warnings += [f"{name} (installed in place): {text}" for text in record.warnings]
    if rest := list(outside)[MAX_EDITABLE:]:
        warnings.append(f"installed in place, but their code is not recorded: {', '.join(rest)}")
    return records, warnings


def _plain(record: CodeRecord) -> Any:
    """As JSON has it: lists, where `msgspec.to_builtins` keeps tuples."""
    return msgspec.json.decode(msgspec.json.encode(record))


def _put_json(put_blob: PutBlob, content: Any) -> str:
    return put_blob(json.dumps(content, separators=(",", ":"), sort_keys=True).encode("ascii"))


def _user() -> str:
    """The name of the account that this process runs as, whatever the environment says."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
