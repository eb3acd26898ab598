"""Runs that are forked from a warm process: the same as started ones in everything that a program or a person can see."""

from __future__ import annotations

import gzip
import os
import re
import select
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.agents import trees
from sweep.agents.guardian import (
    Exited,
    GuardDied,
    GuardEvent,
    Guardian,
    Spawned,
    SpawnFailed,
    WarmGone,
    end_leftovers,
)
from sweep.agents.warming import Warming, WarmStart
from sweep.core.space import Space
from sweep.core.spec import SweepSpec
from tests.integration.conftest import DOOMED, Project
from tests.integration.test_robust_pythons import find_python

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="preload needs what only Linux has"
)
PATIENCE_S = 60.0
ENV = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("SWEEP_", "PYTHON"))},
    "PYTHONUNBUFFERED": "1",
    "PYTHONHASHSEED": "5",
    "OMP_NUM_THREADS": "1",
}


class Runs:
    """Starts scripts through a guard, forked or the ordinary way."""

    def __init__(self, folder: Path, preload: tuple[str, ...] = ("json",)) -> None:
        self.folder = folder
        self.guardian = Guardian(kill_after_s=0.3)
        self.guardian.start()
        self.agent = f"agent-{folder.name}-{os.getpid()}"
        spec = SweepSpec(method="grid", space=Space(()), seed=1, program="run.py", preload=preload)
        self.warming = Warming(self.agent, spec)
        self.events: list[GuardEvent] = []

    def env(self, id: str, **more: str) -> dict[str, str]:
        marks = {
            "SWEEP_AGENT": self.agent,
            "SWEEP_RUN_ID": f"r-{id}",
            "SWEEP_ATTEMPT": "1",
            "SWEEP_SEED": "7",
        }
        return {**ENV, **marks, **more}

    def warm(self, argv: list[str], env: dict[str, str]) -> WarmStart | None:
        return self.warming.start_for(argv, env, self.folder, ())

    def start(self, id: str, script: str, *arguments: str, warm: bool = True, **env: str) -> Path:
        (self.folder / "run.py").write_text(textwrap.dedent(script))
        return self.start_argv(id, [sys.executable, "run.py", *arguments], warm=warm, **env)

    def start_argv(self, id: str, argv: list[str], warm: bool = True, **env: str) -> Path:
        output = self.folder / f"{id}.log"
        given = self.env(id, **env)
        how = self.warm(argv, given) if warm else None
        assert (how is not None) == warm
        self.guardian.spawn(id, argv, given, self.folder, output, how)
        return output

    def wait(self, stop: Callable[[GuardEvent], bool]) -> GuardEvent:
        limit = time.monotonic() + PATIENCE_S
        seen = 0
        while True:
            for event in self.events[seen:]:
                if stop(event):
                    return event
            seen = len(self.events)
            assert time.monotonic() < limit, f"only {self.events}"
            select.select([self.guardian], [], [], 0.1)
            self.events += self.guardian.poll()

    def exited(self, id: str) -> Exited:
        event = self.wait(lambda event: isinstance(event, Exited) and event.id == id)
        assert isinstance(event, Exited)
        return event

    def pid(self, id: str) -> int:
        event = self.wait(lambda event: isinstance(event, Spawned) and event.id == id)
        assert isinstance(event, Spawned)
        return event.pid

    def printed(self, id: str, text: str) -> None:
        output = self.folder / f"{id}.log"
        # it is not buffered: what is printed is there word by word
        until(lambda: output.exists() and re.search(rf"{text}.*\n", output.read_text()))

    def server(self) -> int:
        """The process id of the warm process."""
        assert self.guardian.pid is not None
        found = [
            pid
            for pid in trees.descendants([self.guardian.pid])
            if b"warm_server" in trees.read_bytes(f"/proc/{pid}/cmdline")
            and parent(pid) == self.guardian.pid
            and pid not in {event.pid for event in self.events if isinstance(event, Spawned)}
        ]
        assert len(found) == 1
        return found[0]


def parent(pid: int) -> int:
    fields = trees.read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    return int(fields[1]) if len(fields) > 1 else 0


def alive(pid: int) -> bool:
    return trees.read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] not in (b"", b"Z")


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Runs]:
    found = Runs(tmp_path)
    yield found
    found.guardian.close(5)


# --- as if it had been started -----------------------------------------------------------------------------------

