"""Finding and killing whole trees of processes.

Rule of this file: it is imported both by the agent (as `sweep.agents.trees`) and by the guard's bare interpreter (as
`trees`), so the standard library only, and of that only what costs next to nothing to import (`_signal`, not `signal`).

Everything here works through /proc, which Linux has. Without it (macOS) nothing is found, and a process group is all
that can be signalled.
"""

# ruff: noqa: PTH110, PTH115, PTH208
# pathlib: importing it would cost more than everything else that the guard needs.

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

CHANGING_S = 0.1
"""How long a process that is just becoming another program is waited for; it takes a millisecond, more on a busy machine."""
MARKS = (b"SWEEP_AGENT", b"SWEEP_RUN_ID", b"SWEEP_ATTEMPT")
"""Environment variables by which a process is known to belong to a run."""


def become_subreaper() -> bool:
    """Make orphaned descendants children of this process. False where the system has no such thing."""
    if not sys.platform.startswith("linux"):
        return False
    set_child_subreaper = 36
    try:
        import _ctypes  # a tenth of the cost of ctypes

        whole_program: Any = None
        prctl = _ctypes.dlsym(_ctypes.dlopen(whole_program, os.RTLD_NOW), "prctl")
        return bool(_ctypes.call_function(prctl, (set_child_subreaper, 1, 0, 0, 0)) == 0)
    except (ImportError, AttributeError, OSError):
        pass
    try:
        import ctypes

        return bool(ctypes.CDLL(None).prctl(set_child_subreaper, 1, 0, 0, 0) == 0)
    except (ImportError, AttributeError, OSError):
        return False


def is_subreaper() -> bool:
    """Whether this process is one."""
    import ctypes

    get_child_subreaper = 37
    found = ctypes.c_int(0)
    try:
        ctypes.CDLL(None).prctl(get_child_subreaper, ctypes.byref(found), 0, 0, 0)
    except (AttributeError, OSError):
        return False
    return bool(found.value)


def stop_being_subreaper() -> None:
    """Orphaned descendants go to whoever they went to before."""
    import ctypes

    set_child_subreaper = 36
    try:
        ctypes.CDLL(None).prctl(set_child_subreaper, 0, 0, 0, 0)
    except (AttributeError, OSError):
        pass


def read_bytes(path: str) -> bytes:
    """A file under /proc; empty when its process is gone or not ours to look at."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        parts = []
        while part := os.read(fd, 65536):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return b""
    finally:
        os.close(fd)


def listed_children(pid: int) -> list[int]:
    """Its children, as the kernel lists them by thread; empty where it does not."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(c) for t in threads for c in read_bytes(f"/proc/{pid}/task/{t}/children").split()]


def _scanned_children() -> Callable[[int], list[int]]:
    """For kernels built without the `children` files: one look at every process."""
    table: dict[int, list[int]] = {}
    for pid in processes():
        fields = read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        if len(fields) > 1:
            table.setdefault(int(fields[1]), []).append(pid)
    return lambda pid: table.get(pid, [])


def processes() -> list[int]:
    """All process ids that /proc shows; none where there is no /proc."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def descendants(roots: Iterable[int]) -> list[int]:
    """Process ids below `roots` (without these), parents before children. Empty where there is no /proc."""
    listed = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
    children = listed_children if listed else _scanned_children()
    found: list[int] = []
    level = list(roots)
    seen = set(level)
    while level:
        level = [child for pid in level for child in children(pid) if child not in seen]
        seen.update(level)
        found += level
    return found


def ancestry(pid: int) -> list[int]:
    """A process and its parents, up to the first; only `pid` where there is no /proc."""
    found: list[int] = []
    while pid > 0 and pid not in found:
        found.append(pid)
        fields = read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0
    return found


def children() -> list[int]:
    """The children of this (single-threaded) process, or of its main thread; zombies, too."""
    me = os.getpid()
    path = f"/proc/{me}/task/{me}/children"
    if os.path.exists(path):
        return [int(child) for child in read_bytes(path).split()]
    return _scanned_children()(me)


def environment_of(pid: int) -> set[bytes]:
    """The `NAME=value` strings that a process was started with; empty when they cannot be read. Waits for CHANGING_S at most
    where it is just becoming another program."""
    until_s = 0.0
    while (found := environment_now(pid)) is None:
        now_s = time.monotonic()
        until_s = until_s or now_s + CHANGING_S
        if now_s > until_s:
            return set()
        time.sleep(0.0002)
    return found


def environment_now(pid: int) -> set[bytes] | None:
    """The same without waiting: None in the middle of an `execve`, when a process shows no environment though it has one."""
    for _ in range(3):  # what looks as if it had none may have been caught in the last step of it
        if data := read_bytes(f"/proc/{pid}/environ"):
            return set(data.split(b"\0"))
        fields = read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
        if len(fields) <= 48 or fields[0] in (b"Z", b"X"):
            return set()
        if (
            fields[48] == b"0"
        ):  # where its environment ends; also of what is not ours to look at, and of the kernel's own
            try:
                os.readlink(f"/proc/{pid}/exe")
            except OSError:
                return set()
            return None
    return set()


def send_signal(pid: int, number: int) -> None:
    """To one process; one that is gone or not ours is passed over."""
    try:
        os.kill(pid, number)
    except OSError:
        pass


def signal_group(pid: int, number: int) -> None:
    """To the process group that `pid` leads."""
    try:
        os.killpg(pid, number)
    except OSError:
        pass


def kill_until_gone(find: Callable[[], Iterable[int]], limit_s: float) -> bool:
    """SIGKILL what `find` returns until it returns nothing, so that a process that forks meanwhile does not get away.
    False when something was still there after `limit_s` seconds. Blocks for that long at most."""
    until_s = time.monotonic() + limit_s
    pause_s = 0.0005
    while found := list(find()):
        for pid in found:
            send_signal(pid, signal.SIGKILL)
        if time.monotonic() > until_s:
            return False
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.02)
    return True
