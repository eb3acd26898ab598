"""Short commands without an interpreter's start for each: a process that has imported them forks for every one.

The command is the real one all the same, in a process, folder and environment of its own. What starts processes that live on
(`agent`, `run`, `launch` and so on) and what changes how Python starts is never served: that starts cold, as a person's does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHORT = (
    "agents artifact best cancel compare confirm create diff edit export extend fetch gc import logs ls note pause resume retry "
    "rm runs schema show status stop tag validate"
)
DRAWING = "bundle plot report"
KINDS = {name: names for names in (SHORT, DRAWING) for name in names.split()}
"""Command -> those that one process forks for. Those that draw have one of their own, which few tests need."""
IMPORTED = {
    SHORT: "sweep.api.sweeps sweep.api.reading sweep.api.transfer sweep.api.artifacts sweep.api.removing sweep.spec "
    "sweep.stores.sqlite sweep.provenance sweep.analysis.records",
    DRAWING: "sweep.api.bundling sweep.analysis.report sweep.stores.sqlite matplotlib.figure matplotlib.backends.backend_agg "
    "sklearn.ensemble",
}
_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ")
"""Variables that count when an interpreter starts: where they are others, a command starts cold."""


def run(
    args: Sequence[str], cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str] | None:
    """As `subprocess.run` with `python -P -m sweep ARGS`, nothing on standard input, and its output captured as text; None when
    the command is none that is served."""
    kind = KINDS.get(args[0]) if args and sys.platform.startswith("linux") else None
    if kind is None:
        return None
    address, started = _server(kind)
    if _at_start(env) != started:
        return None
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(address)
            asked = json.dumps({"args": list(args), "cwd": str(cwd), "env": dict(env)}).encode()
            socket.send_fds(connection, [struct.pack("<I", len(asked))], [out.fileno(), err.fileno()])
            connection.sendall(asked)
            pid, code = _answer(connection), None
            connection.settimeout(timeout)
            try:
                code = _answer(connection)
            except TimeoutError:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(args), timeout) from None
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode().replace("\r\n", "\n"))
    return subprocess.CompletedProcess(list(args), code, *texts)


def _at_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_START)}


@functools.cache
def _server(kind: str) -> tuple[str, dict[str, str]]:
    """Where this process's server of that kind listens, and the variables that it was started with. It ends with this process."""
    folder = tempfile.mkdtemp(prefix="sweep-warm-")
    address = f"{folder}/socket"
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, address, kind],
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    atexit.register(_end, process)
    return address, _at_start(env)


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _answer(connection: socket.socket) -> int:
    data = _received(connection, 4)
    return int(struct.unpack("<i", data)[0])


def _received(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError("the process that forks commands has gone")
        data += more
    return data


# --- in the server ---------------------------------------------------------------------------------------------


def serve(address: str, kind: str) -> None:
    """Fork for every connection until whoever started this has gone."""
    import sweep

    program = f"{Path(sweep.__file__ or '').parent}/__main__.py"
    sys.argv = [program]  # as whoever asks how this was started expects
    from sweep.cli.main import COMMANDS

    for name in (*(f"sweep.cli.{COMMANDS[name][0]}" for name in kind.split()), *IMPORTED[kind].split()):
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen(64)
        os.write(1, b"ready\n")
        while True:
            ready, _, _ = select.select([listener, 0], [], [])
            if 0 in ready:
                shutil.rmtree(Path(address).parent)
                os._exit(0)
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    _attend(connection, program)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _attend(connection: socket.socket, program: str) -> None:
    """Be the parent of one command, and tell how it ended."""
    try:
        head, fds, _, _ = socket.recv_fds(connection, 4, 2)
        asked = json.loads(_received(connection, struct.unpack("<I", head)[0]))
        pid = os.fork()
        if pid == 0:
            _be(asked, program, fds)
        connection.sendall(struct.pack("<i", pid))
        _, status = os.waitpid(pid, 0)
        connection.sendall(struct.pack("<i", os.waitstatus_to_exitcode(status)))
    finally:
        os._exit(0)


def _be(asked: dict[str, Any], program: str, fds: Sequence[int]) -> None:
    """Be the command; this ends the process."""
    code = 1
    try:
        with open(os.devnull) as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), 0)
        for fd, target in zip(fds, (1, 2), strict=True):
            os.dup2(fd, target)
        os.closerange(3, 1024)
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        sys.argv = [program, *asked["args"]]
        from sweep.cli import main

        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(*sys.argv[1:])
