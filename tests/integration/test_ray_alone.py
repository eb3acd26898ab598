"""`sweep launch` where no Ray is at work: it starts one of its own, which goes with it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import PYTHON, Project
from tests.integration.test_ray import SPEC, TRAIN, launched_agents

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def alone(project: Project) -> Iterator[Project]:
    """A project on a machine where no Ray is at work."""
    folder = tempfile.mkdtemp(prefix="swr")
    project.env |= {"RAY_TMPDIR": folder}
    project.write("train.py", TRAIN)
    yield project
    project.end()
    project.wait_for(lambda: not raylets(folder))
    shutil.rmtree(folder, ignore_errors=True)


def raylets(folder: str) -> list[Path]:
    """Processes of the Ray whose files lie in this folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue
        if b"raylet" in words and folder.encode() in words:
            found.append(path)
    return found


def test_a_ray_of_its_own_in_the_background(alone: Project) -> None:
    alone.write("sweep.yaml", SPEC % (400, 0.3, 0, "{}"))
    sweep = alone.create()
    said = alone.run("launch", sweep, "--detach", "--max-slots", "1")
    assert "on a Ray of its own on this machine" in said.stderr, said.stderr
    status = alone.json("launch", "--status", sweep)
    assert (status["state"], len(status["slots"])) == ("working", 1)
    # Whoever has no token gets no code run there.
    assert (alone.folder / ".sweep" / "ray-token").stat().st_mode & 0o077 == 0
    alone.sweep("launch", "--down", sweep, "--now")
    alone.wait_for(lambda: not alone.processes("") and not raylets(alone.env["RAY_TMPDIR"]))
    told = alone.sweep("launch", "--status", sweep)
    assert "not launched at present: it was told to leave" in told


def test_a_ray_of_its_own_goes_with_a_kill_and_the_record_stays(alone: Project) -> None:
    alone.write("sweep.yaml", SPEC % (6, 1.0, 0, "{}"))
    sweep = alone.create()
    with (alone.folder / "agent-0.log").open("wb") as log:
        launch = subprocess.Popen(
            [*PYTHON, "launch", sweep, "--ray", "local"],
            cwd=alone.folder,
            env=alone.env,
            stdout=log,
            stderr=log,
        )
    alone.agents.append(launch)
    alone.wait_running(sweep)
    launch.kill()
    launch.wait()
    alone.wait_for(lambda: not alone.processes("") and not launched_agents(alone))
    assert "its cluster, is gone" in alone.sweep("launch", "--status", sweep)
    alone.sweep("agent", sweep)
    runs = alone.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 6
    assert {attempt["outcome"] for run in runs for attempt in run["attempts"]} <= {
        "completed",
        "preempted",
        "lost",
    }
