"""Programs that misbehave. Each has its defined end, which the agent says and the record shows; the agent itself stays small."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sweep.stores import open_store
from tests.integration.conftest import Project

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
HEAD = "program: train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\n"
ONE = HEAD + "parameters: {x: {value: 1}}\n"
TWO = HEAD + "parameters: {x: {values: [1, 2]}}\n"


def history(project: Project, run: int = 0) -> list[dict[str, Any]]:
    """Every row that is recorded of a run of the latest sweep."""
    with closing(open_store(None, project.folder)) as store:
        chunks = store.read_history(store.sweeps()[-1], run)
    return [json.loads(line) for chunk in chunks for line in chunk.data.splitlines()]


def work(project: Project, spec: str, train: str, *args: str, **env: str) -> tuple[list[dict[str, Any]], str]:
    """Work the sweep off; (its runs, what the agent said)."""
    project.write("train.py", train)
    project.write("sweep.yaml", spec)
    sweep = project.create()
    done = project.run("agent", sweep, *args, **env)
    assert done.returncode == 0, done.stderr
    return project.runs(sweep), done.stderr


def peak_bytes(project: Project, spec: str, train: str) -> tuple[list[dict[str, Any]], str, int]:
    """As `work`; also the agent's own peak of memory (not that of its children)."""
    project.write("train.py", train)
    project.write("sweep.yaml", spec)
    sweep = project.create()
    code = (  # VmHWM and not getrusage: that also counts what the test process had when this one was forked from it
        "import pathlib, re, sys\nfrom sweep.cli import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    status = pathlib.Path('/proc/self/status').read_text()\n"
        "    print('peak', re.search(r'VmHWM:\\s+(\\d+)', status)[1], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "agent", sweep],
        cwd=project.folder,
        env=project.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    peak = int(done.stderr.rsplit("peak ", 1)[1])
    return project.runs(sweep), done.stderr, peak * 1024


# --- output ----------------------------------------------------------------------------------------------------


@linux
def test_100_mb_of_output_go_to_the_file_and_not_through_the_agent(project: Project) -> None:
    train = """
import os, sweep
run = sweep.init()
for i in range(100):
    os.write(1, b"line of output\\n" * 70_000)
run.log({"loss": 1.0})
print("the end")
"""
    (run,), _, peak = peak_bytes(project, ONE, train)
    assert run["state"] == "completed"
    output = Path(run["folder"]) / "output-1.log"
    assert output.stat().st_size > 100e6
    assert peak < 150e6
    with output.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        assert file.read() == b"the end\n"


# --- what is logged --------------------------------------------------------------------------------------------


@linux
def test_nothing_is_lost_of_100_000_rows_a_second(project: Project) -> None:
    """As fast as the program can: the client holds back what the agent has not taken yet."""
    train = """
import time, sweep
run = sweep.init()
began = time.perf_counter()
for i in range(300_000):
    run.log({"loss": i, "other": 0.5})
run.summary["rate"] = 300_000 / (time.perf_counter() - began)
"""
    (run,), said, peak = peak_bytes(project, ONE, train)
    assert run["state"] == "completed", said
    assert run["steps"] == 300_000
    rows = history(project)
    assert [row["m"]["loss"] for row in rows] == list(range(300_000))
    assert peak < 400e6
    assert run["objective"] == 0


def test_10_000_keys(project: Project) -> None:
    train = """
import sweep
run = sweep.init()
run.log({"loss": 1.0, **{f"key/{i}": i for i in range(5_000)}})
for i in range(5_000):
    run.log({f"single/{i}": i})
"""
    (run,), _ = work(project, ONE, train)
    assert run["state"] == "completed"
    assert len(history(project)) == 5_001
    keys = set().union(*(row["m"] for row in history(project)))
    assert len(keys) == 10_001  # with the loss
    assert len(run["summary"]) == 10_001
    assert f"{run['id']} completed" in " ".join(project.sweep("runs", "latest").split())
    project.sweep("show", run["id"])
    project.sweep("plot", "latest", "--format", "html")


def test_a_string_of_10_mb(project: Project) -> None:
    """The row is kept whole; listings, which hold the last value of everything, keep its beginning."""
    train = """
import sweep
run = sweep.init()
run.log({"loss": 1.0, "text": "x" * 10_000_000})
run.log({"loss": 0.5})
run.summary["verdict"] = "y" * 10_000_000
"""
    (run,), _ = work(project, ONE, train)
    assert (run["state"], run["steps"], run["objective"]) == ("completed", 2, 0.5)
    assert history(project)[0]["x"]["text"] == "x" * 10_000_000
    assert run["summary"]["text"].startswith("xxxx")
    assert len(json.dumps(run["summary"])) < 20_000
    assert "10,000,000 characters" in run["summary"]["text"]
    assert "10,000,000 characters" in run["summary"]["verdict"]


def test_a_string_that_is_too_long_is_left_out_and_said(project: Project) -> None:
    train = """
import sweep
run = sweep.init()
run.log({"loss": 1.0})
run.log({"text": "x" * 20_000_000})
run.log({"loss": 0.5})
"""
    (run,), said = work(project, ONE, train)
    assert (run["state"], run["steps"], run["objective"]) == ("completed", 2, 0.5)
    assert "a line of more than 16 MB was left out" in said


def test_a_metric_that_is_never_logged(project: Project) -> None:
    """Completed, without a score: said by the agent, in the list, and by `best`."""
    train = "import sweep\nrun = sweep.init()\nrun.log({'los': 1.0, 'accuracy': 2})\n"
    runs, said = work(project, TWO, train, "--slots", "1")
    assert [run["state"] for run in runs] == ["completed"] * 2
    assert [run["objective"] for run in runs] == [None] * 2
    warning = "has not logged loss, the metric that is optimised; it logged accuracy, los"
    assert said.count(warning) == 1, said
    best = project.mistake("best", "latest")
    assert "has no best run: no run has ended with a finite value of the metric yet" in best


def test_a_program_that_logs_nothing(project: Project) -> None:
    runs, said = work(project, TWO, "print('loss: 0.5')\n", "--slots", "1")
    assert [run["state"] for run in runs] == ["completed"] * 2
    assert said.count("has not logged loss, the metric that is optimised; it logged nothing") == 1
    assert "no run has ended with a finite value" in project.mistake("best", "latest")


def test_nan_is_the_worst_value_and_no_error(project: Project) -> None:
    train = """
import sweep
run = sweep.init()
for value in ([float("nan"), float("inf")] if run.config.x == 1 else [float("nan"), 3.0, float("-inf")]):
    run.log({"loss": value})
"""
    runs, said = work(project, TWO, train, "--slots", "1")
    assert [run["state"] for run in runs] == ["completed"] * 2
    assert [run["objective"] for run in runs] == [None, 3.0]
    assert project.json("best", "latest")["id"] == runs[1]["id"]
    assert f"{runs[0]['id']} has logged loss, but no finite value of it" in said


# --- processes -------------------------------------------------------------------------------------------------


@linux
def test_children_in_sessions_of_their_own_are_ended_with_their_run(project: Project) -> None:
    """Forked twice, in a new session, its streams and its socket closed: as a daemon is made."""
    train = """
import os, sys, time
import sweep
run = sweep.init()
run.log({"loss": 1.0})
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b"%d" % os.getpid())
        for fd in range(3):
            os.close(fd)
        time.sleep(600)
    os._exit(0)
run.summary["daemon"] = int(os.read(read, 100))
"""
    (run,), _ = work(project, ONE, train)
    assert run["state"] == "completed"
    with pytest.raises(ProcessLookupError):
        os.kill(run["summary"]["daemon"], 0)


@pytest.mark.parametrize("how", ["close", "shutdown", "everything"])
def test_a_program_that_closes_its_socket(project: Project, how: str) -> None:
    """By mistake, as a loop over all descriptors does. Rows go on to arrive, each once."""
    train = f"""
import os, socket, sweep
run = sweep.init()
run.log({{"loss": 5.0}})
for fd in range(3, 64):
    try:
        is_socket = os.readlink(f"/proc/self/fd/{{fd}}").startswith("socket")
    except OSError:
        continue
    if {how!r} == "shutdown" and is_socket:
        with socket.socket(fileno=os.dup(fd)) as shut:
            shut.shutdown(socket.SHUT_RDWR)
    elif is_socket or {how!r} == "everything":
        os.close(fd)
for i in range(3):
    run.log({{"loss": float(i)}})
"""
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    (run,), said = work(project, ONE, train)
    assert run["state"] == "completed", said
    assert [row["m"]["loss"] for row in history(project)] == [5.0, 0.0, 1.0, 2.0]
    assert run["steps"] == 4


@linux
def test_cancel_ends_what_ignores_sigterm(project: Project) -> None:
    train = """
import signal, time, sweep
signal.signal(signal.SIGTERM, signal.SIG_IGN)
run = sweep.init()
run.log({"loss": 1.0})
time.sleep(600)
"""
    project.write("train.py", train)
    project.write("sweep.yaml", ONE + "limits: {kill_after: 0.5s}\n")
    sweep = project.create()
    agent = project.agent(sweep)
    (run,) = project.wait_running(sweep)
    project.sweep("cancel", sweep)
    project.wait_end(agent)
    (run,) = project.runs(sweep)
    assert (run["state"], run["exit_code"]) == ("cancelled", -signal.SIGKILL)
    assert project.processes(f"SWEEP_ID={sweep}") == []


def test_a_program_that_is_not_there(project: Project) -> None:
    """Said when the sweep is created; it may come later."""
    project.write("sweep.yaml", ONE)
    created = project.run("create", "sweep.yaml")
    assert created.returncode == 0
    path = project.folder / "train.py"
    assert f"warning: there is no file {path} yet, which the spec names as its program" in created.stderr
    done = project.run("agent", created.stdout.strip())
    assert f"can't open file '{path}'" in done.stderr
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 1})\n")
    assert "no file" not in project.run("create", "sweep.yaml").stderr
    project.sweep("agent", "latest")
    assert project.runs()[0]["state"] == "completed"


