"""Creating sweeps and asking things of them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from sweep.controller import settle
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.spec import SweepSpec
from sweep.core.state import State
from sweep.provenance import record_sweep
from sweep.stopping import make_stopper
from sweep.stores import Index, Store

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
    path: Path,
    *,
    cwd: Path,
    environ: Mapping[str, str],
    argv: Sequence[str],
) -> Created:
    """Record a sweep: its spec, where it runs, the code and machine as they are. `path` is the spec's file."""
    sweep = new_id()
    workdir = working_folder(spec, path, cwd)
    with store.batch():
        record = record_sweep(workdir, path, store.put_blob, environ, argv)
        record["workdir"] = str(workdir)
        entry = e.SweepCreated(sweep, spec_to_builtins(spec), source, str(path), record)
        appended = store.append(sweep, [entry], writer=f"create/{sweep}", first_seq=1)
        store.write_index(sweep, Index(appended.last, rebuild(State(make_stopper), appended.recorded)))
    return Created(sweep, workdir, tuple(record.get("warnings", ())))


def working_folder(spec: SweepSpec, path: Path, cwd: Path) -> Path:
    """Where runs start: `workdir`; else the spec file's folder, unless the program is found only in the folder that
    the command was typed in (as W&B's users keep their files)."""
    beside = path.resolve().parent
    if spec.workdir is not None:
        return (beside / spec.workdir).resolve()
    named = [spec.program] if spec.program else [item for item in spec.command if not item.startswith("$")]
    for folder in (beside, cwd.resolve()):
        if any(_is_file(folder / name) for name in named):
            return folder
    return beside


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def request(store: Store, sweep: str, entry: e.AnyEntry) -> None:
    """Write a person's command into the journal; where no controller is at work, act on it at once."""
    store.append(sweep, [entry], writer=f"person/{new_id(12)}", first_seq=1)
    settle(store, sweep)
