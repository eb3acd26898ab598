"""The guard: a small process that is the parent of all training processes of an agent and outlives it.

A bare interpreter (`python -I -S -E`) calls `main` with the agent's process id, and has its end of a socket pair as
descriptor 0. It starts runs on the agent's behalf, reports how they ended, and ends every descendant of a run: when the
run's main process ends, when the agent says so, when the agent is gone (its end of the socket closes) and when the
agent's lease deadline passes. `sweep.agents.guardian` is the agent's side of it.

Rule of this file: the standard library only, and of that only what costs next to nothing to import (so `_signal` and
not `signal`). Nothing here blocks, so that the deadline always counts. Paths, arguments and environments are bytes, as
the system has them.

Linux: the guard is a subreaper, so that descendants which left their session become its children; it finds them through
/proc. macOS has neither: there, the process group of a run is all that is killed.

A message is a length (4 bytes, little-endian) and a marshalled tuple; both ends are the same Python.

    agent -> guard   ("config", kill_after_s)
                     ("spawn", id, argv, env, cwd, output, key)   ("kill", id, signal, everything)
                     ("warm", key, argv, env, cwd, setup)
                     ("deadline", monotonic_s or None)         ("bye", grace_s)
    guard -> agent   ("ready", is_subreaper)                   ("spawned", id, pid, at_s)
                     ("spawn_failed", id, errno, message)      ("exited", id, at_s, status, utime_s, stime_s, maxrss_bytes)
                                                                    … , read_bytes, written_bytes)
                     ("warm", problem, another_follows)         ("ending", reason)

A run whose `key` is that of the warm process is forked from it (`sweep.agents.warm`), and is watched and ended like any other.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sweep.agents import programs, trees
    from sweep.agents.warm import Servers
else:  # in the bare interpreter there is no package `sweep`
    import programs
    import trees

SETTLE_S = 2.0
"""How long the end of a run waits for its killed descendants to vanish before it is reported anyway."""
GIVE_UP_S = 30.0
"""How long a guard that ends everything waits for processes that do not die of SIGKILL (stuck in the kernel)."""
SPAWNED_S = 0.025 if sys.platform == "linux" else 0.0
"""That a run has started is told so much later at most: a short run's end goes with it, and the agent is woken once. (If the
guard is killed meanwhile, the agent finds the run among its children, where there are subreapers.)"""
TICK_S = 0.005
CHANNEL = 0
GENTLE = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Run:
    """One run's main process, which leads its process group."""

    __slots__ = ("ended", "id", "marks", "pid", "settle_until_s", "status")

    def __init__(self, id: str, marks: set[bytes]) -> None:
        self.id, self.marks = id, marks
        self.pid = 0
        """0 until it is known: it is to be forked."""
        self.status = 0
        """What the warm process said of its end, before its CPU time is known."""
        self.ended: tuple[float, int, float, float, int, int, int] | None = None
        """When, by the monotonic clock; exit status or -signal, user and system seconds, largest memory in bytes; bytes read from
        and written to disks, -1 where the system does not tell."""
        self.settle_until_s = 0.0


