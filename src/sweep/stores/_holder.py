"""Who keeps everybody else from writing to an SQLite file, for the message that says so. Only Linux tells.

SQLite's one writer holds a POSIX lock on byte 120 of the `-shm` file (https://www.sqlite.org/walformat.html, "WAL locks").
"""

from __future__ import annotations

import os
from pathlib import Path

_WRITE_LOCK = 120


def holder_of(path: Path) -> str:
    """The process that writes to the store in the file `path`, in words."""
    pid = _writer(Path(f"{path}-shm"))
    if pid is None:
        return "another process has been writing to it all this time"
    what = f"process {pid}{_command(pid)}"
    if _is_stopped(pid):
        return f"{what} was stopped in the middle of writing to it; `kill -CONT {pid}` lets it go on, `kill -KILL {pid}` ends it"
    return f"{what} has been writing to it all this time"


def _writer(shared_memory: Path) -> int | None:
    try:
        inode = shared_memory.stat().st_ino
        lines = Path("/proc/locks").read_text("ascii").splitlines()
    except (OSError, ValueError):
        return None
    return next((pid for line in lines if (pid := _holds(line, inode)) is not None), None)


def _holds(line: str, inode: int) -> int | None:
    """The process of a line of proc_locks(5) when it is the writer: `1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 120 120`.
    Lines of those who wait have an arrow behind the number."""
    fields = line.split()
    if len(fields) != 8 or fields[1] != "POSIX" or fields[3] != "WRITE":
        return None
    if fields[5].rpartition(":")[2] != str(inode) or not fields[6].isdigit():
        return None
    end = fields[7]
    if int(fields[6]) > _WRITE_LOCK or (end != "EOF" and int(end) < _WRITE_LOCK):
        return None
    pid = int(fields[4])
    return pid if pid > 0 and pid != os.getpid() else None


def _command(pid: int) -> str:
    """` (sweep agent k3x9)`; empty when it cannot be found out."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    text = "".join(char if char.isprintable() else " " for char in " ".join(words)).strip()
    return f" ({text[:80]})" if text else ""


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
