"""`init`, `retry`, `extend`, `edit`, `tag`, `note`, `rm`, `gc` and agents in the background: the real command, real processes,
and others at work at the same time."""

from __future__ import annotations

import codecs
import os
import pty
import re
import select
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sweep.core import entries as e
from sweep.core.names import agent_lease
from sweep.stores import open_store
from tests.integration.conftest import DOOMED, PYTHON, Project

SPEC = """\
program: train.py
method: grid
metric: {name: loss}
run_cap: 4
parameters: {x: {values: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]}}
"""
# Fails by a class of its own where a file says so, leaves a checkpoint, and works until the file `go` is there.
TRAIN = """
import os, sys, time, sweep
run = sweep.init()
saved = run.checkpoint_dir / "model"
run.log({"loss": run.config.x, "resumed": saved.exists()})
saved.write_bytes(b"x" * 5000)
print("output of", run.id)
if os.path.exists(f"fail-{run.config.x}"):
    sys.exit(3)
if os.path.exists(f"oom-{run.config.x}"):
    sys.exit("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB")
while not os.path.exists("go"):
    time.sleep(0.02)
"""


@pytest.fixture
def made(project: Project) -> Project:
    """A project with a sweep of four runs."""
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    return project


def states(project: Project, sweep: str) -> list[str]:
    return [run["state"] for run in project.runs(sweep)]


