"""Failures by class, what a retry is told, budgets and patience, and specs revised under a working agent."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sweep.api import find_sweep, load_views
from sweep.controller import settle
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.spec import SweepSpec
from sweep.stores import open_store
from tests.integration.conftest import Project
from tests.integration.test_gpu_pinning import NVML

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
HEAD = "program: train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\n"
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


# --- classes of failure

# The value 0 comes first and succeeds: an agent whose first three runs all fail gives up.
KINDS = """
import os, signal, sys
import sweep
run = sweep.init()
run.log({"loss": 1.0})
x = run.config["x"]
if x == 1:
    class OutOfMemoryError(RuntimeError):
        __module__ = "torch.cuda"
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
if x == 2:
    import resource
    soft = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (soft, soft))
    block = bytearray(4 << 30)
if x == 3:
    raise OSError(28, "No space left on device")
if x == 4:
    sys.exit(7)
if x == 5:
    os.kill(os.getpid(), signal.SIGKILL)
"""


@linux
def test_failures_are_told_apart_and_shown_in_words(project: Project) -> None:
    runs = project.work_off(
        HEAD + "parameters: {x: {min: 0, max: 5}}\nretry: {on: [exit]}\n", KINDS, "--slots", "1"
    )
    assert [run["state"] for run in runs] == ["completed"] + ["failed"] * 5
    assert [run["error_class"] for run in runs] == ["", "gpu_memory", "memory", "node", "exit", "signal"]
    assert runs[1]["reason"] == (
        "out of GPU memory (torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB)"
    )
    assert runs[2]["reason"] == "out of memory (MemoryError)"
    assert runs[3]["reason"] == "the node failed (OSError: [Errno 28] No space left on device)"
    assert runs[4]["reason"] == "exit code 7"
    assert runs[5]["reason"] == "killed by SIGKILL"
    shown = project.sweep("show", f"{runs[1]['sweep']}-1")
    assert "out of GPU memory (torch.cuda.OutOfMemoryError" in shown
    assert "exit      1, gpu_memory" in shown
    listed = project.sweep("runs", "latest").splitlines()
    assert ["failed (memory)" in line for line in listed] == [False, False, False, True, False, False, False]
    counts = "5 failed (1 gpu_memory, 1 memory, 1 node, 1 exit, 1 signal)"
    assert counts in project.sweep("status", "latest")


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A cgroup with little memory, for the test's own processes. Needs the right to make one."""
    for parent in CGROUPS:
        group = parent / f"sweep-test-{os.getpid()}"
        try:
            group.mkdir()
            try:
                limit = next(
                    path
                    for name in ("memory.limit_in_bytes", "memory.max")
                    if (path := group / name).exists()
                )
                limit.write_text(str(96 << 20))
                with suppress(OSError):
                    (group / "memory.swap.max").write_text("0")
                yield group
            finally:
                group.rmdir()
        except (OSError, StopIteration):
            continue
        return
    pytest.skip("no cgroup can be made here")


# Moves itself into the cgroup and takes what there is.
GREEDY = """
import os, sys
import sweep
run = sweep.init()
if run.config["x"]:
    with open(os.environ["GROUP"] + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
    taken = []
    while True:
        taken.append(bytearray(os.urandom(1 << 20)))
run.log({"loss": 1.0})
"""


@linux
def test_what_the_kernel_kills_for_want_of_memory_is_out_of_memory(project: Project, cgroup: Path) -> None:
    spec = HEAD + "parameters: {x: {values: [0, 1]}}\nenv: {GROUP: '${envvar:GROUP}'}\n"
    _, run = project.work_off(spec, GREEDY, "--slots", "1", GROUP=str(cgroup))
    assert (run["exit_code"], run["error_class"]) == (-9, "memory")
    assert run["reason"].startswith("out of memory: the kernel ended it (oom_kill in /")


# --- what the next attempt is told

# Fails twice on the GPU, and goes through with what the class gives it.
TOLD = """
import os, sys
import sweep
run = sweep.init()
print("told", os.environ.get("SWEEP_LAST_ERROR"), os.environ.get("FACTOR"), os.environ.get("TOKEN_OF_CLASS"))
if os.environ.get("FACTOR") != "0.50":
    print("RuntimeError: CUDA out of memory. Tried to allocate 1 GiB", file=sys.stderr)
    sys.exit(1)
run.log({"loss": 1.0})
"""


