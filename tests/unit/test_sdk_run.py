"""A run under an agent: what the program sees and what the agent receives."""

from __future__ import annotations

import json
import math
import os
import random
import sys
import threading
from collections import UserDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sweep
from sdk_agent import FakeAgent
from sweep.sdk import _run


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAgent]:
    """An agent, and this process its run until the test ends."""
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    monkeypatch.chdir(fake.folder)
    monkeypatch.setattr(_run, "_current", None)
    monkeypatch.setattr(_run, "_hooked", True)
    for name, value in fake.environment({"lr": 0.5, "model": {"depth": 9}}).items():
        monkeypatch.setenv(name, value)
    yield fake
    if _run._current is not None:
        _run._current.finish()
    fake.go()


def test_everything_a_short_run_says(agent: FakeAgent) -> None:
    run = sweep.init(config={"lr": 0.1, "epochs": 3, "model": {"width": 2}})
    assert (run.config.lr, run.config.epochs, run.config.model) == (0.5, 3, {"depth": 9, "width": 2})
    run.log({"loss": 0.25})
    run.log({"loss": 0.125, "val": {"accuracy": 1}, "note": "x"}, step=7)
    run.summary["test/accuracy"] = 0.75
    run.finish()
    hello, config, first, second, summary, end = agent.read()
    assert hello == {
        "op": "hello",
        "run": "sw1/7",
        "attempt": 2,
        "pid": os.getpid(),
        "stop": "signal",
        "sdk": sweep.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
    }
    assert config == {"op": "config", "c": {"epochs": 3, "model": {"width": 2}}}
    assert {**first, "t": 0} == {"i": 0, "t": 0, "m": {"loss": 0.25}}
    assert {**second, "t": 0} == {
        "i": 1,
        "s": 7,
        "t": 0,
        "m": {"loss": 0.125, "val/accuracy": 1},
        "x": {"note": "x"},
    }
    assert 0 <= first["t"] <= second["t"] < 60
    assert summary == {"op": "summary", "m": {"test/accuracy": 0.75}}
    assert end == {"op": "end"}


def test_what_the_run_knows_about_itself(agent: FakeAgent) -> None:
    run = sweep.init()
    assert (run.id, run.attempt, run.seed, run.standalone) == ("sw1/7", 2, 99, False)
    assert run.dir == agent.run_dir
    assert run.checkpoint_dir == agent.folder / "kept"
    assert isinstance(run.checkpoint_dir, Path)
    assert run.checkpoint_dir.is_dir()
    assert "sw1/7" in repr(run)


def test_without_defaults_no_config_is_sent(agent: FakeAgent) -> None:
    sweep.init(config={"lr": 3})
    assert [message["op"] for message in agent.read()] == ["hello"]


@pytest.mark.parametrize(
    ("metrics", "sent"),
    [
        (
            {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 1.5},
            {"a": "nan", "b": "inf", "c": "-inf", "d": 1.5},
        ),
        ({"a": np.float32(0.5), "b": np.int64(3), "c": True}, {"a": 0.5, "b": 3, "c": 1}),
        ({"a": 2**80, "b": -5}, {"a": float(2**80), "b": -5}),
        ({'quo"te\n': 1, 5: 2}, {'quo"te\n': 1, "5": 2}),
        (UserDict({"a": 1}), {"a": 1}),
        ({}, {}),
    ],
)
def test_metrics(agent: FakeAgent, metrics: Any, sent: dict[str, object]) -> None:
    sweep.init().log(metrics)
    assert agent.read()[-1]["m"] == sent


def test_what_only_looks_like_a_mapping(agent: FakeAgent) -> None:
    class Series:
        def keys(self) -> list[str]:
            return ["a"]

        def __getitem__(self, name: str) -> float:
            return 0.5

    sweep.init().log(Series())  # type: ignore[arg-type]
    assert agent.read()[-1]["m"] == {"a": 0.5}


