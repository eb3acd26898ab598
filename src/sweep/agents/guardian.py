"""The agent's side of its guard process (`sweep.agents.guard`): start it, give it orders, hear how runs ended.

Rule of this file: nothing blocks except `close` and the clean-up after the guard's own death, both within a stated time.
Register `fileno()` for reading with the agent's selector and call `poll` when it is ready and once per turn of the loop
(that also sends what the socket did not take before).
"""

from __future__ import annotations

import functools
import marshal
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep.agents import trees
from sweep.agents.functions import Function, start_guard
from sweep.agents.trees import become_subreaper
from sweep.agents.warming import WarmStart

__all__ = [
    "Exited",
    "GuardDied",
    "GuardEvent",
    "Guardian",
    "SpawnFailed",
    "Spawned",
    "WarmGone",
    "become_subreaper",
    "end_leftovers",
]

CLEAN_UP_S = 5.0
"""How long the clean-up after a guard that died may block; processes vanish within milliseconds unless stuck in the kernel."""
_WARM = "warm process"
_FUNCTION = b"function"
_BLOCKED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT, signal.SIGTSTP)


_encoded = functools.lru_cache(1024)(os.fsencode)
"""From run to run most of an environment is the same."""


class Spawned(msgspec.Struct, frozen=True):
    """The process of `id` exists, as leader of process group `pid`."""

    id: str
    pid: int
    at_s: float
    """When, by the monotonic clock."""


class SpawnFailed(msgspec.Struct, frozen=True):
    """The process of `id` could not be started; `message` is for a person."""

    id: str
    errno: int
    message: str


class Exited(msgspec.Struct, frozen=True):
    """The process of `id` has ended and none of its descendants is left."""

    id: str
    at_s: float
    """When its process ended, by the monotonic clock."""
    status: int
    """Exit status; -N when signal N ended it."""
    utime_s: float
    """CPU time in user mode of the process and the children that it waited for."""
    stime_s: float
    """The same in the kernel."""
    maxrss_bytes: int
    """The largest resident memory of a single process among them."""
    read_bytes: int = -1
    """What they read from disks, and wrote to them; -1: it is not known."""
    written_bytes: int = -1


class WarmGone(msgspec.Struct, frozen=True):
    """The warm process could not be made ready or has ended. Nothing is lost: what it had started goes on, and what it had
    not is started the ordinary way."""

    problem: str
    again: bool
    """Another is being started in its place."""


class GuardDied(msgspec.Struct, frozen=True):
    """The guard is gone and everything that it had started has been killed. `start` makes a new one."""

    ids: tuple[str, ...]
    """Runs of which the end had not been reported."""
    reason: str


GuardEvent = Spawned | SpawnFailed | Exited | WarmGone | GuardDied


