"""Real processes, killed for real: what was asked is done once, nothing is left behind, what was logged is there."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

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


def strike(project: Project, sweep: str, rng: random.Random, killed: dict[int, float]) -> str:
    """Kill something; returns what. `killed`: process id of a killed agent -> when."""
    victim = rng.choice(["agent", "agent and guard", "guard", "training", "training"])
    agents = [agent for agent in project.agents if agent.poll() is None]
    try:
        if victim == "training":
            os.kill(rng.choice(project.processes(f"SWEEP_ID={sweep}")), signal.SIGKILL)
            return victim
        agent = rng.choice(agents)
        if victim != "agent":
            guard = rng.choice(guards(agent.pid))
            if victim != "guard":
                agent.send_signal(signal.SIGSTOP)  # so that neither has the time to notice the other's death
            os.kill(guard, signal.SIGKILL)
        if victim != "guard":
            killed[agent.pid] = time.time()
            agent.kill()
            agent.wait()
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
    killed: dict[int, float] = {}
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
            struck[strike(project, sweep, rng, killed)] += 1
    print(dict(struck))
    status = project.json("status", sweep)
    assert status["state"] == "ended", f"seed {seed}: {status}\n{project.agent_output()[-5000:]}"
    check(project, sweep, witness, killed, seed)


def check(project: Project, sweep: str, witness: Path, killed: dict[int, float], seed: int) -> None:
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
    recorded, may_lack = history(project, sweep), lossy(project, sweep, runs, killed)
    checked = 0
    for what, number, run, attempt, _, at in told:
        if what == "row" and float(at) < may_lack.get((run, int(attempt)), math.inf):
            checked += 1
            assert (run, int(attempt), int(number)) in recorded, (
                f"seed {seed}: row {number} of {run}.{attempt} is lost"
            )
    print(f"{checked} rows checked, {len(may_lack)} attempts on agents that were killed")


def lossy(
    project: Project, sweep: str, runs: list[dict[str, Any]], killed: dict[int, float]
) -> dict[tuple[str, int], float]:
    """(run, attempt) of attempts that may lack rows -> from when on: a second before their agent was killed. The death
    of a guard or of the training itself costs no row. An agent that a slow machine kept from its lease drops everything."""
    agents = {agent["id"]: agent for agent in project.json("status", sweep)["agents"]}
    found = {}
    for run in runs:
        for attempt in run["attempts"]:
            agent = agents[attempt["agent"]]
            if agent["pid"] in killed:
                found[run["id"], attempt["attempt"]] = killed[agent["pid"]] - 1.0
            elif agent["state"] == "lost" and attempt["outcome"] == "lost":
                found[run["id"], attempt["attempt"]] = 0.0
    return found


def history(project: Project, sweep: str) -> set[tuple[str, int, int]]:
    """(run, attempt, row) of every row in the record."""
    found = set()
    for line in project.sweep("export", sweep).splitlines():
        chunk = json.loads(line).get("history")
        if chunk:
            for offset in range(chunk["count"]):
                found.add((f"{sweep}-{chunk['run']}", chunk["attempt"], chunk["first_row"] + offset))
    return found
