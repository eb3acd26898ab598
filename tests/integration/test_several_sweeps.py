"""One agent for several sweeps: real processes, with slots that are shared."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from typing import Any

import pytest

from sweep.api import load_views
from sweep.stores import open_store
from tests.integration.conftest import DOOMED, Project

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SHORT = """
import os, time, sweep
run = sweep.init()
run.log({"loss": run.config.x})
time.sleep(0.1)
"""
# Waits for the file `go`.
STEADY = """
import os, time, sweep
run = sweep.init()
while not os.path.exists("go"):
    run.log({"loss": 1.0})
    time.sleep(0.05)
"""


def grid(points: int, more: str = "") -> str:
    """A spec with so many runs."""
    values = list(range(points))
    return f"program: train.py\nmethod: grid\nmetric: {{name: loss}}\nparameters: {{x: {{values: {values}}}}}\n{more}"


def begin(project: Project, train: str, *specs: str) -> list[str]:
    project.write("train.py", train)
    return [project.create(str(project.write(f"{n}.yaml", spec))) for n, spec in enumerate(specs)]


def first_runs(project: Project, *sweeps: str) -> None:
    """Have each sweep do one run: the next ones are proposed then, and no offer waits for a searcher that is starting."""
    for sweep in sweeps:
        project.sweep("agent", sweep, "--count", "1", "--slots", "1")


def spans(project: Project, sweep: str) -> list[tuple[float, float, str]]:
    """(begin, end, sweep) of each attempt but that of the first run, by the store's clock."""
    with closing(open_store(None, project.folder)) as store:
        views = load_views(store, sweep)
    return [
        (attempt.started_s or 0.0, attempt.ended_s or 0.0, sweep)
        for run in views.runs[1:]
        for attempt in run.attempts
    ]


def states(project: Project, sweep: str) -> list[str]:
    return [run["state"] for run in project.runs(sweep)]


def running(project: Project, sweep: str, count: int) -> Callable[[], bool]:
    return lambda: states(project, sweep).count("running") == count


def test_two_sweeps_share_two_slots(project: Project) -> None:
    """One run of each at a time: neither goes ahead."""
    one, two = begin(project, SHORT, grid(5), grid(5))
    first_runs(project, one, two)
    said = project.run("agent", one, two, "--slots", "2")
    assert said.returncode == 0, said.stderr
    for sweep in (one, two):
        assert states(project, sweep) == ["completed"] * 5
        assert f"sweep {sweep} has ended" in said.stderr
    for sweep, other in ((one, two), (two, one)):
        last = max(
            end for _, end, _ in spans(project, other)
        )  # from then on both slots are for the one that is left
        begun = [span for span in sorted(spans(project, sweep)) if span[0] < last]
        assert all(before[1] <= after[0] for before, after in pairwise(begun)), begun
    first, second = min(spans(project, one))[0], min(spans(project, two))[0]
    assert first < max(spans(project, two))[1]
    assert second < max(spans(project, one))[1]
    agents = project.json("agents", "--all")
    assert (len(agents), len({agent["pid"] for agent in agents})) == (
        4,
        3,
    )  # the first runs' two, and one with two names


def test_one_slot_goes_to_and_fro_and_count_is_of_all(project: Project) -> None:
    one, two = begin(project, SHORT, grid(5), grid(5))
    first_runs(project, one, two)
    project.sweep("agent", one, two, "--slots", "1", "--count", "6")
    begun = sorted([*spans(project, one), *spans(project, two)])
    assert len(begun) == 6
    assert all(before[1] <= after[0] for before, after in pairwise(begun)), "two runs at once"
    assert {sweep for *_, sweep in begun[:2]} == {one, two}  # then it is who has had less time


def test_priority_comes_first(project: Project) -> None:
    low, high = begin(project, SHORT, grid(4), grid(4, "priority: 7\n"))
    first_runs(project, low, high)
    project.sweep("agent", low, high, "--slots", "1")
    begun = sorted([*spans(project, low), *spans(project, high)])
    assert [sweep for *_, sweep in begun] == [high] * 3 + [low] * 3


def test_what_one_does_not_use_the_other_does(project: Project) -> None:
    """A paused sweep, and one whose only run is at work, leave their share."""
    busy, single, paused = begin(project, STEADY, grid(4), grid(1), grid(4))
    project.sweep("pause", paused)
    agent = project.agent(busy, single, paused, "--slots", "3")
    project.wait_for(lambda: running(project, busy, 2)() and running(project, single, 1)())
    assert "running" not in states(project, paused)
    project.sweep("resume", paused)
    project.write("go", "")
    project.wait_end(agent)
    assert [len(states(project, sweep)) for sweep in (busy, single, paused)] == [4, 1, 4]


