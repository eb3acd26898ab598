"""Runs see their own GPUs only. The GPUs are made up: a `pynvml` module on the agent's path says that there are two."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Project

NVML = """
import os, types
from pathlib import Path

# Beside this file, a person's hand on the machine: `lost` names GPUs that fell off the bus, `GPU-…` lists processes.
here = Path(__file__).parent

class NVMLError(Exception):
    def __init__(self, text, value=3):
        super().__init__(text)
        self.value = value

class Memory:
    total = 80 << 30
    used, free = 0, 80 << 30

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return f"GPU-{handle}{handle}{handle}"
def nvmlDeviceGetName(handle): return "Made-up 100"
def nvmlDeviceGetMemoryInfo(handle): return Memory
def nvmlDeviceGetMigMode(handle): raise NVMLError("no MIG")

def nvmlDeviceGetHandleByUUID(uuid):
    if (here / "lost").exists() and uuid in (here / "lost").read_text():
        raise NVMLError("GPU is lost", 15)
    return int(uuid[-1])

def nvmlDeviceGetComputeRunningProcesses(handle):
    listed = here / nvmlDeviceGetUUID(handle)
    pids = map(int, listed.read_text().split()) if listed.exists() else ()
    there = [pid for pid in pids if os.path.exists(f"/proc/{pid}/exe") and os.path.exists(os.path.realpath(f"/proc/{pid}/exe"))]
    return [types.SimpleNamespace(pid=pid, usedGpuMemory=10 << 30) for pid in there]

def __getattr__(name):
    if name.startswith("nvml"):
        def unknown(*_):
            raise NVMLError("not supported")
        return unknown
    raise AttributeError(name)
"""
# Says on which GPU it was from when to when.
TRAIN = """
import json, os, time, sweep
run = sweep.init()
visible, began = os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic()
run.log({"loss": 1})
time.sleep(0.2)
with open("used.jsonl", "a") as file:
    file.write(json.dumps([visible, os.environ["CUDA_DEVICE_ORDER"], began, time.monotonic()]) + "\\n")
