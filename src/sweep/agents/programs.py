"""Starting a program for a run, and saying in plain words why it could not be started.

Rule of this file: as in `trees`, only what costs nothing to import. Everything is bytes, as the system has it. It changes
the current folder, so it is for a process with one thread.
"""

# ruff: noqa: PTH110, PTH112, PTH113, PTH118
# pathlib: importing it would cost more than everything else that the guard needs.

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

FALLBACK_PATH = b"/usr/local/bin:/usr/bin:/bin"


def _resettable() -> list[int]:
    """Signals whose disposition a new process would inherit from us when it is `ignore`."""
    fixed = (signal.SIGKILL, signal.SIGSTOP)
    return [number for number in range(1, 32) if number not in fixed]


RESET = _resettable()


def start(argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, output: bytes, null: int) -> int:
    """Start `argv` in `cwd` with exactly this environment, as the leader of a new process group, with default signals,
    the descriptor `null` as standard input, and what it prints appended to `output`. Returns its process id. Raises
    OSError with a message for a person, ValueError for a NUL byte or an empty or impossible variable name."""
    enter(cwd)
    program = find_program(argv[0], env.get(b"PATH", FALLBACK_PATH))
    out = open_output(output)
    try:
        return spawn(program, argv, env, out, null)
    finally:
        os.close(out)


def spawn(
    program: bytes,
    argv: list[bytes],
    env: dict[bytes, bytes],
    out: int,
    null: int,
    more: Sequence[tuple[int, int, int]] = (),
) -> int:
    """The same for a file to execute, in the current folder, with an open descriptor for what it prints, and with `more`
    actions of posix_spawn on descriptors."""
    try:
        return os.posix_spawn(
            program,
            argv,
            env,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, out, 1),
                (os.POSIX_SPAWN_DUP2, out, 2),
                *more,
            ],
            setpgroup=0,
            setsigmask=(),
            setsigdef=RESET,
        )
    except OSError as error:
        raise _failure(error, why_not_started(program, error)) from None


def enter(cwd: bytes) -> None:
    """Make `cwd` the current folder. Raises OSError with a message for a person."""
    try:
        os.chdir(cwd)
    except OSError as error:
        raise _failure(error, f"cannot start in {show(cwd)}: {error.strerror}") from None


def open_output(output: bytes) -> int:
    """A descriptor that appends to the file `output`, relative to the current folder. Raises OSError with a message for a person."""
    try:
        return os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _failure(error, f"cannot write the output file {show(output)}: {error.strerror}") from None


def show(text: bytes) -> str:
    """Bytes of the system in a message for a person."""
    return text.decode("utf-8", "replace")


def _failure(error: OSError, message: str) -> OSError:
    return OSError(error.errno, message)


def find_program(name: bytes, path: bytes) -> bytes:
    """The file to execute: `name` itself when it has a slash, else the first of that name on `path`.
    Raises OSError with a message for a person."""
    if b"/" in name:
        return name
    denied = None
    for folder in path.split(b":"):
        candidate = os.path.join(folder or b".", name)
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            denied = denied or candidate
    if denied is not None:
        raise OSError(13, f"cannot start {show(denied)}: it is not executable (chmod +x makes it so)")
    raise OSError(2, f"cannot start {show(name)}: no program of that name in PATH")


def why_not_started(program: bytes, error: OSError) -> str:
    """In words for a person, why executing `program` failed."""
    what = f"cannot start {show(program)}"
    if os.path.isdir(program):
        return f"{what}: it is a folder"
    if not os.path.exists(program):
        return f"{what}: no such file"
    interpreter = _interpreter(program)
    if error.errno == 13 and not os.access(program, os.X_OK):
        return f"{what}: it is not executable (chmod +x makes it so)"
    if error.errno in (2, 13, 20) and interpreter:
        return f"{what}: its first line names the interpreter {show(interpreter)}, which cannot be used: {error.strerror}"
    if error.errno == 7:
        return f"{what}: its arguments and variables are longer than this system allows; hand a long config over as a file: ${{args_json_file}}"
    if error.errno == 8 and not interpreter:
        return f"{what}: it is neither a program for this machine nor a script with a #! line"
    return f"{what}: {error.strerror}"


def _interpreter(program: bytes) -> bytes:
    try:
        fd = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        head = os.read(fd, 256)
    except OSError:
        head = b""
    finally:
        os.close(fd)
    words = head.partition(b"\n")[0][2:].split()
    return words[0] if head.startswith(b"#!") and words else b""


def used(usage: Any) -> tuple[float, float, int, int, int]:
    """What `wait4` says of a process and the children that it waited for: user and system seconds, largest memory, and what it
    read from and wrote to disks, in bytes (-1 where the system does not tell)."""
    linux = sys.platform.startswith("linux")
    disk = (usage.ru_inblock * 512, usage.ru_oublock * 512) if linux else (-1, -1)
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return (usage.ru_utime, usage.ru_stime, memory, *disk)
