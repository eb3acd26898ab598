"""Machines that are in a bad way: no room, nothing writable, damaged files, clocks that jump, processes that stand still."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from sweep.core.entries import PauseRequested
from sweep.stores import StoreError, open_store
from sweep.stores.sqlite import SqliteStore
from tests.integration.conftest import DOOMED, Project
from tests.integration.whole import SPEC, TRAIN, whole

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses mounts and /proc")
PATIENT = """
import pathlib, time, sweep
run = sweep.init()
begun = time.monotonic()
step = 0
while not pathlib.Path("go").exists() and time.monotonic() < begun + 600:
    run.log({"loss": step})
    step += 1
    time.sleep(0.02)
run.summary["rows"] = step
run.summary["attempt"] = run.attempt
"""


def history(project: Project, run: int) -> list[dict[str, Any]]:
    with closing(open_store(None, project.folder)) as store:
        chunks = store.read_history(store.sweeps()[-1], run)
    return [json.loads(line) for chunk in chunks for line in chunk.data.splitlines()]


# --- disks -----------------------------------------------------------------------------------------------------


def mount(folder: Path, size: str) -> bool:
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Project]:
    """A project on a small file system of its own."""
    folder = tmp_path / "disk"
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or not mount(folder, "12m"):
        pytest.skip("a small file system can be mounted by root only")
    project = Project(folder)
    try:
        yield project
    finally:
        project.end()
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Leave no room, and give back what to delete."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    return ballast


def test_a_full_disk_is_waited_for_and_training_goes_on(disk: Project) -> None:
    """For much longer than the lease: nobody could have said that this agent is lost. Nothing is lost, nothing starts again."""
    disk.write("train.py", PATIENT)
    disk.write("sweep.yaml", SPEC)
    sweep = disk.create()
    agent = disk.agent(sweep, "--slots", "2", **DOOMED)
    disk.wait_running(sweep, 2)
    ballast = fill(disk.folder)
    disk.wait_for(lambda: "is full; free some space (training goes on" in disk.agent_output())
    said = disk.mistake("create", "sweep.yaml")
    assert said.startswith(f"sweep: the disk of {disk.folder}/.sweep/store.db is full; free some space")
    time.sleep(1.5 * float(DOOMED["SWEEP_LEASE_S"]))
    assert len(disk.runs(sweep)) == 3, "reading goes on"
    ballast.unlink()
    disk.wait_for(lambda: "the store works again" in disk.agent_output())
    disk.write("go", "")
    said = disk.wait_end(agent)
    assert "lease" not in said
    runs = disk.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 3
    for run in runs:
        assert run["summary"]["attempt"] == 1
        rows = history(disk, run["run"])
        assert [row["m"]["loss"] for row in rows] == list(range(run["summary"]["rows"]))


@pytest.mark.parametrize("several", [False, True])
def test_an_agent_on_a_full_disk_can_be_ended(disk: Project, several: bool) -> None:
    """It says what becomes of its runs, and the next agent runs them again from the start."""
    disk.write("train.py", PATIENT)
    disk.write("sweep.yaml", SPEC)
    sweep = disk.create()
    agent = disk.agent(*(["--all"] if several else [sweep]), "--slots", "2", SWEEP_LEASE_S="8")
    disk.wait_running(sweep, 2)
    ballast = fill(disk.folder)
    disk.wait_for(lambda: "is full; free some space (training goes on" in disk.agent_output())
    agent.send_signal(signal.SIGTERM)
    said = disk.wait_end(agent, 143)
    assert "the last runs here count as lost, and start again" in said
    ballast.unlink()
    disk.write("go", "")
    disk.sweep("agent", sweep)
    assert [run["state"] for run in disk.runs(sweep)] == ["completed"] * 3


def test_a_run_that_finds_no_room_to_start_is_not_failed(disk: Project) -> None:
    """The store is elsewhere; only the folder of runs has no room."""
    disk.write("train.py", TRAIN)
    disk.write("sweep.yaml", SPEC)
    sweep = disk.create()
    runs = disk.folder / ".sweep" / "runs"
    ballast = fill(disk.folder)
    ballast.write_bytes(b"x" * (ballast.stat().st_size - 2_000_000))  # room for the store
    runs.mkdir()
    assert mount(runs / sweep, "64k") or pytest.skip("cannot mount")
    try:
        inner = fill(runs / sweep)
        agent = disk.agent(sweep, "--slots", "2")
        disk.wait_for(lambda: "No space left on device (trying again every second)" in disk.agent_output())
        assert disk.agent_output().count("cannot start a run") == 1
        inner.unlink()
        disk.wait_end(agent)
        assert [(run["state"], run["attempt"]) for run in disk.runs(sweep)] == [("completed", 1)] * 3
    finally:
        subprocess.run(["umount", "-l", str(runs / sweep)], check=False)


def test_no_room_for_an_environment_says_nothing_about_the_run(disk: Project) -> None:
    """The disk of the user's is full: their mistake to mend, and no verdict."""
    disk.write("train.py", TRAIN)
    disk.write("sweep.yaml", SPEC)
    sweep = disk.create()
    disk.sweep("agent", sweep)
    cache = disk.folder / "cache"
    cache.mkdir()
    assert mount(cache / "uv", "64k") or pytest.skip("cannot mount")
    try:
        said = disk.mistake("reproduce", f"{sweep}-0", "--env", "rebuild", UV_CACHE_DIR=str(cache / "uv"))
        assert "because a disk is full; free some space" in said
        assert not disk.json("show", f"{sweep}-0")["reproduced"]
    finally:
        subprocess.run(["umount", "-l", str(cache / "uv")], check=False)


