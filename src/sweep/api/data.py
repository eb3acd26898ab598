"""Before a run is executed again: is the data that it read here, and is it what it was?

The rule of this file: data is found where the run had it; nothing of it is copied or changed. Data that was recorded in the code is in the
worktree already.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from sweep.api.preflight import Check
from sweep.core.views import DataView, RunView
from sweep.provenance.data import DataError, Digests, what_changed, without_secrets
from sweep.provenance.scrub import scrub


def restore_data(
    run: RunView,
    recorded: Path,
    workdir: Path,
    links: Mapping[str, Path],
    cache: Path | None,
    get_blob: Callable[[str], bytes | None],
) -> list[Check]:
    """A check for each piece of data that the run's last attempt read.

    Args:
        recorded: the folder that the run was recorded to start in.
        workdir: where it is going to start: pieces that are missing there are linked to where they were.
        links: what the person said of where folders are.
        cache: the file that remembers digests; None: everything is read.
        get_blob: has the lists of files that folders had.
    """
    digests = Digests(cache)
    try:
        pieces = [one for one in run.data if one.attempt == run.attempt]
        for one in sorted(pieces, key=lambda one: one.path):  # a folder before what is in it
            if one.path not in links and not os.path.isabs(one.path):  # noqa: PTH117
                _bring(recorded / one.path, workdir / one.path)
        return [_piece(one, workdir, links, digests, get_blob) for one in pieces]
    finally:
        digests.close()


def _bring(source: Path, target: Path) -> None:
    """Link what is in `source` and not in `target`: a part of a folder may be recorded with the code, and be there."""
    if not os.path.lexists(target):
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(source.resolve())
    elif target.is_dir() and source.is_dir() and not target.is_symlink():
        for inner in source.iterdir():
            _bring(inner, target / inner.name)


def _piece(
    one: DataView,
    workdir: Path,
    links: Mapping[str, Path],
    digests: Digests,
    get_blob: Callable[[str], bytes | None],
) -> Check:
    what, then = one.path, f"BLAKE3 {one.digest[:12]}" if one.digest else f"not readable: {one.problem}"
    if one.path in links:
        source = links[one.path]
    elif os.path.isabs(one.path):  # noqa: PTH117
        source = Path(one.place)
    else:
        source = workdir / one.path
    if not one.digest:
        return Check(what, then, "not compared", "unknown")
    if not source.exists():
        return Check(what, then, f"not there: {one.place}", "missing")
    try:
        found = digests.of(str(source))
    except DataError as error:
        return Check(what, then, str(error), "missing")
    if found.digest != one.digest:
        listed = get_blob(one.listing) if one.listing and found.listing else None
        which = f": {scrub(what_changed(listed, without_secrets(found.listing)))}" if listed else ""
        return Check(what, then, f"BLAKE3 {found.digest[:12]}{which}", "changed")
    if one.changed:
        return Check(what, then, "the same; but it changed while the run read it", "unknown")
    return Check(what, then, "the same content", "same")
