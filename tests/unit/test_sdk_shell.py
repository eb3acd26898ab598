"""`sweep log` from a shell script."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from sdk_agent import FakeAgent
from sweep.sdk.shell import log_from_args


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    for name, value in fake.environment().items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.go()


def test_a_row_is_sent_without_a_number(agent: FakeAgent) -> None:
    assert (
        log_from_args(["loss=0.25", "step=4", "n=3", "note=a=b c", "bad=nan", "big=1e400", "odd=1_000"]) == 0
    )
    hello, row = agent.read()
    assert (hello["op"], hello["run"], hello["attempt"]) == ("hello", "sw1/7", 2)
    assert row == {
        "s": 4,
        "m": {"loss": 0.25, "n": 3, "bad": "nan", "big": "inf"},
        "x": {"note": "a=b c", "odd": "1_000"},
    }


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "there is nothing to log"),
        (["step=3"], "there is nothing to log"),
        (["loss"], "'loss' is not NAME=VALUE"),
        (["=3"], "'=3' is not NAME=VALUE"),
        (["a=1", "a=2"], "'a' is given twice"),
        (["a=1", "step=x"], "step must be a finite number, not 'x'"),
        (["a=1", "step=inf"], "step must be a finite number, not 'inf'"),
    ],
)
def test_mistakes(
    agent: FakeAgent, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log_from_args(args) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "usage: sweep log" in error
    assert agent.read() == []


def test_a_vanished_agent_does_not_end_the_script(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    agent.go()
    assert log_from_args(["loss=1"]) == 0
    assert log_from_args(["loss=2"]) == 0
    assert [row["m"]["loss"] for row in agent.unsent()] == [1, 2]
    assert "the agent cannot be reached" in capsys.readouterr().err


def test_alone_it_shows_the_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SWEEP_RUN_ID", raising=False)
    assert log_from_args(["loss=0.5", "step=1"]) == 0
    assert "no agent started this script: loss=0.5 step=1" in capsys.readouterr().err


def test_as_a_module(agent: FakeAgent) -> None:
    subprocess.run([sys.executable, "-m", "sweep.sdk.shell", "loss=0.5"], check=True, timeout=60)
    assert agent.read()[-1] == {"m": {"loss": 0.5}}
