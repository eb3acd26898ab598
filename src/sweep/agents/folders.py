"""Run folders: where a run's config, output, checkpoints and rows that could not be sent are.

    <root>/runs/<sweep>/<run>/
        config.json            what the run was given
        checkpoint/            kept across attempts
        output-<attempt>.log   everything that the attempt printed
        unsent-<attempt>.jsonl rows that it could not send (written by the training side)

Folders have mode 0700 and files 0600: output and checkpoints are nobody else's business.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC and other strings: titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, and those that turn the direction of writing; tab and newline are let through."""
_MAX_LINE = 2000


class FolderError(OSError):
    """A run's folder cannot be made or written; its text is for a person, `errno` says why."""

    def __str__(self) -> str:
        return str(self.strerror)


class RunFolder:
    """The folder of one run. Making the object makes nothing on disk. Its paths are text: they are needed before every run,
    and `pathlib` would cost as much as the rest."""

    __slots__ = ("checkpoint", "config_file", "path")

    def __init__(self, root: Path | str, sweep: str, run: int) -> None:
        """Raises ValueError for a sweep ID that could lead out of `root`."""
        if not _SAFE.fullmatch(sweep) or run < 0:
            raise ValueError(f"{sweep!r}, {run!r}: not an ID of a sweep and a number of a run")
        self.path = os.path.join(os.getcwd(), root, "runs", sweep, str(run))  # noqa: PTH109, PTH118
        self.checkpoint = f"{self.path}/checkpoint"
        self.config_file = f"{self.path}/config.json"

    def output(self, attempt: int) -> str:
        """Where standard output and error of an attempt go."""
        return f"{self.path}/output-{attempt}.log"

    def unsent(self, attempt: int) -> str:
        """Where the training side leaves rows that it could not send."""
        return f"{self.path}/unsent-{attempt}.jsonl"

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the folders and write the config, at once or not at all. May be called for every attempt. Raises
        FolderError."""
        try:
            for folder in (self.path, self.checkpoint):
                try:
                    os.mkdir(folder, 0o700)  # noqa: PTH102 - before every run
                except OSError:  # it is there, or what it stands in is not
                    Path(folder).mkdir(parents=True, exist_ok=True)
                    Path(folder).chmod(0o700)
            data = json.dumps(config).encode("ascii")  # NaN stays NaN, as docs/reference/protocol.md says
            try:
                _write_new(self.config_file, data)
            except FileExistsError:
                write_atomically(Path(self.config_file), data)
        except OSError as error:
            what = f"cannot write the run's folder {self.path}: {error.strerror or error}"
            raise FolderError(error.errno or 0, what + self._whose()) from None

    def _whose(self) -> str:
        try:
            owner = Path(self.path).stat().st_uid
        except OSError:
            return ""
        return (
            ""
            if owner == os.getuid()
            else " (it belongs to another user, whose agent must go on with this run)"
        )


def _write_new(path: str, data: bytes) -> None:
    """Write a file that nobody looks for yet. Raises FileExistsError, also where an earlier life got no further."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(fd, data) :]
    finally:
        os.close(fd)


def write_atomically(path: Path, data: bytes) -> None:
    """Write `path` with mode 0600 so that a reader sees the old content or the new. Not meant to survive a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def tail(path: Path | str, lines: int, max_bytes: int = 16_384) -> str:
    """The last lines of a file that may hold anything, fit for a terminal and for the journal.

    Looks at the last `max_bytes` bytes only. What is no UTF-8 is replaced, colours and other control sequences are left
    out, of a progress bar that rewrites its line the last state remains, very long lines are cut, blank lines at the end
    are dropped. Empty when there is no such file.
    """
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - max_bytes)
            file.seek(start)
            data = file.read(max_bytes)
    except OSError:
        return ""
    if start > 0:  # drop the piece of a line, unless it is all there is
        data = data.partition(b"\n")[2] or data
    found = [_clean(line) for line in data.decode("utf-8", "replace").split("\n")]
    while found and not found[-1].strip():
        found.pop()
    return "\n".join(found[-lines:]) if lines > 0 else ""


def _clean(line: str) -> str:
    line = _ESCAPES.sub("", line).rstrip("\r")
    line = line.rpartition("\r")[2]
    line = _CONTROLS.sub("", line).rstrip()
    return line if len(line) <= _MAX_LINE else line[:_MAX_LINE] + " …"
