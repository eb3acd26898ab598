"""The programs in docs/guide/training.md run as they are, without an agent."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk_agent import SOURCE, FakeAgent, run_command, run_program

GUIDE = (SOURCE.parent / "docs" / "guide" / "training.md").read_text(encoding="utf-8")
PROTOCOL = (SOURCE.parent / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    yield fake
    fake.go()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_page_has_programs() -> None:
    assert len(blocks("python")) == 8
    assert len(blocks("bash")) == len(blocks("js")) == 1


@pytest.mark.parametrize("program", blocks("python"), ids=range(len(blocks("python"))))
def test_python_alone(program: str, tmp_path: Path) -> None:
    done = run_program(program, tmp_path, {})
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert len(list((tmp_path / ".sweep" / "local").iterdir())) == 1


@pytest.mark.parametrize("program", blocks("python"), ids=range(len(blocks("python"))))
def test_python_under_an_agent(program: str, agent: FakeAgent) -> None:
    done = agent.run(program, config={})
    assert (done.returncode, done.stderr) == (0, "")
    assert agent.ops()[0] == "hello"
    assert agent.ops()[-1] == "end"


def test_a_checkpoint_is_resumed(agent: FakeAgent) -> None:
    [program] = [block for block in blocks("python") if "checkpoint_dir" in block]
    (agent.folder / "kept").mkdir()
    (agent.folder / "kept" / "state.json").write_text(json.dumps({"epoch": 18, "weight": 1.0}))
    agent.run(program)
    assert [row["s"] for row in agent.rows()] == [18, 19]


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("config", [{"lr": 2.0}, None])
def test_the_shell_script(agent: FakeAgent, config: dict[str, float] | None) -> None:
    tool = agent.folder / "sweep"
    tool.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -m sweep.sdk.shell "$@"\n')
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    script = agent.folder / "train.sh"
    script.write_text(blocks("bash")[0])
    variables = {} if config is None else agent.environment(config)
    variables["PATH"] = f"{agent.folder}:{os.environ['PATH']}"
    done = run_command(["bash", str(script)], agent.folder, variables, agent.read)
    assert done.returncode == 0, done.stderr
    if config is None:
        assert done.stderr.splitlines()[0].endswith("loss=0.904837 step=1")
    else:
        assert [(row["s"], row["m"]["loss"]) for row in agent.rows()] == [
            (1, 0.135335),
            (2, 0.0183156),
            (3, 0.00247875),
        ]


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_client_in_javascript(agent: FakeAgent) -> None:
    script = agent.folder / "train.js"
    script.write_text(blocks("js")[0])
    variables = agent.environment({"lr": 0.5, "epochs": 3})
    done = run_command(["node", str(script)], agent.folder, variables, agent.read)
    assert done.returncode == 0, done.stderr
    assert agent.ops() == ["hello", "row", "row", "row", "end"]
    assert [row["s"] for row in agent.rows()] == [0, 1, 2]


def test_the_lines_of_the_protocol_page_are_json_and_known_to_the_agent() -> None:
    from sweep.agents.lines import decode

    lines = re.findall(r"^    (\{.*\})$", PROTOCOL, re.MULTILINE)
    assert [json.loads(line).get("op", "row") for line in lines] == [
        "hello",
        "row",
        "summary",
        "config",
        "state",
        "artifact",
        "end",
        "stop",
    ]
    for line in lines:
        decode(line.encode())
