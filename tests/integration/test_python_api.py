"""`sweep.create` and `sweep.agent` with real processes: functions as runs, and a calling process that is left as it was."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import sweep
from sweep.agents import trees
from tests.integration.conftest import DOOMED, Project, check_words

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="runs that call a function need what only Linux has"
)
GRID = {
    "method": "grid",
    "metric": {"name": "loss"},
    "seed": 3,
    "parameters": {"x": {"values": [1, 2, 3]}},
}
HEAD = """
    import os, signal, sys, threading, time
    import sweep
    SPEC = {"method": "grid", "metric": {"name": "loss"}, "seed": 3, "parameters": {"x": {"values": [1, 2, 3]}}}
"""


class Script:
    """A Python program in a project folder."""

    def __init__(self, project: Project, text: str) -> None:
        self.project = project
        project.write("program.py", textwrap.dedent(HEAD) + textwrap.dedent(text))
        self.argv = [sys.executable, "program.py"]

    def run(self, code: int = 0, **env: str) -> str:
        """Its standard output; it must end with `code`."""
        done = subprocess.run(
            self.argv,
            cwd=self.project.folder,
            env={**self.project.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        self.said = done.stderr
        return done.stdout

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        """In the background; the fixture ends it."""
        with (self.project.folder / "agent-0.log").open("wb") as log:
            process = subprocess.Popen(
                self.argv,
                cwd=self.project.folder,
                env={**self.project.env, **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.project.agents.append(process)
        return process


def outputs(project: Project) -> list[str]:
    return [path.read_text() for path in sorted(project.folder.glob(".sweep/runs/*/*/output-*.log"))]


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    return trees.read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] not in (b"", b"Z")


# --- runs that call a function ------------------------------------------------------------------------------------


def test_closures_of_the_main_module_run_in_processes_of_their_own(project: Project) -> None:
    printed = Script(
        project,
        """
        seen = []
        def make(scale):
            def train():
                run = sweep.init(config={"epochs": 2})
                seen.append(run.config.x)
                os.environ["LEFT"] = "behind"
                print("training", sweep.config.x, len(seen), os.environ["SWEEP_RUN_ID"] == run.id)
                for epoch in range(run.config.epochs):
                    run.log({"loss": scale * run.config.x + epoch})
            return train
        id = sweep.create(SPEC, name="from Python")
        before = dict(os.environ), os.getcwd(), [signal.getsignal(n) for n in range(1, 32)]
        end = sweep.agent(id, make(10), slots=2)
        assert before == (dict(os.environ), os.getcwd(), [signal.getsignal(n) for n in range(1, 32)])
        assert not open(f"/proc/self/task/{os.getpid()}/children").read()
        print(id, seen, end.signal, end.broken, "all 3 points" in end.reason)
        """,
    ).run()
    sweep_id = project.status().sweep
    assert printed == f"{sweep_id} [] 0 False True\n"
    runs = project.runs()
    assert [(run["state"], run["config"]["x"], run["objective"]) for run in runs] == [
        ("completed", 1, 10.0),
        ("completed", 2, 20.0),
        ("completed", 3, 30.0),
    ]
    assert all(run["defaults"] == {"epochs": 2} and run["steps"] == 2 for run in runs)
    assert sorted(outputs(project)) == [f"training {x} 1 True\n" for x in (1, 2, 3)]
    assert project.status().name == "from Python"
    assert runs[0]["command"] == ["python-function", "__main__.make.<locals>.train"]


def test_how_a_call_ends_is_how_its_run_ends(project: Project) -> None:
    Script(
        project,
        """
        def train():
            x = sweep.init().config.x
            if x == 1:
                raise ValueError("no luck")
            if x == 2:
                sys.exit(7)
            os.kill(os.getpid(), signal.SIGKILL)
        end = sweep.agent(sweep.create(SPEC), train, slots=1)
        assert end.broken and "first 3 runs" in end.reason, end
        """,
    ).run()
    assert [run["attempts"][-1]["exit_code"] for run in project.runs()] == [1, 7, -9]
    first = outputs(project)[0]
    assert first.endswith("ValueError: no luck\n") and 'in train\n    raise ValueError("no luck")' in first
    assert "warm_program" not in first


def test_random_numbers_differ_from_seed_to_seed_and_not_from_run_to_run(project: Project) -> None:
    Script(
        project,
        """
        import random
        random.seed(0)
        def train():
            print(sweep.init().seed, random.random())
            sweep.log({"loss": 1})
        sweep.agent(sweep.create({**SPEC, "replicates": 2}), train)
        assert random.random() == random.Random(0).random()
        """,
    ).run()
    found = outputs(project)
    assert len(found) == 6 and len(set(found)) == 2


def test_nothing_of_the_caller_is_done_again_by_runs(project: Project) -> None:
    """Exit functions, worker processes, temporary folders, half-written files and the caller's own run."""
    printed = Script(
        project,
        """
        import atexit, concurrent.futures, multiprocessing, tempfile
        atexit.register(print, "goodbye")
        folder = tempfile.TemporaryDirectory()
        file = open("half.txt", "w")
        file.write("once ")
        sys.stdout.write("begun ")
        own = sweep.init(config={"mine": 1})
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(int).result()
            helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
            helper.start()
            def train():
                run = sweep.init()
                assert run.id != own.id and "mine" not in run.config
                atexit.register(print, "end of the run")
                with concurrent.futures.ThreadPoolExecutor(1) as inner:
                    print(inner.submit(abs, -1).result())
                run.log({"loss": 1})
            sweep.agent(sweep.create(SPEC), train)
            assert helper.is_alive() and os.path.isdir(folder.name)
            helper.kill()
        file.write("only")
        """,
    ).run()
    assert printed == "begun goodbye\n"
    assert (project.folder / "half.txt").read_text() == "once only"
    assert outputs(project) == ["1\nend of the run\n"] * 3
    assert [run["state"] for run in project.runs()] == ["completed"] * 3


