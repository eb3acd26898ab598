"""Entries about what a result rests on: artifacts, data and code that runs made, read and executed.

They are part of the journal's vocabulary (`sweep.core.entries` says what may change), for people, and decide nothing.
"""

from __future__ import annotations

from typing import Any

from sweep.core.entry import Event


class ArtifactLogged(Event, frozen=True, array_like=True, gc=False, tag=True):
    """A run has logged files under a name. Content that the name has already makes no new version."""

    run: int
    attempt: int
    name: str
    kind: str
    """Its type: `dataset`, `model`, …"""
    digest: str
    """BLAKE3 over the names and contents of its files, hex."""
    size: int
    files: int
    manifest: str
    """The blob that lists its files, and the blobs of their contents where the store keeps them."""
    aliases: tuple[str, ...] = ()
    place: str = ""
    """The folder or URL that has its files, by their digests; empty where they are in the store, or stay on their node."""
    folder: str = ""
    """Where they lie on the node that logged them."""
    description: str = ""
    metadata: dict[str, Any] = {}
    doubt: str = ""
    """Why its content may not be what the run meant, in words; empty where nothing speaks for that."""


class ArtifactUsed(Event, frozen=True, array_like=True, gc=False, tag=True):
    """A run has asked for an artifact, and got this version of it."""

    run: int
    attempt: int
    asked: str
    """As the program said it: `data:latest`."""
    sweep: str
    """The sweep whose artifact it is."""
    name: str
    version: int
    digest: str
    kind: str = ""
    manifest: str = ""
    """Where its content is, as in ArtifactLogged."""
    place: str = ""
    folder: str = ""


class DataUsed(Event, frozen=True, array_like=True, gc=False, tag=True):
    """A run reads a file or a folder: what it was when the run began, or said so."""

    run: int
    attempt: int
    path: str
    """Relative to the folder that the run started in where it lies below it."""
    digest: str = ""
    """BLAKE3, hex; empty for what could not be read."""
    size: int = 0
    files: int = 0
    listing: str = ""
    """The blob that lists a folder's files with their digests."""
    place: str = ""
    """The whole path on the node."""
    problem: str = ""
    """Why it could not be read."""
    instead: str = ""
    """The digest that an earlier entry gave, in whose place this one stands: what the data had been before was thought to be so still."""


class DataChecked(Event, frozen=True, array_like=True, gc=False, tag=True):
    """The data of an attempt was looked at again when it had ended."""

    run: int
    attempt: int
    changed: tuple[str, ...] = ()
    """Paths whose content was another one by then."""


class CodeChanged(Event, frozen=True, array_like=True, gc=False, tag=True):
    """The code that an agent's runs execute is another one from now on. For people; decides nothing."""

    agent: str
    number: int
    """1, 2, 3, …: `RunStarted.code` names it."""
    files: tuple[str, ...] = ()
    """What was changed, came or went, as far as it is named."""
    code: dict[str, Any] = {}
    """The record of the code as it is now (`CodeRecord` as plain data); empty where that is the sweep's, or was not recorded."""
    place: dict[str, Any] = {}
    """As in the record of the agent: where runs start, and how the code there differs from the sweep's."""
    during: tuple[tuple[int, int], ...] = ()
    """Runs and their attempts that were at work meanwhile, and may have read the files as they were or as they are now."""
