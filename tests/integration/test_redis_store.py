"""Sweeps over a real Redis server: several agents, and whatever dies in the middle."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.api import find_sweep, load_views
from sweep.core import entries as e
from sweep.stores import open_store
from tests.integration.conftest import DOOMED, PYTHON, Project
from tests.redis_server import RedisServer, wait_cluster

PLANTED = "-".join(["planted", "pw"])  # not as it stands here: the record holds this file

SPEC = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  x: {values: %s}
"""

TRAIN = """
import os, pathlib, time, sweep
run = sweep.init()
marks = pathlib.Path("marks"); marks.mkdir(exist_ok=True)
with (marks / f"{run.config['x']}").open("a") as file:
    file.write(f"{os.getpid()}\\n")
for step in range(10):
    run.log({"loss": run.config["x"] + 1 / (step + 1)})
    time.sleep(%s)
"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(
        tmp_path_factory.mktemp("r"), appendonly="yes", appendfsync="always", requirepass=PLANTED
    )
    yield made.start()
    made.kill()


@pytest.fixture
def over_redis(project: Project, server: RedisServer) -> Project:
    project.env["SWEEP_STORE"] = f"redis://:{PLANTED}@127.0.0.1:{server.port}/0"
    return project


def record(project: Project, sweep: str) -> tuple[Any, list[Any]]:
    """The sweep's views, and its journal."""
    with closing(open_store(project.env["SWEEP_STORE"], project.folder)) as store:
        return load_views(store, find_sweep(store, sweep)), store.read(sweep, 0)


def check_whole(project: Project, sweep: str, count: int, steps: int = 10) -> list[Any]:
    """Every point is done, once, and each run's rows are all there; the journal."""
    views, journal = record(project, sweep)
    assert views.sweep.state == "ended"
    assert sorted(run.config["x"] for run in views.runs) == list(range(count))
    assert {run.state for run in views.runs} == {"completed"}
    assert [recorded.position for recorded in journal] == list(range(1, len(journal) + 1))
    ended = [
        r.entry for r in journal if isinstance(r.entry, e.AttemptEnded) and r.entry.outcome == "completed"
    ]
    assert sorted(entry.run for entry in ended) == list(range(count))
    with closing(open_store(project.env["SWEEP_STORE"], project.folder)) as store:
        for run in views.runs:
            last = run.attempts[-1].attempt
            rows = [
                row for chunk in store.read_history(sweep, run.run, last) for row in chunk.data.split(b"\n")
            ]
            # The rows' own numbers are dropped where they are packed: their values tell.
            values = [run.config["x"] + 1 / (step + 1) for step in range(steps)]
            assert [json.loads(row)["m"]["loss"] for row in rows] == values, (run, rows)
    return journal


HOLD = """
while os.path.exists("hold"):
    time.sleep(0.02)
"""
HOLD_LAST = """
while run.config["x"] >= 4 and os.path.exists("hold-last"):
    time.sleep(0.02)
"""


def create(project: Project, count: int, pause_s: float, then: str = "") -> str:
    project.write("sweep.yaml", SPEC % list(range(count)))
    project.write("train.py", TRAIN % pause_s + then)
    return project.create()


def test_two_agents_work_off_a_sweep(over_redis: Project) -> None:
    over_redis.write("hold", "")
    sweep = create(over_redis, 8, 0.01, HOLD)
    agents = [over_redis.agent(sweep, "--slots", "2") for _ in range(2)]
    over_redis.wait_running(sweep, 4)
    (over_redis.folder / "hold").unlink()
    for agent in agents:
        over_redis.wait_end(agent)
    journal = check_whole(over_redis, sweep, 8)
    assert len({r.entry.agent for r in journal if isinstance(r.entry, e.AgentJoined)}) == 2
    said = over_redis.agent_output() + over_redis.sweep("status", sweep) + over_redis.sweep("doctor")
    assert PLANTED not in said
    assert "appendfsync always" in said
    for file in over_redis.folder.rglob("*"):
        assert not file.is_file() or PLANTED.encode() not in file.read_bytes(), file
    assert all(PLANTED not in repr(recorded) for recorded in journal)
    with closing(open_store(over_redis.env["SWEEP_STORE"], over_redis.folder)) as store:
        blobs = [store.get_blob(digest) or b"" for digest in store.blobs()]
        assert blobs and all(PLANTED.encode() not in blob for blob in blobs)
        assert PLANTED not in repr(store.read_index(sweep)) + repr(store.describe())


