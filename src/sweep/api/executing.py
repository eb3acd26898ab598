"""A program executed in a folder of ours, watched through the rows that it leaves there.

The rule of this file: whatever was started is gone when `watched` returns or raises.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep.agents.inbox import RunInbox
from sweep.analysis.history import History
from sweep.api.metering import Cost, Meter
from sweep.api.repeating import CannotRepeat
from sweep.stores import HistoryChunk

TICK_S = 0.05
ROWS = "rows.jsonl"
OUTPUT = "output.log"
SUMMARY = "summary.json"


class Execution(msgspec.Struct):
    """What came of one."""

    history: History
    rows: int
    code: int
    """Exit status; -N when signal N ended it."""
    cut: bool
    """It was ended here, having gone as far as it should."""
    cost: Cost = Cost()
    summary: dict[str, Any] | None = None
    """What the program left as its summary; None when it did not come to that."""


def watched(
    argv: Sequence[str],
    env: Mapping[str, str],
    workdir: str,
    folder: Path,
    metric: str | None,
    goal: int | None,
    kill_after_s: float,
    progress: Callable[[int], None],
    gpus: bool = False,
) -> Execution:
    """Execute `argv`, which leaves its rows in `folder`, where its output goes, too. It is ended after `goal` rows (None: it ends by
    itself). `progress` gets the rows so far; `gpus`: measure those that it can see. Raises CannotRepeat when it cannot be started."""
    meter = Meter(env, gpus=gpus)
    inbox = RunInbox(0, 1, metric)
    output = os.open(folder / OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=workdir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    except OSError as error:
        raise CannotRepeat(f"cannot start {error.filename}: {error.strerror}") from None
    finally:
        os.close(output)
    cut = False
    try:
        with _Tail(folder / ROWS, inbox) as tail:
            while process.poll() is None:
                tail.read()
                progress(inbox.rows)
                if goal is not None and inbox.rows >= goal:
                    cut = True
                    break
                time.sleep(TICK_S)
            _end(process, kill_after_s)
            tail.read()
    finally:
        _end(process, 0.0)
    chunk = HistoryChunk(0, 1, 0, inbox.rows, inbox.take().data)
    history = History.from_chunks([chunk] if chunk.count else [])
    return Execution(history, inbox.rows, process.returncode, cut, meter.read(), _summary(folder))


def _summary(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / SUMMARY).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class _Tail:
    """Feeds the whole lines of a growing file."""

    def __init__(self, path: Path, inbox: RunInbox) -> None:
        self._path, self._inbox = path, inbox
        self._file: Any = None
        self._rest = b""

    def __enter__(self) -> _Tail:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> None:
        """What has come since."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            if line.strip():
                self._inbox.feed(line)


def _end(process: subprocess.Popen[bytes], kill_after_s: float) -> None:
    """End the process, if it has not ended, and what is left of its session's first group."""
    if process.poll() is None and kill_after_s > 0:
        _signal(process.pid, signal.SIGTERM)
        try:
            process.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            pass
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass
