"""What runs used, from real processes to what a person sees. GPUs are made up: a `pynvml` module on the agent's path has two."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

import sweep
from sweep.core.entries import UsageReported
from sweep.stores import open_store
from tests.integration.conftest import DOOMED, Project
from tests.integration.test_gpu_pinning import NVML

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# 300 W each, whoever uses them.
COUNTING = (
    NVML
    + """
import time
def nvmlDeviceGetTotalEnergyConsumption(handle): return int(time.monotonic() * 300_000)
def nvmlDeviceGetPowerUsage(handle): return 300_000
def nvmlDeviceGetUtilizationRates(handle): return types.SimpleNamespace(gpu=50)
def nvmlDeviceGetTemperature(handle, sensor): return 61
"""
)
TRAIN = """
import os, subprocess, sys, time, sweep
run = sweep.init()
block = b"x" * 60_000_000
child = subprocess.Popen([sys.executable, "-S", "-c", "import time\\nwhile time.process_time() < 0.4: pass"])
with open(f"written-{run.config['x']}", "wb") as file:
    file.write(os.urandom(2_000_000)); file.flush(); os.fsync(file.fileno())
run.log({"loss": run.config["x"]})
child.wait()
time.sleep(1.6)
if run.config["x"] == 2: sys.exit(3)
"""
SPEC = "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {values: [1, 2]}}\n"


def gpus(project: Project) -> dict[str, str]:
    project.write("fake/pynvml.py", COUNTING)
    return {"PYTHONPATH": str(project.folder / "fake")}


@linux
def test_what_runs_used_in_every_output(project: Project) -> None:
    runs = project.work_off(SPEC + "resources: {gpus: 1}\n", TRAIN, "--slots", "2", **gpus(project))
    assert [run["state"] for run in runs] == ["completed", "failed"]
    for run in runs:
        used = run["usage"]
        assert used["cpu_s"] >= 0.4, "its child's too"
        assert used["memory_bytes"] > 60_000_000
        assert used["written_bytes"] >= 2_000_000
        assert (used["gpu_percent"], used["gpu_celsius"], used["gpu_shared"]) == (50.0, 61.0, False)
        assert 0 < used["gpu_energy_j"] < 300 * (run["duration_s"] + 10)
        if used["node_cpu_energy_j"] is None:  # as on most machines
            assert used["energy_j"] == pytest.approx(used["gpu_energy_j"])
    total = project.json("status", "latest")["spent"]
    assert next(iter(total)) == "total"
    assert (total["completed"]["attempts"], total["failed"]["attempts"]) == (1, 1)
    sums = sum(run["usage"]["energy_j"] for run in runs) / 3.6e6
    assert total["total"]["energy_kwh"] == pytest.approx(sums)
    shown = project.sweep("show", runs[0]["id"])
    assert "% of one CPU" in shown and "50% busy" in shown
    assert re.search(r"disk      .* read, \d.* MB written", shown)
    assert re.search(r"GPU energy [\d.,]+ (J|Wh)", shown)
    assert "network   not measured (systems tell it by node only)" in shown
    [sampled] = project.json("show", runs[0]["id"])["sampled"]
    assert sampled["attempt"] == 1
    assert max(value or 0 for value in sampled["memory.bytes"]) > 60_000_000
    assert len(sampled["seconds"]) == len(sampled["gpu.watts"]) == len(sampled["cpu.percent"])
    assert "failed: " in project.sweep("status", "latest")
    table = project.sweep("runs", "latest", "--usage", "--sort=-usage.energy_j")
    assert "ENERGY" in table.splitlines()[0] and "MB" in table
    assert "usage.cpu_s" not in project.sweep("runs", "latest", "--format", "csv")
    assert "usage.cpu_s" in project.sweep("runs", "latest", "--format", "csv", "--usage").splitlines()[0]
    found = json.loads(project.sweep("runs", "latest", "--filter", "usage.memory_bytes > 60000000", "--json"))
    assert len(found) == 2
    # Beside the history, not in it.
    history = json.loads(project.sweep("runs", "latest", "--history", "--format", "json"))
    assert {key for row in history for key in row} == {
        "id", "run", "trial", "replicate", "step", "seconds", "loss",
    }  # fmt: skip
    files = project.json("plot", "latest", "--out", "pictures")["files"]
    assert "pictures/usage.png" in files
    page = (project.folder / "pictures/index.html").read_text()
    assert 'id="usage"' in page and "GPU power (W)" in page
    sampled_before = project.json("show", runs[0]["id"])["sampled"]
    exported = project.sweep("export", "latest")
    project.write("exported.jsonl", exported)
    project.sweep("import", "exported.jsonl", SWEEP_STORE="sqlite:///elsewhere.db")
    imported = project.sweep("show", runs[0]["id"], "--json", SWEEP_STORE="sqlite:///elsewhere.db")
    assert json.loads(imported)["sampled"] == sampled_before
    loaded = sweep.load("latest", project.folder / ".sweep/store.db")
    assert loaded.spent["total"]["attempts"] == 2
    assert loaded.usage(0)[0]["attempt"] == 1


@linux
def test_runs_that_share_a_gpu_are_told_apart_from_none(project: Project) -> None:
    env = gpus(project)
    spec = SPEC.replace("[1, 2]", "[1, 3]") + "resources: {gpus: 0.5}\n"
    runs = project.work_off(spec, TRAIN, "--slots", "2", "--gpus", "0", **env)
    used = [run["usage"] for run in runs]
    assert all(one["gpu_shared"] for one in used)
    device = sum(one["gpu_energy_j"] for one in used)
    assert sum(one["energy_j"] for one in used) < 0.8 * device, "in sums a device counts once"
    assert "not attributable" in project.sweep("show", runs[0]["id"])


@linux
def test_what_an_execution_costs_beside_what_the_run_did(project: Project) -> None:
    env = gpus(project)
    project.work_off(SPEC + "resources: {gpus: 1}\n", TRAIN, "--slots", "1", **env)
    found = json.loads(project.sweep("reproduce", "latest-0", "--json", **env))
    then, now = found["usage"]["recorded"], found["usage"]["again"]
    assert then["cpu_s"] >= 0.4 and now["cpu_s"] >= 0.4, "its child's too"
    assert now["wall_s"] >= 1.6
    assert then["gpu_energy_j"] > 0 and now["gpu_energy_j"] > 0
    said = project.sweep("reproduce", "latest-0", **env)
    assert re.search(r"USED +RECORDED +NOW\n", said) and re.search(
        r"GPU energy +[\d.,]+ (J|Wh) +[\d.,]+ (J|Wh)\n", said
    )
    elsewhere = project.sweep("reproduce", "latest-0", code=0, PYTHONPATH=os.environ.get("PYTHONPATH", ""))
    assert re.search(r"GPU energy +[\d.,]+ (J|Wh) +not measured\n", elsewhere), elsewhere


@linux
def test_an_energy_budget_ends_a_sweep(project: Project) -> None:
    spec = SPEC.replace("[1, 2]", "[1, 3, 4, 5, 6, 7, 8, 9]") + "limits: {energy_kwh: 0.0002}\n"  # 720 J
    project.write("sweep.yaml", spec)
    project.write("train.py", TRAIN)
    ended = project.create()
    said = project.run("agent", ended, "--slots", "1", "--gpus", "0", **gpus(project))
    assert said.returncode == 0, said.stderr
    assert (
        "limits.energy_kwh: of the energy that runs use on this node only that of its GPUs counts"
        in said.stderr
    )
    status = project.status()
    assert status.reason == "limits.energy_kwh: 0.0002 kWh are spent"
    assert status.energy_j >= 720
    assert 1 <= status.counts["completed"] < 8
    assert "of 0.0002 kWh" in project.sweep("status", "latest")


def test_a_node_that_cannot_measure_energy_says_so_at_the_start(project: Project) -> None:
    spec = SPEC.replace("[1, 2]", "[1]") + "limits: {energy_kwh: 0.0002}\nresources: {gpus: 0}\n"
    project.write("sweep.yaml", spec)
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 1})\n")
    ended = project.create()
    said = project.run("agent", ended, "--gpus", "none").stderr
    if Path("/sys/class/powercap/intel-rapl:0/energy_uj").exists() and os.geteuid() == 0:
        pytest.skip("this machine can measure it")
    assert "limits.energy_kwh: of the energy that runs use on this node none of it counts" in said
    assert project.status().state == "ended"
    text = project.sweep("status", "latest")
    assert "0 of 0.0002 kWh (not measured, or not yet: energy)" in text
    assert project.json("status", "latest")["spent"]["total"]["energy_kwh"] is None


@linux
@pytest.mark.slow
def test_of_a_lost_agent_the_last_report_counts(project: Project) -> None:
    """The budget has runs report every 15 seconds; an agent that is killed after that has told what its run had used."""
    project.write("sweep.yaml", SPEC.replace("[1, 2]", "[1]") + "limits: {cpu_hours: 1}\n")
    project.write(
        "train.py",
        "import os, time, sweep\nrun = sweep.init()\nrun.log({'loss': 1})\n"
        "while time.process_time() < 1.5: pass\nif os.environ['SWEEP_ATTEMPT'] == '1': time.sleep(600)\n",
    )
    created = project.create()
    agent = project.agent(created, **DOOMED)

    def reported() -> bool:
        with closing(open_store(None, project.folder)) as store:
            return any(isinstance(r.entry, UsageReported) for r in store.read(created, 0))

    until = time.monotonic() + 90
    while not reported():
        assert time.monotonic() < until, project.agent_output()
        time.sleep(0.2)
    os.kill(agent.pid, signal.SIGKILL)
    project.sweep("agent", created)
    shown = project.json("show", f"{created}-0")
    assert [attempt["outcome"] for attempt in shown["attempts"]] == ["lost", "completed"]
    lost = shown["attempt_usage"][0]
    assert lost["cpu_s"] > 1
    spent = project.json("status", "latest")["spent"]
    assert spent["lost"]["cpu_s"] == pytest.approx(lost["cpu_s"], abs=0.01)
    assert spent["total"]["cpu_not_measured"] == 0
