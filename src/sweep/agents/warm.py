"""The guard's side of a warm process (`sweep.agents.warm_server`): start it, hand it requests, hear how its children end.

Rule of this file: it belongs to the guard's bare interpreter (as `warm`, imported when the first run asks for it), so the
standard library only, and nothing blocks.

What must hold: a run is started once. A child waits for a byte in its pipe, and gets it when the guard has entered its
process id; so when the server dies, each request that got no byte is started the ordinary way, and each child that got one
is a child of the guard from then on, which reaps it like any other.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket
import marshal
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sweep.agents import programs, trees
    from sweep.agents.guard import Guard, Run
else:
    import programs
    import trees

READY_S = 120.0
"""How long importing may take."""
ANSWER_S = 30.0
"""How long a fork may take."""
MAX_TEXT = 2000
RESTARTS = 3
"""How often a warm process that has worked is started again when it dies; after that runs start the ordinary way."""
FUNCTION = b"function"
"""The key of a warm process that holds a function."""
PLACEHOLDER = {b"SWEEP_WARM": b"." * 4000}
"""Room in the memory that /proc shows as the environment, for the variables of runs."""
FORMAT = 2


class Request:
    """A run that is to be forked."""

    __slots__ = ("argv", "cwd", "env", "go", "output", "run")

    def __init__(
        self, run: Run, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, output: bytes
    ) -> None:
        self.run, self.argv, self.env, self.cwd, self.output = run, argv, env, cwd, output
        self.go = -1
        """Our end of the pipe that releases the child; -1 when it was not asked for yet."""


class Warm:
    """One warm process: from its start to its end."""

    def __init__(self, guard: Guard, pid: int, channel: _socket.socket, printed: int = -1) -> None:
        """`printed`: a file with what the process has printed while it imported; -1 for a function's server."""
        self.guard, self.pid, self.channel, self.printed = guard, pid, channel, printed
        self.is_function = printed < 0
        """Its runs cannot be started in any other way."""
        self.fd = channel.fileno()
        self.ready = False
        self.gone = False
        self.problem = ""
        self.due_s: float | None = time.monotonic() + READY_S
        """When it must have answered."""
        self.waiting: list[Request] = []
        self.asked: Request | None = None
        self.reaping: dict[int, Run | None] = {}
        """Children that have ended and whose CPU time is still to come."""
        os.set_blocking(self.fd, False)

    # --- requests

    def add(self, run: Run, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, output: bytes) -> None:
        """Have a run forked as soon as possible."""
        self.waiting.append(Request(run, argv, env, cwd, output))
        self.pump()

    def pump(self) -> None:
        """Ask for the next child, unless one is awaited already."""
        while self.ready and self.asked is None and self.waiting and not self.gone:
            request = self.waiting.pop(0)
            try:
                self._ask(request)
            except OSError as error:
                self.guard.not_started(request.run, error.errno or 0, str(error.strerror))
            finally:
                os.chdir(b"/")

    def _ask(self, request: Request) -> None:
        programs.enter(request.cwd)
        output = programs.open_output(request.output)
        content = os.memfd_create("sweep-request")
        go, request.go = os.pipe()
        try:
            with open(content, "wb", closefd=False) as file:
                file.write(marshal.dumps((request.argv, request.env, request.cwd), FORMAT))
            fds = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (content, go, output))
            self.asked, self.due_s = request, time.monotonic() + ANSWER_S
            self.channel.sendmsg([b"F"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, fds)])
        except OSError:
            self.kill("it takes no requests any more")
        finally:
            for fd in (content, go, output):
                os.close(fd)

    def drop(self, run: Run) -> bool:
        """Forget a run that has not been started; False when it is not one of these."""
        for request in self.waiting:
            if request.run is run:
                self.waiting.remove(request)
                return True
        if self.asked is not None and self.asked.run is run and self.asked.go >= 0:
            os.close(self.asked.go)  # its child, when it comes, reads the end and is gone
            self.asked.go = -1
            return True
        return False

    # --- what it says

    def receive(self) -> None:
        """Read and carry out what has come; at the end of it, the process is on its way out."""
        while True:
            try:
                data = self.channel.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                if not self.gone:
                    trees.send_signal(self.pid, signal.SIGKILL)
                    self.guard.unwatch(self.fd)
                return
            self.obey(*marshal.loads(data))

    def obey(self, name: str, *arguments: Any) -> None:
        """Carry out one packet."""
        if name == "ready":
            self.ready, self.due_s = True, None
            self.guard.tell("warm", "", False)
        elif name == "failed":
            self.problem = arguments[0]
        elif name == "forked":
            self._forked(arguments[0])
        elif name == "not_forked" and self.asked is not None:
            request, self.asked = self.asked, None
            self._ordinarily(request)
        elif name == "ended":
            self._ended(*arguments)
        elif name == "reaped":
            pid, *usage = arguments
            run = self.reaping.pop(pid, None)
            if run is not None:
                self.guard.finished(run, run.status, *usage)
        self.pump()

    def _forked(self, pid: int) -> None:
        request, self.asked = self.asked, None
        self.due_s = None
        if request is None or request.go < 0:
            return
        self.guard.entered(request.run, pid)
        try:
            os.write(request.go, b"g")
        except OSError:
            pass  # it is dead already; its end will be told
        os.close(request.go)

    def _ended(self, pid: int, status: int) -> None:
        """Its id is its own until we have it reaped: what is left of its group goes first."""
        if self.gone:
            return  # then it is our child, and is reaped like any other
        run = self.guard.mains.pop(pid, None)
        if run is not None:
            trees.signal_group(pid, signal.SIGKILL)
            run.status = status
        self.reaping[pid] = run
        try:
            self.channel.send(b"R" + pid.to_bytes(8, "little"))
        except OSError:
            self.kill("it takes no requests any more")

    # --- its end

    def overdue(self, now_s: float) -> None:
        """Kill it when it has not answered in time."""
        if self.due_s is not None and now_s >= self.due_s:
            what = "it had not imported everything after" if not self.ready else "it did not answer for"
            self.kill(f"{what} {READY_S if not self.ready else ANSWER_S:g} s")

    def kill(self, problem: str) -> None:
        """End it; `bury` follows when it is reaped."""
        self.problem = self.problem or problem
        self.due_s = None
        trees.send_signal(self.pid, signal.SIGKILL)

    def bury(self, status: int, again: bool) -> None:
        """It has been reaped. What it had not started is started the ordinary way; what it had, goes on. `again`: another takes
        its place."""
        self.gone, self.due_s = True, None
        self.receive()
        why = self.problem or self._how(status)
        self.guard.unwatch(self.fd)
        for run in self.reaping.values():
            if run is not None:
                self.guard.finished(run, run.status, 0.0, 0.0, 0)
        left = ([self.asked] if self.asked is not None and self.asked.go >= 0 else []) + self.waiting
        self.asked, self.waiting, self.reaping = None, [], {}
        self.close()
        self.guard.tell("warm", why, again)
        for request in [] if self.is_function else left:
            self._ordinarily(request)

    def retire(self) -> None:
        """Another takes its place: it ends by itself, what it has not started is started the ordinary way, and its children
        become the guard's."""
        self.receive()
        self.gone, self.due_s = True, None
        left, self.waiting = self.waiting, []
        if self.asked is not None and self.asked.go >= 0:
            left.append(self.asked)
        self.asked = None
        for run in self.reaping.values():
            if run is not None:
                self.guard.finished(run, run.status, 0.0, 0.0, 0)
        self.close()
        for request in left:
            self._ordinarily(request)

    def close(self) -> None:
        """Let go of it."""
        self.channel.close()
        if self.printed >= 0:
            os.close(self.printed)
            self.printed = -1

    def _how(self, status: int) -> str:
        how = f"exit status {status}" if status >= 0 else f"signal {-status}"
        if self.ready:
            return f"it was ended by {how}"
        text = self._last_words()
        return f"it ended with {how} while it imported" + (f": {text}" if text else "")

    def _last_words(self) -> str:
        if self.printed < 0:
            return ""
        size = os.fstat(self.printed).st_size
        data = os.pread(self.printed, MAX_TEXT, max(0, size - MAX_TEXT))
        lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def _ordinarily(self, request: Request) -> None:
        if request.go >= 0:
            os.close(request.go)
            request.go = -1
        if request.run.id in self.guard.runs:
            self.guard.start(request.run, request.argv, request.env, request.cwd, request.output)