def start(project: Project, *args: str) -> subprocess.Popen[str]:
    """A command in the background."""
    return subprocess.Popen(
        [*PYTHON, *args],
        cwd=project.folder,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def typed(project: Project, *args: str, answer: str = "", **env: str) -> tuple[int, str]:
    """Exit code and screen of a command on a terminal, in which somebody types `answer` when asked."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*PYTHON, *args],
        cwd=project.folder,
        env={**project.env, **env},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen, until = "", time.monotonic() + 60
    decode = codecs.getincrementaldecoder("utf-8")().decode
    while time.monotonic() < until:
        if not select.select([ours], [], [], 0.1)[0]:
            continue
        try:
            data = os.read(ours, 65536)
        except OSError:
            data = b""
        if not data:
            break
        seen += decode(data)
        if answer and "[y/N]" in seen:
            os.write(ours, f"{answer}\n".encode())
            answer = ""
    os.close(ours)
    return process.wait(60), seen


# --- init ------------------------------------------------------------------------------------------------------


def test_what_init_writes_runs_as_it_is(project: Project) -> None:
    said = project.sweep("init", "first one")
    assert "    cd 'first one'\n    sweep create sweep.yaml\n" in said
    project.folder /= "first one"
    assert sorted(path.name for path in project.folder.iterdir()) == ["sweep.yaml", "train.py"]
    assert "20 trials" in project.sweep("validate", "sweep.yaml")
    sweep = project.create()
    project.sweep("agent", sweep, timeout=110)
    runs = project.runs(sweep)
    assert len(runs) == 20
    assert {run["state"] for run in runs} <= {"completed", "pruned"}
    best = min(run["objective"] for run in runs)
    first = runs[0]["summary"]["val_loss"]
    assert best < 0.1 and best <= first, "it has really found something"


def test_init_replaces_nothing_unless_it_is_told_to(project: Project) -> None:
    project.write("train.py", "mine")
    said = project.mistake("init")
    assert "train.py in" in said and "--force" in said
    assert [path.name for path in project.folder.iterdir()] == ["train.py"]
    said = project.sweep("init", "--force")
    assert "cd " not in said
    assert "import sweep" in (project.folder / "train.py").read_text()
    assert "cannot write to" in project.mistake("init", "train.py/below")


def test_the_optional_keys_of_the_template_are_valid_and_the_script_goes_on(project: Project) -> None:
    project.sweep("init")
    file = project.folder / "sweep.yaml"
    head, mark, rest = file.read_text().partition("# What follows is optional")
    assert mark
    options = "\n".join(line.removeprefix("# ") for line in rest.splitlines()[1:])
    file.write_text(f"{head}\n{options}\n")
    assert "20 trials × 3 replicates" in project.sweep("validate", "sweep.yaml")
    # A crash in the middle: the next attempt begins where the checkpoint is.
    script = project.folder / "train.py"
    whole = script.read_text().replace("while state", "print('begins at', state['epoch'])\nwhile state")
    step = '    state["epoch"] += 1'
    assert step in whole
    script.write_text(whole.replace(step, f"{step}\n    assert state['epoch'] < 25"))
    project.write("one.yaml", "program: train.py\nmethod: grid\nparameters: {lr: {value: 0.1}}\n")
    sweep = project.create("one.yaml")
    project.run("agent", sweep)
    script.write_text(whole)
    project.sweep("retry", sweep)
    project.sweep("agent", sweep)
    assert states(project, sweep) == ["completed"]
    assert "begins at 20" in project.sweep("logs", f"{sweep}-0")


# --- retry -----------------------------------------------------------------------------------------------------


def test_retry_takes_exactly_the_failed_points(made: Project) -> None:
    made.write("go", "")
    for name in ("fail-2", "oom-3", "fail-4"):
        made.write(name, "")
    sweep = made.create()
    made.run("agent", sweep, "--slots", "1")
    assert states(made, sweep) == ["completed", "failed", "failed", "failed"]
    for name in ("fail-2", "oom-3", "fail-4"):
        (made.folder / name).unlink()

    assert f"1 run would be tried again: {sweep}-2" in made.sweep(
        "retry", sweep, "--class", "oom", "--dry-run"
    )
    assert states(made, sweep)[2] == "failed"
    assert f"1 run to be tried again: {sweep}-2" in made.sweep("retry", sweep, "--class", "oom")
    assert made.status(sweep).state == "active"
    made.sweep("agent", sweep)
    assert states(made, sweep) == ["completed", "failed", "completed", "failed"]
    assert "has no failed (oom) run: nothing" in made.run("retry", sweep, "--class", "oom").stderr

    assert "only failed and cancelled runs" in made.mistake("retry", f"{sweep}-0")
    [row] = made.json("retry", f"{sweep}-1", f"{sweep}-3")
    assert (row["runs"], row["state"]) == ([f"{sweep}-1", f"{sweep}-3"], "active")
    made.sweep("agent", sweep)
    runs = made.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 4
    assert [run["attempt"] for run in runs] == [1, 2, 2, 2]
    assert runs[1]["summary"]["resumed"] == 1, "it has its checkpoint"


def test_retry_while_an_agent_works(made: Project) -> None:
    made.write("fail-1", "")
    sweep = made.create()
    agent = made.agent(sweep, "--slots", "2")
    made.wait_for(lambda: states(made, sweep)[:1] == ["failed"])
    (made.folder / "fail-1").unlink()
    both = [start(made, "retry", sweep), start(made, "retry", f"{sweep}-0")]
    codes = [process.wait(60) for process in both]
    said = "".join(stream for process in both for stream in process.communicate())
    assert "Traceback" not in said
    assert set(codes) <= {0, 2} and 0 in codes, said  # whoever came second may find it at work already
    made.write("go", "")
    made.wait_end(agent)
    assert states(made, sweep) == ["completed"] * 4
    assert [run["attempt"] for run in made.runs(sweep)] == [2, 1, 1, 1]


# --- extend and edit -------------------------------------------------------------------------------------------


def test_extend_under_a_living_agent_and_of_an_ended_sweep(made: Project) -> None:
    sweep = made.create()
    agent = made.agent(sweep, "--slots", "2")
    made.wait_running(sweep, 2)
    assert "run_cap is 6 (was 4)" in made.sweep("extend", sweep, "--run-cap", "+2")
    made.write("go", "")
    made.wait_end(agent)
    assert states(made, sweep) == ["completed"] * 6
    assert made.status(sweep).state == "ended"
    assert "6, and 5 is less; `sweep edit" in made.mistake("extend", sweep, "--run-cap", "5")
    assert "is no number of trials" in made.mistake("extend", sweep, "--run-cap", "many")
    assert made.json("extend", sweep, "--run-cap", "8") == {
        "id": sweep, "run_cap": 8, "was": 6, "state": "active"
    }  # fmt: skip
    made.sweep("agent", sweep)
    assert [run["config"]["x"] for run in made.runs(sweep)] == list(range(1, 9))


def test_cancel_while_extends_run(made: Project) -> None:
    """Whatever comes first: every extension counts, the cancellation holds, and a resume goes on with all of it."""
    sweep = made.create()
    agent = made.agent(sweep, "--slots", "2")
    made.wait_running(sweep, 2)
    extends = [start(made, "extend", sweep, "--run-cap", "+1") for _ in range(4)]
    cancel = start(made, "cancel", sweep)
    extends += [start(made, "extend", sweep, "--run-cap", "+1") for _ in range(2)]
    for process in (*extends, cancel):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
    made.write("go", "")
    made.wait_for(lambda: agent.poll() is not None or made.status(sweep).state == "active")
    # An extension that came after the end reopens the sweep, as it does for one that ended otherwise.
    if made.status(sweep).state == "ended":
        made.sweep("resume", sweep)
    assert made.status(sweep).run_cap == 10
    made.sweep("agent", sweep)
    assert made.status(sweep).state == "ended"
    found = made.runs(sweep)
    assert [run["config"]["x"] for run in found] == list(range(1, 11))
    assert {run["state"] for run in found} <= {"completed", "cancelled"}
    assert sum(run["state"] == "completed" for run in found) >= 8, "only what was running was cancelled"


def test_edit_shows_what_changes_and_does_it_when_told(made: Project) -> None:
    made.write("go", "")
    sweep = made.create()
    made.sweep("agent", sweep)
    made.sweep("extend", sweep, "--run-cap", "5")
    new = "[2, 3, 30, 31]}}\nlimits: {run_time: 90m}\n"
    made.write("new.yaml", SPEC.replace("run_cap: 4", "run_cap: 7").split("[1, 2")[0] + new)
    shown = made.sweep("edit", sweep, "new.yaml", "--dry-run")
    for line in (
        f"sweep {sweep}, revision 3:",
        "  run_cap: 5 → 7",
        "  limits.run_time: not given → 1h30m",
        "  4 recorded trials stay; 2 of them lie outside the new space",
    ):
        assert line in shown
    assert made.status(sweep).revision == 2
    done = made.run("edit", sweep, "new.yaml")
    assert done.returncode == 2 and "say --yes" in done.stderr
    assert made.status(sweep).revision == 2
    facts = made.json("edit", sweep, "new.yaml", "--yes")
    assert (facts["revision"], facts["applied"]) == (3, True)
    assert {"key": "run_cap", "old": "5", "new": "7"} in facts["changes"]
    assert "exactly this spec" in made.sweep("edit", sweep, "new.yaml")
    made.sweep("agent", sweep)
    assert [run["config"]["x"] for run in made.runs(sweep)] == [1, 2, 3, 4, 30, 31]
    assert made.status(sweep).reason == "all 6 points of the space are done"


def test_edit_refuses_what_would_spoil_the_record(made: Project) -> None:
    sweep = made.create()
    made.write("new.yaml", SPEC.replace("method: grid", "method: random").replace("loss", "acc"))
    said = made.mistake("edit", sweep, "new.yaml", "--yes")
    assert "method cannot change from grid to random" in said
    assert "metric.name cannot change from loss to acc" in said
    made.write("new.yaml", "method: [")
    assert "new.yaml:2:1: this is not YAML" in made.mistake("edit", sweep, "new.yaml", "--yes")
    assert "there is no such file" in made.mistake("edit", sweep, "nope.yaml")
    assert "an editor needs a terminal" in made.mistake("edit", sweep)
    assert made.status(sweep).revision == 1


def test_edit_opens_the_recorded_spec_in_an_editor(made: Project) -> None:
    sweep = made.create()
    made.sweep("extend", sweep, "--run-cap", "6")
    editor = made.write(
        "editor.sh", '#!/bin/sh\ncat "$1" > seen\nsed -i.bak "s/^run_cap: 6/run_cap: 9/" "$1"\n'
    )
    editor.chmod(0o755)
    env = {"EDITOR": str(editor), "VISUAL": str(editor)}
    looked = {"EDITOR": "true", "VISUAL": "true", "TMPDIR": str(made.folder)}
    code, seen = typed(made, "edit", sweep, answer="", **looked)
    assert (code, "nothing was edited" in seen, "is kept in" in seen) == (0, True, False), seen
    assert list(made.folder.glob("sweep-edit-*")) == []
    code, seen = typed(made, "edit", sweep, answer="n", **env)
    assert (code, "nothing was changed" in seen) == (0, True), seen
    assert "run_cap: 6  # was 4 before `sweep extend`" in (made.folder / "seen").read_text()
    code, seen = typed(made, "edit", sweep, answer="y", **env)
    assert (code, "run_cap: 6 → 9" in seen) == (0, True), seen
    assert made.status(sweep).run_cap == 9


# --- tag and note ----------------------------------------------------------------------------------------------


def test_tags_and_notes_are_shown_where_they_are(made: Project) -> None:
    made.write("go", "")
    sweep, other = made.create(), made.create()
    made.sweep("agent", sweep)
    plain = made.sweep("ls") + made.sweep("runs", sweep)
    assert "TAGS" not in plain and "NOTE" not in plain
    assert made.sweep("tag", sweep, "paper", "v2") == "paper\nv2\n"
    assert made.sweep("tag", f"{sweep}-2", "good") == "good\n"
    assert made.json("tag", sweep, "--remove", "v2") == {"id": sweep, "tags": ["paper"], "note": ""}
    made.sweep("note", f"{sweep}-1", "diverges\nlate")
    piped = subprocess.run(
        [*PYTHON, "note", sweep, "-"],
        cwd=made.folder,
        env=made.env,
        input=b"from \xff elsewhere\n",
        check=False,
    )
    assert piped.returncode == 0
    assert made.sweep("note", sweep) == "from \ufffd elsewhere\n"
    assert [row["id"] for row in made.json("ls", "--tag", "paper")] == [sweep]
    assert other not in made.sweep("ls", "--tag", "paper")
    assert "no sweep is tagged nope" in made.run("ls", "--tag", "nope").stderr
    [found] = made.json("runs", sweep, "--filter", "'good' in tags")
    assert found["id"] == f"{sweep}-2"
    table = made.sweep("runs", sweep).splitlines()
    assert table[0].split()[-2:] == ["TAGS", "NOTE"]
    assert table[2].endswith("diverges late")
    assert "  tags      paper" in made.sweep("status", sweep)
    assert "  note      diverges" in made.sweep("show", f"{sweep}-1")
    assert "is no tag" in made.mistake("tag", sweep, "a,b")
    made.sweep("note", f"{sweep}-1", "")
    assert "has no note" in made.run("note", f"{sweep}-1").stderr


# --- rm and gc -------------------------------------------------------------------------------------------------


def test_rm_removes_a_sweep_and_refuses_one_that_is_worked_on(made: Project) -> None:
    first, second = made.create(), made.create()
    agent = made.agent(first, "--slots", "1")
    made.wait_running(first)
    said = made.mistake("rm", first, "--yes")
    assert f"work on sweep {first}" in said or f"works on sweep {first}; end it first" in said
    made.write("go", "")
    made.wait_end(agent)
    assert (made.folder / ".sweep" / "runs" / first).is_dir()
    done = made.run("rm", first, second)
    assert done.returncode == 2 and "say --yes" in done.stderr and first in done.stdout
    assert len(made.json("ls")) == 2
    code, seen = typed(made, "rm", second, answer="n")
    assert (code, "remove this sweep for good?" in seen) == (0, True)
    [row] = made.json("rm", first, "--yes")
    assert (row["id"], row["removed"], row["folder_bytes"] > 5000) == (first, True, True)
    assert not (made.folder / ".sweep" / "runs" / first).exists()
    assert [row["id"] for row in made.json("ls")] == [second]
    assert f"there is no sweep {first!r}" in made.mistake("status", first)
    # The other one still has everything: it can be worked off, and its code is still recorded.
    made.sweep("agent", second)
    assert states(made, second) == ["completed"] * 4


def test_a_sweep_whose_agent_was_killed_can_be_removed_when_its_lease_is_over(made: Project) -> None:
    sweep = made.create()
    agent = made.agent(sweep, "--slots", "1", **DOOMED)
    made.wait_running(sweep)
    agent.kill()
    agent.wait()
    made.wait_for(lambda: made.run("rm", sweep, "--yes").returncode == 0)
    assert made.json("ls") == []
    made.wait_for(lambda: made.processes(f"SWEEP_ID={sweep}") == [])


def test_gc_shows_first_and_frees_what_was_chosen(made: Project) -> None:
    made.write("go", "")
    sweep = made.create()
    made.sweep("agent", sweep)
    lost = made.folder / ".sweep" / "runs" / "removed" / "0"
    lost.mkdir(parents=True)
    (lost / "big").write_bytes(b"x" * 100_000)
    checkpoints = made.folder / ".sweep" / "runs" / sweep
    shown = made.sweep("gc", "--dry-run")
    assert re.search(r"run folders of removed sweeps +1 +1\d\d kB +goes", shown), shown
    assert re.search(r"checkpoints of ended runs +4 +\d.* stays \(--checkpoints", shown), shown
    assert lost.exists()
    done = made.run("gc", "--keep", "best", "1")
    assert done.returncode == 2 and "say --yes" in done.stderr
    assert lost.exists()
    made.sweep("gc", "--keep", "best", "1", "--yes")
    assert not lost.exists()
    assert [path.parent.parent.name for path in checkpoints.glob("*/checkpoint/model")] == ["0"]
    assert len(list(checkpoints.glob("*/output-1.log"))) == 4
    # the files, and what of them was kept in the store
    facts = {row["kind"]: row for row in made.json("gc", sweep, "--logs", "--checkpoints", "--yes")}
    assert (facts["logs"]["count"], facts["logs"]["freed"], facts["blobs"]["chosen"]) == (8, True, False)
    assert list(checkpoints.glob("*/output-1.log")) == list(checkpoints.glob("*/checkpoint/model")) == []
    assert "nothing to free" in made.run("gc", sweep, "--logs", "--yes").stderr
    assert "is no age" in made.mistake("gc", "--local", "old")


def test_gc_while_an_agent_works(made: Project) -> None:
    """Runs that have not ended keep their checkpoints and output, whatever comes in between."""
    made.write("fail-1", "")
    sweep = made.create()
    agent = made.agent(sweep, "--slots", "2")
    made.wait_for(lambda: states(made, sweep)[:1] == ["failed"])
    made.wait_running(sweep, 2)
    (made.folder / "fail-1").unlink()
    for _ in range(2):
        collector = start(made, "gc", "--checkpoints", "--logs", "--yes")
        made.run("retry", sweep)
        out, err = collector.communicate(timeout=60)
        assert collector.returncode == 0, out + err
    for run in made.runs(sweep):
        if run["state"] == "running" and run["steps"]:
            folder = Path(run["folder"])
            assert (folder / "checkpoint" / "model").exists() or run["attempt"] > 1
            assert (folder / f"output-{run['attempt']}.log").exists()
    made.write("go", "")
    made.wait_end(agent)
    assert states(made, sweep) == ["completed"] * 4
    assert made.json("show", f"{sweep}-1")["node"]["packages"], "what the agent recorded is there"


# --- agents in the background ----------------------------------------------------------------------------------


def test_an_agent_in_the_background(made: Project) -> None:
    sweep = made.create()
    done = made.run("agent", sweep, "--detach", "--slots", "2")
    assert done.returncode == 0, done.stderr
    agent = done.stdout.strip()
    assert f"sweep agents --end {agent}" in done.stderr
    [row] = made.json("agents")
    assert (row["id"], row["sweep"], row["slots"], row["state"]) == (agent, sweep, 2, "working")
    assert os.getsid(row["pid"]) == row["pid"] != os.getsid(0), "no terminal takes it along"
    made.wait_running(sweep, 2)
    assert re.search(rf"{agent} +{sweep} .* working .* 2 +0\n", made.sweep("agents", sweep))
    log = made.folder / ".sweep" / "agents" / f"{agent}.log"
    assert f"{sweep}-0 started" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600

    assert "lets its 2 runs finish" in made.run("agents", "--end", agent[:-2]).stderr
    made.wait_for(lambda: "letting runs finish" in log.read_text())
    again = made.run("agents", "--end", "all").stderr
    assert "as it was told before (--now ends them)" in again
    assert [row["state"] for row in made.json("agents")] == ["leaving"]
    assert states(made, sweep)[:2] == ["running", "running"], "asking twice is no Ctrl-C twice"
    made.write("go", "")
    made.wait_for(lambda: made.json("agents") == [])
    assert states(made, sweep)[:2] == ["completed", "completed"]
    assert "no agent is at work" in made.run("agents").stderr
    [row] = made.json("agents", "--all")
    assert (row["state"], row["done"], row["running"]) == ("left", 2, 0)
    assert f"there is no agent {agent!r} at work" in made.mistake("agents", "--end", agent)


def test_end_now_gives_the_runs_back(made: Project) -> None:
    sweep = made.create()
    names = [made.sweep("agent", sweep, "-d", "--slots", "1").strip() for _ in range(2)]
    made.wait_running(sweep, 2)
    assert {row["id"] for row in made.json("agents", "--end", "all", "--now")} == set(names)
    made.wait_for(lambda: made.json("agents") == [])
    assert made.processes(f"SWEEP_ID={sweep}") == []
    assert [state for state in states(made, sweep) if state != "queued"] == []
    assert "--now goes with --end" in made.mistake("agents", "--now")


def test_what_keeps_an_agent_from_starting_is_said_before_the_prompt_comes_back(made: Project) -> None:
    sweep = made.create()
    assert "there is no sweep 'nope'" in made.mistake("agent", "nope", "--detach")
    assert "there is no GPU 77" in made.mistake("agent", sweep, "--detach", "--gpus", "77")
    assert "SWEEP_LEASE_S must be" in made.mistake("agent", sweep, "--detach", SWEEP_LEASE_S="soon")
    made.sweep("cancel", sweep)
    done = made.run("agent", sweep, "--detach")
    assert (done.returncode, done.stdout) == (0, "")
    assert "has ended: cancelled" in done.stderr
    assert list((made.folder / ".sweep" / "agents").iterdir()) == []


def test_an_agent_elsewhere_is_left_alone(made: Project) -> None:
    """Under another host's name, and one whose process is not what it says."""
    sweep = made.create()
    with closing(open_store(None, made.folder)) as store:
        for agent, host in (("far-1", "far-away"), ("near-1", socket.gethostname())):
            assert store.acquire(agent_lease(agent), agent, 600.0) is not None
            joined = e.AgentJoined(agent, host, os.getppid(), 1)
            store.append(sweep, [joined], writer=agent, first_seq=1)
    assert "works on far-away: type `sweep agents --end far-1` there" in made.mistake(
        "agents", "--end", "far-1"
    )
    if sys.platform.startswith("linux"):
        assert "end it where it runs" in made.mistake("agents", "--end", "near-1")