def test_it_can_be_called_again_and_for_another_function(project: Project) -> None:
    Script(
        project,
        """
        def first():
            sweep.init().log({"loss": 1})
        def second():
            sweep.init().log({"loss": 2})
        id = sweep.create(SPEC)
        one = sweep.agent(id, first, count=1)
        assert "1 runs are done" in one.reason, one
        sweep.agent(id, second)
        assert "has ended" in sweep.agent(id, first).reason
        other = sweep.create(SPEC)
        sweep.agent(other, first)
        """,
    ).run()
    assert {run["objective"] for run in project.runs()} == {1.0}
    [first] = {row["id"] for row in project.json("ls")} - {project.status().sweep}
    assert [run["objective"] for run in project.runs(first)] == [1.0, 2.0, 2.0]


def test_a_thread_may_be_the_agent(project: Project) -> None:
    """Signals are the main thread's there: Ctrl-C raises KeyboardInterrupt in it, and the work goes on."""
    printed = Script(
        project,
        """
        ends = []
        def train():
            sweep.init().log({"loss": threading.current_thread() is threading.main_thread()})
            time.sleep(0.2)
        id = sweep.create(SPEC)
        worker = threading.Thread(target=lambda: ends.append(sweep.agent(id, train)))
        worker.start()
        while not sweep.load(id).rows():
            time.sleep(0.05)
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(30)
        except KeyboardInterrupt:
            print("mine")
        worker.join()
        print(ends[0].signal, "all 3 points" in ends[0].reason)
        """,
    ).run()
    assert printed == "mine\n0 True\n"
    assert [run["objective"] for run in project.runs()] == [1.0, 1.0, 1.0]