class Guardian:
    """Starts, signals and reaps runs through a guard process of its own. Not safe for use by several threads."""

    def __init__(self, kill_after_s: float = 5.0, function: Function | None = None) -> None:
        """`kill_after_s`: how long runs have between SIGTERM and SIGKILL when the agent has vanished. `function`: runs call it,
        in forks of this process as it is when `start` is called; their `argv` is for the record only. Linux."""
        self._function = function
        self.kill_after_s = kill_after_s
        self.pid: int | None = None
        """Process id of the guard; None while there is none."""
        self.subreaper: bool | None = None
        """Whether the guard catches orphans (Linux); None until it has said so."""
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._to_send = bytearray()
        self._runs: dict[str, int | None] = {}
        """Every run not yet reported as ended -> process id, None until known."""
        self._marks: dict[str, set[bytes]] = {}
        self._warm_key = b""
        """Of the warm process that the guard has been told of."""
        self._deadline_s: float | None = None
        self._why = ""

    @property
    def ending(self) -> bool:
        """Whether the guard has said that it ends everything: what is killed from then on is its doing."""
        return bool(self._why)

    # --- life of the guard

    def start(self) -> None:
        """Start the guard. Raises OSError when the system cannot start another process."""
        if self.pid is not None:
            raise RuntimeError("the guard runs already")
        self._drop_socket()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                self.pid = _start_guard(theirs.fileno(), self._function)
        except BaseException:
            ours.close()
            raise
        self._socket, self.subreaper, self._why = ours, None, ""
        self._send("config", self.kill_after_s)
        self._send("deadline", self._deadline_s)

    def fileno(self) -> int:
        """The descriptor to watch for reading; until the next `start`, or `close`, also after the guard has died."""
        if self._socket is None:
            raise RuntimeError("there is no guard: call start")
        return self._socket.fileno()

    def close(self, timeout_s: float) -> None:
        """Send the guard away: runs that are left get SIGTERM now and SIGKILL shortly before `timeout_s` is over.
        When this returns nothing that was started here runs any more. No events are given out."""
        if self.pid is not None:
            self._send("bye", max(0.0, timeout_s * 0.8 - 0.2))
        until_s = time.monotonic() + timeout_s
        while self.pid is not None and (left_s := until_s - time.monotonic()) > 0:
            select.select([self], [self] if self._to_send else [], [], left_s)
            self.poll()
        if self.pid is not None:
            self._bury("closed")
        self._drop_socket()

    # --- orders

    def spawn(
        self,
        id: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str | os.PathLike[str],
        output: str | os.PathLike[str],
        warm: WarmStart | None = None,
    ) -> None:
        """Start `argv` with exactly this environment, in `cwd`, in a process group of its own, with standard input
        empty and everything it prints appended to the file `output` (made with mode 0600). `Spawned` or `SpawnFailed`
        follows. `id` must not be one that still runs (ValueError). SWEEP_AGENT, SWEEP_RUN_ID and SWEEP_ATTEMPT in `env` together
        identify the run's processes and should be unique to it.

        `warm`: fork it from this warm process, which is started for the first that asks; one at a time."""
        if id in self._runs:
            raise ValueError(f"run {id} runs already")
        if not argv:
            raise ValueError("argv is empty")
        self._open()
        raw = {_encoded(name): _encoded(value) for name, value in env.items()}
        key = self._warm_up(warm) if warm is not None else _FUNCTION if self._function is not None else b""
        self._runs[id] = None
        self._marks[id] = {name + b"=" + raw[name] for name in trees.MARKS if name in raw}
        words = [os.fsencode(word) for word in argv]
        self._send("spawn", id, words, raw, os.fsencode(cwd), os.fsencode(output), key)

    def _warm_up(self, warm: WarmStart) -> bytes:
        if warm.key != self._warm_key:
            self._warm_key = warm.key
            # Its children, too, until they have written their own marks; nobody but this agent has this one.
            self._marks[_WARM] = {mark for mark in warm.environ() if mark.startswith(b"SWEEP_AGENT=")}
            self._send("warm", *warm.message())
        return warm.key

    def kill(self, id: str, sig: int, everything: bool = False) -> None:
        """Send a signal to a run's process group or, with `everything`, to each of its descendants as well. For a run
        that has ended this does nothing. After SIGTERM, SIGINT and SIGHUP a stopped process is continued."""
        if id in self._runs and self.pid is not None:
            self._send("kill", id, int(sig), everything)

    def kill_all(self) -> None:
        """SIGKILL everything that runs here; `Exited` follows for each."""
        for id in self._runs:
            self.kill(id, signal.SIGKILL, everything=True)

    def set_kill_after(self, kill_after_s: float) -> None:
        """Another time between SIGTERM and SIGKILL from now on."""
        self.kill_after_s = kill_after_s
        if self.pid is not None:
            self._send("config", kill_after_s)

    def set_deadline(self, monotonic_s: float | None) -> None:
        """When `time.monotonic()` reaches this, the guard kills everything at once and ends (`GuardDied` follows): the
        agent's lease has run out by then and others may have its runs. None: never."""
        self._deadline_s = monotonic_s
        if self.pid is not None:
            self._send("deadline", monotonic_s)

    # --- events

    @property
    def owes(self) -> bool:
        """Whether something waits to be sent: `poll` does it, though nothing may have come."""
        return bool(self._to_send)

    def poll(self) -> list[GuardEvent]:
        """What has happened since the last call; never blocks, except after the guard's own death (up to CLEAN_UP_S)."""
        if self.pid is None:
            return []
        self._flush()
        gone = self._receive()
        events = [event for message in self._messages() if (event := self._event(*message)) is not None]
        if gone:
            events.append(self._bury(self._why or "the guard process was killed"))
        return events

    def _event(self, name: str, *arguments: Any) -> GuardEvent | None:
        if name == "spawned":
            id, pid, at_s = arguments
            self._runs[id] = pid
            return Spawned(id, pid, at_s)
        if name == "spawn_failed":
            self._forget(arguments[0])
            return SpawnFailed(*arguments)
        if name == "exited":
            self._forget(arguments[0])
            return Exited(*arguments)
        if name == "ready":
            self.subreaper = arguments[0]
        elif name == "warm" and arguments[0]:
            return WarmGone(*arguments)
        elif name == "ending":
            self._why = arguments[0]
        return None

    def _forget(self, id: str) -> None:
        self._runs.pop(id, None)
        self._marks.pop(id, None)

    # --- the socket

    def _open(self) -> socket.socket:
        if self._socket is None or self.pid is None:
            raise RuntimeError("there is no guard: call start")
        return self._socket

    def _drop_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *message: Any) -> None:
        data = marshal.dumps(message)
        self._to_send += len(data).to_bytes(4, "little") + data
        self._flush()

    def _flush(self) -> None:
        try:
            while self._to_send:
                del self._to_send[: self._open().send(self._to_send)]
        except BlockingIOError:
            pass
        except OSError:  # the guard is gone: `poll` finds out by reading
            self._to_send.clear()

    def _receive(self) -> bool:
        """Read what there is; True when the guard is gone."""
        while True:
            try:
                data = self._open().recv(1 << 16)
            except BlockingIOError:
                return False
            except OSError:
                return True
            if not data:
                return True
            self._received += data
            if len(data) < 1 << 16:
                return False

    def _messages(self) -> Iterable[tuple[Any, ...]]:
        while len(self._received) >= 4:
            end = 4 + int.from_bytes(self._received[:4], "little")
            if len(self._received) < end:
                return
            message = marshal.loads(self._received[4:end])
            del self._received[:end]
            yield message

    # --- after its death

    def _bury(self, reason: str) -> GuardDied:
        """Reap the guard, kill what it had started and forget everything about it."""
        assert self.pid is not None
        trees.send_signal(self.pid, signal.SIGKILL)
        _reap(self.pid, wait=True)
        self._end_adopted()
        ids = tuple(self._runs)
        self.pid, self._warm_key = None, b""
        for store in (self._runs, self._marks, self._received, self._to_send):
            store.clear()
        return GuardDied(ids, reason)

    def _end_adopted(self) -> None:
        """Kill the runs of a dead guard: on Linux they are children of this process now (`become_subreaper`)."""
        mains = {pid for pid in self._runs.values() if pid is not None}
        for pid in mains:
            trees.signal_group(pid, signal.SIGKILL)
        ours = set(mains)

        def left() -> list[int]:
            roots = [pid for pid in trees.children() if self._belongs(pid, ours)]
            while [pid for pid in roots if _reap(pid)]:
                # A parent that was reaped just now has left us children that the list did not have yet.
                roots = [pid for pid in trees.children() if self._belongs(pid, ours)]
            found = roots + trees.descendants(roots)
            ours.update(found)
            # A fork of the warm process is not below us as long as that lives, and has still to be seen to end.
            return found + [pid for pid in mains.difference(found) if _dying(pid)]

        trees.kill_until_gone(left, CLEAN_UP_S)

    def _belongs(self, pid: int, ours: set[int]) -> bool:
        """Whether a child of this process, which may have others, comes from a run."""
        if pid in ours:
            return True
        try:
            if os.getpgid(pid) in ours:
                return True
        except OSError:
            return False
        environment = trees.environment_of(pid)
        return any(marks and marks <= environment for marks in self._marks.values())


