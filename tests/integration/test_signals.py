"""Ctrl-C, SIGTERM, and programs that fail, are missing, or print strange things."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys

import pytest

from tests.integration.conftest import PYTHON, Project

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
HEAD = "program: train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\nlimits: {kill_after: 20s}\n"
SPEC = HEAD + "parameters: {x: {values: [1, 2, 3, 4]}}\n"
# Counts up from its checkpoint until the file `go` is there.
STEADY = """
import os, time, sweep
run = sweep.init()
saved = run.checkpoint_dir / "step"
step = int(saved.read_text()) if saved.exists() else 0
print("begin at", step)
while True:
    saved.with_suffix(".new").write_text(str(step + 1))
    saved.with_suffix(".new").replace(saved)  # first, so that whoever knows of the row knows that
    run.log({"loss": 1.0, "attempt": run.attempt}, step=step)
    step += 1
    if os.path.exists("go"):
        break
    time.sleep(0.05)
"""
DEAF = STEADY.replace(
    "import os,", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nimport os,"
)


def begin(project: Project, train: str = STEADY, spec: str = SPEC) -> tuple[str, subprocess.Popen[bytes]]:
    """A sweep and an agent with two runs at work."""
    project.write("train.py", train)
    project.write("sweep.yaml", spec)
    sweep = project.create()
    agent = project.agent(sweep, "--slots", "2")
    project.wait_running(sweep, 2)
    return sweep, agent


def states(project: Project, sweep: str) -> list[str]:
    return [run["state"] for run in project.runs(sweep)]


def test_ctrl_c_once_lets_runs_finish(project: Project) -> None:
    sweep, agent = begin(project)
    agent.send_signal(signal.SIGINT)
    project.wait_for(lambda: "letting runs finish; Ctrl-C again ends them" in project.agent_output())
    assert agent.poll() is None
    project.write("go", "")
    said = project.wait_end(agent, 130)
    assert f"sweep {sweep} is active" in said
    runs = project.runs(sweep)
    assert [run["state"] for run in runs[:2]] == ["completed", "completed"]
    assert {run["state"] for run in runs[2:]} <= {"queued"}
    assert {run["attempt"] for run in runs[:2]} == {1}
    project.sweep("agent", sweep)
    assert states(project, sweep) == ["completed"] * 4


def test_ctrl_c_twice_ends_runs_and_the_next_agent_goes_on_with_them(project: Project) -> None:
    sweep, agent = begin(project)
    agent.send_signal(signal.SIGINT)
    project.wait_for(lambda: "letting runs finish" in project.agent_output())
    agent.send_signal(signal.SIGINT)
    project.wait_end(agent, 130)
    runs = project.runs(sweep)
    assert [run["state"] for run in runs[:2]] == ["queued", "queued"]
    for run in runs[:2]:
        [attempt] = run["attempts"]
        assert (attempt["outcome"], attempt["reason"]) == ("preempted", "ended by Ctrl-C")
        assert attempt["exit_code"] == -15
    go_on(project, sweep)


@linux
def test_ctrl_c_three_times_kills(project: Project) -> None:
    sweep, agent = begin(project, DEAF, SPEC.replace("20s", "300s"))
    for expected in ("letting runs finish", "Ctrl-C again kills them"):
        agent.send_signal(signal.SIGINT)
        project.wait_for(lambda expected=expected: expected in project.agent_output())
    assert len(project.processes(f"SWEEP_ID={sweep}")) >= 2
    agent.send_signal(signal.SIGINT)
    project.wait_end(agent, 130)  # kill_after is not waited for
    assert project.processes(f"SWEEP_ID={sweep}") == []
    assert [run["attempts"][0]["exit_code"] for run in project.runs(sweep)[:2]] == [-9, -9]
    go_on(project, sweep)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_is_passed_on_and_the_next_agent_goes_on(project: Project, number: signal.Signals) -> None:
    sweep, agent = begin(project)
    agent.send_signal(number)
    said = project.wait_end(agent, 143)
    assert "preempted after" in said
    for run in project.runs(sweep)[:2]:
        assert run["state"] == "queued"
        assert run["attempts"][0]["outcome"] == "preempted"
        assert run["attempts"][0]["reason"] == f"the agent got {number.name}"
    go_on(project, sweep)


def go_on(project: Project, sweep: str) -> None:
    """The next agent takes up what was ended, from its checkpoint."""
    project.write("go", "")
    project.sweep("agent", sweep)
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 4
    assert [run["attempt"] for run in runs] == [2, 2, 1, 1]
    for run in runs[:2]:
        begun = [int(project.sweep("logs", run["id"], "--attempt", str(n)).split()[-1]) for n in (1, 2)]
        assert begun[0] == 0
        assert begun[1] > 0
        assert run["summary"]["attempt"] == 2


def test_three_early_failures_end_the_agent(project: Project) -> None:
    project.write("train.py", "import sys\nprint('to stdout')\nsys.exit('no such data set')\n")
    project.write("sweep.yaml", SPEC.replace("[1, 2, 3, 4]", "[1, 2, 3, 4, 5, 6, 7, 8]"))
    sweep = project.create()
    done = project.run("agent", sweep, "--slots", "1")
    assert done.returncode == 3
    assert "this agent stops: the first 3 runs failed within 60 s (the last: exit code 1)" in done.stderr
    assert f"when that is mended: `sweep retry {sweep}`" in done.stderr
    assert "  | no such data set" in done.stderr
    assert "  | to stdout" in done.stderr
    status = project.json("status", sweep)
    assert status["state"] == "active"
    assert status["runs"]["failed"] == 3
    assert project.runs(sweep)[0]["attempts"][0]["tail"].endswith("no such data set")
    # Mended, the sweep goes on where it was.
    project.write("train.py", "")
    project.sweep("agent", sweep)
    assert project.json("status", sweep)["runs"] == {"completed": 5, "failed": 3}


def test_a_small_sweep_in_which_nothing_succeeds_is_no_success(project: Project) -> None:
    project.write(
        "train.py", "import sweep\nrun = sweep.init()\nassert run.config.x == 2, 'no such data set'\n"
    )
    project.write("sweep.yaml", SPEC.replace("[1, 2, 3, 4]", "[1, 2]"))
    sweep = project.create()
    first = project.run("agent", sweep, "--count", "1")
    assert first.returncode == 3
    assert (
        f"error: no run of this sweep has succeeded (1 failed): `sweep logs {sweep}-0` prints" in first.stderr
    )
    assert f"`sweep retry {sweep}` and `sweep agent {sweep}` try again" in first.stderr
    # An agent whose own runs went well, one that came when all was over, and one where others' runs went well.
    project.sweep("agent", sweep)
    project.sweep("agent", sweep)
    project.sweep("retry", sweep)
    assert "has succeeded" not in project.run("agent", sweep).stderr
    assert project.json("status", sweep)["runs"] == {"completed": 1, "failed": 1}
    # With `sweep run` nothing is plotted, and from Python the result says it.
    project.write("train.py", "raise SystemExit('no such data set')")
    whole = project.run("run", "sweep.yaml")
    assert (whole.returncode, whole.stdout.count("\n")) == (3, 1)
    project.write("work.py", "import sweep\nprint(sweep.agent(sweep.create('sweep.yaml')).failed)\n")
    done = subprocess.run(
        [sys.executable, "work.py"],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(ast.literal_eval(done.stdout)) == [0, 1]
    assert "sweep: error: no run of this sweep has succeeded (2 failed)" in done.stderr


def test_a_parameter_that_the_program_has_no_option_for(project: Project) -> None:
    train = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr')\np.parse_args()\n"
    project.write("train.py", train)
    project.write("sweep.yaml", SPEC.replace("[1, 2, 3, 4]", "[1]"))
    done = project.run("agent", project.create())
    assert done.returncode == 3
    assert "train.py: error: unrecognized arguments: --x=1" in done.stderr
    assert "the program has no such option: call the spec's parameters as it calls its options" in done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("[no-such-program-here]", "no program of that name in PATH"),
        ("[./missing]", "no such file"),
        ("[./plain.txt]", "it is not executable (chmod +x makes it so)"),
        ("['${interpreter}', missing.py]", "exit code 2"),
    ],
)
def test_a_program_that_cannot_start(project: Project, command: str, words: str) -> None:
    project.write("plain.txt", "echo hello\n")
    project.write("sweep.yaml", f"command: {command}\nmethod: grid\nparameters: {{x: {{min: 1, max: 9}}}}\n")
    sweep = project.create()
    done = project.run("agent", sweep, "--slots", "1")
    assert done.returncode == 3
    assert words in done.stderr
    runs = project.runs(sweep)
    assert [run["state"] for run in runs[:3]] == ["failed"] * 3
    assert words in runs[0]["reason"]
    assert project.run("logs", runs[0]["id"]).returncode in (0, 2)


def test_one_failure_among_successes_is_no_reason_to_stop(project: Project) -> None:
    train = "import sys, sweep\nrun = sweep.init()\nif run.config.x > 1: sys.exit(5)\n"
    runs = project.work_off(SPEC, train, "--slots", "1")
    assert [run["state"] for run in runs] == ["completed", "failed", "failed", "failed"]
    assert [run["exit_code"] for run in runs] == [0, 5, 5, 5]


def test_what_a_program_prints_does_no_harm(project: Project) -> None:
    train = """
