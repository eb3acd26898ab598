"""What a script written for wandb sends to its agent: rows, config, summary, and what is said on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk_agent import FakeAgent
from wandb_programs import under, with_stand_in


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    yield fake
    fake.go()


def rows(agent: FakeAgent) -> list[tuple[int, dict[str, Any]]]:
    return [(row["s"], {**row.get("m", {}), **row.get("x", {})}) for row in agent.numbered()]


def summary(agent: FakeAgent) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for message in agent.messages:
        if message.get("op") == "summary":
            found.update({**message.get("m", {}), **message.get("x", {})})
    return found


def config(agent: FakeAgent) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for message in agent.messages:
        if message.get("op") == "config":
            found.update(message["c"])
    return found


def works(done: Any, *said: str) -> None:
    """The program ended well and said just these lines, each of which may go on."""
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(said), done.stderr
    for line, beginning in zip(lines, said, strict=True):
        assert line.startswith(beginning)


def test_rows_have_the_steps_of_wandb(agent: FakeAgent) -> None:
    program = """
import wandb
run = wandb.init()
wandb.log({"a": 1})
wandb.log({"a": 2, "n": {"x": 1.5, "y": {"z": True}}}, commit=False)
wandb.log({"b": "text"})
wandb.log({"a": 3}, step=10)
wandb.log({"b": 4}, step=10)
wandb.log({"a": 5}, step=4)
wandb.log({"a": 5.5}, step=5)
wandb.log({"a": 6}, step=20, commit=True)
wandb.log({"a": 7})
wandb.log({"left": 8}, commit=False)
"""
    works(
        under(agent, program), "sweep: log(step=4) is smaller than the current step 10: such rows are dropped"
    )
    assert rows(agent) == [
        (0, {"a": 1}),
        (1, {"a": 2, "n/x": 1.5, "n/y/z": 1, "b": "text"}),
        (10, {"a": 3}),
        (10, {"b": 4}),
        (20, {"a": 6}),
        (21, {"a": 7}),
        (22, {"left": 8}),
    ]
    assert agent.ops()[0] == "hello"
    assert agent.ops()[-1] == "end"


def test_a_row_with_a_step_is_sent_at_once_though_its_step_is_not_over(agent: FakeAgent) -> None:
    program = """
import os, wandb
wandb.init()
wandb.log({"loss": 1}, step=3)
os._exit(0)
"""
    works(under(agent, program))
    assert rows(agent) == [(3, {"loss": 1})]


def test_the_sweep_wins_over_the_script_and_is_locked(agent: FakeAgent) -> None:
    program = """
import argparse, wandb
args = argparse.Namespace(lr=1.0, epochs=2, model={"depth": 1, "width": 2})
wandb.init(config=args)
c = wandb.config
assert (c.lr, c.epochs, c.model) == (0.5, 2, {"depth": 3, "width": 2}), c
assert type(c.model) is dict
wandb.config.update(args)
wandb.config.lr = 7
wandb.config.update({"lr": 7}, allow_val_change=True)
wandb.config.setdefaults({"lr": 8, "more": 9})
wandb.config.update({"epochs": 4}, allow_val_change=True)
wandb.config["device"] = "cpu"
assert (c.lr, c.epochs, c.more, "lr" in c) == (0.5, 4, 9, True)
"""
    done = under(agent, program, {"lr": 0.5, "model": {"depth": 3}})
    works(
        done,
        "sweep: config item 'lr' was locked by the sweep, which chose 0.5 (ignored update)",
        "sweep: config item 'model' was locked by the sweep",
    )
    assert config(agent) == {"epochs": 4, "model": {"width": 2}, "more": 9, "device": "cpu"}


def test_what_init_says_about_the_run_is_recorded(agent: FakeAgent) -> None:
    program = """
import wandb
run = wandb.init(entity="e", project="p", id="mine", name="n", notes="why", tags=["a", "b"], group="g", job_type="j")
assert (run.name, run.notes, run.tags, run.group, run.job_type) == ("n", "why", ("a", "b"), "g", "j")
assert (run.entity, run.project, run.path) == ("e", "p", "e/p/sw1-7"), run.path
assert run.id == "sw1-7" and run.sweep_id == "sw1" and run.offline and not run.disabled and run.mode == "offline"
assert run.url.startswith("file:///") and run.dir.endswith("/run/files")
run.tags += ("c",)
run.name = "m"
"""
    works(under(agent, program))
    assert summary(agent) == {
        "wandb/entity": "e",
        "wandb/project": "p",
        "wandb/id": "mine",
        "wandb/name": "m",
        "wandb/notes": "why",
        "wandb/tags": ["a", "b", "c"],
        "wandb/group": "g",
        "wandb/job_type": "j",
    }


def test_the_environment_and_settings_give_defaults(agent: FakeAgent) -> None:
    program = """
