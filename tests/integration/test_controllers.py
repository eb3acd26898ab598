"""Controllers of their own: taking over, being killed, being frozen; agents that never lead."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from contextlib import closing

import pytest

from sweep.core import entries as e
from sweep.core.names import controller_lease
from sweep.stores import open_store
from tests.integration.conftest import DOOMED, Project

# Runs on until a file called after its x, or `go`, is there.
TRAIN = """
import os, time, sweep
run = sweep.init()
while True:
    run.log({"loss": float(run.config.x)})
    if os.path.exists("go") or os.path.exists(f"go-{run.config.x}"):
        break
    time.sleep(0.05)
"""
SPEC = """
program: train.py
method: random
run_cap: 12
metric: {name: loss, goal: minimize}
parameters: {x: {min: 0, max: 1000000}}
"""


LEADS, WAITS = "this controller leads", "leads; waiting"
"""What a controller says first."""


def begin(project: Project) -> str:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    return project.create()


def journal(project: Project, sweep: str) -> list[e.Recorded]:
    with closing(open_store(None, project.folder, create=False)) as store:
        return store.read(sweep, 0)


def holder(project: Project, sweep: str) -> str:
    """Who has the controller's lease, '' when nobody has."""
    with closing(open_store(None, project.folder, create=False)) as store:
        return next((lease.holder for lease in store.leases(controller_lease(sweep))), "")


def controller(project: Project, sweep: str, number: int, says: str, **env: str) -> subprocess.Popen[bytes]:
    """A controller, once it has said this; `number`: how many were started in this project before, agents included."""
    process = project.start("controller", sweep, **env)
    log = project.folder / f"agent-{number}.log"
    project.wait_for(lambda: says in log.read_text())
    return process


def check(project: Project, sweep: str) -> None:
    """Everything that was asked was done once, and each controller wrote nothing after the next one had begun."""
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 12
    assert len({run["config"]["x"] for run in runs}) == 12
    written = journal(project, sweep)
    proposed = [r.entry for r in written if isinstance(r.entry, e.TrialsProposed)]
    assert [n for p in proposed for n in range(p.first, p.first + len(p.configs))] == list(range(12))
    tokens = [int(r.writer.rpartition("/")[2]) for r in written if r.writer.startswith("controller/")]
    assert tokens == sorted(tokens)
    for run in runs:
        assert Counter(a["outcome"] for a in run["attempts"])["completed"] == 1


def test_a_controller_alone_leads_agents_that_never_do(project: Project) -> None:
    sweep = begin(project)
    agent = project.agent(sweep, "--slots", "2", "--no-controller", **DOOMED)  # it looks as often as that
    project.wait_for(lambda: "nobody leads this sweep" in project.agent_output())
    assert f"`sweep controller {sweep}` does" in project.agent_output()
    assert project.runs(sweep) == []
    leading = controller(project, sweep, 1, LEADS)
    project.wait_running(sweep, 2)
    assert holder(project, sweep).startswith("controller-")
    project.wait_for(lambda: "the sweep has a controller again" in project.agent_output())
    project.write("go", "")
    project.wait_end(agent)
    said = project.wait_end(leading)
    assert f"{sweep}-0 assigned to " in said
    assert "proposed by random" in said
    assert f"sweep {sweep} has ended: run_cap: all 12 trials are done" in said
    check(project, sweep)
    assert "has ended" in project.run("controller", sweep).stderr


def test_another_controller_takes_over_from_a_killed_one(project: Project) -> None:
    sweep = begin(project)
    first = controller(project, sweep, 0, LEADS, **DOOMED)
    second = controller(project, sweep, 1, WAITS)
    agent = project.agent(sweep, "--slots", "2", "--no-controller")
    for run in project.wait_running(sweep, 2):
        project.write(f"go-{run['config']['x']}", "")
    project.wait_for(lambda: len([r for r in project.runs(sweep) if r["state"] == "completed"]) == 2)
    first.kill()
    first.wait()
    project.write("go", "")
    for process in (agent, second):
        project.wait_end(process)
    check(project, sweep)
    assert {len(run["attempts"]) for run in project.runs(sweep)} == {1}, "agents work on while nobody leads"


def test_an_agent_says_that_it_waits_for_a_leader_that_was_killed(project: Project) -> None:
    sweep = begin(project)
    first = project.agent(sweep, "--slots", "1")
    project.wait_running(sweep, 1)
    leader = holder(project, sweep)
    first.kill()
    first.wait()
    project.write("go", "")
    said = project.wait_end(project.agent(sweep, SWEEP_LEASE_S="10"))
    assert (
        said.count(
            f"waiting for {leader}, which leads this sweep and does not answer; if it is gone, work goes on in "
        )
        == 1
    )
    check(project, sweep)


@pytest.mark.skipif(os.name != "posix", reason="stops processes")
def test_a_frozen_controller_is_fenced_off_when_it_wakes(project: Project) -> None:
    """SIGSTOP for longer than its lease, then SIGCONT: another one leads, and what it had in mind is never written."""
    sweep = begin(project)
    first = controller(project, sweep, 0, LEADS, **DOOMED)
    agent = project.agent(sweep, "--slots", "2", "--no-controller")
    project.wait_running(sweep, 2)
    frozen = holder(project, sweep)
    first.send_signal(signal.SIGSTOP)
    second = controller(project, sweep, 2, LEADS)
    assert holder(project, sweep) not in ("", frozen)
    for run in project.runs(sweep)[:2]:
        project.write(f"go-{run['config']['x']}", "")
    project.wait_for(lambda: len([r for r in project.runs(sweep) if r["state"] == "completed"]) == 2)
    first.send_signal(signal.SIGCONT)
    log = project.folder / "agent-0.log"
    project.wait_for(lambda: WAITS in log.read_text())
    assert holder(project, sweep) != frozen
    project.write("go", "")
    for process in (agent, first, second):
        project.wait_end(process)
    check(project, sweep)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_controller_gives_the_lease_back_when_it_is_told_to_go(
    project: Project, number: signal.Signals, code: int
) -> None:
    sweep = begin(project)
    process = controller(project, sweep, 0, LEADS)
    process.send_signal(number)
    project.wait_end(process, code)
    assert holder(project, sweep) == ""


def test_a_controller_of_a_removed_sweep_says_so(project: Project) -> None:
    sweep = begin(project)
    process = controller(project, sweep, 0, LEADS)
    project.sweep("rm", sweep, "--yes")
    assert f"sweep {sweep} has been removed" in project.wait_end(process, 2)