def test_as_in_a_notebook_output_and_hooks_of_the_caller_are_not_used(project: Project) -> None:
    """A kernel replaces the streams and the hook for exceptions, and has an event loop at work in the thread of the cell."""
    Script(
        project,
        """
        import asyncio, io
        class Stream(io.StringIO):
            def write(self, text):
                raise RuntimeError("belongs to the kernel")
        async def cell():
            def train():
                async def epoch():
                    print("in a loop of its own")
                asyncio.run(epoch())
                sweep.init().log({"loss": 1})
                raise KeyError("shown by Python")
            streams = sys.stdout, sys.stderr, sys.excepthook
            sys.stdout, sys.excepthook = Stream(), lambda *_: os._exit(99)
            sweep.agent(id, train, count=1)
            sys.stdout, sys.stderr, sys.excepthook = streams
        id = sweep.create(SPEC)
        asyncio.run(cell())
        """,
    ).run()
    [output] = outputs(project)
    assert output.startswith("in a loop of its own\n") and output.endswith("KeyError: 'shown by Python'\n")
    assert project.runs()[0]["attempts"][0]["exit_code"] == 1


# --- signals and deaths -------------------------------------------------------------------------------------------

SLOW = """
    def train():
        sweep.init().log({"loss": 1})
        if os.fork() == 0:
            os.setsid()
            print("deep", os.getpid(), os.getppid(), flush=True)
            time.sleep(600)
        while not os.path.exists("go"):
            time.sleep(0.02)
    try:
        id = sweep.create(SPEC)
        sweep.agent(id, train, slots=1)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        sys.exit(5)
    print("not reached")
"""


def deep(project: Project) -> tuple[int, int]:
    """The process ids of what the run that is at work has forked, and of the run."""
    found: list[re.Match[str]] = []
    # a run's output is not buffered: what is printed is there word by word
    until(lambda: found.extend(re.finditer(r"deep (\d+) (\d+)\n", "".join(outputs(project)))) or found)
    return int(found[0][1]), int(found[0][2])


def test_ctrl_c_lets_runs_finish_and_then_interrupts_the_caller(project: Project) -> None:
    process = Script(project, SLOW).start()
    child, _ = deep(project)
    process.send_signal(signal.SIGINT)
    project.wait_for(lambda: "Ctrl-C again" in project.agent_output())
    assert process.poll() is None
    project.write("go", "")
    assert process.wait(60) == 5
    assert "interrupted" in project.agent_output()
    assert [run["state"] for run in project.runs()] == ["completed", "queued", "queued"]
    assert not alive(child)


def test_sigterm_ends_runs_and_then_the_caller(project: Project) -> None:
    process = Script(project, SLOW).start()
    child, _ = deep(project)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == -signal.SIGTERM
    assert not alive(child)
    assert project.runs()[0]["state"] == "queued"


def test_a_killed_caller_leaves_nothing_running(project: Project) -> None:
    process = Script(project, SLOW).start()
    child, _ = deep(project)
    process.kill()
    process.wait()
    until(lambda: not alive(child))


def test_a_caller_killed_together_with_its_guard_leaves_runs_that_the_next_agent_ends(
    project: Project,
) -> None:
    process = Script(project, SLOW).start(**DOOMED)
    child, run = deep(project)
    guards = [
        pid
        for pid in trees.descendants([process.pid])
        if b"guard.main" in trees.read_bytes(f"/proc/{pid}/cmdline")
    ]
    for pid in [process.pid, *guards]:
        os.kill(pid, signal.SIGSTOP)
    for pid in [process.pid, *guards]:
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert alive(run) and alive(child)
    project.write("go", "")  # too late for these: they are ended before their run starts again
    again = Script(project, SLOW.replace("sweep.create(SPEC)", "'latest'"))
    again.run()
    assert "left behind" in again.said
    assert not alive(run) and not alive(child)
    assert [run["state"] for run in project.runs()] == ["completed"] * 3


