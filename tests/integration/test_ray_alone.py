"""`sweep launch` where no Ray is at work: it starts one of its own, which goes with it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import PYTHON, Project
from tests.integration.test_ray import PATIENCE_S, SPEC, TRAIN, launched_agents
from tests.integration.test_terminal import TRAIN as TRAIN_UNTIL_TOLD
from tests.integration.test_terminal import Terminal

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


def test_run_shows_the_same_live_view_as_without_ray(alone: Project) -> None:
    """What `test_the_live_view` of `sweep agent` waits for, to the letter."""
    alone.write("sweep.yaml", SPEC % (3, 0, 0, "{}"))
    alone.write("train.py", TRAIN_UNTIL_TOLD)
    terminal = Terminal(alone, "run", "sweep.yaml", "--ray", "local", "--slots", "1")
    try:
        terminal.read_until("starting Ray on this machine; it ends with this command", PATIENCE_S)
        terminal.read_until("0/3 runs", PATIENCE_S)
        terminal.read_until("slot", PATIENCE_S)
        terminal.read_until("0.125", PATIENCE_S)  # the last value of the run with x = 1
        alone.write("go", "")
        assert terminal.end(PATIENCE_S) == 0
    finally:
        terminal.close()
    [sweep] = [run["sweep"] for run in alone.runs()[:1]]
    assert f"{sweep}-0 completed after" in terminal.seen
    if "2/3 runs" in terminal.seen:  # else the last run ended before that was drawn
        drawn = [text.partition("\n")[0] for text in terminal.seen.split("2/3 runs")[1:]]
        assert any("left" in rest for rest in drawn), "an estimate of the time"
    assert f"sweep {sweep} has ended: all 3 points of the space are done (3 completed)" in terminal.seen
    assert f"best: {sweep}-0 with loss 0.125" in terminal.seen
    assert "best-so-far.png" in terminal.seen
    assert "Traceback" not in terminal.seen