@pytest.mark.parametrize(
    ("step", "sent"), [(0, 0), (3, 3), (1.5, 1.5), (np.int64(4), 4), (True, 1), (2**70, 2.0**70)]
)
def test_steps(agent: FakeAgent, step: Any, sent: float) -> None:
    sweep.init().log({"a": 1}, step=step)
    assert agent.read()[-1]["s"] == sent


def test_a_step_that_is_not_finite_is_left_out(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    sweep.init().log({"a": 1}, step=math.nan)
    assert "s" not in agent.read()[-1]
    assert "not finite" in capsys.readouterr().err


def test_mistakes_of_the_program_raise(agent: FakeAgent) -> None:
    run = sweep.init()
    with pytest.raises(TypeError, match=r"log takes a mapping of names to values.*got float"):
        run.log(0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"got list"):
        sweep.log([("loss", 1)])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"step must be a number.*got str"):
        run.log({"a": 1}, step="3")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"vars\(args\)"):
        sweep.init(config=object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='must be "signal" or "raise"'):
        sweep.init(stop="never")  # type: ignore[arg-type]
    run.log({"fine": 1})
    assert [row["i"] for row in agent.read() if "m" in row] == [0]


def test_an_integer_beyond_every_float_is_said_once_for_each_name(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    run = sweep.init()
    for _ in range(2):
        run.log({"loss": 10**400, "small": 2**70, "nested": {"low": -(10**400)}})
    run.log({"loss": float("inf")})
    assert [row["m"]["loss"] for row in agent.read() if "m" in row] == ["inf"] * 3
    assert capsys.readouterr().err.splitlines() == [
        f"sweep: {name!r} is an integer beyond what a floating-point number can hold: it is recorded as infinity"
        for name in ("loss", "nested/low")
    ]


def test_odd_values_are_said_once(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    run = sweep.init()
    run.log({"a": object(), "loss": 1})
    run.log({"a": object(), "loss": 1})
    run.summary["b"] = object()
    assert agent.read()[1]["m"] == {"loss": 1}
    assert agent.read()[1]["x"]["a"].startswith("<object object")
    assert capsys.readouterr().err.splitlines() == [
        "sweep: 'a' has a value of type object, which is no JSON: its repr is recorded"
    ]


def test_shortcuts(agent: FakeAgent) -> None:
    with pytest.raises(AttributeError, match=r"no run yet; call sweep\.init\(\)"):
        sweep.config  # noqa: B018
    with pytest.raises(RuntimeError, match=r"call sweep\.init\(\) before"):
        sweep.log({"a": 1})
    run = sweep.init(config={"epochs": 3})
    sweep.log({"a": 1}, step=2)
    assert sweep.config is run.config
    assert sweep.summary is run.summary
    assert agent.read()[-1]["s"] == 2
    assert {"init", "log", "config", "summary", "Pruned", "Run"} <= set(dir(sweep))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        sweep.nonsense  # noqa: B018


def test_a_second_init_is_the_same_run_with_more_defaults(agent: FakeAgent) -> None:
    run = sweep.init(config={"a": 1})
    assert sweep.init(config={"a": 2, "b": 3, "lr": 4}) is run
    assert run.config == {"lr": 0.5, "model": {"depth": 9}, "a": 1, "b": 3}
    assert [message.get("c") for message in agent.read()] == [None, {"a": 1}, {"b": 3}]


def test_after_finish_the_run_is_opened_again(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    run = sweep.init()
    run.log({"a": 1})
    run.finish()
    run.finish()
    assert sweep.init() is run
    assert "init() was called again after finish()" in capsys.readouterr().err
    run.log({"a": 2})
    run.finish()
    agent.read()
    assert agent.ops() == ["hello", "row", "end", "hello", "row", "end"]
    assert [row["i"] for row in agent.rows()] == [0, 1]


def test_a_log_after_finish_is_kept(agent: FakeAgent, capsys: pytest.CaptureFixture[str]) -> None:
    with sweep.init() as run:
        run.log({"a": 1})
    run.log({"a": 2})
    agent.read()
    assert [row["m"]["a"] for row in agent.rows()] == [1, 2]
    assert "logged after finish()" in capsys.readouterr().err


def test_a_context_manager_finishes_and_passes_exceptions_on(agent: FakeAgent) -> None:
    with pytest.raises(KeyError), sweep.init() as run:
        run.log({"a": 1})
        raise KeyError("x")
    assert agent.read()[-1] == {"op": "end"}


def test_stop_by_exception_comes_once_and_after_the_row(agent: FakeAgent) -> None:
    run = sweep.init(stop="raise")
    run.log({"loss": 1})
    assert agent.read()[0]["stop"] == "raise"
    assert not run.should_stop()
    agent.stop("step 9: too bad")
    with pytest.raises(sweep.Pruned, match="step 9: too bad") as caught:
        run.log({"loss": 2})
    assert caught.value.reason == "step 9: too bad"
    assert run.should_stop()
    run.log({"loss": 3})
    agent.read()
    assert [row["m"]["loss"] for row in agent.rows()] == [1, 2, 3]


def test_stop_by_signal_is_seen_but_never_raised(agent: FakeAgent) -> None:
    run = sweep.init()
    agent.read()
    assert not run.should_stop()
    agent.tell({"op": "unheard of"})
    agent.stop("enough")
    run.log({"loss": 1})
    assert run.should_stop()
    assert run.should_stop()


def test_the_second_stop_mode_is_said_to_have_no_effect(
    agent: FakeAgent, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.init(stop="signal")
    sweep.init(stop="raise")
    assert 'stop="signal": that stays' in capsys.readouterr().err


@pytest.mark.parametrize("content", ["[1]", "{", "", "5"])
def test_a_config_that_cannot_be_read_is_no_config_to_train_with(agent: FakeAgent, content: str) -> None:
    (agent.run_dir / "config.json").write_text(content)
    with pytest.raises(RuntimeError, match=r"config\.json \(SWEEP_CONFIG\)"):
        sweep.init()


def test_a_missing_config_file_and_a_wrong_seed(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_SEED", "x")
    with pytest.raises(RuntimeError, match="SWEEP_SEED must be a whole number; it is 'x'"):
        sweep.init()
    (agent.run_dir / "config.json").unlink()
    with pytest.raises(RuntimeError, match="cannot be read"):
        sweep.init()


def test_configs_keep_nan_and_infinity(agent: FakeAgent) -> None:
    (agent.run_dir / "config.json").write_text(json.dumps({"a": math.inf, "b": math.nan}))
    run = sweep.init(config={"c": -math.inf, "d": {"e": math.nan}})
    assert run.config.a == math.inf
    assert math.isnan(run.config.b)
    assert agent.read()[-1]["c"] == {"c": "-inf", "d": {"e": "nan"}}


def test_random_generators_are_left_alone(agent: FakeAgent) -> None:
    python, legacy = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]
    run = sweep.init()
    run.log({"a": 1})
    run.finish()
    assert random.getstate() == python
    assert np.random.get_state()[1].tobytes() == legacy  # type: ignore[index, union-attr]


def test_threads_never_mix_lines_and_numbers_are_dense(agent: FakeAgent) -> None:
    run = sweep.init()
    text = "x" * 3000

    def work(k: int) -> None:
        for j in range(200):
            run.log({"j": j, "text": text}, step=k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        agent.read()
    for thread in threads:
        thread.join()
    agent.read_until(lambda messages: len(messages) == 801)
    assert [row["i"] for row in agent.rows()] == list(range(800))
    for k in range(4):
        assert [row["m"]["j"] for row in agent.rows() if row["s"] == k] == list(range(200))
