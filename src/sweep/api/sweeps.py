"""Creating sweeps."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from sweep.api.learning import with_knowledge
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.spec import SweepSpec
from sweep.core.state import State
from sweep.provenance import is_file, missing_program_warning, record_sweep, shadow_warning
from sweep.stopping import make_stopper
from sweep.stores import Index, Store, StoreError

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"


class Created(msgspec.Struct, frozen=True):
    """A sweep that has just been recorded."""

    sweep: str
    workdir: Path
    """The folder that runs start in."""
    warnings: tuple[str, ...]
    """What could not be recorded."""


def new_id(length: int = 8) -> str:
    """A random name without letters that are easily confused; it never consists of digits only."""
    return secrets.choice(_ALPHABET[:24]) + "".join(secrets.choice(_ALPHABET) for _ in range(length - 1))


def create_sweep(
    store: Store,
    spec: SweepSpec,
    source: str,
    path: Path | None,
    *,
    cwd: Path,
    environ: Mapping[str, str],
    argv: Sequence[str],
) -> Created:
    """Record a sweep: its spec, where it runs, the code and machine as they are. `path` is the spec's file, None for a spec
    that was made in Python. Raises
    StoreError, also for a folder that cannot be written down, and CannotLearn."""
    spec, learnt = with_knowledge(store, spec, path.resolve().parent if path is not None else cwd)
    sweep = new_id()
    workdir = working_folder(spec, path, cwd)
    _check_name(workdir)
    with store.batch():
        links = [workdir / name for name in spec.links]
        record = record_sweep(workdir, path, store.put_blob, environ, argv, exclude=links)
        record["workdir"] = str(workdir)
        record["workdir_inode"] = _inode(workdir)
        for warning in (*learnt, *_advice(spec, workdir)):
            if warning is not None:
                record["warnings"] = [*record.get("warnings", ()), warning]
        entry = e.SweepCreated(sweep, spec_to_builtins(spec), source, str(path or ""), record)
        appended = store.append(sweep, [entry], writer=f"create/{sweep}", first_seq=1)
        store.write_index(sweep, Index(appended.last, rebuild(State(make_stopper), appended.recorded)))
    return Created(sweep, workdir, tuple(record.get("warnings", ())))


def _advice(spec: SweepSpec, workdir: Path) -> list[str | None]:
    """What a person should know before runs start."""
    gone = [path for path in spec.inputs if not (workdir / Path(path).expanduser()).exists()]
    missing = (
        f"not there, although `inputs` says that runs read it: {', '.join(gone)} (from {workdir})"
        if gone
        else None
    )
    return [shadow_warning(spec, workdir), missing_program_warning(spec, workdir), missing]


def _inode(folder: Path) -> int:
    """By it another machine knows that it is the same folder, shared by both; 0 where there is none."""
    try:
        return folder.stat().st_ino % 2**63
    except OSError:
        return 0


def _check_name(folder: Path) -> None:
    """Names of folders are bytes, and records hold text: such a folder would not be found again."""
    try:
        str(folder).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(folder).decode("utf-8", "replace")
        raise StoreError(
            f"the name of the folder {shown} is not UTF-8, which a record needs; rename the folder (if it looks right in "
            "this message: set PYTHONUTF8=1)"
        ) from None


def working_folder(spec: SweepSpec, path: Path | None, cwd: Path) -> Path:
    """Where runs start: `workdir`; else the spec file's folder, unless the program is found only in the folder that
    the command was typed in (as W&B's users keep their files)."""
    beside = path.resolve().parent if path is not None else cwd.resolve()
    if spec.workdir is not None:
        return (beside / spec.workdir).resolve()
    named = [spec.program] if spec.program else [item for item in spec.command if not item.startswith("$")]
    for folder in (beside, cwd.resolve()):
        if any(is_file(folder / name) for name in named):
            return folder
    return beside
