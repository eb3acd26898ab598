"""What `sweep doctor` looks at: a list of checks, each of which says what it found and, where something is wrong, what to do.

The rule of this file and of `checkup_machine` and `checkup_store`: nothing is imported before it is needed and whatever a
check runs into becomes its finding, because here everything may be broken, sweep's own installation included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "note", "warning", "broken"]
STATUSES: tuple[Status, ...] = ("ok", "note", "warning", "broken")


@dataclass(frozen=True)
class Finding:
    """What one check found. `note`: nothing is wrong, but it explains what sweep does here."""

    name: str
    status: Status
    found: str
    advice: str = ""
    """What to do; empty where nothing is wrong."""


@dataclass(frozen=True)
class Place:
    """What the checks look from."""

    cwd: Path | None
    """None where the current folder does not exist any more."""
    store_url: str | None
    """What `--store` or SWEEP_STORE says."""
    environ: Mapping[str, str]


Check = Callable[[Place], "Finding | list[Finding]"]


def check_all(place: Place) -> Iterator[Finding]:
    """Run every check, one after the other. Never raises."""
    try:
        from sweep.api import checkup_machine as machine
        from sweep.api import checkup_store as store
    except Exception as error:
        yield Finding(
            "sweep",
            "broken",
            _words(error),
            "install sweep again: `pip install --force-reinstall .` in its source folder",
        )
        return
    for check in (*machine.CHECKS, *store.CHECKS):
        yield from _guarded(check, place)


def here(store_url: str | None) -> Place:
    """From this process's folder and environment."""
    try:
        cwd = Path.cwd()
    except OSError:
        cwd = None
    return Place(cwd, store_url, dict(os.environ))


def worst(findings: list[Finding]) -> Status:
    """The gravest status among them."""
    return max((finding.status for finding in findings), key=STATUSES.index, default="ok")


def _guarded(check: Check, place: Place) -> list[Finding]:
    name = check.__name__.strip("_").replace("_", " ")
    try:
        found = check(place)
    except Exception as error:
        return [
            Finding(
                name,
                "warning",
                f"could not be checked: {_words(error)}",
                "see whether what it says can be mended",
            )
        ]
    return found if isinstance(found, list) else [found]


def _words(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]
