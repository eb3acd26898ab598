"""Capture: what recording the code (10,000 files in git) and the data (10,000 files) costs when a sweep starts, and what each run costs."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from measure import Context, Figures, Goal, Row, Table

FILES, FILE_BYTES = 10_000, 2_000
CODE, START, FIRST, PAUSED, AGAIN, ONE = (
    "the code, into a new store",
    "the code, and the data for the first time",
    "a run, the first of an agent",
    "a run, after a pause",
    "a run, after another",
    "a run that reads one file",
)
FLOOR = "a look by nothing but os.scandir and os.stat"


def tables(context: Context) -> Iterator[Table]:
    """One table for the start, one for runs."""
    from sweep.provenance.data import FRESH_S

    bench = Bench(context.folder)
    time.sleep(FRESH_S + 0.5)  # younger files are not remembered
    yield Table(
        f"a sweep's start: {FILES:,} files of code in git, {FILES:,} files of data of {FILE_BYTES:,} bytes",
        [Row(CODE, lambda: bench.start(data=False)), Row(START, lambda: bench.start(data=True))],
        [Goal(START, "CPU ms", most=1000.0)],
        note="CPU of git is in it",
    )
    yield Table(
        f"a run whose `inputs` name a folder of {FILES:,} files that stay as they are: the look at its end, and the entries",
        [
            Row(AGAIN, lambda: bench.run(bench.data)),
            Row(PAUSED, lambda: bench.run(bench.data, pause_s=1.1)),
            Row(FIRST, lambda: bench.run(bench.data, fresh=True)),
            Row(ONE, lambda: bench.run(bench.data / "0" / "0")),
            Row(FLOOR, lambda: {"CPU ms": cpu_ms(lambda: bare_look(bench.data))}),
        ],
        [Goal(row, "CPU ms", most=50.0) for row in (AGAIN, PAUSED, FIRST, ONE)],
        note="the digests are known; an agent's first run looks the folder up",
    )


class Taken:
    """What an agent's session is given."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.blobs: list[bytes] = []
        self.add = self.entries.append


class Bench:
    """A repository, a folder of data, and an agent's part in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.code, self.data = folder, folder / "code", folder / "data"
        for root in (self.code, self.data):
            for number in range(FILES):
                path = root / str(number % 100) / str(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                text = f"value_{number} = function(value, {number}, name=None)\n".encode() * 50
                path.write_bytes(text[:FILE_BYTES] if root == self.code else os.urandom(FILE_BYTES))
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "all"]):
            identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
            subprocess.run(["git", *identity, *words], cwd=self.code, check=True)
        self.agents: dict[str, Any] = {}
        self.taken, self.number = Taken(), 0

    def start(self, data: bool) -> Figures:
        """Record the code, and have the data looked at by an agent that knows nothing of it."""
        from sweep.provenance import snapshot
        from sweep.provenance.data import Digests
        from sweep.stores.sqlite import SqliteStore

        own = Path(tempfile.mkdtemp(dir=self.folder))

        def work() -> None:
            store = SqliteStore(own / "store.db", create=True)
            with store.batch():
                record = snapshot(self.code, store.put_blob)
            store.close()
            assert record.complete and record.files == FILES
            if data:
                digests = Digests(own / "digests.db")
                assert digests.of(str(self.data)).files == FILES
                digests.close()

        try:
            return {"CPU ms": cpu_ms(work)}
        finally:
            shutil.rmtree(own)

    def run(self, path: Path, fresh: bool = False, pause_s: float = 0.0) -> Figures:
        """A run begins and ends; `fresh`: its agent has just started; `pause_s`: so long after the one before."""
        from sweep.agents.data import Data

        if fresh or str(path) not in self.agents:
            agent = Data(self.folder, cast(Any, self.taken))
            if not fresh:
                self.agents[str(path)] = agent
                self._run(agent, path)
        else:
            agent = self.agents[str(path)]
        if not fresh:
            self._run(agent, path)  # the one before
        time.sleep(pause_s)
        return {"CPU ms": cpu_ms(lambda: self._run(agent, path))}

    def _run(self, agent: Any, path: Path) -> None:
        self.number += 1
        agent.begin(self.number, 1, self.folder, [str(path)], time.time())
        _wait(agent)
        agent.ended(self.number, 1)
        _wait(agent)
        checked = self.taken.entries[-1]
        assert (checked.run, checked.changed) == (self.number, ())
        self.taken.entries.clear()
        self.taken.blobs.clear()


def bare_look(folder: Path) -> None:
    """What a look in Python costs when nothing is made of it."""
    for part in os.scandir(folder):
        here = os.open(part.path, os.O_RDONLY | os.O_DIRECTORY)
        with os.scandir(here) as entries:
            for entry in entries:
                entry.stat()
        os.close(here)


def _wait(agent: Any) -> None:
    """As the agent's loop does."""
    from sweep.agents.data import AGAIN_S

    while agent.owes(0.0):
        agent.step()
        if agent.owes(0.0):
            time.sleep(AGAIN_S)


def cpu_ms(work: Callable[[], None]) -> float:
    """What this process and its children need for it."""
    before = _spent_s()
    work()
    return 1e3 * (_spent_s() - before)


def _spent_s() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
