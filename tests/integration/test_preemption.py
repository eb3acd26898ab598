"""A machine that is about to be taken: what runs there is ended in time and goes on elsewhere, uncharged."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.integration.conftest import Project
from tests.integration.test_chaos import guards
from tests.integration.test_signals import STEADY, go_on, states

SPEC = (
    "program: train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\nlimits: {kill_after: 1s%s}\n"
    "parameters: {x: {values: [1, 2, 3, 4]}}\n"
)


def begin(project: Project, limits: str = "") -> str:
    project.write("train.py", STEADY)
    project.write("sweep.yaml", SPEC % limits)
    return project.create()


def preempted(project: Project, sweep: str, reason: str) -> None:
    """Two runs were ended for this reason, and finish on the next agent."""
    for run in project.runs(sweep)[:2]:
        assert run["state"] == "queued"
        [attempt] = run["attempts"]
        assert (attempt["outcome"], attempt["error_class"]) == ("preempted", "")
        assert attempt["reason"].startswith(reason)
    go_on(project, sweep)


def test_sigusr1_as_slurm_sends_it_before_the_end(project: Project) -> None:
    sweep = begin(project)
    agent = project.agent(sweep, "--slots", "2")
    project.wait_running(sweep, 2)
    agent.send_signal(signal.SIGUSR1)
    project.wait_end(agent, 143)
    preempted(project, sweep, "the agent got SIGUSR1")


def test_an_agent_in_a_slurm_job_ends_its_runs_in_time(project: Project) -> None:
    sweep = begin(project)
    agent = project.agent(sweep, "--slots", "2", SLURM_JOB_END_TIME=str(int(time.time()) + 16))
    said = project.wait_end(agent)
    assert "this agent leaves at " in said
    assert "starts again elsewhere" in said
    assert "no new runs" in said
    preempted(project, sweep, "the agent leaves at ")


def test_nothing_starts_that_could_not_end_in_time(project: Project) -> None:
    sweep = begin(project, ", run_time: 1h")
    said = project.wait_end(project.agent(sweep, "--until", "30m"))
    assert "no run could be sure to end before (limits.run_time is 3600 s)" in said
    assert project.runs(sweep) == [] or set(states(project, sweep)) == {"queued"}
    assert project.status(sweep).state == "active"


def test_a_time_that_is_none_is_a_mistake(project: Project) -> None:
    sweep = begin(project)
    said = project.mistake("agent", sweep, "--until", "half past five")
    assert "--until must be a time (17:30, 2026-03-01T17:30) or how long from now (90m, 1h30m)" in said
    assert "has passed already" in project.mistake("agent", sweep, "-d", "--until", "2020-01-01T00:00")


def test_an_agent_in_the_background_is_told_the_time_as_it_was_meant(project: Project) -> None:
    sweep = begin(project)
    agent = project.sweep("agent", sweep, "-d", "--slots", "2", "--until", "16s").strip()
    log = project.folder / ".sweep" / "agents" / f"{agent}.log"
    assert "this agent leaves at " in log.read_text()
    project.wait_for(lambda: "preempted after" in log.read_text() and not project.processes(""))
    project.wait_for(lambda: project.json("status", sweep)["agents"][0]["state"] == "left")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_every_process_of_the_job(project: Project, number: signal.Signals) -> None:
    """As `scancel` sends it: the runs get it before their agent, and its guard as well."""
    sweep = begin(project)
    agent = project.agent(sweep, "--slots", "2")
    project.wait_running(sweep, 2)
    for pid in (*project.processes(f"SWEEP_ID={sweep}"), *guards(agent.pid), agent.pid):
        os.kill(pid, number)
    project.wait_end(agent, 143)
    preempted(project, sweep, f"the agent got {number.name}")