@linux
def test_a_sweep_that_is_removed_does_not_disturb_the_other(project: Project) -> None:
    one, two = begin(project, STEADY, grid(3), grid(3))
    agent = project.agent(one, two, "--slots", "2")
    project.wait_for(lambda: running(project, one, 1)() and running(project, two, 1)())
    [before] = [run for run in project.runs(two) if run["state"] == "running"]
    with closing(open_store(None, project.folder)) as store:
        store.delete_sweep(one)  # as by a hand that does not ask
    project.wait_for(lambda: not project.processes(f"SWEEP_ID={one}"))
    project.wait_for(running(project, two, 2))
    [same] = [run for run in project.runs(two) if run["id"] == before["id"]]
    assert (same["attempt"], same["state"]) == (1, "running")
    project.write("go", "")
    said = project.wait_end(agent)
    assert f"sweep {one} has been removed" in said
    assert states(project, two) == ["completed"] * 3


@linux
def test_a_killed_agent_of_two_sweeps_is_followed_by_another(project: Project) -> None:
    sweeps = begin(project, STEADY, grid(2), grid(2))
    agent = project.agent(*sweeps, "--slots", "2", **DOOMED)
    for sweep in sweeps:
        project.wait_running(sweep, 1)
    agent.kill()
    agent.wait()
    project.wait_for(lambda: not project.processes(""))
    project.write("go", "")
    project.sweep("agent", "--all", "--slots", "2")
    for sweep in sweeps:
        assert states(project, sweep) == ["completed"] * 2
        outcomes = [[a["outcome"] for a in run["attempts"]] for run in project.runs(sweep)]
        assert sorted(outcomes) == [["completed"], ["lost", "completed"]]


def test_all_takes_in_a_sweep_that_is_created_meanwhile(project: Project) -> None:
    [first] = begin(project, STEADY, grid(2))
    agent = project.agent("--all", "--slots", "2")
    project.wait_running(first, 2)
    later = project.create("0.yaml")
    project.wait_for(lambda: any(a["sweep"] == later for a in project.json("agents")))
    project.write("go", "")
    project.wait_end(agent)
    assert states(project, first) == states(project, later) == ["completed"] * 2
    assert "no sweep is active" in project.run("agent", "--all").stderr


def test_all_with_wait_stays_until_it_is_ended(project: Project) -> None:
    [first] = begin(project, SHORT, grid(1))
    agent = project.agent("--all", "--wait", "--slots", "1")
    project.wait_for(lambda: project.status(first).state == "ended")
    later = project.create("0.yaml")
    project.wait_for(lambda: project.status(later).state == "ended")
    assert agent.poll() is None
    agent.send_signal(signal.SIGINT)
    project.wait_end(agent, code=130)


@linux
def test_signals_are_for_all_its_sweeps(project: Project) -> None:
    sweeps = begin(project, STEADY, grid(2), grid(2))
    agent = project.agent(*sweeps, "--slots", "2")
    for sweep in sweeps:
        project.wait_running(sweep, 1)
    agent.send_signal(signal.SIGTERM)
    project.wait_end(agent, code=143)
    assert not project.processes("")
    for sweep in sweeps:
        [[attempt]] = [run["attempts"] for run in project.runs(sweep) if run["attempts"]]
        assert attempt["outcome"] == "preempted"


def test_one_broken_sweep_is_given_up_and_the_other_done(project: Project) -> None:
    project.write("broken.py", "raise SystemExit('this cannot work')\n")
    broken, good = begin(project, SHORT, grid(9).replace("train.py", "broken.py"), grid(5))
    done = project.run("agent", broken, good, "--slots", "2")
    assert done.returncode == 3, done.stderr
    assert f"sweep retry {broken}" in done.stderr
    assert states(project, good) == ["completed"] * 5
    assert project.status(broken).state == "active"


def test_detached_it_is_one_process_that_ends_once(project: Project) -> None:
    sweeps = begin(project, STEADY, grid(2), grid(2))
    project.sweep("agent", *sweeps, "--slots", "2", "--detach")
    try:
        for sweep in sweeps:
            project.wait_running(sweep, 1)
        agents: list[dict[str, Any]] = project.json("agents")
        assert {agent["sweep"] for agent in agents} == set(sweeps)
        project.sweep("agents", "--end", "all")  # once, not twice: the runs may finish
        logs = list((project.folder / ".sweep" / "agents").glob("*.log"))
        project.wait_for(lambda: any("letting runs finish" in log.read_text() for log in logs))
        project.write("go", "")
    finally:
        project.write("go", "")
    project.wait_for(lambda: project.json("agents") == [])
    for sweep in sweeps:
        [attempts] = [run["attempts"] for run in project.runs(sweep) if run["attempts"]]
        assert [attempt["outcome"] for attempt in attempts] == ["completed"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "name a sweep"),
        (["--wait", "latest"], "--wait goes with --all"),
        (["--all", "latest"], "--all means every sweep"),
        (["latest", "nosuch"], "nosuch"),
        (["--link", "data=/tmp", "0", "1"], "none of these sweeps names such a link"),
    ],
)
def test_mistakes(project: Project, args: list[str], words: str) -> None:
    sweeps = begin(project, SHORT, grid(1), grid(1))
    assert words in project.mistake("agent", *[sweeps[int(arg)] if arg.isdigit() else arg for arg in args])
    assert [project.runs(sweep) for sweep in sweeps] == [[], []]
