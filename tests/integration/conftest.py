"""A project folder with a training script, and the command line run in it as a person would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PYTHON = [sys.executable, "-P", "-m", "sweep"]


class Project:
    """A folder, and `sweep` commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SWEEP_")}
        self.env.update(SWEEP_LEASE_S="2", COLUMNS="200")
        self.agents: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def sweep(self, *args: str, code: int = 0, timeout: float = 90, **env: str) -> str:
        """Standard output of a command that must end with `code`."""
        done = self.run(*args, timeout=timeout, **env)
        assert done.returncode == code, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run(self, *args: str, timeout: float = 90, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PYTHON, *args],
            cwd=self.folder,
            env={**self.env, **env},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *args: str) -> Any:
        return json.loads(self.sweep(*args, "--json"))

    def create(self, file: str = "sweep.yaml") -> str:
        return self.sweep("create", file).splitlines()[-1]

    def agent(self, *args: str) -> subprocess.Popen[bytes]:
        """An agent in the background; its output goes to agent-N.log."""
        with (self.folder / f"agent-{len(self.agents)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*PYTHON, "agent", *args],
                cwd=self.folder,
                env=self.env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.agents.append(process)
        return process

    def agent_output(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("agent-*.log")))

    def processes(self, mark: str) -> list[int]:
        """Processes on this machine that have `mark` (NAME=value) in their environment."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    continue
        return found

    def wait_for(self, condition: Any, timeout: float = 60) -> None:
        until = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < until, f"waited {timeout} s in vain\n{self.agent_output()}"
            time.sleep(0.05)

    def end(self) -> None:
        for process in self.agents:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    found = Project(tmp_path)
    yield found
    found.end()