"""
SPEC = "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {min: 1, max: %d}}\n"


@pytest.fixture
def path(project: Project) -> str:
    """PYTHONPATH for the agent."""
    project.write("fake/pynvml.py", NVML)
    return str(project.folder / "fake")


def used(project: Project) -> list[list[Any]]:
    return [json.loads(line) for line in (project.folder / "used.jsonl").read_text().splitlines()]


def most_at_once(spans: list[list[Any]], gpu: str) -> int:
    """How many runs were on `gpu` at the same time."""
    mine = [(began, ended) for visible, _, began, ended in spans if visible == gpu]
    return max((sum(b <= began < e for b, e in mine) for began, _ in mine), default=0)


def test_one_gpu_each(project: Project, path: str) -> None:
    runs = project.work_off(SPEC % 6 + "resources: {gpus: 1}\n", TRAIN, PYTHONPATH=path)
    assert [run["state"] for run in runs] == ["completed"] * 6
    spans = used(project)
    assert {visible for visible, *_ in spans} == {"0", "1"}
    assert {order for _, order, _, _ in spans} == {"PCI_BUS_ID"}
    assert [most_at_once(spans, gpu) for gpu in ("0", "1")] == [1, 1]
    assert {tuple(run["gpus"]) for run in runs} == {("GPU-000",), ("GPU-111",)}
    for run in runs:
        assert run["slot"] == ["GPU-000", "GPU-111"].index(run["gpus"][0])
        assert run["attempts"][0]["env"]["CUDA_VISIBLE_DEVICES"] == str(run["slot"])
    [agent] = project.json("status", "latest")["agents"]
    assert (agent["slots"], agent["gpus"]) == (2, ["GPU-000", "GPU-111"])


def test_without_a_word_each_run_gets_a_gpu(project: Project, path: str) -> None:
    project.work_off(SPEC % 2, TRAIN, PYTHONPATH=path)
    assert {visible for visible, *_ in used(project)} == {"0", "1"}


def test_half_a_gpu_each(project: Project, path: str) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % 8 + "resources: {gpus: 0.5}\n")
    sweep = project.create()
    said = project.run("agent", sweep, PYTHONPATH=path).stderr
    assert "4 slots" in said
    assert "2 GPUs" in said
    runs = project.runs(sweep)
    assert {run["slot"] for run in runs} == {0, 1, 2, 3}
    spans = used(project)
    assert len(spans) == 8
    assert max(most_at_once(spans, gpu) for gpu in ("0", "1")) <= 2
    assert {visible for visible, *_ in spans} == {"0", "1"}


def test_both_gpus_for_one_run(project: Project, path: str) -> None:
    [run, _] = project.work_off(SPEC % 2 + "resources: {gpus: 2}\n", TRAIN, PYTHONPATH=path)
    assert run["gpus"] == ["GPU-000", "GPU-111"]
    spans = used(project)
    assert {visible for visible, *_ in spans} == {"0,1"}
    assert most_at_once(spans, "0,1") == 1


def test_a_person_chooses(project: Project, path: str) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % 4)
    sweep = project.create()
    project.sweep("agent", sweep, "--count", "1", "--gpus", "1", PYTHONPATH=path)
    project.sweep("agent", sweep, "--count", "1", "--gpus", "none", PYTHONPATH=path)
    project.sweep("agent", sweep, "--count", "1", PYTHONPATH=path, CUDA_VISIBLE_DEVICES="1")
    project.sweep("agent", sweep, "--count", "1", PYTHONPATH=path, CUDA_VISIBLE_DEVICES="")
    assert [visible for visible, *_ in used(project)] == ["1", "", "1", ""]


def test_a_gpu_that_is_not_there(project: Project, path: str) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % 2)
    sweep = project.create()
    assert "there is no GPU 7" in project.mistake("agent", sweep, "--gpus", "7", PYTHONPATH=path)
    project.write("sweep.yaml", SPEC % 2 + "resources: {gpus: 3}\n")
    sweep = project.create()
    assert "each run needs 3 GPUs, this node has 2" in project.mistake("agent", sweep, PYTHONPATH=path)
    hidden = project.mistake("agent", sweep, PYTHONPATH=path, CUDA_VISIBLE_DEVICES="-1")
    assert "each run needs 3 GPUs, this node has none, where CUDA_VISIBLE_DEVICES=-1 was inherited" in hidden
    elsewhere = project.mistake(
        "agent", sweep, "--gpus", "0", PYTHONPATH=path, CUDA_VISIBLE_DEVICES="GPU-111"
    )
    assert "there is no GPU 0; this agent can use 1, where CUDA_VISIBLE_DEVICES=GPU-111" in elsewhere
    assert not Path(project.folder / "used.jsonl").exists()


# --- GPUs that other programs use


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A program that has nothing to do with sweep."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    yield process
    process.communicate()


def occupy(project: Project, gpu: str, pid: int) -> None:
    with (project.folder / "fake" / gpu).open("a") as file:
        file.write(f"{pid}\n")


def test_a_gpu_that_another_program_uses_is_avoided(
    project: Project, path: str, stranger: subprocess.Popen[bytes]
) -> None:
    occupy(project, "GPU-111", stranger.pid)
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % 4)
    sweep = project.create()
    said = project.run("agent", sweep, "--avoid-busy", PYTHONPATH=path).stderr
    assert said.count(f"GPU 1 is used by process {stranger.pid} (") == 1
    assert "11 GB): its slot waits" in said
    assert {visible for visible, *_ in used(project)} == {"0"}
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 4
    project.write("sweep.yaml", SPEC % 2)
    project.sweep(
        "run", "sweep.yaml", "--gpus", "1", PYTHONPATH=path
    )  # who does not ask for it does not wait
    assert {visible for visible, *_ in used(project)} == {"0", "1"}


def test_an_agent_waits_for_a_gpu_and_goes_on_when_it_is_free(
    project: Project, path: str, stranger: subprocess.Popen[bytes]
) -> None:
    occupy(project, "GPU-000", stranger.pid)
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % 2)
    sweep = project.create()
    agent = project.agent(sweep, "--avoid-busy", "--gpus", "0", PYTHONPATH=path)
    project.wait_for(lambda: "its slot waits" in project.agent_output())
    assert not (project.folder / "used.jsonl").exists()
    project.wait_for(lambda: project.json("agents", sweep)[0]["kept"])
    [at_work] = project.json("agents", sweep)
    [slot] = at_work["kept"]
    assert (slot["slot"], slot["lasting"]) == (0, False)
    words = f"{at_work['id']}: slot 0 waits: GPU 0 is used by process {stranger.pid} ("
    assert words in project.sweep("status", sweep)
    assert words in project.run("agents").stderr
    stranger.communicate()
    project.wait_end(agent)
    assert "slot 0 goes on" in project.agent_output()
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 2


def test_runs_that_share_a_gpu_are_no_strangers_to_each_other(project: Project, path: str) -> None:
    note = "import os\nfor gpu in '01': open(f'fake/GPU-{gpu * 3}', 'a').write(f'{os.getpid()}\\n')\n"
    project.write("train.py", note + TRAIN)
    project.write("sweep.yaml", SPEC % 6 + "resources: {gpus: 0.5}\n")
    sweep = project.create()
    said = project.run("agent", sweep, "--avoid-busy", PYTHONPATH=path).stderr
    assert "is used by" not in said
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 6


def test_an_agent_in_the_background_avoids_busy_gpus_as_well(
    project: Project, path: str, stranger: subprocess.Popen[bytes]
) -> None:
    occupy(project, "GPU-111", stranger.pid)
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % 3)
    sweep = project.create()
    agent = project.sweep("agent", sweep, "--avoid-busy", "--detach", PYTHONPATH=path).strip()
    project.wait_for(lambda: project.status(sweep).state == "ended")
    log = project.folder / ".sweep" / "agents" / f"{agent}.log"
    project.wait_for(lambda: "has ended" in log.read_text())
    assert f"GPU 1 is used by process {stranger.pid}" in log.read_text()
    assert {visible for visible, *_ in used(project)} == {"0"}


# --- GPUs that are lost


def test_a_gpu_that_falls_off_the_bus_takes_no_further_run(project: Project, path: str) -> None:
    fall = """