SAME = {
    "what it is called with": """
        import os, sys
        print(sys.argv, sys.orig_argv, sys.path, sys.flags, sys.executable, sys.prefix)
        print(__name__, __file__, __package__, __spec__, type(__loader__).__name__, __annotations__, __cached__)
        print(os.getcwd(), sorted(globals()), sys.modules["__main__"].__dict__ is globals())
        print(sorted(os.environ.items()) == sorted(os.environb.items()) or sorted(
            (name, value) for name, value in os.environ.items() if name != "SWEEP_RUN_ID"))
        print(os.getpgid(0) == os.getpid(), sys.stdin.read(), hash("x"), sys.stdout.encoding, sys.stdout.errors)
        print(sys.stdout.line_buffering, sys.stdout.write_through, sys.stderr.errors, sys.dont_write_bytecode)
    """,
    "signals and descriptors": """
        import os, signal
        print({s.name: repr(signal.getsignal(s)).split(" at ")[0] for s in signal.valid_signals() if hasattr(s, "name")})
        print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.set_wakeup_fd(-1))
        print(sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1], os.readlink("/proc/self/fd/0"))
    """,
    "exit status": "import sys; sys.exit(3)",
    "exit status 256": "import sys; sys.exit(256)",
    "exit in words": "import sys; print('out'); sys.exit('what went wrong')",
    "exit of nothing": "raise SystemExit",
    "exception": """
        def inner():
            raise ValueError("wrong")
        try:
            inner()
        except ValueError as error:
            raise KeyError("outer") from error
    """,
    "syntax error": "x = = 1",
    "hook for exceptions": """
        import sys
        sys.excepthook = lambda kind, error, trace: print("hook", kind.__name__, error, trace.tb_lineno)
        1 / 0
    """,
    "own kill": "import os; os.kill(os.getpid(), 9)",
    "own term": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "interrupt": "import os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(60)",
    "abort": "import os; os.abort()",
    "exit without goodbye": "import os; print('x'); os._exit(9)",
    "exit functions and threads": """
        import atexit, threading
        atexit.register(print, "first registered")
        atexit.register(print, "last registered")
        def late():
            threading.main_thread().join()
            print("thread done")
        threading.Thread(target=late).start()
        print(threading.current_thread() is threading.main_thread(), threading.active_count())
    """,
    "a failing exit function": """
        import atexit
        class Fails:
            def __call__(self):
                1 / 0
            def __repr__(self):
                return "<fails>"
        atexit.register(Fails())
    """,
    "files left open": """
        import gzip
        kept = open("kept.txt", "w"); kept.write("kept")
        packed = gzip.open("packed.gz", "wb"); packed.write(b"packed")
        class Holder:
            pass
        holder = Holder(); holder.self = holder; holder.file = open("cycle.txt", "w"); holder.file.write("cycle")
        import atexit
        def show():
            pass
        atexit.register(show)
    """,
    "buffered output": """
        import os, sys, ctypes
        sys.stdout.reconfigure(write_through=False)
        sys.stdout.write("no newline at the end")
        ctypes.CDLL(None).printf(b" from C")
    """,
    "children": """
        import subprocess, sys, multiprocessing, os
        print(subprocess.run([sys.executable, "-c", "import os; print(os.environ['SWEEP_RUN_ID'][:2])"],
                             capture_output=True, text=True).stdout)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            print(pool.map(abs, [-1]))
    """,
    "spawned children": """
        import multiprocessing
        def square(x):
            return x * x
        if __name__ == "__main__":
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(square, [3]))
    """,
    "a class that is pickled": """
        import pickle
        class Point:
            x = 1
        print(pickle.loads(pickle.dumps(Point())).x)
    """,
    "closed output": "import sys, os; os.close(1); print('lost')",
    "exit in a thread": """
        import threading, sys
        threading.Thread(target=sys.exit, args=(4,)).start()
    """,
    "standard output taken away": "import sys; sys.stdout = sys.stderr = None; raise ValueError",
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_a_forked_program_behaves_like_a_started_one(runs: Runs, name: str) -> None:
    results = []
    for id, warm in (("started", False), ("forked", True)):
        output = runs.start(id, SAME[name], "--x=1", "a b", warm=warm, SWEEP_RUN_ID="r")
        status = runs.exited(id).status
        made = sorted({*runs.folder.glob("*.txt"), *runs.folder.glob("*.gz")})
        files = {
            file.name: gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            for file in made
        }
        for file in made:
            file.unlink()
        results.append((status, output.read_text(), files))
    started, forked = results
    assert forked == started


def test_a_module_is_run_as_python_m_does(runs: Runs) -> None:
    package = runs.folder / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(
        "import sys\nprint(sys.argv, sys.path, sys.orig_argv, __name__, __file__, __package__, __spec__.name)\nsys.exit(4)\n"
    )
    argv = ["/usr/bin/env", sys.executable, "-u", "-m", "pkg", "--x=1"]
    started = runs.start_argv("started", argv, warm=False)
    forked = runs.start_argv("forked", argv)
    assert runs.exited("started").status == runs.exited("forked").status == 4
    assert started.read_text() == forked.read_text() != ""


def test_the_cpu_time_and_memory_of_a_forked_run_are_its_own(runs: Runs) -> None:
    script = """
        import time
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        kept = bytearray(64 << 20)
    """
    runs.start("a", script)
    exited = runs.exited("a")
    assert 0.25 < exited.utime_s + exited.stime_s < 3
    assert 64 << 20 < exited.maxrss_bytes < 1 << 30


# --- what is imported once ------------------------------------------------------------------------------------------


def test_modules_are_imported_once_and_what_that_prints_begins_every_output(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import os\nprint('imported by', os.getpid())\nwho = os.getpid()\n")
    runs = Runs(tmp_path, preload=("heavy",))
    try:
        outputs = []
        for id in ("a", "b"):
            output = runs.start(id, "import heavy, os; print('run', heavy.who != os.getpid())")
            assert runs.exited(id).status == 0
            outputs.append(output.read_text())
        assert outputs[0] == outputs[1] == f"imported by {runs.server()}\nrun True\n"
    finally:
        runs.guardian.close(5)


def test_generators_are_seeded_by_the_run(tmp_path: Path) -> None:
    runs = Runs(tmp_path, preload=("random", "numpy"))
    script = "import random, numpy; print(random.random(), numpy.random.rand())"
    try:
        seen = {}
        for id, seed in (("a", "7"), ("b", "7"), ("c", "8")):
            output = runs.start(id, script, SWEEP_SEED=seed)
            assert runs.exited(id).status == 0
            seen[id] = output.read_text()
    finally:
        runs.guardian.close(5)
    import random

    import numpy

    assert seen["a"] == f"{random.Random(7).random()} {numpy.random.RandomState(7).rand()}\n"
    assert seen["a"] == seen["b"] != seen["c"]


def test_libraries_get_the_threads_of_the_run(tmp_path: Path) -> None:
    pytest.importorskip("threadpoolctl")
    runs = Runs(tmp_path, preload=("numpy", "threadpoolctl"))
    script = "import threadpoolctl as t; print([x['num_threads'] for x in t.threadpool_info() if x['user_api'] == 'blas'])"
    try:
        for id, threads in (("a", "1"), ("b", "3")):
            output = runs.start(id, script, OMP_NUM_THREADS=threads)
            assert runs.exited(id).status == 0
            assert output.read_text() == f"[{threads}]\n"
    finally:
        runs.guardian.close(5)


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("raise ValueError('broken')", "`import heavy` failed in the warm process: ValueError: broken"),
        ("import os; os._exit(3)", "it ended with exit status 3 while it imported"),
        ("import sys, os; print('last words', file=sys.stderr); os.abort()", "signal 6 while it imported: last words"),
        ("import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()", "leaves a thread"),
        ("import no_such_module_at_all", "No module named 'no_such_module_at_all'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_preloaded_is_said_once_and_runs_start_anyway(
    tmp_path: Path, module: str, why: str
) -> None:
    (tmp_path / "heavy.py").write_text(module + "\n")
    runs = Runs(tmp_path, preload=("heavy",))
    try:
        for id in ("a", "b", "c"):
            runs.start(id, "print('done')")
        for id in ("a", "b", "c"):
            assert runs.exited(id).status == 0
            assert (tmp_path / f"{id}.log").read_text() == "done\n"
        runs.start("d", "print('done')")
        assert runs.exited("d").status == 0
        said = [event for event in runs.events if isinstance(event, WarmGone)]
        assert len(said) == 1 and why in said[0].problem and not said[0].again
    finally:
        runs.guardian.close(5)


# --- what cannot be forked ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["sh", "-c", "true"],
        [sys.executable, "-c", "pass"],
        [sys.executable, "no_such_file.py"],
        [sys.executable, "."],
        [sys.executable],
        ["env", "A=1", sys.executable, "run.py"],
    ],
)
def test_other_commands_are_started_the_ordinary_way(runs: Runs, argv: list[str]) -> None:
    (runs.folder / "run.py").write_text("")
    assert runs.warm(argv, runs.env("a")) is None