def test_a_retry_waits_and_gets_what_its_class_has(project: Project) -> None:
    spec = HEAD + (
        "parameters: {x: {value: 1}}\n"
        "env: {FACTOR: 1}\n"
        "retry:\n  max: 0\n  on: [oom]\n"
        "  oom: {max: 1, wait: 700ms, env: {FACTOR: 0.50, TOKEN_OF_CLASS: '${envvar:SECRET}'}}\n"
    )
    [run] = project.work_off(spec, TOLD, SECRET="hush-hush-1234")
    first, second = run["attempts"]
    assert (first["outcome"], first["error_class"]) == ("failed", "gpu_memory")
    assert (second["outcome"], run["state"]) == ("completed", "completed")
    outputs = [Path(attempt["folder"]) / f"output-{n}.log" for n, attempt in enumerate(run["attempts"], 1)]
    assert [path.read_text().splitlines()[0] for path in outputs] == [
        "told None 1 None",
        "told gpu_memory 0.50 hush-hush-1234",
    ]
    views = views_of(project)
    one, two = views.runs[0].attempts
    assert one.ended_s is not None and two.assigned_s is not None
    assert two.assigned_s - one.ended_s >= 0.7
    assert two.env["SWEEP_LAST_ERROR"] == "gpu_memory"
    assert two.env["TOKEN_OF_CLASS"] == "${envvar:SECRET}", "secrets never reach the record"
    assert "hush-hush" not in project.sweep("export", "latest")


def test_a_class_that_is_used_up_fails_and_one_that_is_not_named_is_not_tried(project: Project) -> None:
    train = """
import sys, sweep
run = sweep.init()
run.log({"loss": 1.0})
if run.config["x"] == 1:
    raise MemoryError
if run.config["x"] == 2:
    sys.exit(3)
"""
    spec = HEAD + "parameters: {x: {min: 0, max: 2}}\nretry: {max: 5, on: [oom, node], oom: {max: 1}}\n"
    runs = project.work_off(spec, train)
    assert [run["state"] for run in runs] == ["completed", "failed", "failed"]
    assert [len(run["attempts"]) for run in runs] == [1, 2, 1]


# --- what ends a sweep


def test_patience_ends_a_sweep(project: Project) -> None:
    train = (
        "import sweep\nrun = sweep.init()\nrun.log({'loss': 5 if run.config['x'] > 2 else run.config['x']})\n"
    )
    spec = HEAD.replace("minimize", "maximize") + "parameters: {x: {min: 0, max: 90}}\npatience: 4\n"
    runs = project.work_off(spec, train, "--slots", "1")
    assert project.status().reason == "patience: 4 trials in a row were no better than loss 5"
    assert [run["state"] for run in runs if run["state"] != "cancelled"] == ["completed"] * 8


def test_gpu_hours_end_a_sweep_with_what_runs(project: Project) -> None:
    project.write("fake/pynvml.py", NVML)
    train = "import time, sweep\nrun = sweep.init()\nrun.log({'loss': 1})\ntime.sleep(600)\n"
    spec = HEAD + (
        "parameters: {x: {min: 1, max: 9}}\nresources: {gpus: 0.5}\n"
        "limits: {gpu_hours: 0.0005, kill_after: 0.5s}\n"  # 1.8 GPU-seconds: 3.6 s of half a GPU
    )
    runs = project.work_off(spec, train, "--slots", "2", PYTHONPATH=str(project.folder / "fake"))
    status = project.status()
    assert status.state == "ended"
    assert status.reason == "limits.gpu_hours: 0.0005 GPU-hours are spent"
    started = [run for run in runs if run["attempts"]]
    assert len(started) == 2
    assert {run["state"] for run in runs} == {"cancelled"}
    shares = [attempt.gpu_share for run in views_of(project).runs for attempt in run.attempts]
    assert shares == [0.5, 0.5]
    assert 1.8 <= status.gpu_s < 20
    assert "of 0.0005 GPU-hours" in project.sweep("status", "latest")
    assert "GPU-hours on 0.5 GPUs" in project.sweep("show", started[0]["id"])


# --- what a person wants tried again after that

# The value 2 fails until a file is there; 3 reaches the target.
TARGET = """
import os, sys, sweep
run = sweep.init()
x = run.config["x"]
if x == 2 and not os.path.exists("mended"):
    sys.exit(4)
run.log({"loss": 10 - x})
"""


def test_a_failed_run_is_tried_again_after_the_target_was_reached(project: Project) -> None:
    spec = HEAD.replace("minimize}", "minimize, target: 7}") + "parameters: {x: {min: 1, max: 9}}\n"
    before = project.work_off(spec, TARGET, "--slots", "1")
    reason = project.status().reason
    assert reason == "run 2 reached the target: loss 7"
    assert [run["state"] for run in before[:3]] == ["completed", "failed", "completed"]
    project.write("mended", "")
    assert "1 run to be tried again" in project.sweep("retry", "latest")
    project.sweep("agent", "latest", "--slots", "2")
    after = project.runs()
    assert [(run["state"], run["attempt"]) for run in after[:3]] == [
        ("completed", 1),
        ("completed", 2),
        ("completed", 1),
    ]
    assert len(after) == len(before), "no new trial"
    assert all(run["state"] == "cancelled" and not run["attempts"] for run in after[3:])
    assert (project.status().state, project.status().reason) == ("ended", reason)


