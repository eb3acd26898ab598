"""Runs that call a Python function of this process: the guard is started with a fork of this process as its child, and each run
is a fork of that.

So functions of `__main__`, closures and functions of notebooks work, and nothing that a run changes reaches this process or
another run. The fork that holds the function is a warm process like that of `preload` (`sweep.agents.warm_server`); the
difference is what a child must forget: exit functions, worker processes and files that are its ancestor's business.

Rule of this file: what runs in this process does nothing but fork. Everything else happens in the children.
"""

from __future__ import annotations

import atexit
import io
import os
import signal
import socket
import sys
import warnings
import weakref
from collections.abc import Callable, Mapping
from typing import NoReturn

from sweep.agents import warm_program, warm_server
from sweep.core.errors import SweepError
from sweep.core.spec import SweepSpec, calls_function

Function = Callable[[], object]
_CHANNEL_FD = 3


def name_of(function: Function) -> str:
    """Where it was defined, for the record: `train.main`."""
    inner = getattr(function, "func", function)  # functools.partial
    name = getattr(inner, "__qualname__", type(inner).__qualname__)
    return f"{getattr(inner, '__module__', None) or '__main__'}.{name}"


def check_program(sweep: str, spec: SweepSpec) -> None:
    """Raises SweepError for a sweep that names no program: only Python can work it off."""
    if calls_function(spec):
        raise SweepError(
            f"sweep {sweep} has no program: it is worked off from Python, by sweep.agent({sweep!r}, function)"
        )


def start_guard(argv: list[str], env: Mapping[str, str], channel: int, function: Function) -> int:
    """Start the guard, with a child that holds `function`; its process id. `argv` ends with a program to which the process
    id of that child is added as an argument; `channel`: what becomes descriptor 0. Raises OSError."""
    _flush()
    with warnings.catch_warnings():
        # Newer Pythons warn of forking a process with threads. Only this thread goes on in the child.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        return pid
    try:
        signal.pthread_sigmask(
            signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        )
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        holder = os.fork()
        if holder == 0:
            ours.close()
            os.close(channel)
            _hold(theirs, function)
        _become([*argv, str(holder)], env, channel, ours.fileno())
    finally:
        os._exit(127)


def _flush() -> None:
    """What is still in buffers here must not be written once more by children."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
    warm_program.flush_c()


def _become(argv: list[str], env: Mapping[str, str], channel: int, ours: int) -> NoReturn:
    signal.pthread_sigmask(
        signal.SIG_BLOCK,
        (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT, signal.SIGTSTP),
    )
    null = os.open(os.devnull, os.O_RDWR)
    # Out of the way first: one of them may be where another is to go.
    channel, ours, null = (_above(fd, _CHANNEL_FD + 1) for fd in (channel, ours, null))
    for source, target in ((channel, 0), (null, 1), (null, 2), (ours, _CHANNEL_FD)):
        os.dup2(source, target)
    os.execve(argv[0], argv, env)


def _above(fd: int, least: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, least)


# --- in the process that holds the function


def _hold(channel: socket.socket, function: Function) -> NoReturn:
    """Fork a child for each run, until the guard is gone."""
    os.setsid()  # Ctrl-C at the terminal is for the process that it was typed at
    _forget_signals()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)
    warm_program.settle()
    warm_server.Server(channel, _beginning(function)).work()
    os._exit(0)


def _forget_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _beginning(function: Function) -> warm_server.Begin:
    def begin(_: list[bytes], env: dict[bytes, bytes], cwd: bytes, output: int) -> None:
        warm_program.take_place(env, cwd, output, afresh=True)
        warm_server.mark(warm_server.environment_area(), env)
        _forget_ancestor()
        warm_program.use_threads()
        warm_program.reseed()
        warm_program.end(warm_program.status_of(function))

    return begin


def _forget_ancestor() -> None:
    """What the calling process would have done at its own end, and where it printed to."""
    atexit._clear()
    weakref.finalize._registry.clear()  # type: ignore[attr-defined]
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    sys.excepthook = sys.__excepthook__
    modules = sys.modules
    if "asyncio.events" in modules:
        modules["asyncio.events"]._set_running_loop(None)
    if "concurrent.futures.process" in modules:
        modules["concurrent.futures.process"]._threads_wakeups.clear()
    if "multiprocessing.util" in modules:
        modules["multiprocessing.process"]._children = set()  # type: ignore[attr-defined]
        modules["multiprocessing.util"]._finalizer_registry.clear()
        modules["multiprocessing.util"]._run_after_forkers()
        atexit.register(modules["multiprocessing.util"]._exit_function)
    if "sweep.sdk._run" in modules:
        modules["sweep.sdk._run"].forget()
    streams = {"stdin": open(0, encoding="utf-8", closefd=False)}  # noqa: SIM115
    streams |= {"stdout": _text(1, "strict"), "stderr": _text(2, "backslashreplace")}
    for name, stream in streams.items():
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _text(fd: int, errors: str) -> io.TextIOWrapper:
    raw = io.FileIO(fd, "wb", closefd=False)
    return io.TextIOWrapper(raw, "utf-8", errors, "\n", write_through=True)