def test_a_run_that_needs_another_interpreter_start_is_not_forked(runs: Runs) -> None:
    (runs.folder / "run.py").write_text("")
    argv = [sys.executable, "run.py"]
    first = runs.warm(argv, runs.env("a"))
    assert first is not None
    assert runs.warm(argv, runs.env("b", LD_PRELOAD="")) is None
    assert runs.warm(argv, runs.env("b", PYTHONPATH="/x")) is None
    assert runs.warm([sys.executable, "-O", "run.py"], runs.env("b")) is None
    other = runs.warm([*argv, "--x=2"], runs.env("b", OMP_NUM_THREADS="8", ANYTHING="else"))
    assert other is not None and other.key == first.key


def test_failures_to_start_are_told_as_for_started_runs(runs: Runs) -> None:
    (runs.folder / "run.py").write_text("")
    env = runs.env("a")
    how = runs.warm([sys.executable, "run.py"], env)
    found = []
    for id, warm in (("a", how), ("b", None)):
        runs.guardian.spawn(
            id, [sys.executable, "run.py"], env, runs.folder, runs.folder / "no" / "out", warm
        )
        event = runs.wait(lambda event: isinstance(event, SpawnFailed) and event.id == id)  # noqa: B023
        assert isinstance(event, SpawnFailed)
        found.append((event.errno, event.message))
    assert found[0] == found[1] and "cannot write the output file" in found[0][1]