import os, sys, sweep
run = sweep.init()
out = sys.stdout.buffer
out.write(bytes(range(256)) * 4 + b"\\x1b]0;title\\x07\\x1b[31mred\\x1b[0m\\xff\\xfe\\n")
for _ in range(20):
    out.write(b"x" * (1 << 20) + b"\\n")
out.write("the end: \\u00fc\\n".encode() + b"\\xff\\x1b[2J\\n")
out.flush()
assert sys.stdin.read() == ""
sys.exit(3)
"""
    project.write("train.py", train)
    project.write("sweep.yaml", HEAD + "parameters: {x: {value: 1}}\n")
    sweep = project.create()
    done = project.run("agent", sweep)
    assert done.returncode == 3
    assert "the end: ü" in done.stderr
    assert "\x1b" not in done.stderr
    [run] = project.runs(sweep)
    assert (run["state"], run["exit_code"]) == ("failed", 3)
    assert "\x1b" not in run["attempts"][0]["tail"]
    assert len(run["attempts"][0]["tail"]) < 50_000
    raw = subprocess.run(
        [*PYTHON, "logs", run["id"]], cwd=project.folder, env=project.env, capture_output=True, check=True
    )
    assert len(raw.stdout) > 20 << 20
    assert raw.stdout.startswith(bytes(range(256)))
    assert "\x1b" not in project.sweep("show", run["id"])


@pytest.mark.parametrize("how", ["nobody reads", "closed"])
def test_the_agent_works_on_without_streams(project: Project, how: str) -> None:
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 1})\n")
    project.write("sweep.yaml", SPEC)
    sweep = project.create()
    read, write = os.pipe()
    os.close(read)
    closing = 'exec "$@" <&-' + (" >&- 2>&-" if how == "closed" else "")
    agent = subprocess.Popen(
        ["sh", "-c", closing, "sh", *PYTHON, "agent", sweep],
        cwd=project.folder,
        env=project.env,
        stdout=write,
        stderr=write,
    )
    os.close(write)
    assert agent.wait(60) == 0
    assert states(project, sweep) == ["completed"] * 4


def test_a_pipe_that_closes_is_no_error(project: Project) -> None:
    project.write(
        "sweep.yaml", "command: [sh, -c, 'exit 0']\nmethod: grid\nparameters: {x: {min: 1, max: 40}}\n"
    )
    sweep = project.create()
    project.sweep("agent", sweep)
    done = subprocess.run(
        ["sh", "-c", '"$@" | head -1', "sh", *PYTHON, "export", sweep],
        cwd=project.folder,
        env=project.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""