def test_a_flag_that_takes_no_value_is_explained_and_mended(project: Project) -> None:
    """argparse's `store_true` does not take `--amp=True`: the agent says what to write, and doing so is enough."""
    program = """
import argparse, sweep
parser = argparse.ArgumentParser()
parser.add_argument("--amp", action="store_true")
sweep.init().log({"loss": float(parser.parse_args().amp)})
"""
    spec = (
        "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {amp: {values: [true, false]}}\n"
    )
    project.write("train.py", program)
    project.write("sweep.yaml", spec)
    sweep = project.create()
    said = project.run("agent", sweep).stderr
    assert "${args_no_boolean_flags}" in said and f"`sweep edit {sweep} sweep.yaml`" in said
    project.write(
        "sweep.yaml", spec + 'command: ["${interpreter}", "${program}", "${args_no_boolean_flags}"]\n'
    )
    project.run("edit", sweep, "sweep.yaml", "--yes")
    project.run("retry", sweep)
    project.run("agent", sweep)
    assert [run["objective"] for run in project.runs(sweep)] == [1, 0]


def test_what_a_program_logs_of_several_lines_is_shown_in_one(project: Project) -> None:
    project.write(
        "train.py", 'import sweep\nsweep.init().log({"loss": 1, "note": "first\\n  second\\nthird"})\n'
    )
    project.write(
        "sweep.yaml",
        "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {a: {values: [1]}}\n",
    )
    sweep = project.create()
    project.run("agent", sweep)
    assert "note  first second third" in project.run("show", f"{sweep}-0").stdout