import os, sys
if os.environ["CUDA_VISIBLE_DEVICES"] == "1":
    open("fake/lost", "w").write("GPU-111")
    sys.exit("CUDA error: unspecified launch failure")
"""
    project.write("train.py", fall + TRAIN)
    project.write("sweep.yaml", SPEC % 6 + "retry: {node: {max: 2}}\n")
    sweep = project.create()
    said = project.run("agent", sweep, PYTHONPATH=path).stderr
    assert said.count("slot 1 is set aside: GPU 1 cannot be reached any more (NVML: GPU is lost)") == 1
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 6
    assert {visible for visible, *_ in used(project)} == {"0"}
    [agent] = project.json("agents", sweep, "--all")
    why = "GPU 1 cannot be reached any more (NVML: GPU is lost)"
    assert agent["kept"] == [{"slot": 1, "reason": why, "lasting": True}]
    assert f"{agent['id']}: slot 1 is set aside: {why}" in project.run("agents", "--all").stderr
    [failed] = [attempt for run in runs for attempt in run["attempts"] if attempt["outcome"] == "failed"]
    assert failed["error_class"] == "node"
    assert failed["reason"].startswith("the node failed (GPU 1 cannot be reached any more")


def test_an_agent_whose_only_gpu_is_lost_gives_up(project: Project, path: str) -> None:
    project.write("train.py", "open('fake/lost', 'w').write('GPU-000')\nraise SystemExit(1)\n")
    project.write("sweep.yaml", SPEC % 6)
    sweep = project.create()
    done = project.run("agent", sweep, "--gpus", "0", PYTHONPATH=path)
    assert done.returncode == 3
    assert "this agent stops: every slot is set aside (GPU 0 cannot be reached any more" in done.stderr


def test_an_inherited_name_of_no_gpu_is_said(project: Project, path: str) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % 2)
    sweep = project.create()
    said = project.run("agent", sweep, PYTHONPATH=path, CUDA_VISIBLE_DEVICES="GPU-111,7").stderr
    assert "warning: CUDA_VISIBLE_DEVICES=GPU-111,7: there is no GPU 7 here (there is 0, 1)" in said
    assert [visible for visible, *_ in used(project)] == ["1", "1"]