def test_a_full_disk_when_the_agent_starts(disk: Project) -> None:
    disk.write("train.py", TRAIN)
    disk.write("sweep.yaml", SPEC)
    sweep = disk.create()
    ballast = fill(disk.folder)
    assert "is full; free some space" in disk.mistake("agent", sweep)
    ballast.unlink()
    disk.sweep("agent", sweep)


def test_a_folder_that_is_read_only(disk: Project) -> None:
    disk.write("train.py", TRAIN)
    disk.write("sweep.yaml", SPEC)
    remount = ["mount", "-o", "remount,{}", str(disk.folder)]

    def mode(how: str) -> None:
        subprocess.run([word.format(how) for word in remount], check=True)

    mode("ro")
    said = disk.mistake("create", "sweep.yaml")
    assert "cannot be made or opened: Read-only file system" in said
    assert "name another with --store" in said
    # With a store elsewhere all is well: programs and specs are only read.
    elsewhere = f"sqlite:///{disk.folder.parent}/store.db"
    sweep = disk.sweep("create", "sweep.yaml", SWEEP_STORE=elsewhere).strip()
    disk.sweep("agent", sweep, SWEEP_STORE=elsewhere)
    assert "3 done" in disk.sweep("ls", SWEEP_STORE=elsewhere)
    mode("rw")
    sweep = disk.create()
    mode("ro")
    try:
        for args in (["agent", sweep], ["pause", sweep], ["ls"], ["runs", sweep], ["create", "sweep.yaml"]):
            said = disk.mistake(*args)
            assert "cannot be written" in said or "cannot be opened" in said
            assert "store.db" in said and said.count("\n") == 1
    finally:
        mode("rw")


@linux
def test_a_disk_that_reports_errors(project: Project) -> None:
    """Not full, so it cannot be known who may write: runs are ended when the lease is over, the agent says what is wrong,
    tries again, and begins anew when it can."""
    project.write("train.py", PATIENT)
    project.write("sweep.yaml", SPEC)
    sweep = project.create()
    agent = project.agent(sweep, "--slots", "1", **DOOMED)
    project.wait_running(sweep, 1)
    free = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)
    size = (project.folder / ".sweep" / "store.db").stat().st_size
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (size, free[1]))
    project.wait_for(lambda: "reports an error (disk I/O error)" in project.agent_output())
    project.wait_for(lambda: not project.processes(f"SWEEP_ID={sweep}"))
    time.sleep(2)
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, free)
    project.write("go", "")
    said = project.wait_end(agent)
    assert said.count("the guard process died") <= 2, said
    assert "SIGKILL" not in said, "that they were ended is not their failure"
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 3
    assert [a["outcome"] for a in runs[0]["attempts"]] == ["lost", "completed"]


# --- damaged stores --------------------------------------------------------------------------------------------