def end_leftovers(is_lost: Callable[[str], bool], limit_s: float = 5.0) -> int:
    """Kill processes on this host that earlier agents left behind, as told by SWEEP_AGENT in their environment.

    is_lost: whether the agent of this id is known to be gone. This process and its ancestors are spared (an agent may
    itself have been started by a run). Returns how many processes there were; 0 where there is no /proc (macOS). Blocks
    until they are gone, `limit_s` seconds at most.
    """
    spared = set(trees.ancestry(os.getpid()))
    killed: set[int] = set()

    def left() -> list[int]:
        found = [
            pid
            for pid in trees.processes()
            if pid not in spared and any(map(is_lost, _agents_of(pid))) and not _reap(pid)
        ]
        killed.update(found)
        return found

    trees.kill_until_gone(left, limit_s)
    return len(killed)


def _agents_of(pid: int) -> list[str]:
    name = b"SWEEP_AGENT="
    return [
        os.fsdecode(entry.removeprefix(name)) for entry in trees.environment_of(pid) if entry.startswith(name)
    ]


def _dying(pid: int) -> bool:
    """Whether a run's main process, which has been sent SIGKILL, has not ended yet."""
    try:
        leads = os.getpgid(pid) == pid
    except OSError:
        return False
    return leads and trees.read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] not in (b"", b"Z", b"X")


def _reap(pid: int, wait: bool = False) -> bool:
    """Collect a child that has ended; True when it is gone."""
    try:
        return os.waitpid(pid, 0 if wait else os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def _start_guard(channel: int, function: Function | None) -> int:
    """A bare interpreter that imports guard.py and its two helpers, through their byte code caches, unlike a script."""
    folder = str(Path(__file__).parent)
    program = (
        f"import sys; sys.path.append({folder!r}); import guard; "
        f"guard.main({os.getpid()}, *map(int, sys.argv[1:]))"
    )
    # Without SWEEP_*: in a run of another sweep, the guard must not look like one of that run's processes.
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    argv = [sys.executable, "-I", "-S", "-E", "-c", program]
    if function is not None:
        return start_guard(argv, env, channel, function)
    return os.posix_spawn(
        sys.executable,
        argv,
        env,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, channel, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsigmask=_BLOCKED,
    )
