"""An agent's end of the socket for the SDK's tests: no threads, it reads when a test says so."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

SOURCE = Path(__file__).parents[2] / "src"


class FakeAgent:
    """Listens on a short path in `folder` and keeps the messages of every connection."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = str(folder / "s")
        self.run_dir = folder / "run"
        self.run_dir.mkdir(exist_ok=True)
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self._rest: dict[socket.socket, bytes] = {}
        self.messages: list[dict[str, Any]] = []
        self.by_pid: dict[int, list[dict[str, Any]]] = {}
        self._pids: dict[socket.socket, int] = {}
        self.connected = 0
        self.listen()

    def listen(self) -> None:
        Path(self.path).unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(16)
        self._listener.setblocking(False)

    def environment(self, config: Any = None, **more: str) -> dict[str, str]:
        """The variables that an agent sets for a run."""
        variables = {
            "SWEEP_ID": "sw1",
            "SWEEP_RUN_ID": "sw1/7",
            "SWEEP_ATTEMPT": "2",
            "SWEEP_SEED": "99",
            "SWEEP_RUN_DIR": str(self.run_dir),
            "SWEEP_CHECKPOINT_DIR": str(self.folder / "kept"),
            "SWEEP_SOCKET": self.path,
        }
        if config is not None:
            file = self.run_dir / "config.json"
            file.write_text(json.dumps(config))
            variables["SWEEP_CONFIG"] = str(file)
        return {**variables, **more}

    def read(self) -> list[dict[str, Any]]:
        """Take in everything that has been sent so far; all messages up to now."""
        self._accept()
        for connection in list(self._connections):
            self._take(connection)
        return self.messages

    def _accept(self) -> None:
        while self._listener is not None:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            self.connected += 1
            self._connections.append(connection)
            self._rest[connection] = b""

    def _take(self, connection: socket.socket) -> None:
        while True:
            try:
                data = connection.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._connections.remove(connection)
                connection.close()
                return
            *lines, self._rest[connection] = (self._rest[connection] + data).split(b"\n")
            for line in lines:
                message = msgspec.json.decode(line)  # strict: no NaN tokens, no lone surrogates
                self.messages.append(message)
                if message.get("op") == "artifact":
                    self._answer()
                if message.get("op") == "hello":
                    self._pids[connection] = message.get("pid", 0)
                self.by_pid.setdefault(self._pids[connection], []).append(message)

    def _answer(self) -> None:
        """Whoever asks for an artifact is told that there is none."""
        for path in self.folder.glob("*/artifacts-*.jsonl"):
            for line in map(json.loads, path.read_text().splitlines()):
                if line["op"] == "use":
                    answer = path.parent / ".artifact-answers" / f"{line['id']}.json"
                    answer.with_suffix(".new").write_text('{"error": "none such", "missing": true}')
                    answer.with_suffix(".new").rename(answer)

    def read_until(self, done: Callable[[list[dict[str, Any]]], bool], limit_s: float = 60.0) -> None:
        """Read until `done(messages)`."""
        until(lambda: done(self.read()), limit_s)

    def tell(self, message: dict[str, Any]) -> None:
        self._accept()
        for connection in self._connections:
            connection.sendall(json.dumps(message).encode() + b"\n")

    def stop(self, reason: str) -> None:
        self.tell({"op": "stop", "reason": reason})

    def drop(self) -> None:
        """Close all connections without reading on."""
        self._accept()
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def go(self) -> None:
        """Be gone: no connection, nobody listening."""
        self.drop()
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        Path(self.path).unlink(missing_ok=True)

    def run(self, program: str, config: Any = None, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a Python program as a run of this agent, to its end, and read what it sent."""
        return run_program(program, self.folder, self.environment(config, **more), self.read)

    def ops(self) -> list[str]:
        return [message.get("op", "row") for message in self.messages]

    def rows(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if "op" not in message]

    def numbered(self) -> list[dict[str, Any]]:
        """Rows as a receiver counts them: a number below the next expected one is a duplicate."""
        counted: list[dict[str, Any]] = []
        for row in self.rows():
            if row["i"] == len(counted):
                counted.append(row)
            else:
                assert row["i"] < len(counted), "a number is missing"
        return counted

    def unsent(self) -> list[dict[str, Any]]:
        file = self.run_dir / "unsent-2.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def until(done: Callable[[], bool], limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def run_program(
    program: str, folder: Path, variables: dict[str, str], meanwhile: Callable[[], object] = lambda: None
) -> subprocess.CompletedProcess[str]:
    """`run_command` for a Python program."""
    return run_command([sys.executable, "-c", program], folder, variables, meanwhile)


def run_command(
    command: list[str],
    folder: Path,
    variables: dict[str, str],
    meanwhile: Callable[[], object] = lambda: None,
) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, with only `variables` of ours; `meanwhile` is called again and again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    environment.update(PYTHONPATH=str(SOURCE), PYTHONWARNINGS="error", **variables)
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, stderr=stderr)
        try:
            end = time.monotonic() + 60
            while process.poll() is None:
                meanwhile()
                assert time.monotonic() < end, "the program does not end"
                time.sleep(0.002)
        finally:
            process.kill()
            process.wait()
    meanwhile()
    return subprocess.CompletedProcess(
        process.args, process.returncode, out.read_text(errors="replace"), err.read_text(errors="replace")
    )
