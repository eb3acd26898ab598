"""Runs see their own GPUs only. The GPUs are made up: a `pynvml` module on the agent's path says that there are two."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.conftest import Project

NVML = """
class NVMLError(Exception):
    pass

class Memory:
    total = 80 << 30
    used = free = 40 << 30

def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return 2
def nvmlDeviceGetHandleByIndex(index): return index
def nvmlDeviceGetUUID(handle): return f"GPU-{handle}{handle}{handle}"
def nvmlDeviceGetName(handle): return "Made-up 100"
def nvmlDeviceGetMemoryInfo(handle): return Memory
def nvmlDeviceGetMigMode(handle): raise NVMLError("no MIG")

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
    assert not Path(project.folder / "used.jsonl").exists()