def test_the_death_of_the_process_that_holds_the_function_loses_nothing(project: Project) -> None:
    process = Script(project, SLOW).start()
    child, run = deep(project)
    holder = int(trees.read_bytes(f"/proc/{run}/stat").rpartition(b") ")[2].split()[1])
    os.kill(holder, signal.SIGKILL)
    until(lambda: not alive(run) and not alive(child))
    project.write("go", "")
    assert process.wait(60) == 0
    runs = project.runs()
    assert [run["state"] for run in runs] == ["completed"] * 3
    assert [len(run["attempts"]) for run in runs] == [2, 1, 1]
    assert runs[0]["attempts"][0]["outcome"] == "lost"


# --- programs, and mistakes ---------------------------------------------------------------------------------------


def test_without_a_function_the_program_is_started(project: Project) -> None:
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 4})\n")
    printed = Script(
        project, "print('all 3' in sweep.agent(sweep.create({**SPEC, 'program': 'train.py'})).reason)"
    ).run()
    assert printed == "True\n"
    assert [run["objective"] for run in project.runs()] == [4.0] * 3


def test_a_spec_may_be_a_file(project: Project) -> None:
    project.write("deep/sweep.yaml", "method: grid\nprogram: train.py\nparameters: {x: {values: [1]}}\n")
    Script(project, "print(sweep.create('deep/sweep.yaml', name='renamed'))").run()
    assert project.status().name == "renamed"


def test_the_command_line_says_that_a_sweep_has_no_program(project: Project) -> None:
    sweep_id = Script(project, "print(sweep.create(SPEC))").run().strip()
    said = project.mistake("agent", sweep_id)
    assert "it is worked off from Python" in said and f"sweep.agent('{sweep_id}', function)" in said
    Script(
        project,
        "try:\n    sweep.agent('latest')\nexcept sweep.SweepError as error:\n    print('worked off from Python' in str(error))\n",
    )


def test_a_call_cannot_be_repeated_from_the_command_line(project: Project) -> None:
    Script(
        project,
        "def train():\n    sweep.init().log({'loss': 1})\nsweep.agent(sweep.create(SPEC), train, count=1)\n",
    ).run()
    assert "is a call of a Python function" in project.mistake("rerun", "latest-0")
    assert "is a call of a Python function" in project.mistake("best", "latest", "--command")


def test_errors_are_exceptions_with_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_STORE", raising=False)
    with pytest.raises(sweep.SpecError, match=r"parameters\.x: .*max"):
        sweep.create({**GRID, "parameters": {"x": {"min": 2, "max": 1}}})
    with pytest.raises(sweep.SpecError, match="no such file"):
        sweep.create("sweep.yaml")
    with pytest.raises(sweep.StoreError):
        sweep.agent("latest", print)
    sweep.create({**GRID, "determinism": "strict"}, store=tmp_path / "a.db")
    with pytest.raises(sweep.NotFound, match="no sweep"):
        sweep.agent("nothing", print, store=tmp_path / "a.db")
    with pytest.raises(sweep.SweepError, match=r"must stand in a script"):
        sweep.agent("latest", print, store=tmp_path / "a.db")
    with pytest.raises(TypeError, match="callable"):
        sweep.agent("latest", 3, store=tmp_path / "a.db")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count must be at least 1"):
        sweep.agent("latest", print, count=0)
    for kind in (sweep.SpecError, sweep.NotFound, sweep.StoreError):
        assert issubclass(kind, sweep.SweepError)


def test_what_an_agent_from_python_says_is_for_people(project: Project) -> None:
    script = Script(
        project,
        "def train():\n    raise ValueError('x')\nsweep.agent(sweep.create(SPEC), train, count=1)\n",
    )
    script.run()
    said = script.said.replace("sweep: ", "")
    check_words(said)
    assert "-0 failed after" in said and "  | ValueError: x" in said


