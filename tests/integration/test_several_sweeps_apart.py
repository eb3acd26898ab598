"""One agent for several sweeps where it is not alone: over Redis, with GPUs, led by others, and cut off from its leases."""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing

import pytest

from sweep.api import load_views
from sweep.stores import open_store
from tests.integration.conftest import DOOMED, Project
from tests.integration.test_gpu_pinning import NVML, most_at_once, used
from tests.integration.test_gpu_pinning import TRAIN as ON_GPU
from tests.integration.test_several_sweeps import SHORT, STEADY, begin, grid, states
from tests.redis_server import RedisServer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@pytest.fixture
def over_redis(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    server = RedisServer(tmp_path_factory.mktemp("r"), appendonly="yes", appendfsync="always").start()
    project.env["SWEEP_STORE"] = server.tcp_url
    yield project
    project.end()
    server.kill()


def outcomes(project: Project, sweep: str) -> Counter[str]:
    return Counter(attempt["outcome"] for run in project.runs(sweep) for attempt in run["attempts"])


def test_agents_of_the_same_sweeps_and_one_is_killed(over_redis: Project) -> None:
    project = over_redis
    sweeps = begin(project, STEADY, grid(4), grid(4))
    doomed, other = (project.agent(*sweeps, "--slots", "2", **env) for env in (DOOMED, {}))
    project.wait_for(lambda: sum(states(project, sweep).count("running") for sweep in sweeps) == 4)
    doomed.kill()
    project.write("go", "")
    project.wait_end(other)
    for sweep in sweeps:
        assert states(project, sweep) == ["completed"] * 4
    lost = sum((outcomes(project, sweep) for sweep in sweeps), Counter())
    assert lost == {"completed": 8, "lost": 2}
    assert not project.processes("")


def test_an_agent_that_never_leads_and_controllers_elsewhere(over_redis: Project) -> None:
    project = over_redis
    sweeps = begin(project, SHORT, grid(3), grid(3))
    agent = project.agent(*sweeps, "--slots", "2", "--no-controller")
    project.wait_for(lambda: len(project.json("agents")) == 2)
    assert [states(project, sweep) for sweep in sweeps] == [[], []], "nobody leads"
    leaders = [project.start("controller", sweep) for sweep in sweeps]
    for process in (agent, *leaders):
        project.wait_end(process)
    assert [states(project, sweep) for sweep in sweeps] == [["completed"] * 3] * 2


def test_an_agent_that_was_frozen_comes_back_to_all_its_sweeps(over_redis: Project) -> None:
    """Its leases have run out meanwhile, its runs were ended and done by another: it joins each sweep again, under new names."""
    project = over_redis
    sweeps = begin(project, STEADY, grid(6), grid(6))
    frozen = project.agent(*sweeps, "--slots", "2", **DOOMED)
    for sweep in sweeps:
        project.wait_running(sweep, 1)
    before = {agent["id"] for agent in project.json("agents")}
    pids = {pid for sweep in sweeps for pid in project.processes(f"SWEEP_ID={sweep}")}
    os.kill(frozen.pid, signal.SIGSTOP)
    other = project.agent(*sweeps, "--slots", "1")
    for sweep in sweeps:
        project.wait_for(lambda sweep=sweep: outcomes(project, sweep)["lost"] == 1)
    project.wait_for(lambda: not any(pid in pids for pid in project.processes("")))
    os.kill(frozen.pid, signal.SIGCONT)

    def new_names() -> set[str]:
        return {agent["id"] for agent in project.json("agents") if agent["pid"] == frozen.pid} - before

    project.wait_for(lambda: len(new_names()) == 2)
    project.write("go", "")
    project.wait_end(frozen)
    project.wait_end(other)
    for sweep in sweeps:
        assert states(project, sweep) == ["completed"] * 6
        assert outcomes(project, sweep) == {"completed": 6, "lost": 1}
    assert not project.processes("")


def test_no_two_runs_of_any_sweep_are_on_one_gpu(over_redis: Project) -> None:
    project = over_redis
    project.write("fake/pynvml.py", NVML)
    whole = "resources: {gpus: 1}\n"
    sweeps = begin(project, ON_GPU, grid(4, whole), grid(4, whole), grid(2, "resources: {gpus: 2}\n"))
    project.sweep("agent", "--all", PYTHONPATH=str(project.folder / "fake"))
    for sweep, runs in zip(sweeps, (4, 4, 2), strict=True):
        assert states(project, sweep) == ["completed"] * runs
    spans = used(project)
    assert len(spans) == 10
    each = [[gpu, *rest] for visible, *rest in spans for gpu in visible.split(",")]
    assert {gpu for gpu, *_ in each} == {"0", "1"}
    assert [most_at_once(each, gpu) for gpu in "01"] == [1, 1]


def test_a_gpu_that_is_lost_is_lost_to_all_sweeps(project: Project) -> None:
    """Each sweep finds it out by a run of its own; what fails there goes elsewhere, and the other slot does the rest."""
    project.write("fake/pynvml.py", NVML)
    project.write("fake/lost", "")
    fall = 'import os, sys\nif os.environ["CUDA_VISIBLE_DEVICES"] == "1":\n    open("fake/lost", "w").write("GPU-111")\n    sys.exit("CUDA error")\n'
    more = "resources: {gpus: 1}\nretry: {node: {max: 2}}\n"
    sweeps = begin(project, fall + ON_GPU, grid(4, more), grid(4, more))
    project.sweep("agent", *sweeps, PYTHONPATH=str(project.folder / "fake"))
    for sweep in sweeps:
        assert states(project, sweep) == ["completed"] * 4
        with closing(open_store(None, project.folder)) as store:
            kept = [slot for agent in load_views(store, sweep).agents for slot in agent.kept]
        assert [slot.slot for slot in kept] in ([], [1])
    assert {visible for visible, *_ in used(project)} == {"0"}