@pytest.mark.parametrize("minor", [8, 9, 10, 12, 13, 14])
def test_another_python_than_the_agent_s(runs: Runs, minor: int) -> None:
    python = find_python(minor)
    if python is None:
        pytest.skip(f"there is no Python 3.{minor} here")
    (runs.folder / "run.py").write_text(
        "import sys, os, json\nprint(sys.version_info[:2], sys.argv, __file__, sys.path, sys.executable, sorted(globals()))\n"
        "kept = open('kept.txt', 'w'); kept.write('x')\nraise SystemExit(3)\n"
    )
    started = runs.start_argv("started", [python, "run.py", "--x=1"], warm=False)
    assert runs.exited("started").status == 3
    forked = runs.start_argv("forked", [python, "run.py", "--x=1"])
    assert runs.exited("forked").status == 3
    assert forked.read_text() == started.read_text()
    assert (runs.folder / "kept.txt").read_text() == "x"
    assert not [event for event in runs.events if isinstance(event, WarmGone)]


# --- ends --------------------------------------------------------------------------------------------------------

SLEEP = "import time; print('at work', flush=True); time.sleep(600)"


def test_a_killed_server_takes_nothing_with_it_and_another_takes_its_place(runs: Runs) -> None:
    waiting = "while not os.path.exists('go'): time.sleep(0.02)"
    runs.start("a", f"import os, sys, time\nprint('at work', flush=True)\n{waiting}\nsys.exit(5)")
    runs.printed("a", "at work")
    run = runs.pid("a")
    server = runs.server()
    os.kill(server, signal.SIGKILL)
    gone = runs.wait(lambda event: isinstance(event, WarmGone))
    assert gone == WarmGone("it was ended by signal 9", True)
    assert parent(run) == runs.guardian.pid
    runs.start("b", "import os; print(os.getppid())")
    assert runs.exited("b").status == 0
    assert int((runs.folder / "b.log").read_text()) == runs.server() != server
    (runs.folder / "go").touch()
    exited = runs.exited("a")
    assert exited.status == 5 and exited.maxrss_bytes > 0
    assert (runs.folder / "a.log").read_text() == "at work\n"