def test_retry_says_up_front_that_a_limit_is_over(project: Project) -> None:
    project.write("train.py", "raise SystemExit(4)\n")
    project.write("sweep.yaml", HEAD + "parameters: {x: {values: [1, 2]}}\n")
    project.sweep("agent", project.create(), "--slots", "1", "--count", "1", code=3)
    revise(project, limits=msgspec.structs.replace(views_of(project).spec.limits, wall_time_s=0.001))
    runs = project.runs()
    assert [run["state"] for run in runs] == ["failed", "cancelled"]
    for more in ((), ("--dry-run",)):
        said = project.mistake("retry", "latest", *more)
        assert "limits.wall_time (0.001 s) is over; raise it in the spec with `sweep edit" in said
    assert (project.status().state, project.runs()) == ("ended", runs)
    revise(project, limits=msgspec.structs.replace(views_of(project).spec.limits, wall_time_s=600.0))
    assert "1 run to be tried again" in project.sweep("retry", "latest")
    assert project.status().state == "active"


# --- revised specs under a working agent


def views_of(project: Project) -> Any:
    with closing(open_store(None, project.folder, create=False)) as store:
        return load_views(store, find_sweep(store, "latest"))


def revise(project: Project, **changes: Any) -> None:
    """Another revision of the latest sweep's spec."""
    with closing(open_store(None, project.folder, create=False)) as store:
        sweep = find_sweep(store, "latest")
        views = load_views(store, sweep)
        spec: SweepSpec = msgspec.structs.replace(views.spec, **changes)
        revision = views.sweep.revision + 1
        entry = e.SpecRevised(revision, spec_to_builtins(spec), by="test")
        store.append(sweep, [entry], writer=f"test/{revision}", first_seq=1)
        settle(store, sweep)


# Until told by its environment that it may, it waits for ever.
PATIENT = """
import os, time, sweep
run = sweep.init()
run.log({"loss": 1.0})
while "MAY_END" not in os.environ:
    time.sleep(0.1)
"""


def test_an_agent_at_work_takes_over_limits_retries_and_environment(project: Project) -> None:
    project.write("sweep.yaml", HEAD + "parameters: {x: {value: 1}}\nlimits: {kill_after: 300s}\n")
    project.write("train.py", PATIENT)
    sweep = project.create()
    agent = project.agent(sweep)
    project.wait_running(sweep)
    spec = views_of(project).spec
    limits = msgspec.structs.replace(spec.limits, run_time_s=5.0, kill_after_s=1.0)
    retry = msgspec.structs.replace(spec.retry, max=1, on=("time",))
    revise(project, limits=limits, retry=retry, env={"MAY_END": "1"})
    said = project.wait_end(agent)
    assert "the sweep's spec was revised" in said
    [run] = project.runs(sweep)
    assert [attempt["error_class"] for attempt in run["attempts"]] == ["run_time", ""]
    assert run["state"] == "completed"
    assert run["attempts"][0]["reason"] == "limits.run_time: it ran for 5 s"


def test_another_program_and_space_hold_for_what_starts_next(project: Project) -> None:
    project.write("sweep.yaml", HEAD + "parameters: {x: {values: [1, 2]}}\n")
    project.write("train.py", PATIENT.replace('"MAY_END" not in os.environ', 'not os.path.exists("go")'))
    project.write("other.py", "import sweep\nrun = sweep.init()\nrun.log({'loss': run.config['x']})\n")
    sweep = project.create()
    agent = project.agent(sweep, "--slots", "1")
    project.wait_running(sweep)
    spec = views_of(project).spec
    x = spec.space.parameters[0]
    wider = msgspec.structs.replace(x, distribution=msgspec.structs.replace(x.distribution, values=(2, 3)))
    revise(project, program="other.py", space=msgspec.structs.replace(spec.space, parameters=(wider,)))
    project.wait_for(lambda: views_of(project).sweep.revision == 2)
    project.write("go", "")
    project.wait_end(agent)
    runs = project.runs(sweep)
    assert [run["config"]["x"] for run in runs] == [1, 2, 3]
    assert [run["objective"] for run in runs] == [1.0, 2.0, 3.0]
    assert project.status(sweep).reason == "all 3 points of the space are done"


def test_an_ended_sweep_goes_on_only_with_more_to_do(project: Project) -> None:
    train = "import sweep\nrun = sweep.init()\nrun.log({'loss': run.config['x']})\n"
    spec = HEAD + "parameters: {x: {min: 1, max: 9}}\nrun_cap: 1\n"
    assert len(project.work_off(spec, train)) == 1
    revise(project, description="only words")
    assert "has ended" in project.run("agent", "latest").stderr
    assert len(project.runs()) == 1
    revise(project, run_cap=3)
    project.sweep("agent", "latest")
    assert [run["state"] for run in project.runs()] == ["completed"] * 3
