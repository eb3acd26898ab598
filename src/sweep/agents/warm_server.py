"""The warm process: it has imported what runs need, and forks one child for each run that the guard asks for.

`sweep.agents.warm` is the guard's side of it. Two kinds share this file: the server of programs (`main`, started as a
fresh interpreter; `warm_program` turns its children into a program) and that of a Python function, which is a fork of the
process that called `sweep.agent`.

Rules of this file: the standard library only, in the syntax of Python 3.8, because runs may use another Python than the
agent; and nothing is computed here, since a thread that starts in this process would be missing in every child.

One packet at a time on a socket of kind SEQPACKET. A child does nothing before the guard, which knows its process id by
then, has written a byte into its pipe; when the guard or this process dies first, the child reads the end and is gone.

    guard -> server   b"M" + marshalled (modules, where interpreter and program stand in argv, script)
                      once, for programs
                      b"F" with three descriptors: the request (a file), the pipe, the output
                      b"R" + process id: reap it
    server -> guard   ("ready",)   ("failed", text)   ("forked", pid)   ("not_forked", errno, text)
                      ("ended", pid, status)   ("reaped", pid, utime_s, stime_s, maxrss_bytes)
"""

# ruff: noqa: UP031, UP035, PTH109, PTH120, PTH123, PTH208

from __future__ import annotations

import marshal
import os
import select
import signal
import socket
import sys
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    Begin = Callable[[list[bytes], dict[bytes, bytes], bytes, int], None]

FORMAT = 2
"""Of `marshal`: one that every Python 3 reads."""
PLACEHOLDER = b"SWEEP_WARM"
"""A variable that the server is started with. Its children write their own variables over it, so that /proc shows to which
run they belong."""
MAX_TEXT = 4000
THREADS = (
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)
"""These are 1 while modules are imported: a pool of threads does not survive a fork."""