def test_a_request_that_a_dead_server_had_not_carried_out_is_started_once(runs: Runs) -> None:
    """The server is stopped before it can answer, and killed: its runs start the ordinary way."""
    runs.start("first", "pass")
    runs.exited("first")
    server = runs.server()
    os.kill(server, signal.SIGSTOP)
    count = "open('count', 'a').write('x')"
    for id in ("a", "b", "c"):
        runs.start(id, count)
    time.sleep(0.1)
    os.kill(server, signal.SIGKILL)
    for id in ("a", "b", "c"):
        assert runs.exited(id).status == 0
    assert (runs.folder / "count").read_text() == "xxx"


def test_a_server_that_dies_again_and_again_is_given_up(runs: Runs) -> None:
    for round in range(5):
        runs.start(f"a{round}", "import os; print(os.getppid())")
        assert runs.exited(f"a{round}").status == 0
        parent_of_run = int((runs.folder / f"a{round}.log").read_text())
        if parent_of_run == runs.guardian.pid:
            break
        os.kill(parent_of_run, signal.SIGKILL)
        runs.wait(lambda event: sum(isinstance(e, WarmGone) for e in runs.events) == round + 1)  # noqa: B023
    assert round == 4
    assert [event.again for event in runs.events if isinstance(event, WarmGone)] == [True, True, True, False]