class Guard:
    """All state of the guard process."""

    def __init__(self, agent_pid: int) -> None:
        self.me = os.getpid()
        self.runs: dict[str, Run] = {}
        self.mains: dict[int, Run] = {}
        """By process id, until reaped."""
        self.settling: list[Run] = []
        """Main process reaped, descendants still being killed."""
        self.owners: dict[int, set[str]] = {}
        """Orphan (a child that is no run's main process) -> the runs that it can belong to: one, when its environment
        or group tells; else all that were there when it was first seen, so that it dies with the last of them."""
        self.warm: Servers | None = None
        """None until a warm process is asked for."""
        self.servers: set[int] = set()
        """Process ids of warm processes that have not been reaped."""
        self.kill_after_s = 5.0
        self.deadline_s: float | None = None
        self.over: str | None = None
        """Why the guard is about to end everything; None while it works."""
        self.at_once = False
        self.silent = False
        """What ends from now on did so because of us: the agent takes all of it as lost."""
        self.received = bytearray()
        self.to_send = bytearray()
        self.send_s: float | None = None
        """When that is to be sent, by the monotonic clock; None: there is nothing."""
        self.blocked = False
        """The agent does not read: waiting for room in the socket."""
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self.poller = select.poll()
        self.wake = self._wake_on_children()
        self.watch(CHANNEL)
        self._watch_agent(agent_pid)

    def watch(self, fd: int) -> None:
        """Wait for something to read there, too."""
        os.set_blocking(fd, False)
        self.poller.register(fd, select.POLLIN)

    def _wake_on_children(self) -> int:
        wake, notify = os.pipe()
        os.set_blocking(notify, False)
        self.watch(wake)
        signal.set_wakeup_fd(notify, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return wake

    def unwatch(self, fd: int) -> None:
        """No longer wait for something to read there."""
        try:
            self.poller.unregister(fd)
        except KeyError:
            pass

    def _watch_agent(self, pid: int) -> None:
        """The socket alone would not tell when a forked child of the agent still holds the agent's end."""
        self.agent: int | None = None
        if hasattr(os, "pidfd_open"):
            try:
                self.agent = os.pidfd_open(pid)
                self.poller.register(self.agent, select.POLLIN)
            except OSError:
                pass
        if os.getppid() != pid:
            self.over = "the agent is gone"

    # --- the loop

    def work(self) -> None:
        """Until there is a reason to end everything."""
        self.tell("ready", trees.become_subreaper())
        self.flush()
        while self.over is None:
            self.wait(self._timeout_s())
            self._check_deadline()

    def _timeout_s(self) -> float | None:
        if self.settling:
            return TICK_S
        times = [self.deadline_s, self.send_s, self.warm.due_s if self.warm is not None else None]
        due = [due_s for due_s in times if due_s is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _check_deadline(self) -> None:
        if self.deadline_s is not None and time.monotonic() >= self.deadline_s:
            self.over, self.at_once = "the agent's lease has run out", True

    def wait(self, timeout_s: float | None) -> None:
        """Wait for something, then do everything that has become possible."""
        # Rounded up: a poll that returns just before the deadline would spin.
        ready = dict(self.poller.poll(None if timeout_s is None else int(timeout_s * 1000) + 1))
        if self.wake in ready:
            os.read(self.wake, 4096)
        if self.warm is not None:
            self.warm.look(ready, time.monotonic())
        if self.wake in ready or self.settling:
            self.reap()
            self.settle()
        if CHANNEL in ready:
            self.receive()
        if self.agent in ready:
            self.over = self.over or "the agent is gone"
        self.flush()

    def tell(self, *message: Any, within_s: float = 0.0) -> None:
        """Queue a message to the agent, which may wait so long for others to go with it."""
        data = marshal.dumps(message)
        self.to_send += len(data).to_bytes(4, "little") + data
        send_s = time.monotonic() + within_s if within_s else 0.0
        self.send_s = send_s if self.send_s is None else min(self.send_s, send_s)

    def flush(self) -> None:
        """Send what is due, as far as the socket takes it."""
        if self.send_s and self.send_s > time.monotonic():
            return
        self.send_s = None
        try:
            while self.to_send:
                del self.to_send[: os.write(CHANNEL, self.to_send)]
        except BlockingIOError:
            pass
        except OSError:
            self.to_send.clear()
        if bool(self.to_send) != self.blocked and self.over is None:
            self.blocked = not self.blocked
            self.poller.modify(CHANNEL, select.POLLIN | (select.POLLOUT if self.blocked else 0))

    def receive(self) -> None:
        """Read and carry out messages."""
        try:
            data = os.read(CHANNEL, 1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.over = self.over or "the agent is gone"
        self.received += data
        while len(self.received) >= 4:
            end = 4 + int.from_bytes(self.received[:4], "little")
            if len(self.received) < end:
                return
            message = marshal.loads(self.received[4:end])
            del self.received[:end]
            self.obey(*message)

    def obey(self, name: str, *arguments: Any) -> None:
        """Carry out one message."""
        if name == "spawn":
            self.spawn(*arguments)
        elif name == "warm":
            self.prepare_servers().warm_up(*arguments)
        elif name == "kill":
            self.kill(*arguments)
        elif name == "deadline":
            self.deadline_s = arguments[0]
        elif name == "config":
            self.kill_after_s = arguments[0]
        elif name == "bye":
            self.kill_after_s = arguments[0]
            self.over = self.over or "the agent said goodbye"

    # --- starting

    def spawn(
        self,
        id: str,
        argv: list[bytes],
        env: dict[bytes, bytes],
        cwd: bytes,
        output: bytes,
        key: bytes = b"",
    ) -> None:
        """Start a run's main process as the leader of a new process group, as a fork of the warm process with this `key` if
        there is one."""
        run = Run(id, {name + b"=" + env[name] for name in trees.MARKS if name in env})
        self.runs[id] = run
        server = self.warm.serves(key) if self.warm is not None else None
        if server is not None:
            server.add(run, argv, env, cwd, output)
        else:
            self.start(run, argv, env, cwd, output)

    def start(self, run: Run, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, output: bytes) -> None:
        """Start it the ordinary way."""
        try:
            self.entered(run, programs.start(argv, env, cwd, output, self.null))
        except OSError as error:
            self.not_started(run, error.errno or 0, str(error.strerror))
        except ValueError as error:
            self.not_started(run, 22, f"cannot start {programs.show(argv[0])}: {error}")
        finally:
            os.chdir(b"/")  # the guard must not keep a file system busy

    def entered(self, run: Run, pid: int) -> None:
        """The main process of a run exists."""
        run.pid = pid
        self.mains[pid] = run
        self.owners.pop(pid, None)
        self.tell("spawned", run.id, pid, time.monotonic(), within_s=SPAWNED_S)

    def not_started(self, run: Run, number: int, message: str) -> None:
        """The main process of a run could not be started."""
        del self.runs[run.id]
        self.tell("spawn_failed", run.id, number, message)

    def prepare_servers(self) -> Servers:
        """What handles warm processes. Only who asks for them pays for the import."""
        if self.warm is None:
            if TYPE_CHECKING:
                from sweep.agents import warm
            else:
                import warm

            self.warm = warm.Servers(self)
        return self.warm

    # --- ending

    def reap(self) -> None:
        """Collect every child that has ended."""
        while True:
            try:
                if hasattr(os, "waitid"):
                    # Looked at before it is reaped: until then its id, and so its group, cannot be somebody else's.
                    info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                    if info is None:
                        return
                    if info.si_pid in self.mains:
                        trees.signal_group(info.si_pid, signal.SIGKILL)
                    pid, status, usage = os.wait4(info.si_pid, os.WNOHANG)
                else:
                    pid, status, usage = os.wait4(-1, os.WNOHANG)
                    if pid in self.mains:
                        trees.signal_group(pid, signal.SIGKILL)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.owners.pop(pid, None)
            code = os.waitstatus_to_exitcode(status)
            if (run := self.mains.pop(pid, None)) is not None:
                self.finished(run, code, *programs.used(usage))
            if pid in self.servers and self.warm is not None:
                self.servers.discard(pid)
                self.warm.reaped(pid, code)

    def finished(
        self,
        run: Run,
        status: int,
        utime_s: float,
        stime_s: float,
        maxrss_bytes: int,
        read_bytes: int = -1,
        written_bytes: int = -1,
    ) -> None:
        """The main process of a run is gone: what it left is to go, too."""
        now_s = time.monotonic()
        run.ended = (now_s, status, utime_s, stime_s, maxrss_bytes, read_bytes, written_bytes)
        run.settle_until_s = now_s + SETTLE_S
        self.settling.append(run)

    def settle(self) -> None:
        """Kill what is left of runs whose main process has ended; report those of which nothing is left."""
        if not self.settling:
            return
        doomed, unclear = self._doomed()
        for pid in doomed + trees.descendants(doomed) if doomed else ():
            trees.send_signal(pid, signal.SIGKILL)
        now_s = time.monotonic()
        for run in list(self.settling):
            if not (doomed or unclear) or now_s >= run.settle_until_s:
                assert run.ended is not None
                if not self.silent:
                    self.tell("exited", run.id, *run.ended)
                self.settling.remove(run)
                del self.runs[run.id]

    def _doomed(self) -> tuple[list[int], bool]:
        """Orphans that belong to no run which is still there; and whether there are some of which that cannot be told yet."""
        ended = {run.id for run in self.settling}
        doomed, unclear = [], False
        for pid in trees.children():
            if pid not in self.mains and pid not in self.servers:
                owners = self._owners_of(pid)
                if owners is None:
                    unclear = True
                    continue
                owners -= ended
                if not owners:
                    doomed.append(pid)
        return doomed, unclear

    def _owners_of(self, pid: int) -> set[str] | None:
        """None: it is becoming another program and does not show whose it is."""
        if pid not in self.owners:
            found = self._find_owners(pid)
            if found is None:
                return None
            self.owners[pid] = found
        return self.owners[pid]

    def _find_owners(self, pid: int) -> set[str] | None:
        try:
            group = os.getpgid(pid)
        except OSError:
            group = -1
        environment = trees.environment_now(pid)
        for run in self.runs.values():
            if group == run.pid or (run.marks and environment and run.marks <= environment):
                return {run.id}
        return None if environment is None else set(self.runs)

    def kill(self, id: str, number: int, everything: bool) -> None:
        """Signal a run's process group or, with `everything`, each of its descendants."""
        run = self.runs.get(id)
        if run is not None and self.warm is not None and self.warm.drop(run):
            del self.runs[id]
            self.tell("exited", id, time.monotonic(), -number, 0.0, 0.0, 0)
            return
        if run is None or run.pid not in self.mains:
            return  # it has ended, and what it left is being killed
        others = self._tree(run) if everything else []
        if number == signal.SIGKILL:
            # Remembered, because once its parents are dead an orphan without its environment has no known owner.
            self.owners.update((pid, {id}) for pid in others)
        for pid in others:
            trees.send_signal(pid, number)
        trees.signal_group(run.pid, number)
        if number in GENTLE:  # a stopped process would not get it
            trees.signal_group(run.pid, signal.SIGCONT)
            for pid in others:
                trees.send_signal(pid, signal.SIGCONT)

    def _tree(self, run: Run) -> list[int]:
        """Descendants of a run outside its process group."""
        orphans = [
            pid
            for pid in trees.children()
            if pid not in self.mains and pid not in self.servers and self._owners_of(pid) == {run.id}
        ]
        found = []
        for pid in orphans + trees.descendants([run.pid, *orphans]):
            try:
                if os.getpgid(pid) != run.pid:
                    found.append(pid)
            except OSError:
                pass
        return found

    def end_everything(self) -> None:
        """Gently for `kill_after_s` (not after a missed deadline), then by SIGKILL, until nothing is left."""
        self._deafen()
        begun_s = time.monotonic()
        hard_s = begun_s if self.at_once else begun_s + self.kill_after_s
        if not self.at_once:
            self._signal_all(signal.SIGTERM)
            self._signal_all(signal.SIGCONT)
        while True:
            self.reap()
            self.settle()
            self.flush()
            if not self._has_children():
                return
            now_s = time.monotonic()
            if now_s >= hard_s or (self.deadline_s is not None and now_s >= self.deadline_s):
                self._signal_all(signal.SIGKILL)
            if now_s >= hard_s + GIVE_UP_S:
                return
            self.wait(TICK_S if now_s >= hard_s else min(0.05, hard_s - now_s))

    def _deafen(self) -> None:
        """A closed socket or a dead agent is always ready: stop looking at them."""
        self.over = self.over or "the guard failed"
        for fd in (CHANNEL, self.agent):
            try:
                if fd is not None:
                    self.poller.unregister(fd)
            except KeyError:
                pass

    def _signal_all(self, number: int) -> None:
        for pid in list(self.mains):
            trees.signal_group(pid, number)
        for pid in trees.descendants([self.me]):
            if pid not in self.mains:
                trees.send_signal(pid, number)

    def _has_children(self) -> bool:
        if not hasattr(os, "waitid"):
            return bool(self.mains)
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


# --- the process ------------------------------------------------------------------------------------------------


def main(agent_pid: int, server: int = 0) -> None:
    """Guard until the agent is gone, then leave nothing behind. `server`: a child of ours that holds a function; then descriptor
    3 is the socket to it."""
    # The agent started us with these blocked. They stay so: Ctrl-C and a polite kill are for the agent to handle.
    signal.pthread_sigmask(signal.SIG_BLOCK, (*GENTLE, signal.SIGUSR1, signal.SIGQUIT, signal.SIGTSTP))
    os.setsid()
    os.closerange(4 if server else 3, os.sysconf("SC_OPEN_MAX"))
    os.chdir(b"/")
    guard = Guard(agent_pid)
    try:
        if server:
            guard.prepare_servers().adopt_function(server, 3)
        guard.work()
    except Exception as error:
        line = error.__traceback__.tb_lineno if error.__traceback__ else 0
        guard.over = f"the guard failed: {type(error).__name__}: {error} (line {line})"
    guard.tell("ending", guard.over)
    guard.flush()
    guard.end_everything()