def test_checkpoints_are_kept_as_often_as_the_environment_says(project: Project) -> None:
    """SWEEP_CHECKPOINT_S is for agents in Python, too: a wrong one is refused."""
    script = Script(
        project,
        """
        try:
            sweep.agent(sweep.create({**SPEC, "program": "train.py"}))
        except sweep.SweepError as error:
            print(error)
        """,
    )
    project.write("train.py", "")
    said = script.run(SWEEP_CHECKPOINT_S="often")
    assert said == "SWEEP_CHECKPOINT_S must be a number of seconds from 1 to 3600, not 'often'\n"


# --- several sweeps


def test_several_sweeps_of_functions_share_the_slots(project: Project) -> None:
    printed = Script(
        project,
        """
        def train():
            run = sweep.init()
            run.log({"loss": run.config.x})
        one, two, over = (sweep.create(SPEC) for _ in range(3))
        sweep.agent(over, train)
        before = dict(os.environ), [signal.getsignal(n) for n in range(1, 32)]
        ends = sweep.agent([one, two, over, one], train, slots=2)
        assert before == (dict(os.environ), [signal.getsignal(n) for n in range(1, 32)])
        assert not open(f"/proc/self/task/{os.getpid()}/children").read()
        assert list(ends) == [over, one, two] or list(ends) == [over, two, one], ends
        print(all("all 3 points" in end.reason and not end.broken for end in ends.values()))
        print([[run["objective"] for run in sweep.load(id).rows()] for id in (one, two)])
        """,
    ).run()
    assert printed == "True\n[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]\n"
    agents = project.json("agents", "--all")
    assert len(agents) == 3 and len({agent["host"] for agent in agents}) == 1


def test_all_sweeps_that_have_programs(project: Project) -> None:
    """One that calls a function is left alone, with a word; count is of all together."""
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 1})\n")
    script = Script(
        project,
        """
        made = [sweep.create({**SPEC, "program": "train.py"}) for _ in range(2)]
        alone = sweep.create(SPEC)
        ends = sweep.agent(all=True, slots=1, count=4)
        assert set(ends) == set(made), ends
        ends = sweep.agent(all=True, slots=1)
        print(sorted(len(sweep.load(id).rows()) for id in made), len(sweep.load(alone).rows()))
        print(sweep.agent(all=True))
        """,
    )
    assert script.run() == "[3, 3] 0\n{}\n"
    assert "warning: sweep" in script.said and "is left alone: " in script.said


def test_ctrl_c_is_for_all_of_several_sweeps(project: Project) -> None:
    script = Script(
        project,
        """
        def train():
            run = sweep.init()
            while not os.path.exists("go"):
                run.log({"loss": 1})
                time.sleep(0.05)
        made = [sweep.create(SPEC), sweep.create(SPEC)]
        open("made", "w").close()
        try:
            sweep.agent(made, train, slots=2)
        except KeyboardInterrupt:
            print("interrupted")
        """,
    )
    process = script.start()
    project.wait_for((project.folder / "made").exists)
    sweeps = [row["id"] for row in project.json("ls")]
    for id in sweeps:
        project.wait_running(id, 1)
    process.send_signal(signal.SIGINT)
    project.wait_for(lambda: "Ctrl-C again" in project.agent_output())
    project.write("go", "")
    assert process.wait(60) == 0, project.agent_output()
    assert "interrupted" in project.agent_output()
    for id in sweeps:
        ended = [run for run in project.runs(id) if run["attempts"]]
        assert [run["state"] for run in ended] == ["completed"]


def test_mistakes_with_several_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="name a sweep, several, or give all=True"):
        sweep.agent()
    with pytest.raises(ValueError, match="name a sweep"):
        sweep.agent([])
    with pytest.raises(ValueError, match="leave the IDs out"):
        sweep.agent(["latest"], all=True)
    with pytest.raises(ValueError, match="wait=True goes with all=True"):
        sweep.agent(["latest"], wait=True)
    with pytest.raises(ValueError, match="call a function"):
        sweep.agent(function=print, all=True)