import wandb
run = wandb.init(settings=wandb.Settings(run_name="from settings", run_group="g"), group="h")
assert (run.project, run.name, run.group, run.tags) == ("from env", "from settings", "h", ("x", "y")), run.tags
"""
    more = {
        "WANDB_PROJECT": "from env",
        "WANDB_NAME": "hidden",
        "WANDB_TAGS": "x, y",
        "WANDB_RUN_ID": "sw1-7",
    }
    works(under(agent, program, None, **more))
    assert "wandb/id" not in summary(agent)


def test_aggregates_are_in_the_summary_whatever_happens_next(agent: FakeAgent) -> None:
    program = """
import os, wandb
run = wandb.init()
run.define_metric("loss", summary="min,mean")
run.define_metric("acc", summary="best", goal="maximize")
run.define_metric("val/*", summary="max")
for loss in (3.0, 1.0, float("nan"), 2.0):
    run.log({"loss": loss, "acc": loss, "val": {"x": -loss}})
run.summary["d"] = {"e": {"f": 1}}
run.summary["d"]["e"]["g"] = "x"
os._exit(1)
"""
    assert under(agent, program).returncode == 1
    assert summary(agent) == {
        "loss/min": 1.0,
        "loss/mean": 2.0,
        "acc/best": 3.0,
        "val/x/max": -1.0,
        "d/e/f": 1,
        "d/e/g": "x",
    }


def test_the_metric_that_counts_steps_is_filled_in(agent: FakeAgent) -> None:
    program = """
import wandb
run = wandb.init()
wandb.define_metric("trainer/global_step")
wandb.define_metric("*", step_metric="trainer/global_step", step_sync=True)
wandb.log({"loss": 1.0})
wandb.log({"loss": 2.0, "trainer/global_step": 5})
wandb.log({"acc": 3.0})
"""
    works(under(agent, program))
    assert rows(agent)[2] == (2, {"acc": 3.0, "trainer/global_step": 5})


def test_several_runs_in_one_process_follow_one_another(agent: FakeAgent) -> None:
    program = """
import wandb
assert wandb.run is None
for fold in range(2):
    run = wandb.init(config={f"fold{fold}": 1}, reinit=True)
    assert wandb.run is run and run.step == 0
    wandb.log({"a": fold}, step=0)
    wandb.log({"a": fold}, step=5)
    wandb.log({"b": fold})
    if fold:
        run.finish()
        run.finish()
assert wandb.run is None
with wandb.init() as run:
    run.log({"c": 1})
assert wandb.run is None
wandb.finish()
"""
    works(under(agent, program))
    assert [step for step, _ in rows(agent)] == [0, 5, 5, 6, 11, 11, 12]
    assert config(agent) == {"fold0": 1, "fold1": 1}


def test_a_second_init_returns_the_run(agent: FakeAgent) -> None:
    program = "import wandb\nrun = wandb.init()\nassert wandb.init(config={'a': 1}) is run and 'a' not in run.config\n"
    works(under(agent, program), "sweep: wandb.init() was called while a run is active")


def test_a_resumed_run_goes_on_with_its_steps(agent: FakeAgent) -> None:
    program = """
import sys, wandb
run = wandb.init(id="x", resume="allow")
print(run.step, run.resumed)
for _ in range(3): wandb.log({"a": 1})
"""
    assert under(agent, program, SWEEP_ATTEMPT="1").stdout == "0 False\n"
    assert under(agent, program).stdout == "3 True\n"
    assert agent.rows()[-1]["s"] == 5
    again = program.replace('resume="allow"', "")
    assert under(agent, again).stdout == "0 False\n"


def test_disabled_records_nothing_and_has_the_config(agent: FakeAgent) -> None:
    program = """
import os, wandb
run = wandb.init(config={"epochs": 2})
assert (run.config.lr, run.config.epochs, run.disabled, run.url) == (0.5, 2, True, None)
wandb.log({"a": 1}); run.summary["b"] = 2; wandb.config.c = 3
assert run.summary["a"] == 1 and os.path.isdir(run.dir) and run.save("x") is False
wandb.watch(None)
artifact = run.log_artifact(wandb.Artifact("a", type="b")).wait()
"""
    done = under(agent, program, {"lr": 0.5}, WANDB_MODE="disabled")
    works(done, "sweep: wandb is disabled", "sweep: wandb.watch does nothing here")
    assert agent.messages == []
    assert not (agent.run_dir / "artifacts").exists()


def test_what_does_nothing_says_so_once(agent: FakeAgent) -> None:
    program = """
import wandb
assert wandb.login(key="secret") is True
wandb.require("core"); wandb.setup()
run = wandb.init(sync_tensorboard=True, save_code=True, monitor_gym=True, magic=True, anonymous="allow", force=True)
for _ in range(3):
    wandb.watch(object()); wandb.unwatch(); run.log_code("."); run.mark_preempting()