class Servers:
    """The warm process of the moment, and those before it that have not ended yet."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.current: Warm | None = None
        self._key = b""
        self._recipe: tuple[Any, ...] = ()
        """How to start it again."""
        self._restarts = 0

    @property
    def due_s(self) -> float | None:
        """When something is overdue, by the monotonic clock."""
        return self.current.due_s if self.current is not None else None

    def serves(self, key: bytes) -> Warm | None:
        """The warm process that runs with this key are forked from; None: they are started the ordinary way."""
        return self.current if key and key == self._key else None

    def warm_up(
        self, key: bytes, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, setup: bytes
    ) -> None:
        """Start a warm process, from which runs with this `key` are forked; one with another key is let go."""
        if self.current is not None:
            self.guard.unwatch(self.current.fd)
            self.current.retire()
        if key != self._key:
            self._restarts = 0
        self.current, self._key, self._recipe = None, key, (key, argv, env, cwd, setup)
        try:
            self._adopt(start(self.guard, argv, env, cwd, setup))
        except (OSError, ValueError) as error:
            self.guard.tell("warm", str(getattr(error, "strerror", "") or error), False)

    def adopt_function(self, pid: int, fd: int) -> None:
        """From now on runs are forked from the guard's child `pid`, which holds a function; `fd`: the socket to it."""
        os.set_inheritable(fd, False)
        self._key = FUNCTION
        self._adopt(Warm(self.guard, pid, _socket.socket(fileno=fd)))

    def _adopt(self, server: Warm) -> None:
        self.current = server
        self.guard.servers.add(server.pid)
        self.guard.watch(server.fd)

    def look(self, ready: dict[int, int], now_s: float) -> None:
        """Hear what it says, when it says something, and do not wait for ever."""
        if self.current is not None:
            if self.current.fd in ready:
                self.current.receive()
            self.current.overdue(now_s)

    def drop(self, run: Run) -> bool:
        """Forget a run that has not been started; False when it is not one of these."""
        return self.current is not None and self.current.drop(run)

    def reaped(self, pid: int, status: int) -> None:
        """A warm process is gone."""
        server = self.current
        if server is None or server.pid != pid:
            return  # let go
        self.current = None
        again = server.ready and not server.is_function and self._restarts < RESTARTS and not self.guard.over
        server.bury(status, again)
        if server.is_function:
            if self.guard.over is None:
                self.guard.over = "the process that held the function is gone"
                self.guard.at_once = self.guard.silent = True
        elif again:
            self._restarts += 1
            self.warm_up(*self._recipe)


def start(guard: Guard, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, setup: bytes) -> Warm:
    """Start a server of programs. `setup`: its first packet. Raises OSError, ValueError."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    printed = os.memfd_create("sweep-preload")
    try:
        programs.enter(cwd)
        program = programs.find_program(argv[0], env.get(b"PATH", programs.FALLBACK_PATH))
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
        pid = programs.spawn(program, argv, {**env, **PLACEHOLDER}, printed, guard.null, actions)
        ours.send(b"M" + setup)
    except BaseException:
        ours.close()
        os.close(printed)
        raise
    finally:
        theirs.close()
        os.chdir(b"/")
    return Warm(guard, pid, ours, printed)