def test_a_cluster_of_one_node(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    """All that a sweep writes, by all commands that have to do with it, goes to keys of one slot."""
    server = RedisServer(tmp_path_factory.mktemp("c"), cluster_enabled="yes").start()
    try:
        with closing(server.client()) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        wait_cluster(server)
        project.env["SWEEP_STORE"] = f"redis://127.0.0.1:{server.port}"
        project.write("train.py", TRAIN % 0.01)
        project.write("sweep.yaml", SPEC % list(range(8)))
        first, second = project.create(), project.create()
        agents = [project.agent("--all", "--slots", "2") for _ in range(2)]
        for agent in agents:
            project.wait_end(agent)
        for sweep in (first, second):
            assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 8
            assert project.json("best", sweep)["config"]["x"] == 0
        project.sweep("rm", first, "--yes")
        project.sweep("gc", "--yes")
        assert [row["id"] for row in project.json("ls")] == [second]
        with closing(server.client()) as client:
            slots = {
                client.execute_command("CLUSTER", "KEYSLOT", key)
                for key in client.keys("*")
                if second.encode() in key
            }
        assert len(slots) == 1
        assert "Redis" in project.sweep("doctor")
        mistake = project.mistake("ls", SWEEP_STORE=f"redis://127.0.0.1:{server.port}/3")
        assert "a Redis cluster has database 0 only" in mistake
    finally:
        project.end()
        server.kill()


def test_redis_is_killed_and_comes_back(over_redis: Project, server: RedisServer) -> None:
    sweep = create(over_redis, 8, 0.05)
    agents = [over_redis.agent(sweep, "--slots", "2", SWEEP_LEASE_S="30") for _ in range(2)]
    over_redis.wait_running(sweep, 2)
    _, before = record(over_redis, sweep)
    server.kill()
    time.sleep(0.5)  # training goes on meanwhile, and reports what cannot be written yet
    server.start()
    for agent in agents:
        over_redis.wait_end(agent)
    journal = check_whole(over_redis, sweep, 8)
    assert journal[: len(before)] == before, "what was acknowledged is there"
    assert not [r for r in journal if isinstance(r.entry, e.AgentLost)]
    marks = [path.read_text().split() for path in (over_redis.folder / "marks").iterdir()]
    assert len(marks) == 8 and all(len(mark) == 1 for mark in marks), "no run was started twice"


def test_redis_is_away_for_longer_than_a_lease(over_redis: Project, server: RedisServer) -> None:
    """An agent ends its runs then, as others may have them; it says why, and goes on by itself."""
    over_redis.write("hold", "")
    sweep = create(over_redis, 2, 0.01, HOLD)
    agent = over_redis.agent(sweep, "--slots", "2", **DOOMED)
    over_redis.wait_running(sweep, 2)
    _, before = record(over_redis, sweep)
    server.kill()
    words = "the agent could not renew its lease in time; its runs start again"
    over_redis.wait_for(lambda: words in over_redis.agent_output())
    (over_redis.folder / "hold").unlink()
    server.start()
    said = over_redis.wait_end(agent)
    assert "training goes on; trying again every second" in said
    assert "the guard process died" not in said
    journal = check_whole(over_redis, sweep, 2)
    assert journal[: len(before)] == before, "what was acknowledged is there"


def test_redis_comes_back_without_its_last_entries(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As after a power cut, or when a replica that lagged behind takes over."""
    server = RedisServer(
        tmp_path_factory.mktemp("r")
    ).start()  # no append-only file: it has what was last saved
    try:
        project.env["SWEEP_STORE"] = server.url
        project.write("hold", "")
        project.write("hold-last", "")
        sweep = create(project, 6, 0.01, HOLD + HOLD_LAST)
        agents = [project.agent(sweep, "--slots", "2", **DOOMED) for _ in range(2)]
        project.wait_running(sweep, 4)
        with closing(server.client()) as client:
            client.save()
        (project.folder / "hold").unlink()
        project.wait_for(lambda: [run["state"] for run in project.runs(sweep)].count("completed") == 4)
        server.kill()
        server.start()
        (project.folder / "hold-last").unlink()
        for agent in agents:
            project.wait_end(agent)
        check_whole(project, sweep, 6)
        assert "the store has lost entries of sweep" in project.agent_output()
    finally:
        server.kill()


def test_an_agent_is_killed(over_redis: Project) -> None:
    over_redis.write("hold", "")
    sweep = create(over_redis, 6, 0.01, HOLD)
    first = over_redis.agent(sweep, "--slots", "2", **DOOMED)
    over_redis.wait_running(sweep, 1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    (over_redis.folder / "hold").unlink()
    over_redis.wait_end(over_redis.agent(sweep, "--slots", "2"))
    journal = check_whole(over_redis, sweep, 6)
    assert [r for r in journal if isinstance(r.entry, e.AgentLost)]


def test_a_controller_of_its_own(over_redis: Project) -> None:
    sweep = create(over_redis, 4, 0.01)
    controller = subprocess.Popen(
        [*PYTHON, "controller", sweep], cwd=over_redis.folder, env=over_redis.env, stdout=subprocess.DEVNULL
    )
    over_redis.sweep("agent", sweep, "--slots", "2", "--no-controller")
    assert controller.wait(60) == 0
    journal = check_whole(over_redis, sweep, 4)
    writers = {r.writer for r in journal if isinstance(r.entry, e.RunAssigned)}
    assert len(writers) == 1


def test_an_agent_in_the_background(over_redis: Project) -> None:
    sweep = create(over_redis, 2, 0.01)
    agent = over_redis.sweep("agent", sweep, "--detach").splitlines()[-1]
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            assert f"{PLANTED}@".encode() not in cmdline.read_bytes(), "a password in the list of processes"
    over_redis.wait_for(lambda: record(over_redis, sweep)[0].sweep.state == "ended")
    check_whole(over_redis, sweep, 2)
    assert agent


def test_clearing_up_here_leaves_what_belongs_to_a_sweep_on_the_server(over_redis: Project) -> None:
    sweep = create(over_redis, 2, 0.0)
    over_redis.sweep("agent", sweep)
    folder, file = over_redis.folder / ".sweep/runs" / sweep, f"sqlite:///{over_redis.folder}/.sweep/store.db"
    over_redis.sweep("create", "sweep.yaml", "--store", file)
    said = over_redis.run("gc", "--yes", "--store", file)
    assert folder.is_dir(), "the server wants a password, which nobody gave here: left alone"
    assert "left alone" in said.stdout + said.stderr
    over_redis.sweep("gc", "--yes")
    assert folder.is_dir()
    over_redis.sweep("rm", sweep, "--yes")
    assert not folder.exists()


def test_export_and_import_between_stores(over_redis: Project, redis_server: RedisServer) -> None:
    sweep = create(over_redis, 4, 0.0)
    over_redis.sweep("agent", sweep, "--slots", "2")
    over_redis.sweep("export", sweep, "--out", "a.jsonl")
    first = read(over_redis.folder / "a.jsonl")
    file, other = f"sqlite:///{over_redis.folder}/other.db", redis_server.url
    over_redis.sweep("import", "a.jsonl", "--store", file)
    over_redis.sweep("export", sweep, "--out", "b.jsonl", "--store", file)
    assert read(over_redis.folder / "b.jsonl") == first
    over_redis.sweep("import", "b.jsonl", "--store", other)
    over_redis.sweep("export", sweep, "--out", "c.jsonl", "--store", other)
    assert read(over_redis.folder / "c.jsonl") == first
    assert over_redis.sweep("runs", sweep, "--store", other) == over_redis.sweep("runs", sweep)
    lines = (over_redis.folder / "a.jsonl").read_text().splitlines()
    over_redis.write("half.jsonl", "\n".join(lines[:-1]))
    over_redis.sweep("rm", sweep, "--yes", "--store", other)
    assert "ends too early" in over_redis.mistake("import", "half.jsonl", "--store", other)
    with closing(open_store(other, over_redis.folder)) as store:
        assert store.sweeps() == [], "nothing was imported"


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]
