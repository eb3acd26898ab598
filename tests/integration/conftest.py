"""A project folder with a training script, and the command line run in it as a person would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sweep.analysis.records import record
from sweep.api import find_sweep, load_views
from sweep.core.views import SweepView
from sweep.stores import open_store
from tests.integration import warm_commands

PYTHON = [sys.executable, "-P", "-m", "sweep"]
DOOMED = {"SWEEP_LEASE_S": "4"}
"""For an agent or a controller that a test kills or freezes: it counts as lost so soon, and no sooner, since a busy machine stands still
for seconds. All others have the usual lease."""


class Project:
    """A folder, and `sweep` commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("SWEEP_")}
        self.env.pop(
            "PYTHONDONTWRITEBYTECODE", None
        )  # as a person has it; else every command compiles everything
        self.env.update(COLUMNS="200")
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
        """A command; it must not show a traceback, except one that a run printed."""
        variables = {**self.env, **env}
        done = warm_commands.run(args, self.folder, variables, timeout)
        if done is None:
            done = subprocess.run(
                [*PYTHON, *args],
                cwd=self.folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        check_words(done.stderr)
        return done

    def mistake(self, *args: str, **env: str) -> str:
        """What a command says that must end with exit code 2; its standard output must stay empty."""
        done = self.run(*args, **env)
        assert done.returncode == 2, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.stdout == ""
        return done.stderr

    def json(self, *args: str) -> Any:
        return json.loads(self.sweep(*args, "--json"))

    def create(self, file: str = "sweep.yaml") -> str:
        return self.sweep("create", file).splitlines()[-1]

    def work_off(
        self, spec: str, train: str = "", *args: str, code: int = 0, **env: str
    ) -> list[dict[str, Any]]:
        """Create a sweep from these texts and be its agent to the end; its runs."""
        self.write("sweep.yaml", spec)
        if train:
            self.write("train.py", train)
        sweep = self.create()
        self.sweep("agent", sweep, *args, code=code, **env)
        return self.runs(sweep)

    def runs(self, sweep: str = "latest") -> list[dict[str, Any]]:
        """What `sweep runs --json` prints, without starting a process for it."""
        with closing(open_store(self.env.get("SWEEP_STORE"), self.folder)) as store:
            views = load_views(store, find_sweep(store, sweep))
        return [record(run, time.time()) for run in views.runs]

    def status(self, sweep: str = "latest") -> SweepView:
        """What `sweep status` knows of the sweep, without starting a process for it."""
        with closing(open_store(self.env.get("SWEEP_STORE"), self.folder)) as store:
            return load_views(store, find_sweep(store, sweep)).sweep

    def agent(self, *args: str, **env: str) -> subprocess.Popen[bytes]:
        """An agent in the background; its output goes to agent-N.log."""
        return self.start("agent", *args, **env)

    def start(self, *args: str, **env: str) -> subprocess.Popen[bytes]:
        """A command in the background; its output goes to agent-N.log."""
        with (self.folder / f"agent-{len(self.agents)}.log").open("wb") as log:
            process = subprocess.Popen(
                [*PYTHON, *args],
                cwd=self.folder,
                env={**self.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.agents.append(process)
        return process

    def agent_output(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("agent-*.log")))

    def wait_end(self, process: subprocess.Popen[bytes], code: int = 0, timeout: float = 60) -> str:
        """Wait until an agent has ended, with `code`; what all agents have said."""
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"the agent has not ended after {timeout} s\n{self.agent_output()}"
            ) from None
        said = self.agent_output()
        assert process.returncode == code, f"exit {process.returncode}\n{said}"
        check_words(said)
        return said

    def wait_running(self, sweep: str, runs: int = 1) -> list[dict[str, Any]]:
        """Wait until so many runs have told the journal a value; these runs."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            found[:] = [r for r in self.runs(sweep) if r["state"] == "running" and r["steps"]]
            return len(found) >= runs

        self.wait_for(enough)
        return found

    def processes(self, mark: str) -> list[int]:
        """Processes that runs of this project have started and that have `mark` (NAME=value; '' for all of them) in
        their environment. None where there is no /proc."""
        ours = f"SWEEP_CONFIG={self.folder}/".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                variables = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if any(entry.startswith(ours) for entry in variables) and (
                not mark or mark.encode() in variables
            ):
                found.append(int(path.parent.name))
        return found

    def wait_for(self, condition: Any, timeout: float = 60) -> None:
        until = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < until, f"waited {timeout} s in vain\n{self.agent_output()}"
            time.sleep(0.05)

    def end(self) -> None:
        """Leave no process behind: none that was started here, nor those in the background, nor what they started."""
        for process in self.agents:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()
        for pid in {*self.processes(""), *self._at_home()} - {os.getpid()}:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _at_home(self) -> list[int]:
        """Processes that work in the project's folder. None where there is no /proc."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if path.readlink() == self.folder:
                    found.append(int(path.parent.name))
        return found


def check_words(said: str) -> None:
    """What a command says about itself is for people: no traceback, unless a run printed it (those lines are marked)."""
    own = [line for line in said.splitlines() if not line.startswith("  |")]
    assert not any("Traceback" in line for line in own), said


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    found = Project(tmp_path)
    yield found
    found.end()