class Server:
    """Forks children on demand and tells of their ends."""

    def __init__(self, channel: socket.socket, begin: Begin) -> None:
        """`begin` makes a child into a run: it is given its command line, environment, folder and output, and does not return."""
        self.channel, self.begin = channel, begin
        self.children: dict[int, bool] = {}
        """Process id -> whether its end has been told."""
        self.marks = _placeholder()
        self.wake, self.notify = os.pipe()
        for fd in (self.wake, self.notify):
            os.set_blocking(fd, False)

    def work(self) -> None:
        """Until the guard is gone; does not return."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self.notify, warn_on_full_buffer=False)
        self.tell("ready")
        poller = select.poll()
        for fd in (self.channel.fileno(), self.wake):
            poller.register(fd, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self.wake in ready:
                try:
                    os.read(self.wake, 4096)
                except BlockingIOError:
                    pass
            self.look()
            if self.channel.fileno() in ready:
                self.receive()

    def tell(self, *message: Any) -> None:
        """Send one packet; without a guard there is nothing left to do."""
        try:
            self.channel.send(marshal.dumps(message, FORMAT))
        except OSError:
            os._exit(0)

    def look(self) -> None:
        """Tell of children that have ended. They stay unreaped, so that their ids stay theirs, until the guard says so."""
        for pid, told in list(self.children.items()):
            if told:
                continue
            found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if found is not None:
                self.children[pid] = True
                status = found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
                self.tell("ended", pid, status)

    def receive(self) -> None:
        """Carry out one packet."""
        try:
            data, fds = _receive(self.channel)
        except OSError:
            data, fds = b"", []
        if not data:
            os._exit(0)
        if data[:1] == b"F":
            try:
                self.fork(*fds)
            finally:
                for fd in fds:
                    os.close(fd)
        elif data[:1] == b"R":
            pid = int.from_bytes(data[1:9], "little")
            if self.children.pop(pid, None) is not None:
                _, _, usage = os.wait4(pid, 0)
                disk = (usage.ru_inblock * 512, usage.ru_oublock * 512)
                self.tell("reaped", pid, usage.ru_utime, usage.ru_stime, usage.ru_maxrss * 1024, *disk)

    def fork(self, request: int, go: int, output: int) -> None:
        """Make the child of one request. Only the child passes through `_child`, and it never comes back."""
        argv, env, cwd = marshal.loads(_read_all(request))
        try:
            pid = os.fork()
        except OSError as error:
            self.tell("not_forked", error.errno or 0, str(error.strerror))
            return
        if pid == 0:
            try:
                self._child(argv, env, cwd, request, go, output)
            except BaseException:
                traceback.print_exc()  # ours: whatever the program raises is caught before
            finally:
                os._exit(70)
        self.children[pid] = False
        try:
            os.setpgid(pid, pid)  # the child does so, too: whoever is first
        except OSError:
            pass
        self.tell("forked", pid)

    def _child(
        self, argv: list[bytes], env: dict[bytes, bytes], cwd: bytes, request: int, go: int, output: int
    ) -> None:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (self.channel.detach(), self.wake, self.notify, request):
            os.close(fd)
        mark(self.marks, env)
        released = os.read(go, 1)
        os.close(go)
        if not released:
            os._exit(0)
        self.begin(argv, env, cwd, output)


def _receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    data, ancillary, _, _ = channel.recvmsg(1 << 16, socket.CMSG_SPACE(3 * 4))
    fds: list[int] = []
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds += [int.from_bytes(content[i : i + 4], sys.byteorder) for i in range(0, len(content) - 3, 4)]
    for fd in fds:
        os.set_inheritable(fd, False)
    return data, fds


def _read_all(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0)


# --- what /proc shows


def _placeholder() -> tuple[int, int]:
    """(address, length) of the variable PLACEHOLDER in the memory that /proc/<pid>/environ shows; (0, 0) without it."""
    begin, length = environment_area()
    if not length:
        return 0, 0
    with open("/proc/self/environ", "rb") as file:
        shown = file.read()
    for entry in shown.split(b"\0"):
        if entry.startswith(PLACEHOLDER + b"="):
            return begin, len(entry)
        begin += len(entry) + 1
    return 0, 0


def environment_area() -> tuple[int, int]:
    """(address, length) of the memory that /proc/<pid>/environ shows; (0, 0) where that cannot be told."""
    try:
        with open("/proc/self/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        begin, end = int(fields[47]), int(fields[48])
    except (OSError, IndexError, ValueError):
        return 0, 0
    return (begin, end - begin) if begin else (0, 0)


def mark(place: tuple[int, int], env: dict[bytes, bytes]) -> None:
    """Write the run's SWEEP_* variables to a place that /proc shows as its environment, those first by which a guard knows its
    processes. Nobody looks there any more but /proc: the C library was never asked for the placeholder."""
    address, length = place
    if not length:
        return
    names = sorted(
        (name for name in env if name.startswith(b"SWEEP_")),
        key=lambda name: (name not in (b"SWEEP_RUN_ID", b"SWEEP_ATTEMPT", b"SWEEP_AGENT"), name),
    )
    text = b""
    for name in names:
        entry = name + b"=" + env[name] + b"\0"
        if len(text) + len(entry) <= length:
            text += entry
    try:
        fd = os.open("/proc/self/mem", os.O_RDWR)
        try:
            os.pwrite(fd, text + b"\0" * (length - len(text)), address)
        finally:
            os.close(fd)
    except OSError:
        pass  # then the guard takes the process for one of any run, and ends it with the last


# --- a server of programs


def main(fd: int) -> None:
    """Import what the first packet names, then serve. `fd`: this end of the socket. Does not return."""
    os.set_inheritable(fd, False)
    if TYPE_CHECKING:
        from sweep.agents import warm_program
    else:
        import warm_program  # while this folder is still on the path of modules

    channel = socket.socket(fileno=fd)
    try:
        data = channel.recv(1 << 16)
    except OSError:
        data = b""
    if not data:
        os._exit(0)
    modules, begin_at, program_at, program = marshal.loads(data[1:])
    problem = _import(modules, program)
    if problem:
        channel.send(marshal.dumps(("failed", problem[-MAX_TEXT:]), FORMAT))
        os._exit(1)
    begin = warm_program.beginning(begin_at, program_at, _printed(), program is None)
    os.chdir("/")
    warm_program.settle()
    warm_program.make_forks_cheap()
    Server(channel, begin).work()


def _import(modules: list[str], program: bytes | None) -> str:
    """Import `modules` as the program would; what went wrong, or ''."""
    sys.path.remove(os.path.dirname(__file__))
    if sys.path and sys.path[0] == "":
        # As for a script: where it really lies. For a module: the folder that it starts in.
        folder = os.getcwd() if program is None else os.path.dirname(os.path.realpath(os.fsdecode(program)))
        sys.path[0] = folder
    wanted = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        for name in modules:
            __import__(name)
            if problem := _unsafe(name):
                return problem
    except BaseException as error:
        return "`import %s` failed in the warm process: %s: %s" % (name, type(error).__name__, error)
    for variable, value in wanted.items():
        if value is None:
            del os.environ[variable]
        else:
            os.environ[variable] = value
    return ""


FORK_SAFE = (b"jemalloc_bg_thd",)
"""Threads that their library puts away before a fork and knows to be gone after it."""


def _unsafe(name: str) -> str:
    """Why a process that has just imported `name` must not be forked; ''."""
    threads = []
    for task in os.listdir("/proc/self/task"):
        with open("/proc/self/task/%s/comm" % task, "rb") as file:
            threads.append(file.read().strip())
    others = [thread for thread in threads if thread not in FORK_SAFE]
    if len(others) != 1:
        what = "a thread" if len(others) == 2 else "%d threads" % (len(others) - 1)
        text = "`import %s` leaves %s running, and a process with threads cannot be forked safely"
        return text % (name, what)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "`import %s` starts CUDA, which does not survive a fork" % name
    return ""


def _printed() -> bytes:
    """What importing has printed: it belongs at the beginning of every run's output. From now on nothing is kept."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    printed = os.pread(1, 1 << 16, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        os.dup2(null, fd)
    os.close(null)
    return printed