run._label(code="x")
wandb.termlog("hello"); wandb.termwarn("careful", repeat=False); wandb.termwarn("careful", repeat=False)
wandb.finish(exit_code=3)
wandb.teardown()
"""
    words = ["save_code", "monitor_gym", "sync_tensorboard", "magic"]
    works(
        under(agent, program),
        *[f"sweep: wandb.init({word}=…) does nothing here" for word in words],
        "sweep: wandb.watch does nothing here",
        "sweep: run.log_code does nothing here; the sweep's record has the code of every run",
        "wandb: hello",
        "wandb: WARNING careful",
        "sweep: finish(exit_code=3): whether the run failed is told by the exit code of the process",
    )
    assert "secret" not in json.dumps(agent.messages)


def test_wandb_silent_is_heeded(agent: FakeAgent) -> None:
    works(under(agent, "import wandb\nwandb.init(); wandb.watch(1); wandb.termlog('x')", WANDB_SILENT="true"))


def test_what_is_not_there_says_what_to_do(tmp_path: Path) -> None:
    program = """
import wandb
for attempt in (lambda: wandb.foo, wandb.Api, wandb.controller, lambda: __import__("wandb.integration.sb3"),
                lambda: __import__("wandb.launch"), lambda: wandb.log({}), lambda: wandb.run.x):
    try:
        attempt()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
"""
    done = with_stand_in(program, tmp_path)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    beginnings = [
        "AttributeError: wandb.foo is not in sweep's stand-in for wandb (sweep agent --wandb). Leave it out",
        "CommError: wandb.Api asks the hosted service, and there is none here: read a sweep with `sweep runs ID --json`",
        "UsageError: wandb.controller: there is no local controller here",
        "ModuleNotFoundError: wandb.integration.sb3 is not in sweep's stand-in for wandb",
        "ModuleNotFoundError: wandb.launch is not in sweep's stand-in",
        "Error: You must call wandb.init() before wandb.log()",
        "AttributeError: 'NoneType' object has no attribute 'x'",
    ]
    assert len(lines) == len(beginnings)
    for line, beginning in zip(lines, beginnings, strict=True):
        assert line.startswith(beginning)


def test_without_an_agent_each_run_is_a_local_one(tmp_path: Path) -> None:
    program = """
import wandb
for k in range(2):
    with wandb.init(config={"k": k}, id="own") as run:
        assert run.id == "own"
        wandb.log({"a": k})
        run.summary["b"] = k
        print(run.dir)
"""
    done = with_stand_in(program, tmp_path)
    assert done.returncode == 0, done.stderr
    folders = [Path(line).parent for line in done.stdout.splitlines()]
    assert len(set(folders)) == 2
    for number, folder in enumerate(folders):
        assert json.loads((folder / "config.json").read_text()) == {"k": number}
        assert json.loads((folder / "summary.json").read_text()) == {"wandb/id": "own", "b": number}
        assert json.loads((folder / "rows.jsonl").read_text())["m"] == {"a": number}


def test_it_works_in_forked_children_and_threads(agent: FakeAgent) -> None:
    program = """
import os, threading, wandb
run = wandb.init()
run.log({"k": 0})
if os.fork() == 0:
    run.log({"child": 1})
    os._exit(0)
os.wait()
thread = threading.Thread(target=lambda: wandb.log({"k": 1}))
thread.start(); thread.join()
"""
    works(under(agent, program))
    assert sorted(name for row in agent.rows() for name in row["m"]) == ["child", "k", "k"]


def test_what_libraries_call(agent: FakeAgent) -> None:
    """transformers' WandbCallback and Lightning's WandbLogger, call by call."""
    program = """
import importlib.metadata, importlib.util, numbers
assert importlib.util.find_spec("wandb") is not None and importlib.metadata.version("wandb") >= "0.12.10"
import wandb
assert hasattr(wandb, "run") and wandb.__version__
from wandb import Artifact
from wandb.sdk.lib import RunDisabled
from wandb.sdk.lib.config_util import ConfigError
from wandb.wandb_run import Run
import wandb.env, wandb.util
wandb.require("service")
run = wandb.init(name=None, project="lightning_logs", dir=".", id=None, resume="allow", anonymous=None)
assert isinstance(run, (Run, RunDisabled)) and wandb._attach(run._attach_id) is run
run.define_metric("trainer/global_step")
run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
run.config.update({"a": 1}, allow_val_change=True)
wandb.config["model/num_parameters"] = 7
assert wandb.config.get("model/num_parameters") == 7
run._label(code="transformers_trainer")
run.log({"loss": 0.5, "trainer/global_step": 3})
wandb.run.summary["train_loss"] = 0.25
found = {k: v for k, v in dict(wandb.summary).items() if isinstance(v, numbers.Number) and not k.startswith("_")}
assert found == {"loss": 0.5, "trainer/global_step": 3, "train_loss": 0.25}, found
try:
    wandb.config.update({"a": 2})
except ConfigError:
    print("as expected")
wandb.env.set_project("p")
print(wandb.env.get_project(), len(wandb.util.generate_id()), f"{wandb.run.url}"[:7])
"""
    done = under(agent, program)
    works(done)
    assert done.stdout == "as expected\np 8 file://\n"
