"""The agent on a terminal: the live view, and Ctrl-C as it is typed."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import PYTHON, Project

SPEC = (
    "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {values: [1, 2, 3]}}\n"
    "limits: {kill_after: 20s}\n"
)
TRAIN = """
import os, time, sweep
run = sweep.init()
run.log({"loss": run.config.x / 8})
while not os.path.exists("go"):
    time.sleep(0.02)
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A `sweep` command in a terminal of its own, as its foreground process."""

    def __init__(self, project: Project, *words: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(project.folder)
            environ = {**project.env, "TERM": "xterm-256color", "LINES": "30", "COLUMNS": "120"}
            os.execve(sys.executable, [*PYTHON, *words], environ)
        self._read = b""

    @property
    def seen(self) -> str:
        """What has been shown so far. (What is read at a time may end within a character, or within an escape sequence.)"""
        return ESCAPES.sub("", self._read.decode(errors="ignore"))

    def read_until(self, text: str, timeout: float = 60) -> None:
        """Read until `text` has been shown; '' for until the end."""
        self.wait_for(lambda: bool(text) and text in self.seen, timeout, text)

    def wait_for(self, condition: Callable[[], bool], timeout: float = 60, text: str = "") -> None:
        """Read until then, or the end, which must not come before `text`: an agent whose terminal nobody reads stands still."""
        until = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < until, f"waited in vain for {text!r}\n{self.seen}"
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:  # Linux says so at the end
                    data = b""
                if not data:
                    assert not text, f"it ended without {text!r}\n{self.seen}"
                    return
                self._read += data

    def end(self, timeout: float = 60) -> int:
        """Its exit code, once it has ended."""
        self.read_until("", timeout)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """End it, if it has not ended."""
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)


@pytest.fixture
def sweep(project: Project) -> str:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    return project.create()


@pytest.fixture
def terminal(project: Project, sweep: str) -> Iterator[Terminal]:
    found = Terminal(project, "agent", sweep, "--slots", "2")
    yield found
    found.close()


def test_the_live_view(project: Project, sweep: str, terminal: Terminal) -> None:
    terminal.read_until("0/3 runs")
    terminal.read_until("slot")
    terminal.read_until("0.125")  # the last value of the run with x = 1
    project.write("go", "")
    assert terminal.end() == 0
    assert f"{sweep}-0 completed after" in terminal.seen
    assert f"sweep {sweep} has ended: all 3 points of the space are done (3 completed)" in terminal.seen
    assert f"best: {sweep}-0 with loss 0.125" in terminal.seen
    assert "Traceback" not in terminal.seen


def test_ctrl_c_typed_reaches_the_agent_only(project: Project, sweep: str, terminal: Terminal) -> None:
    terminal.wait_for(lambda: sum(bool(run["steps"]) for run in project.runs(sweep)) == 2)
    os.write(terminal.fd, b"\x03")
    terminal.read_until("letting runs finish; Ctrl-C again ends them")
    project.write("go", "")
    assert terminal.end() == 130
    assert [run["state"] for run in project.runs(sweep)] == ["completed", "completed", "queued"]