def test_kill_reaches_what_a_forked_run_has_forked_into_another_session(runs: Runs) -> None:
    script = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                print("deep", os.getpid(), flush=True)
                time.sleep(600)
            os._exit(0)
        time.sleep(600)
    """
    runs.start("a", script)
    runs.printed("a", "deep")
    runs.start("other", SLEEP)
    runs.printed("other", "at work")
    deep = int((runs.folder / "a.log").read_text().split()[1])
    runs.guardian.kill("a", signal.SIGKILL, everything=True)
    assert runs.exited("a").status == -signal.SIGKILL
    assert not alive(deep)
    assert alive(runs.pid("other"))


def test_what_a_forked_run_leaves_is_ended_with_it(runs: Runs) -> None:
    script = """
        import os, time
        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            os.write(write, b"%d" % os.getpid())
            time.sleep(600)
        print(os.read(read, 100).decode())
    """
    runs.start("other", SLEEP)
    runs.printed("other", "at work")
    output = runs.start("a", script)
    assert runs.exited("a").status == 0
    assert not alive(int(output.read_text()))
    assert alive(runs.pid("other"))


def test_a_stopped_group_gets_its_term(runs: Runs) -> None:
    runs.start("a", "import os, signal; print('x', flush=True); os.kill(os.getpid(), signal.SIGSTOP)")
    runs.printed("a", "x")
    runs.guardian.kill("a", signal.SIGTERM)
    assert runs.exited("a").status == -signal.SIGTERM


def test_a_run_that_waits_for_the_imports_can_be_killed(tmp_path: Path) -> None:
    (tmp_path / "heavy.py").write_text("import os, time\nwhile not os.path.exists('go'): time.sleep(0.02)\n")
    runs = Runs(tmp_path, preload=("heavy",))
    try:
        runs.start("a", "open('ran', 'w')")
        runs.start("b", "pass")
        runs.guardian.kill("a", signal.SIGTERM)
        assert runs.exited("a").status == -signal.SIGTERM
        (tmp_path / "go").touch()
        assert runs.exited("b").status == 0
        assert not (tmp_path / "ran").exists()
    finally:
        runs.guardian.close(5)


def test_a_killed_guard_leaves_nothing(runs: Runs) -> None:
    trees.become_subreaper()
    runs.start("a", SLEEP)
    runs.printed("a", "at work")
    server, run = runs.server(), runs.pid("a")
    assert runs.guardian.pid is not None
    os.kill(runs.guardian.pid, signal.SIGKILL)
    died = runs.wait(lambda event: isinstance(event, GuardDied))
    assert died.ids == ("a",)  # type: ignore[union-attr]
    assert not alive(run)
    until(lambda: not alive(server))  # it ends by itself
    runs.guardian.start()
    runs.start("b", "pass")
    assert runs.exited("b").status == 0


def test_a_closed_guard_leaves_nothing(runs: Runs) -> None:
    runs.start("a", SLEEP)
    runs.printed("a", "at work")
    server, run = runs.server(), runs.pid("a")
    runs.guardian.close(5)
    assert not alive(run) and not alive(server)


def test_a_missed_deadline_ends_forked_runs_at_once(runs: Runs) -> None:
    runs.start("a", SLEEP)
    runs.printed("a", "at work")
    server, run = runs.server(), runs.pid("a")
    runs.guardian.set_deadline(time.monotonic())
    runs.wait(lambda event: isinstance(event, GuardDied))
    assert not alive(run) and not alive(server)


def test_leftovers_of_a_lost_agent_are_found_by_what_proc_shows(runs: Runs) -> None:
    """The environment that /proc shows of a forked run names its run, though it was not started with it."""
    runs.start("a", SLEEP)
    runs.printed("a", "at work")
    run = runs.pid("a")
    shown = trees.environment_of(run)
    assert {b"SWEEP_AGENT=" + runs.agent.encode(), b"SWEEP_RUN_ID=r-a", b"SWEEP_ATTEMPT=1"} <= shown
    assert end_leftovers(lambda agent: agent == runs.agent) >= 2  # the run and the server
    assert runs.exited("a").status == -signal.SIGKILL


# --- a whole sweep -----------------------------------------------------------------------------------------------

SPEC = """
method: grid
program: train.py
preload: [heavy, random]
metric: {name: loss}
seed: 4
replicates: 2
parameters: {x: {values: [1, 2, 3]}}
"""
TRAIN = """
import random, sys, sweep, heavy
run = sweep.init()
print(heavy.pid, random.random(), hash("text"))
run.log({"loss": run.config.x})
sys.exit(9 if run.config.x == 3 else 0)
"""


def test_a_sweep_with_preload(project: Project) -> None:
    project.write("heavy.py", "import os\npid = os.getpid()\n")
    runs = project.work_off(SPEC, TRAIN, "--slots", "2")
    assert sorted((run["config"]["x"], run["state"], run["objective"]) for run in runs) == [
        *[(1, "completed", 1.0)] * 2,
        *[(2, "completed", 2.0)] * 2,
        *[(3, "failed", 3.0)] * 2,
    ]
    assert {run["attempts"][0]["exit_code"] for run in runs} == {0, 9}
    printed = [line.split() for line in (_output(run) for run in runs)]
    assert len({pid for pid, _, _ in printed}) == 1  # one process has imported it
    by_seed = {run["seed"]: number for run, (_, number, _) in zip(runs, printed, strict=True)}
    assert len({number for _, number, _ in printed}) == len(by_seed) == 2
    assert len({hashed for _, _, hashed in printed}) == 1
    assert {run["attempts"][0]["env"]["PYTHONHASHSEED"] for run in runs} == {"4"}


def _output(run: dict[str, Any]) -> str:
    return (Path(run["attempts"][0]["folder"]) / "output-1.log").read_text()


def test_an_agent_says_once_why_it_does_not_preload(project: Project) -> None:
    project.write("heavy.py", "raise ImportError('no such library')\n")
    project.write("sweep.yaml", SPEC)
    project.write("train.py", "import sweep\nsweep.init().log({'loss': 1})\n")
    sweep = project.create()
    said = project.wait_end(project.agent(sweep))
    assert said.count("`import heavy` failed in the warm process: ImportError: no such library") == 1
    assert said.count("runs start the ordinary way") == 1
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 6


def test_a_killed_agent_and_guard_leave_forked_runs_that_the_next_agent_ends(project: Project) -> None:
    project.write("heavy.py", "")
    project.write("sweep.yaml", SPEC)
    project.write(
        "train.py",
        "import os, sweep, time\nsweep.init().log({'loss': 1})\nprint(os.getpid(), flush=True)\n"
        "while not os.path.exists('go'): time.sleep(0.02)\n",
    )
    sweep = project.create()
    agent = project.agent(sweep, "--slots", "1", **DOOMED)
    project.wait_running(sweep)
    [run] = project.processes(f"SWEEP_RUN_ID={sweep}-0")
    guard = [pid for pid in trees.descendants([agent.pid]) if parent(pid) == agent.pid]
    above, pid = [], parent(run)
    while pid != agent.pid:
        above.append(pid)
        pid = parent(pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in [agent.pid, *guard]:
            os.kill(pid, number)
    agent.wait()
    # Stopped before they are gone, it would get SIGHUP from the kernel, as of a process group that is orphaned.
    until(lambda: not any(map(alive, above)))
    assert alive(run)
    project.agents.clear()
    os.kill(run, signal.SIGSTOP)  # else it ends by itself when it sees the file
    project.write("go", "")
    said = project.wait_end(project.agent(sweep))
    assert "left behind" in said
    assert not alive(run)
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 6