def zeros_in_the_middle(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\0" * (size // 2))


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def other_text(path: Path) -> None:
    path.write_bytes(b"this is no database\n" * 1000)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE own (x)")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (zeros_in_the_middle, "is damaged"),
    (cut_off, "is damaged"),
    (other_text, "is not a sweep store"),
    (newer, "was written by another version of sweep (its format is 99"),
    (foreign, "is an SQLite database, but not one of sweep's"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a finished sweep. Tests copy it."""
    project = Project(tmp_path_factory.mktemp("finished"))
    whole(project)
    with closing(sqlite3.connect(project.folder / ".sweep" / "store.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return project


@pytest.mark.parametrize(("damage", "words"), DAMAGES, ids=lambda d: getattr(d, "__name__", ""))
def test_a_store_that_cannot_be_read(
    project: Project, finished: Project, damage: Callable[[Path], None], words: str
) -> None:
    """Every command says so and changes nothing."""
    shutil.copytree(finished.folder, project.folder, dirs_exist_ok=True)
    store = project.folder / ".sweep" / "store.db"
    for path in store.parent.glob("store.db-*"):
        path.unlink()
    damage(store)
    before = store.read_bytes()
    heard = []
    for args in (
        ["ls"],
        ["runs", "latest"],
        ["show", "latest-0"],
        ["agent", "latest"],
        ["plot", "latest"],
        ["export", "latest", "--out", "x.jsonl"],
        ["create", "sweep.yaml"],
        ["cancel", "latest"],
    ):
        done = project.run(*args)
        if done.returncode == 0:
            assert words == "is damaged", args  # what it needed was not hit
            continue
        assert done.returncode == 2, (args, done.stderr)
        assert str(store) in done.stderr
        heard.append(done.stderr)
    assert heard and all(words in said for said in heard), heard
    if words != "is damaged":
        assert store.read_bytes() == before


# --- clocks ----------------------------------------------------------------------------------------------------

JUMPING = """
import time
_time, _path = time.time, {path!r}
def jumping():
    try:
        with open(_path) as file:
            return _time() + float(file.read() or 0)
    except OSError:
        return _time()
time.time = jumping
"""


@pytest.mark.parametrize("jump_s", [86_400.0, -86_400.0])
def test_a_clock_that_jumps_by_a_day(project: Project, jump_s: float) -> None:
    """The agent's heartbeat and its deadlines go by a clock that never jumps; times in the record never go back."""
    offset = project.folder / "offset"
    project.write("site/sitecustomize.py", JUMPING.format(path=str(offset)))
    project.write("train.py", PATIENT)
    project.write("sweep.yaml", SPEC + "limits: {run_time: 50s, no_progress: 40s}\nretry: {max: 1}\n")
    sweep = project.create()
    agent = project.agent(sweep, "--slots", "2", PYTHONPATH=str(project.folder / "site"))
    project.wait_running(sweep, 2)
    offset.write_text(str(jump_s))
    time.sleep(3)
    project.write("go", "")
    said = project.wait_end(agent)
    assert "lease" not in said and "lost" not in said
    runs = project.runs(sweep)
    assert [(run["state"], run["summary"]["attempt"]) for run in runs] == [("completed", 1)] * 3
    with closing(open_store(None, project.folder)) as store:
        times = [recorded.at_s for recorded in store.read(sweep, 0)]
    assert times == sorted(times)
    for args in (["ls"], ["status", sweep], ["runs", sweep], ["show", f"{sweep}-0"], ["plot", sweep]):
        project.sweep(*args)


@linux
def test_everything_of_a_machine_stands_still_for_a_while(project: Project) -> None:
    """Agent, guard and runs are stopped past the lease, as in a frozen container (a suspended machine stops the lease's
    clock as well). Afterwards the agent joins anew, and its runs start again, uncharged."""
    project.write("train.py", PATIENT)
    project.write("sweep.yaml", SPEC)
    sweep = project.create()
    agent = project.agent(sweep, "--slots", "1", SWEEP_LEASE_S="2")
    project.wait_running(sweep, 1)
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    everything = [agent.pid, *map(int, children), *project.processes(f"SWEEP_ID={sweep}")]
    for pid in everything:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    project.write("go", "")
    for pid in everything:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    said = project.wait_end(agent)
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 3, said
    assert {a["outcome"] for a in runs[0]["attempts"]} <= {"lost", "completed"}


@linux
def test_a_process_that_was_stopped_while_writing_is_named(project: Project) -> None:
    """It holds SQLite's lock; the others say who, and how to end it."""
    project.write("sweep.yaml", SPEC)
    project.write("train.py", TRAIN)
    sweep = project.create()
    code = (
        "import sqlite3, sys; db = sqlite3.connect('.sweep/store.db', isolation_level=None); "
        "db.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], cwd=project.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    path = project.folder / ".sweep" / "store.db"
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with closing(SqliteStore(path, busy_timeout_s=0.2)) as store:
            request = {"writer": "w", "first_seq": 1}
            with pytest.raises(
                StoreError, match=rf"is busy: process {holder.pid} \(.*sqlite3.*has been writing"
            ):
                store.append(sweep, [PauseRequested("")], **request)
            holder.send_signal(signal.SIGSTOP)
            project.wait_for(lambda: b") T " in Path(f"/proc/{holder.pid}/stat").read_bytes())
            with pytest.raises(
                StoreError,
                match=rf"was stopped in the middle of writing to it; `kill -CONT {holder.pid}` lets it go on",
            ):
                store.append(sweep, [PauseRequested("")], **request)
        assert sweep in project.sweep("ls"), "reading needs no lock"
    finally:
        holder.kill()
        holder.communicate()
    project.sweep("agent", sweep)
