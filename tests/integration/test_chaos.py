"""Real processes, killed for real: what was asked is done once, nothing is left behind, what was logged is there."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.conftest import Project

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# Tells a file of its own what it does, independently of sweep: one line per start, row and end.
TRAIN = """
import os, sys, time
import sweep
run = sweep.init()
me = f"{run.id} {run.attempt} {run.config.x}"
log = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def tell(what): os.write(log, f"{what} {me} {time.time()}\\n".encode())
tell("start -1")
steps = 30 if run.config.x % 25 == 0 else 3
for i in range(steps):
    run.log({"loss": float(i), "x": run.config.x})
    tell(f"row {i}")
    time.sleep(0.1 if steps == 30 else 0.02)
tell("end -1")
"""
SPEC = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters: {x: {distribution: int_uniform, min: 0, max: 199}}
env: {WITNESS: %s}
"""


def guards(agent: int) -> list[int]:
    found = []
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if b"guard" in Path(f"/proc/{child}/cmdline").read_bytes():
            found.append(int(child))
    return found


def strike(project: Project, sweep: str, rng: random.Random) -> str:
    """Kill something; returns what."""
    victim = rng.choice(["agent", "guard", "training", "training"])
    agents = [agent for agent in project.agents if agent.poll() is None]
    try:
        if victim == "training":
            os.kill(rng.choice(project.processes(f"SWEEP_ID={sweep}")), signal.SIGKILL)
        else:
            agent = rng.choice(agents)
            os.kill(agent.pid if victim == "agent" else rng.choice(guards(agent.pid)), signal.SIGKILL)
    except (IndexError, ProcessLookupError, FileNotFoundError):
        return "missed"
    return victim


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_kill_anything_at_any_time(project: Project) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed}")
    rng = random.Random(seed)
    witness = project.folder / "witness.txt"
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % witness + "retry: {max: 1000}\n")
    sweep = project.create()
    kills: list[float] = []
    struck: Counter[str] = Counter()
    until = time.monotonic() + 240
    while time.monotonic() < until:
        alive = [agent for agent in project.agents if agent.poll() is None]
        if not alive and project.agents and project.json("status", sweep)["state"] == "ended":
            break
        for _ in range(2 - len(alive)):
            project.agent(sweep, "--slots", "2")
        time.sleep(rng.uniform(0.3, 1.0))
        if sum(struck.values()) < 30:
            struck[strike(project, sweep, rng)] += 1
            kills.append(time.time())
    print(dict(struck))
    status = project.json("status", sweep)
    assert status["state"] == "ended", f"seed {seed}: {status}\n{project.agent_output()[-5000:]}"
    check(project, sweep, witness, kills, seed)


def check(project: Project, sweep: str, witness: Path, kills: list[float], seed: int) -> None:
    project.wait_for(lambda: not project.processes(f"SWEEP_ID={sweep}"), timeout=10)
    runs = project.json("runs", sweep)
    assert sorted(run["config"]["x"] for run in runs) == list(range(200)), f"seed {seed}"
    assert {run["state"] for run in runs} == {"completed"}, f"seed {seed}"
    for run in runs:
        assert [a["outcome"] for a in run["attempts"]].count("completed") == 1, f"seed {seed}: {run}"
    told = [line.split() for line in witness.read_text().splitlines()]
    ends = Counter(run for what, _, run, _, _, _ in told if what == "end")
    by_id = {run["id"]: run for run in runs}
    assert set(ends) == set(by_id), f"seed {seed}: a run counts as completed that never came to its end"
    recorded = history(project, sweep)
    for what, number, run, attempt, _, at in told:
        if what == "row" and not any(0 <= kill - float(at) <= 1.0 for kill in kills):
            assert (run, int(attempt), int(number)) in recorded, (
                f"seed {seed}: row {number} of {run}.{attempt} is lost"
            )


def history(project: Project, sweep: str) -> set[tuple[str, int, int]]:
    """(run, attempt, row) of every row in the record."""
    found = set()
    for line in project.sweep("export", sweep).splitlines():
        chunk = json.loads(line).get("history")
        if chunk:
            for offset in range(chunk["count"]):
                found.add((f"{sweep}-{chunk['run']}", chunk["attempt"], chunk["first_row"] + offset))
    return found
