"""Ask and tell against the real thing: an agent's sweep, functions in processes, and the page about both."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Project
from tests.integration.test_python_api import Script

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="runs that call a function need what only Linux has"
)
PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "ask-and-tell.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)


def test_the_page_has_programs() -> None:
    assert len(BLOCKS) == 4


@pytest.mark.parametrize("number", range(4))
def test_every_program_of_the_page_runs(project: Project, number: int) -> None:
    Script(project, BLOCKS[number]).run()


def test_an_agent_with_one_slot_proposes_what_an_optimizer_does(project: Project) -> None:
    """The same spec and the same results: the same configs in the same order, with a searcher in a process of its own as well."""
    out = Script(
        project,
        """
        SPEC = {
            "method": "bayes", "seed": 5, "run_cap": 14, "metric": {"name": "loss"},
            "parameters": {
                "kind": {"values": ["a", "b"]},
                "x": {"min": 0.0, "max": 1.0},
                "y": {"min": 1, "max": 9, "when": {"kind": "a"}},
            },
            "constraints": ["x * y < 8"],
            "initial": [{"kind": "b"}],
        }

        def loss(config):
            return (config["x"] - 0.2) ** 2 + config.get("y", 4) / 9

        def train():
            run = sweep.init()
            run.log({"loss": loss(run.config.as_dict())})

        id = sweep.create(SPEC)
        sweep.agent(id, train, slots=1)
        opt = sweep.Optimizer(SPEC)
        while not opt.done:
            trial = opt.ask()
            opt.tell(trial, loss(trial.config))
        recorded = [row["config"] for row in sweep.load(id).rows()]
        assert len(recorded) == 14
        assert recorded == [result.config for result in opt.trials], (recorded, opt.trials)
        print("equal")
        """,
    ).run()
    assert out == "equal\n"


def test_minimize_calls_functions_in_processes_and_records_a_sweep(project: Project) -> None:
    out = Script(
        project,
        """
        here = os.getpid()

        def loss(config):
            if config["x"] > 4:
                raise RuntimeError("too large")
            assert os.getpid() != here
            return (config["x"] - 1) ** 2 + config["k"]

        found = sweep.minimize(
            loss, {"x": {"min": -5.0, "max": 5.0}, "k": {"values": [0, 1]}}, 16, workers=3, seed=1,
            initial=[{"x": 4.5, "k": 0}, {"x": 1, "k": 0}], constraints=["x > -4"], method="random", name="small",
        )
        rows = found.rows()
        assert len(rows) == 16 and found.state == "ended" and found.name == "small"
        assert rows[0]["state"] == "failed" and rows[1]["config"] == {"x": 1.0, "k": 0}
        assert min(row["config"]["x"] for row in rows) > -4
        assert found.best["objective"] == 0
        try:
            sweep.minimize(lambda config: "text", {"x": {"min": 0.0, "max": 1.0}}, 3, method="random")
        except sweep.SweepError as error:
            print(error)
        """,
    ).run()
    assert out.startswith("no call gave a number: ")
    assert len(project.json("ls")) == 2
