"""People: two of them on one store, orders that contradict each other, and Ctrl-C at any moment."""

from __future__ import annotations

import functools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from sweep.core.index import rebuild
from sweep.core.state import State
from sweep.stopping import make_stopper
from sweep.stores import open_store
from tests.integration.conftest import PYTHON, Project, check_words

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
SPEC = """\
command: [sh, -c, 'sleep 0.05']
method: grid
parameters: {x: {min: 1, max: 4}}
"""


def is_sound(project: Project, sweep: str) -> None:
    """The index says what the journal says, and SQLite finds nothing wrong with the file."""
    with closing(open_store(None, project.folder)) as store:
        recorded = store.read(sweep, 0)
        index = store.read_index(sweep)
        assert [r.position for r in recorded] == list(range(1, len(recorded) + 1))
        if index.upto == recorded[-1].position:
            assert index.rows == rebuild(State(make_stopper), recorded)
        check = store._db.execute("PRAGMA integrity_check").fetchall()  # type: ignore[attr-defined]
        assert check == [("ok",)]


# --- two people ------------------------------------------------------------------------------------------------

ADA, GRACE, GROUP = 30_001, 30_002, 30_100


class Person:
    """Somebody with a user ID and a Python of the machine's that may be used by all."""

    def __init__(self, uid: int, folder: Path, python: str) -> None:
        self.uid, self.folder, self.python = uid, folder, python

    def sweep(self, *args: str, umask: int = 0o007) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(entry for entry in sys.path if entry)
        done = subprocess.run(
            [self.python, "-P", "-m", "sweep", *args],
            cwd=self.folder,
            env={
                "PATH": "/usr/bin:/bin",
                "PYTHONPATH": path,
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            user=self.uid,
            group=GROUP,
            extra_groups=[],
            umask=umask,
        )
        check_words(done.stderr)
        return done


@functools.cache
def common_python() -> str | None:
    """A Python that others than root can start, and that can import what we import."""
    path = os.pathsep.join(entry for entry in sys.path if entry)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        with suppress(OSError):
            done = subprocess.run(
                [
                    python,
                    "-P",
                    "-c",
                    "import subprocess, sys, click, msgspec, sweep.cli; subprocess.run([sys.executable, '-c', ''], check=True)",
                ],
                env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
                cwd="/",
                user=ADA,
                group=GROUP,
                extra_groups=[],
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return python
    return None


@pytest.fixture
def people() -> Iterator[tuple[Person, Person]]:
    """Two people of one group, and a folder that both may write to."""
    if os.geteuid() != 0:
        pytest.skip("only root can be two people")
    python = common_python()
    if python is None:
        pytest.skip("there is no Python here that other users can start")
    folder = Path(tempfile.mkdtemp(prefix="sweep-test-people-", dir="/tmp"))
    os.chown(folder, ADA, GROUP)
    folder.chmod(0o2770)
    (folder / "sweep.yaml").write_text(SPEC)
    (folder / "sweep.yaml").chmod(0o644)
    try:
        yield Person(ADA, folder, python), Person(GRACE, folder, python)
    finally:
        shutil.rmtree(folder)
        for uid in (ADA, GRACE):
            shutil.rmtree(f"/tmp/sweep-{uid}", ignore_errors=True)


def test_a_store_is_its_owners_until_it_is_shared(people: tuple[Person, Person]) -> None:
    """As made, only its owner may read it. Opened to a group, as the guide says, everybody in it can do everything."""
    ada, grace = people
    created = ada.sweep("create", "sweep.yaml")
    assert created.returncode == 0, created.stderr
    sweep = created.stdout.strip()
    for args in (["ls"], ["runs", sweep], ["cancel", sweep], ["agent", sweep], ["create", "sweep.yaml"]):
        done = grace.sweep(*args, "--store", f"sqlite:///{ada.folder}/.sweep/store.db")
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert "ermission denied" in done.stderr and "belongs to another user" in done.stderr
        assert done.stderr.count("\n") == 1
    folder = ada.folder / ".sweep"
    subprocess.run(["chmod", "-R", "g+rwX", str(folder)], check=True)
    subprocess.run(["chmod", "g+s", str(folder)], check=True)
    assert ada.sweep("agent", sweep, "--count", "1", "--slots", "1").returncode == 0
    done = grace.sweep("agent", sweep, "--count", "1", "--slots", "1")
    assert done.returncode == 0, done.stderr
    done = grace.sweep("runs", sweep)
    assert done.stdout.count("completed") == 2, done.stderr
    assert grace.sweep("cancel", sweep).returncode == 0
    ended = ada.sweep("status", sweep)
    assert "cancelled" in ended.stdout, ended


def test_a_run_folder_of_somebody_else(people: tuple[Person, Person]) -> None:
    """Folders of runs stay their owner's: another person's agent can begin runs, but not go on with those."""
    ada, grace = people
    (ada.folder / "sweep.yaml").write_text(
        SPEC.replace("sleep 0.05", "exit 1").replace("{min: 1, max: 4}", "{value: 1}") + "retry: {max: 1}\n"
    )
    sweep = ada.sweep("create", "sweep.yaml").stdout.strip()
    subprocess.run(["chmod", "-R", "g+rwX,g+s", str(ada.folder / ".sweep")], check=True)
    assert ada.sweep("agent", sweep, "--count", "1").returncode == 0
    done = grace.sweep("agent", sweep)
    assert f"cannot write the run's folder {ada.folder}/.sweep/runs/{sweep}/0: " in done.stderr
    assert "belongs to another user" in done.stderr


# --- contradicting orders --------------------------------------------------------------------------------------


def test_orders_that_contradict_each_other(project: Project) -> None:
    """Cancel, extend, resume, pause and stop from several terminals at once while an agent works: each is carried out or
    refused with a reason, the record is sound, and after the last one nothing runs."""
    project.write(
        "sweep.yaml", SPEC.replace("grid", "random").replace("max: 4", "max: 1000000") + "run_cap: 5\n"
    )
    sweep = project.create()
    agents = [project.agent(sweep, "--slots", "2")]
    rng = random.Random(7)
    for round_ in range(6):
        orders = [["cancel", sweep], ["extend", sweep, "--run-cap", str(20 + round_)], ["resume", sweep]]
        orders += [["pause", sweep], ["stop", sweep]]
        rng.shuffle(orders)
        running = [
            subprocess.Popen(
                [*PYTHON, *args],
                cwd=project.folder,
                env=project.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for args in orders
        ]
        for args, process in zip(orders, running, strict=True):
            _, err = process.communicate(timeout=60)
            check_words(err)
            assert process.returncode in (0, 2), (args, err)
            assert process.returncode == 0 or err.startswith("sweep: "), err
        if agents[-1].poll() is not None:
            agents.append(project.agent(sweep, "--slots", "2"))
    project.sweep("cancel", sweep)
    for agent in agents:
        agent.wait(60)
    check_words(project.agent_output())
    status = project.json("status", sweep)
    assert status["state"] == "ended", status
    assert status["reason"], "whichever order came to ended it"
    assert all(run["state"] not in ("running", "assigned", "queued") for run in project.runs(sweep))
    is_sound(project, sweep)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("begun"))
    project.write(
        "train.py",
        "import sweep\nrun = sweep.init()\nfor i in range(3): run.log({'loss': run.config.x * i})\n",
    )
    project.write(
        "sweep.yaml",
        "program: train.py\nmethod: random\nrun_cap: 4\nmetric: {name: loss, goal: minimize}\n"
        "parameters: {x: {min: 0.0, max: 1.0}, y: {min: 0.0, max: 1.0}}\n",
    )
    project.sweep("agent", project.create())
    return project


def catches_interrupts(pid: int) -> bool:
    """Whether the process has a handler of its own for SIGINT at present."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & 1 << (signal.SIGINT - 1))
    return False


def start(project: Project, args: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PYTHON, *args],
        cwd=project.folder,
        env=project.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_our_code(process: subprocess.Popen[str]) -> None:
    """Until Python has begun, and our first line has run: what Python itself does with Ctrl-C before is not ours."""
    seen = False
    while process.poll() is None:
        try:
            caught = catches_interrupts(process.pid)
        except OSError:
            return
        if seen and not caught:
            return
        seen = seen or caught


COMMANDS = [
    ["ls"],
    ["status", "latest"],
    ["runs", "latest"],
    ["show", "latest-0"],
    ["validate", "sweep.yaml"],
    ["create", "sweep.yaml"],
    ["export", "latest", "--out", "out.jsonl"],
    ["plot", "latest", "--out", "plots"],
    ["pause", "latest"],
    ["--version"],
]


@linux
@pytest.mark.parametrize("args", COMMANDS, ids=lambda args: args[0])
def test_ctrl_c_at_any_moment_of_a_command(begun: Project, args: list[str]) -> None:
    """Exit code 130 (to a shell: it may also have ended by the signal), at most one line, and a sound store."""
    process = start(begun, args)
    wait_for_our_code(process)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 0, process.args
    length_s = time.monotonic() - began
    codes: list[int] = []
    while len(codes) < 12 or (len(codes) < 60 and not any(codes)):  # on a busy machine all may come too late
        step = len(codes)
        process = start(begun, args)
        wait_for_our_code(process)
        time.sleep(length_s * (step % 12) / 11)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode in (0, 130, -signal.SIGINT), (step, process.returncode, err)
        assert "Traceback" not in err and "Error" not in err, (step, err)
        if process.returncode == 130:
            assert "interrupted" in err
    assert any(codes), "every one came too late"
    for sweep in {row["id"] for row in begun.json("ls")}:
        is_sound(begun, sweep)


# A library that Ctrl-C comes upon while it is imported. Of real ones, taken apart after that, one has ended the process with a fatal error.
INTERRUPTED = """
import builtins, os, signal, time
class Part:
    def __del__(self, write=os.write):
        write(2, b"taken apart\\n")
builtins.part = Part()
os.kill(os.getpid(), signal.SIGINT)
time.sleep(60)
"""


@linux
def test_what_ctrl_c_left_half_imported_is_not_taken_apart(begun: Project) -> None:
    begun.write("libraries/matplotlib/__init__.py", INTERRUPTED)
    done = begun.run("plot", "latest", "--out", "plots", PYTHONPATH=str(begun.folder / "libraries"))
    assert (done.returncode, done.stderr.split()) == (130, ["interrupted"])


@linux
@pytest.mark.parametrize("method", ["random", "bayes"])
def test_ctrl_c_at_any_moment_of_an_agent(project: Project, method: str) -> None:
    """Three times, as an impatient person does. Whatever the moment, the next agent finishes the sweep."""
    project.write(
        "train.py",
        "import time, sweep\nrun = sweep.init()\nrun.log({'loss': run.config.x})\ntime.sleep(0.2)\n",
    )
    project.write(
        "sweep.yaml",
        f"program: train.py\nmethod: {method}\nrun_cap: 12\nmetric: {{name: loss, goal: minimize}}\n"
        "parameters: {x: {min: 0.0, max: 1.0}}\n",
    )
    sweep = project.create()
    rng = random.Random(3)
    for step in range(8):
        process = start(project, ["agent", sweep, "--slots", "2"])
        wait_for_our_code(process)
        time.sleep(0.1 * step)
        for _ in range(3):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(rng.random() * 0.1)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (0, 130, -signal.SIGINT), (step, process.returncode, err)
        check_words(err)
        is_sound(project, sweep)
    project.sweep("agent", sweep)
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 12
    assert project.processes(f"SWEEP_ID={sweep}") == []


def ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@linux
def test_an_ignored_interrupt_stays_ignored(project: Project) -> None:
    """A job that a shell started in the background has SIGINT ignored: Ctrl-C is not meant for it."""
    project.write("sweep.yaml", SPEC)
    process = subprocess.Popen(
        [*PYTHON, "validate", "sweep.yaml"],
        cwd=project.folder,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=ignore_interrupts,  # noqa: PLW1509
    )
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)
    assert process.communicate()[1] == b""
    assert process.returncode == 0
