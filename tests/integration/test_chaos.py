"""Real processes, killed and frozen for real: what was asked is done once, nothing is left behind, what was logged is there."""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from sweep.agents import trees
from sweep.api import load_views
from sweep.stores import open_store
from sweep.stores.sqlite import SqliteStore
from sweep.testing import witness
from sweep.testing.chaos import Crew, Striker, is_guard, work_off
from tests.integration.conftest import PYTHON, Project
from tests.redis_server import RedisServer

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
LEASE_S = 2.0


def guards(agent: int) -> list[int]:
    return [pid for pid in trees.descendants([agent]) if is_guard(pid)]


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("r"), appendonly="yes", appendfsync="everysec")
    yield made.start()
    made.kill()


def campaign(
    project: Project, points: int, agents: int, strikes: int, server: RedisServer | None = None
) -> None:
    """Work off a sweep whose processes are killed and frozen all the time, and hold the record against what its runs told."""
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed}")
    file = project.folder / "witness.txt"
    project.write("train.py", witness.PROGRAM)
    project.write("sweep.yaml", witness.spec_text(points, file, 0.05))
    sweep = project.create()
    command = [*PYTHON, "agent", sweep, "--slots", "2"]
    crew = Crew(command, agents, project.folder, {**project.env, "SWEEP_LEASE_S": str(LEASE_S)})
    striking = None
    try:
        with closing(open_store(project.env.get("SWEEP_STORE"), project.folder)) as store:
            striking = Striker(crew, store, sweep, random.Random(seed), server)
            ended = work_off(crew, striking, pause_s=(0.3, 1.0), strikes=strikes, limit_s=300)
            print(dict(striking.struck))
            assert ended, f"seed {seed}: the sweep has not ended\n{crew.said()[-5000:]}"
            project.wait_for(lambda: not crew.processes(), timeout=60)
            told = witness.read_witness(file)
            views = load_views(store, sweep)
            found = witness.compare(store, views, points, told, striking.harms, striking.outages, LEASE_S)
    finally:
        if striking is not None:
            striking.end()
        crew.end()
    print(f"{dict(found.attempts)}, {found.rows} rows checked of {sum(one.what == 'row' for one in told)}")
    assert not found.problems, f"seed {seed}:\n" + "\n".join(found.problems[:20])
    assert found.rows > points


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_anything_at_any_time(project: Project) -> None:
    campaign(project, points=200, agents=2, strikes=30)


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_anything_and_redis_at_any_time(project: Project, server: RedisServer) -> None:
    project.env["SWEEP_STORE"] = server.url
    campaign(project, points=200, agents=4, strikes=30, server=server)


@linux
def test_the_comparison_finds_what_is_wrong(project: Project) -> None:
    file = project.folder / "witness.txt"
    project.work_off(witness.spec_text(3, file, 0.0), witness.PROGRAM)
    told = witness.read_witness(file)
    with closing(open_store(None, project.folder)) as store:
        views = load_views(store, project.status().sweep)

        def problems(told: list[witness.Told] = told, points: int = 3) -> str:
            return "\n".join(witness.compare(store, views, points, told).problems)

        assert problems() == ""
        assert "the points are not those" in problems(points=4)
        row = next(one for one in told if one.what == "row")
        assert f"row 99 of {row.run}, attempt 1, is lost" in problems([*told, row._replace(row=99)])
        assert "never came to its end" in problems([one for one in told if one.what != "end"])
        assert "which no run with x = 7 logged" in problems([one._replace(x=7) for one in told])
        views.runs[0].objective = 7.0
        views.runs[1].attempts[0].outcome = "lost"
        assert "has the result 7.0, which is not that of x" in problems()
        assert f"{views.runs[1].id} is completed after ['lost']" in problems()


HOLDER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
if sys.argv[2] == "writes":
    database.execute("BEGIN IMMEDIATE")
else:
    database.execute("BEGIN")
    database.execute("SELECT count(*) FROM sqlite_master").fetchone()
print("ready", flush=True)
time.sleep(60)
"""


@linux
@pytest.mark.parametrize("does", ["writes", "reads"])
def test_a_frozen_writer_keeps_the_others_from_the_store(project: Project, does: str) -> None:
    """What they were told meanwhile is not in the record, and no fault."""
    with closing(open_store(None, project.folder, create=True)) as store:
        assert isinstance(store, SqliteStore)
        command = [sys.executable, "-c", HOLDER, str(store.path), does]
        holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            assert holder.stdout is not None and holder.stdout.readline() == b"ready\n"
            striking = Striker(Crew([], 0, project.folder, {}), store, "none", random.Random(0))
            striking._hit("freeze", holder.pid)
            striking.end()
            assert [harm.begin_s <= harm.end_s < math.inf for harm in striking.outages] == [True] * (
                does == "writes"
            )
        finally:
            holder.kill()
            holder.communicate()
