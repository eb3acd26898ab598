"""Several processes on one SQLite file: none loses anything, and none that is killed leaves anything half done."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sweep.stores.sqlite import SqliteStore

WRITER = """
import sys
from pathlib import Path
from sweep.core.entries import ObjectiveReported, RunAssigned
from sweep.stores import HistoryChunk, IndexUpdate, open_store

url, name, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
sys.stdin.readline()
store = open_store(url, Path.cwd(), create=True)
seq = store.last_seq("s", name)
for number in range(count):
    entries = [ObjectiveReported(number, 1, 0, (0.0,), (0.5,)), RunAssigned(number, 1, name, 0, 1, 0, 0, 7, {})][:size]
    with store.batch():
        appended = store.append("s", entries, writer=name, first_seq=seq + 1)
        store.append("s", [], writer=name, first_seq=seq + 1, index=IndexUpdate(appended.last, {name: b"%d" % seq}))
        row = seq // size
        store.append_history("s", [HistoryChunk(int(name), 1, row, 1, b"{}")])
    seq += size
    print(seq, flush=True)
store.close()
"""


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Starts writers that wait for a line on their standard input; at the end none is left."""
    started: list[subprocess.Popen[str]] = []

    def start_one(name: int, count: int, size: int = 2) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WRITER, f"sqlite:///{path}", str(name), str(count), str(size)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate(timeout=60)


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".sweep" / "store.db"


def test_four_processes_start_in_the_same_instant(path: Path, start: Start) -> None:
    processes = [start(name, 200, size=1) for name in range(4)]
    for process in processes:
        go(process)
    for process in processes:
        process.communicate(timeout=100)
        assert process.returncode == 0
    with closing(SqliteStore(path)) as store:
        read = store.read("s", 0)
        assert [recorded.position for recorded in read] == list(range(1, 801))
        for name in map(str, range(4)):
            assert [recorded.seq for recorded in read if recorded.writer == name] == list(range(1, 201))
        assert store.sweeps() == ["s"]
        times = [recorded.at_s for recorded in read]
        assert times == sorted(times)


def test_killed_in_the_middle_of_its_appends(path: Path, start: Start) -> None:
    acknowledged = 0
    for round_ in range(6):
        process = start(1, 100_000)
        assert process.stdout is not None
        go(process)
        for _ in range(3 + 7 * round_):
            acknowledged = int(process.stdout.readline())
        process.kill()  # SIGKILL
        acknowledged = max([acknowledged, *map(int, process.communicate(timeout=60)[0].split()[:-1])])
        check_whole(path, acknowledged)


def check_whole(path: Path, acknowledged: int) -> None:
    """All that was acknowledged is there, and each batch is there as a whole or not at all."""
    with closing(SqliteStore(path)) as store:
        read = store.read("s", 0)
        last = len(read)
        assert [(recorded.position, recorded.seq) for recorded in read] == [
            (n, n) for n in range(1, last + 1)
        ]
        assert last >= acknowledged > 0
        assert last % 2 == 0
        index = store.read_index("s")
        assert (index.upto, index.rows) == (last, {"1": b"%d" % (last - 2)})
        assert [chunk.first_row for chunk in store.read_history("s", 1)] == list(range(last // 2))
        assert store._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_lease_is_seen_by_another_process(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sweep.stores import open_store;"
        "store = open_store(sys.argv[1], Path.cwd());"
        "print([(lease.name, lease.expires_s > store.clock()) for lease in store.leases('')],"
        " store.acquire('lead', 'other', 60.0)); store.close()"
    )
    with closing(SqliteStore(path, create=True)) as store:
        lease = store.acquire("lead", "me", 600.0)
        assert lease is not None
        done = subprocess.run(
            [sys.executable, "-c", script, store.url], check=False, capture_output=True, text=True, timeout=60
        )
        assert (done.stdout, done.stderr) == ("[('lead', True)] None\n", "")
        store.release(lease)
