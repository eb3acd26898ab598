"""`early_terminate: {type: asha, resume: true}` with real processes: the program of the guide is paused, gives its slot away, and goes on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.core import entries as e
from sweep.stores import open_store
from tests.integration.conftest import Project
from tests.redis_server import RedisServer

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "early-stopping.md"
RATES = (0.2, 0.4, 0.15, 0.1, 0.05)
"""One slot works them off in this order. The third is paused at epoch 2, is among the better half when the fourth has come there, and
goes on before the fifth begins."""
SPEC = (
    "program: train.py\nmethod: grid\nmetric: {name: loss}\nseed: 1\n"
    f"parameters: {{lr: {{values: {list(RATES)}}}, epochs: {{value: 8}}}}\n"
    "early_terminate: {type: asha, resume: true, min_iter: 2, max_iter: 4, min_runs: 2}\n"
)


WAIT = """\
        import time
        until = time.monotonic() + 60
        while state["epoch"] == 2 and run.attempt == 1 and run.config.lr < 0.2:
            if run.should_stop() or time.monotonic() > until:
                break
            time.sleep(0.01)
"""
"""Training is over before anybody could say a word, unless it waits for it."""


def program() -> str:
    """The program in the guide, which takes its time where it is going to be paused."""
    [found] = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    before, after = str(found).split("except sweep.Pruned")
    return f"{before}{WAIT}except sweep.Pruned{after}"


def check(project: Project, sweep: str) -> None:
    """What became of the runs, and that no epoch was trained twice or left out."""
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 3 + ["pruned"] * 2
    outcomes = [[attempt["outcome"] for attempt in run["attempts"]] for run in runs]
    assert outcomes == [["completed"], ["completed"], ["paused", "completed"], ["paused"], ["paused"]]
    for run in runs[3:]:
        assert re.fullmatch(
            r"iteration 2: best loss \S+ is worse than the best half \(\S+\) of \d runs, "
            r"and its trend \S+ is worse than the best half \(\S+\); paused until the end",
            run["reason"],
        )
    with closing(open_store(project.env.get("SWEEP_STORE"), project.folder)) as store:
        for number in range(len(RATES)):
            chunks = store.read_history(sweep, number)
            rows: list[Any] = [json.loads(row) for chunk in chunks for row in chunk.data.split(b"\n")]
            epochs = 8 if number < 3 else 3
            assert [row["s"] for row in rows] == list(range(1, epochs + 1)), f"run {number}"
            losses = [(5 * (1 - 2 * RATES[number]) ** epoch) ** 2 for epoch in range(1, epochs + 1)]
            assert [row["m"]["loss"] for row in rows] == pytest.approx(losses), "from the state it was in"
        entries = [recorded.entry for recorded in store.read(sweep, 0)]
    assigned = [(entry.run, entry.attempt) for entry in entries if isinstance(entry, e.RunAssigned)]
    assert assigned == [(0, 1), (1, 1), (2, 1), (3, 1), (2, 2), (4, 1)], "who may go on comes before new ones"
    paused = [entry.run for entry in entries if isinstance(entry, e.RunPaused)]
    assert paused == [2, 3, 4]


def test_a_paused_run_gives_its_slot_away_and_goes_on(project: Project) -> None:
    runs = project.work_off(SPEC, program(), "--slots", "1")
    check(project, runs[0]["sweep"])
    assert "paused" not in project.status().counts
    found = project.json("audit", "latest")
    assert (found["verdict"], found["prunings"]) == ("same", 5), "three pauses, and two that were for good"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    made = RedisServer(tmp_path_factory.mktemp("r"), appendonly="yes", appendfsync="always")
    yield made.start()
    made.kill()


def test_it_goes_on_on_another_machine_from_what_the_store_keeps(tmp_path: Path, server: RedisServer) -> None:
    machines = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        machine = Project(tmp_path / name)
        machine.env.update(
            SWEEP_STORE=f"redis://127.0.0.1:{server.port}/0",
            SWEEP_FOLDER=str(machine.folder / ".sweep"),
        )
        machines.append(machine)
    one, two = machines
    try:
        one.write("train.py", program())
        one.write("sweep.yaml", SPEC + "checkpoints: store\n")
        sweep = one.create()
        one.sweep("agent", sweep, "--slots", "1", "--count", "3")
        assert [run["state"] for run in one.runs(sweep)][:3] == ["completed", "completed", "paused"]
        assert "1 paused" in one.sweep("status", sweep)
        shutil.rmtree(one.folder)
        two.sweep("agent", sweep, "--slots", "1")
        check(two, sweep)
    finally:
        for machine in machines:
            machine.end()
