"""The guard with real processes: whatever a training program does, nothing of it outlives its run, its agent or its guard."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweep.agents import trees
from sweep.agents.guardian import Exited, GuardDied, GuardEvent, Guardian, Spawned, SpawnFailed, end_leftovers

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="needs /proc and subreapers, which only Linux has"
)
PATIENCE_S = 30.0
"""Upper bound for things that take milliseconds, so that a loaded machine does not fail a test."""

_tags = iter(range(10**6))


@pytest.fixture
def tag() -> Iterator[str]:
    """A number of seconds to `sleep` that only this test uses, so that its processes can be told; all dead at the end."""
    name = f"{100_000 + os.getpid() % 100_000}.{next(_tags)}1"
    yield name
    for pid in sleepers(name) + sleepers(f"{name}7"):
        trees.send_signal(pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def no_stand_in_is_left() -> Iterator[None]:
    yield
    while _stand_ins:
        agent = _stand_ins.pop()
        agent.kill()
        trees.signal_group(agent.process.pid, signal.SIGKILL)  # what it forked


@pytest.fixture
def guardian() -> Iterator[Guardian]:
    guardian = Guardian(kill_after_s=0.3)
    guardian.start()
    yield guardian
    guardian.close(5)


def sleepers(tag: str) -> list[int]:
    """Living processes with `tag` as an argument of their own, except for Python: the stand-in for an agent, and what it is
    just about to start, which has its arguments for a moment."""
    found = []
    for pid in trees.processes():
        argv = trees.read_bytes(f"/proc/{pid}/cmdline").split(b"\0")
        if tag.encode() in argv and argv[0] != os.fsencode(sys.executable):
            found.append(pid)
    return found


def sleeping(tag: str) -> list[int]:
    """Of these those that are `sleep`, and will be nothing else."""
    found = sleepers(tag)
    return [pid for pid in found if trees.read_bytes(f"/proc/{pid}/cmdline").startswith(b"sleep\0")]


def alive(pid: int) -> bool:
    """Whether it runs: neither gone nor waiting to be reaped by whoever inherited it."""
    return trees.read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] not in (b"", b"Z")


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, "it did not happen in time"
        time.sleep(0.005)


def collect(guardian: Guardian, stop: Callable[[GuardEvent], bool]) -> list[GuardEvent]:
    """Events up to the first that satisfies `stop`."""
    found: list[GuardEvent] = []
    limit = time.monotonic() + PATIENCE_S
    while not any(stop(event) for event in found):
        assert time.monotonic() < limit, f"only {found}"
        select.select([guardian], [], [], 0.1)
        found += guardian.poll()
    return found


def spawn(guardian: Guardian, id: str, argv: list[str], folder: Path, **env: str) -> Path:
    output = folder / f"{id}.log"
    marks = {"SWEEP_AGENT": "test", "SWEEP_RUN_ID": f"{folder}-{id}", "SWEEP_ATTEMPT": "1"}
    guardian.spawn(id, argv, {"PATH": os.environ["PATH"], **marks, **env}, folder, output)
    return output


def shell(guardian: Guardian, id: str, script: str, folder: Path, *arguments: str) -> Path:
    return spawn(guardian, id, ["sh", "-c", script, "sh", *arguments], folder)


def ended(id: str) -> Callable[[GuardEvent], bool]:
    return lambda event: isinstance(event, Exited) and event.id == id


def run(guardian: Guardian, argv: list[str], folder: Path, **env: str) -> tuple[Exited, str]:
    """Start, wait for the end; also what was printed."""
    output = spawn(guardian, "run", argv, folder, **env)
    last = collect(guardian, ended("run"))[-1]
    assert isinstance(last, Exited)
    return last, output.read_text()


# --- starting and ending ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", -9), ("kill -TERM $$", -15)]
)
def test_status_of_a_run(guardian: Guardian, tmp_path: Path, script: str, status: int) -> None:
    output = shell(guardian, "a", f"echo out; echo err >&2; {script}", tmp_path)
    first, last = collect(guardian, ended("a"))
    assert isinstance(first, Spawned) and first.id == "a" and first.pid > 1
    assert isinstance(last, Exited) and last.status == status
    assert last.utime_s >= 0 and last.stime_s >= 0 and last.maxrss_bytes > 100_000
    assert output.read_text() == "out\nerr\n"
    assert output.stat().st_mode & 0o777 == 0o600


def test_output_is_appended_and_an_id_can_be_used_again(guardian: Guardian, tmp_path: Path) -> None:
    run(guardian, ["echo", "one"], tmp_path)
    assert run(guardian, ["echo", "two"], tmp_path)[1] == "one\ntwo\n"


def test_cpu_time_is_measured(guardian: Guardian, tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    exited, _ = run(guardian, [sys.executable, "-c", busy], tmp_path)
    assert 0.15 < exited.utime_s + exited.stime_s < 20


def test_when_a_run_started_and_ended_is_told_however_late_it_is_read(
    guardian: Guardian, tmp_path: Path
) -> None:
    asked_s = time.monotonic()
    shell(guardian, "a", "sleep 0.2; touch done", tmp_path)
    until(lambda: (tmp_path / "done").exists() and not trees.descendants([guardian.pid or 0]))
    spawn(guardian, "b", ["true"], tmp_path)
    until((tmp_path / "b.log").exists)  # it does one thing after the other
    read_s = time.monotonic()
    spawned, exited, *_ = collect(guardian, ended("a"))
    assert isinstance(spawned, Spawned) and isinstance(exited, Exited)
    assert asked_s <= spawned.at_s <= exited.at_s <= read_s
    assert asked_s + 0.2 <= exited.at_s


def test_a_lot_of_output_goes_straight_to_the_file(guardian: Guardian, tmp_path: Path) -> None:
    output = spawn(guardian, "a", ["head", "-c", "100000000", "/dev/zero"], tmp_path)
    collect(guardian, ended("a"))
    assert output.stat().st_size == 100_000_000
    output.unlink()


def _not_executable(folder: Path) -> str:
    (folder / "plain").write_text("x")
    return str(folder / "plain")


def _bad_interpreter(folder: Path) -> str:
    path = folder / "script"
    path.write_text("#!/no/such/interpreter -x\n")
    path.chmod(0o755)
    return str(path)


def _no_program(folder: Path) -> str:
    path = folder / "text"
    path.write_text("hello\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (lambda _: "no-such-program-anywhere", "no program of that name in PATH"),
        (lambda _: "./missing", "no such file"),
        (str, "it is a folder"),
        (_not_executable, "not executable"),
        (_bad_interpreter, "the interpreter /no/such/interpreter"),
        (_no_program, "neither a program for this machine nor a script"),
        (lambda _: "", "cannot start"),
    ],
)
def test_a_program_that_cannot_start(
    guardian: Guardian, tmp_path: Path, program: Callable[[Path], str], says: str
) -> None:
    name = program(tmp_path)
    spawn(guardian, "a", [name], tmp_path)
    (failed,) = collect(guardian, lambda event: True)
    assert isinstance(failed, SpawnFailed) and failed.id == "a" and failed.errno > 0
    assert says in failed.message and "cannot start" in failed.message
    assert run(guardian, ["echo", "fine"], tmp_path)[1] == "fine\n"


def test_a_program_on_path_that_is_not_executable(guardian: Guardian, tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("x")
    spawn(guardian, "a", ["tool"], tmp_path, PATH=str(tmp_path))
    (failed,) = collect(guardian, lambda event: True)
    assert isinstance(failed, SpawnFailed) and "chmod +x" in failed.message


def test_missing_folders_are_named(guardian: Guardian, tmp_path: Path) -> None:
    guardian.spawn("a", ["true"], dict(os.environ), tmp_path / "gone", tmp_path / "a.log")
    guardian.spawn("b", ["true"], dict(os.environ), tmp_path, tmp_path / "gone" / "b.log")
    messages: dict[str, str] = {}
    while len(messages) < 2:
        for event in collect(guardian, lambda event: True):
            assert isinstance(event, SpawnFailed)
            messages[event.id] = event.message
    assert str(tmp_path / "gone") in messages["a"] and "cannot start in" in messages["a"]
    assert str(tmp_path / "gone" / "b.log") in messages["b"] and "output file" in messages["b"]


def test_an_impossible_environment_is_a_failure_of_that_run_only(guardian: Guardian, tmp_path: Path) -> None:
    spawn(guardian, "a", ["true"], tmp_path, BAD="nul\0byte")
    (failed,) = collect(guardian, lambda event: True)
    assert isinstance(failed, SpawnFailed) and "cannot start true" in failed.message
    assert run(guardian, ["echo", "fine"], tmp_path)[1] == "fine\n"


@linux
def test_bytes_that_are_not_utf8_arrive_as_they_are(guardian: Guardian, tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe9"))
    folder.mkdir()
    program = "import os, sys; print(os.environb[b'V'], os.fsencode(sys.argv[1]), os.getcwdb()[-2:])"
    env = {"PATH": os.environ["PATH"], "V": "\udc80x"}
    guardian.spawn("a", [sys.executable, "-c", program, "\udcfe"], env, folder, folder / "log")
    collect(guardian, ended("a"))
    assert (folder / "log").read_text() == "b'\\x80x' b'\\xfe' b'\\xff\\xe9'\n"


@linux
def test_a_run_starts_clean(tmp_path: Path) -> None:
    """Default signals, an empty standard input, the given environment only, no descriptor of ours."""
    read, write = os.pipe()
    os.set_inheritable(write, True)
    guardian = Guardian(0.3)
    guardian.start()
    try:

        def printed(*argv: str) -> str:
            (tmp_path / "run.log").unlink(missing_ok=True)
            return run(guardian, [*argv], tmp_path, ONLY="this")[1]

        status = dict(
            line.split(":\t", 1) for line in printed("cat", "/proc/self/status").splitlines() if ":\t" in line
        )
        ordinary = (1 << 31) - 1  # not the two that the C library keeps for itself
        assert int(status["SigIgn"], 16) & ordinary == 0 and int(status["SigBlk"], 16) == 0
        assert sorted(printed("ls", "/proc/self/fd").split()) == ["0", "1", "2", "3"]
        group, pid = printed("sh", "-c", "cat; ps -o pgid= -p $$; echo $$").split()
        assert group == pid
        assert {line.split("=")[0] for line in printed("env").splitlines()} == {
            "PATH", "SWEEP_AGENT", "SWEEP_RUN_ID", "SWEEP_ATTEMPT", "ONLY"
        }  # fmt: skip
    finally:
        guardian.close(5)
        os.close(read)
        os.close(write)


@linux
def test_200_quick_runs_leak_nothing(guardian: Guardian, tmp_path: Path) -> None:
    run(guardian, ["true"], tmp_path)

    def descriptors() -> tuple[list[str], list[str]]:
        return (
            sorted(path.name for path in Path(f"/proc/{guardian.pid}/fd").iterdir()),
            sorted(path.name for path in Path("/proc/self/fd").iterdir()),
        )

    before = descriptors()
    for i in range(200):
        spawn(guardian, str(i), ["true"], tmp_path)
    left = {str(i) for i in range(200)}
    while left:
        left -= {event.id for event in collect(guardian, lambda event: True) if isinstance(event, Exited)}
    assert descriptors() == before
    assert trees.descendants([guardian.pid or 0]) == []


# --- what is left of a run --------------------------------------------------------------------------------------

STUBBORN = {
    "background": "sleep $1 & exec 3>&-",
    "own session": "setsid sleep $1 & sleep 0.1",
    "daemon": "(setsid sleep $1 &)",
    "ignores SIGTERM": "(trap '' TERM HUP INT; setsid sleep $1 &)",
    "stopped": "setsid sh -c 'kill -STOP $$; sleep 1' $1 & sleep 0.1; setsid sleep $1 &",
    "without its environment": "(env -i setsid sleep $1 &)",
    "grandchildren": "setsid sh -c 'sleep $0 & setsid sleep $0 & wait' $1 & sleep 0.1",
}


@linux
@pytest.mark.parametrize("script", STUBBORN.values(), ids=STUBBORN.keys())
def test_nothing_outlives_the_main_process(guardian: Guardian, tmp_path: Path, tag: str, script: str) -> None:
    shell(guardian, "a", f"{script}\nsleep 0.1; exit 4", tmp_path, tag)
    last = collect(guardian, ended("a"))[-1]
    assert isinstance(last, Exited) and last.status == 4
    assert sleepers(tag) == []
    assert trees.descendants([guardian.pid or 0]) == []


@linux
@pytest.mark.parametrize("script", STUBBORN.values(), ids=STUBBORN.keys())
def test_kill_everything_spares_other_runs(guardian: Guardian, tmp_path: Path, tag: str, script: str) -> None:
    shell(guardian, "other", "(setsid sleep $1 &) ; sleep $1", tmp_path, f"{tag}7")
    shell(guardian, "a", f"{script}\ntouch ready; sleep $1", tmp_path, tag)
    until(lambda: (tmp_path / "ready").exists() and len(sleeping(f"{tag}7")) == 2)
    guardian.kill("a", signal.SIGKILL, everything=True)
    last = collect(guardian, ended("a"))[-1]
    assert isinstance(last, Exited) and last.status == -9
    if "env -i" not in script:
        assert sleepers(tag) == []
    assert len(sleepers(f"{tag}7")) == 3
    guardian.kill("other", signal.SIGKILL, everything=True)
    collect(guardian, ended("other"))
    # An orphan of unknown origin dies, at the latest, with the last run that it can belong to.
    assert sleepers(tag) == [] and sleepers(f"{tag}7") == []


@linux
def test_an_orphan_that_becomes_another_program_all_the_time_is_known(
    guardian: Guardian, tmp_path: Path, tag: str
) -> None:
    """In the middle of an `execve` a process shows no environment."""
    again = tmp_path / "again"
    again.write_text('#!/bin/sh\nexec "$0" "$1"\n')
    again.chmod(0o755)
    shell(guardian, "other", "sleep $1", tmp_path, f"{tag}7")
    for attempt in range(5):
        id = f"a{attempt}"
        many = "for i in 1 2 3 4 5 6; do (setsid ./again $1 &); done; touch $2; sleep $1"
        shell(guardian, id, many, tmp_path, tag, f"ready{attempt}")
        until((tmp_path / f"ready{attempt}").exists)
        guardian.kill(id, signal.SIGKILL, everything=True)
        collect(guardian, ended(id))
        below = trees.descendants([guardian.pid or 0])
        assert len(below) <= 2, "there are others than the one run with its child"
    assert sleepers(f"{tag}7") != []


@linux
def test_an_orphan_of_unknown_origin_is_not_killed_with_the_wrong_run(
    guardian: Guardian, tmp_path: Path, tag: str
) -> None:
    shell(guardian, "owner", "(env -i setsid sleep $1 &); sleep $1", tmp_path, tag)
    until(lambda: len(sleeping(tag)) == 2)
    run(guardian, ["true"], tmp_path)
    assert len(sleepers(tag)) == 3
    guardian.kill("owner", signal.SIGTERM)
    collect(guardian, ended("owner"))
    assert sleepers(tag) == []


@linux
def test_a_gentle_signal_reaches_everything_too(guardian: Guardian, tmp_path: Path) -> None:
    child = "trap 'echo child; exit' TERM; touch ready; while :; do sleep 0.02; done"
    output = shell(guardian, "a", 'trap : TERM; setsid sh -c "$1" & wait; wait', tmp_path, child)
    until((tmp_path / "ready").exists)
    guardian.kill("a", signal.SIGTERM, everything=True)
    collect(guardian, ended("a"))
    assert "child" in output.read_text().splitlines()


@linux
def test_a_program_that_forks_all_the_time_is_caught(guardian: Guardian, tmp_path: Path, tag: str) -> None:
    shell(
        guardian,
        "a",
        "touch ready; while :; do setsid sh -c 'sleep $0 & sleep $0' $1 & sleep 0.01; done",
        tmp_path,
        tag,
    )
    until(lambda: len(sleepers(tag)) > 20)
    guardian.kill("a", signal.SIGKILL, everything=True)
    collect(guardian, ended("a"))
    assert sleepers(tag) == []


def test_signal_goes_to_the_whole_group(guardian: Guardian, tmp_path: Path) -> None:
    child = "trap 'echo child; exit' TERM; touch ready; while :; do sleep 0.02; done"
    parent = 'sh -c "$1" & trap "wait; echo parent; exit 7" TERM; wait'
    output = shell(guardian, "a", parent, tmp_path, child)
    until((tmp_path / "ready").exists)
    guardian.kill("a", signal.SIGTERM)
    last = collect(guardian, ended("a"))[-1]
    assert isinstance(last, Exited) and last.status == 7
    assert [line for line in output.read_text().splitlines() if line != "Terminated"] == ["child", "parent"]


def test_a_stopped_run_gets_its_sigterm(guardian: Guardian, tmp_path: Path) -> None:
    shell(guardian, "a", "trap 'exit 9' TERM; touch ready; kill -STOP $$; sleep 60", tmp_path)
    until((tmp_path / "ready").exists)
    guardian.kill("a", signal.SIGTERM)
    last = collect(guardian, ended("a"))[-1]
    assert isinstance(last, Exited) and last.status in (9, -15)


def test_orders_for_an_ended_run_do_nothing(guardian: Guardian, tmp_path: Path) -> None:
    run(guardian, ["true"], tmp_path)
    guardian.kill("run", signal.SIGKILL)
    guardian.kill("never-was", signal.SIGKILL, everything=True)
    assert run(guardian, ["echo", "fine"], tmp_path)[0].status == 0


# --- the end of the guard ---------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_guard_ignores_polite_signals_and_stands_outside_our_group(
    guardian: Guardian, tmp_path: Path, number: int
) -> None:
    run(guardian, ["true"], tmp_path)
    assert guardian.pid is not None and guardian.subreaper is True
    assert os.getsid(guardian.pid) == guardian.pid == os.getpgid(guardian.pid)
    os.kill(guardian.pid, number)
    assert run(guardian, ["true"], tmp_path)[0].status == 0


@linux
def test_the_guard_of_an_agent_inside_a_run_does_not_look_like_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_AGENT", "outer")
    guardian = Guardian()
    guardian.start()
    try:
        run(guardian, ["true"], tmp_path)
        environment = trees.environment_of(guardian.pid or 0)
        assert environment and not [entry for entry in environment if entry.startswith(b"SWEEP_")]
    finally:
        guardian.close(5)


@linux
def test_close_is_gentle_first(tmp_path: Path, tag: str) -> None:
    scripts = {
        "polite": ("trap 'echo bye; exit' TERM; touch ready; while :; do sleep 0.02; done", PATIENCE_S),
        "deaf": ("trap '' TERM; (setsid sleep $1 &); touch ready; sleep $1", 0.3),
    }
    for name, (script, grace_s) in scripts.items():
        guardian = Guardian()
        guardian.start()
        pid = guardian.pid
        (tmp_path / name).mkdir()
        output = shell(guardian, "a", script, tmp_path / name, tag)
        until((tmp_path / name / "ready").exists)
        guardian.close(grace_s)
        assert output.read_text().endswith("bye\n" if name == "polite" else "")
        assert sleepers(tag) == []
        assert pid is not None and not alive(pid)
        assert guardian.poll() == [] and guardian.pid is None


def test_without_a_guard_orders_are_a_bug_and_a_second_start_is_fine(tmp_path: Path) -> None:
    guardian = Guardian()
    with pytest.raises(ValueError, match="empty"):
        guardian.spawn("a", [], {}, tmp_path, tmp_path / "log")
    with pytest.raises(RuntimeError, match="call start"):
        guardian.spawn("a", ["true"], {}, tmp_path, tmp_path / "log")
    for _ in range(2):
        guardian.start()
        with pytest.raises(RuntimeError, match="already"):
            guardian.start()
        assert run(guardian, ["true"], tmp_path)[0].status == 0
        guardian.close(5)
    guardian.close(5)


@linux
def test_a_missed_deadline_kills_at_once(tmp_path: Path, tag: str) -> None:
    guardian = Guardian(kill_after_s=3600)
    guardian.set_deadline(time.monotonic() + 3600)
    guardian.start()
    shell(guardian, "a", "trap 'sleep 60' TERM; (setsid sleep $1 &); touch ready; sleep $1", tmp_path, tag)
    until((tmp_path / "ready").exists)
    guardian.set_deadline(time.monotonic() + 0.05)
    last = collect(guardian, lambda event: isinstance(event, GuardDied))[-1]
    assert isinstance(last, GuardDied) and "lease" in last.reason
    assert sleepers(tag) == []
    guardian.close(1)


@linux
def test_a_deadline_can_be_moved_and_lifted(guardian: Guardian, tmp_path: Path) -> None:
    guardian.set_deadline(time.monotonic() + 3600)
    guardian.set_deadline(None)
    assert run(guardian, ["true"], tmp_path)[0].status == 0


AGENT = """
import json, os, select, sys, time
from sweep.agents.guardian import Guardian, become_subreaper, Exited, GuardDied, Spawned
folder, script, tag, mode = sys.argv[1:]
become_subreaper()
guardian = Guardian(kill_after_s=30 if mode == "patient" else 0.4)
guardian.start()
if mode == "fork" and os.fork() == 0:
    time.sleep(600)  # holds the agent's end of the socket
    os._exit(0)
env = {**os.environ, "SWEEP_AGENT": tag, "SWEEP_RUN_ID": "r", "SWEEP_ATTEMPT": "1"}
guardian.spawn("r", ["sh", "-c", script, "sh", tag], env, folder, folder + "/r.log")
print(json.dumps(["guard", guardian.pid]), flush=True)
while True:
    ready, _, _ = select.select([guardian, *([sys.stdin] if mode == "deadline" else [])], [], [], 1.0)
    if sys.stdin in ready:
        mode = ""
        guardian.set_deadline(time.monotonic() + 0.2)
        print(json.dumps(["deadline", ""]), flush=True)
    for event in guardian.poll():
        print(json.dumps([type(event).__name__, str(event)]), flush=True)
        if isinstance(event, GuardDied):
            guardian.start()
            guardian.spawn("again", ["true"], env, folder, folder + "/again.log")
"""


_stand_ins: list[StandIn] = []


class StandIn:
    """An agent in a process of its own, to be killed."""

    def __init__(self, folder: Path, script: str, tag: str, mode: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(folder), f"{script}\ntouch ready; sleep $1", tag, mode],
            stdin=subprocess.PIPE if mode == "deadline" else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        _stand_ins.append(self)
        self.guard = int(self.event("guard"))
        self.event("Spawned")
        until((folder / "ready").exists)
        until(lambda: sleepers(tag))

    def event(self, name: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            kind, detail = json.loads(line)
            if kind == name:
                return str(detail)
        raise AssertionError(f"the agent ended without {name}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@linux
@pytest.mark.parametrize("script", STUBBORN.values(), ids=STUBBORN.keys())
def test_nothing_outlives_a_killed_agent(tmp_path: Path, tag: str, script: str) -> None:
    agent = StandIn(tmp_path, script, tag)
    agent.kill()
    until(lambda: not alive(agent.guard))
    assert sleepers(tag) == []


@linux
def test_runs_of_a_killed_agent_are_asked_first(tmp_path: Path, tag: str) -> None:
    agent = StandIn(tmp_path, "trap 'echo saved; exit' TERM; touch ready; sleep $1 & wait", tag, "patient")
    agent.kill()
    until(lambda: not alive(agent.guard))
    assert (tmp_path / "r.log").read_text().endswith("saved\n")
    assert sleepers(tag) == []


@linux
def test_a_forked_child_of_the_agent_does_not_hide_its_death(tmp_path: Path, tag: str) -> None:
    agent = StandIn(tmp_path, "", tag, "fork")
    assert len(trees.descendants([agent.process.pid])) > 2
    agent.kill()
    until(lambda: not alive(agent.guard))
    assert sleepers(tag) == []
    assert end_leftovers(lambda agent: agent == tag) == 0


@linux
@pytest.mark.parametrize(
    "script",
    [s for s in STUBBORN.values() if "env -i" not in s],
    ids=[k for k in STUBBORN if "without" not in k],
)
def test_nothing_outlives_a_killed_guard(tmp_path: Path, tag: str, script: str) -> None:
    agent = StandIn(tmp_path, script, tag)
    os.kill(agent.guard, signal.SIGKILL)
    assert "'r'" in agent.event("GuardDied")
    assert sleepers(tag) == []
    assert "status=0" in agent.event("Exited")
    agent.kill()


@linux
def test_the_deadline_counts_for_a_frozen_agent(tmp_path: Path, tag: str) -> None:
    agent = StandIn(tmp_path, "trap '' TERM; (setsid sleep $1 &)", tag, "deadline")
    assert agent.process.stdin is not None
    agent.process.stdin.write(b"now\n")
    agent.process.stdin.close()
    agent.event("deadline")
    agent.process.send_signal(signal.SIGSTOP)
    until(lambda: sleepers(tag) == [])
    agent.kill()


# --- leftovers of an earlier life -------------------------------------------------------------------------------


@linux
def test_leftovers_of_lost_agents_are_ended(tmp_path: Path, tag: str) -> None:
    def start(agent: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", tag], env={**os.environ, "SWEEP_AGENT": agent})

    lost, alive = [start(f"{tag}-lost"), start(f"{tag}-lost")], start(f"{tag}-alive")
    assert end_leftovers(lambda agent: False) == 0
    assert end_leftovers(lambda agent: agent == f"{tag}-lost") == 2
    assert sleepers(tag) == [alive.pid]
    alive.kill()
    for process in (*lost, alive):
        process.wait()


@linux
def test_an_agent_inside_a_run_does_not_end_itself(tag: str) -> None:
    program = f"from sweep.agents.guardian import end_leftovers; print(end_leftovers(lambda agent: agent == '{tag}'))"
    env = {**os.environ, "SWEEP_AGENT": tag}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, check=True)
    assert done.stdout == b"0\n"


# --- helpers ----------------------------------------------------------------------------------------------------


@linux
def test_both_ways_of_finding_descendants_agree(monkeypatch: pytest.MonkeyPatch, tag: str) -> None:
    process = subprocess.Popen(["sh", "-c", f"sleep {tag} & sh -c 'sleep {tag} & wait' & wait"])
    until(lambda: len(trees.descendants([process.pid])) == 3)
    listed = trees.descendants([process.pid])
    assert process.pid in trees.children()
    monkeypatch.setattr(trees.os.path, "exists", lambda path: False)
    assert sorted(trees.descendants([process.pid])) == sorted(listed)
    assert process.pid in trees.children()
    monkeypatch.undo()
    for pid in listed:
        trees.send_signal(pid, signal.SIGKILL)
    process.wait()


def test_the_guard_imports_next_to_nothing() -> None:
    """Its start is paid by every agent, and its memory on every node."""
    program = (
        "import sys; sys.path.append(sys.argv[1]); before = set(sys.modules); import guard; guard.trees.become_subreaper();"
        "print(*sorted(set(sys.modules) - before))"
    )
    folder = str(Path(trees.__file__).parent)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", "-c", program, folder], capture_output=True, check=True, text=True
    )
    cheap = {
        "programs",
        "trees",
        "_ctypes",
        "__future__",
        "_stat",
        "_struct",
        "_typing",
        "genericpath",
        "guard",
        "os",
        "os.path",
        "posixpath",
    }
    cheap |= {
        "select",
        "stat",
        "_collections_abc",
        "_signal",
        "marshal",
        "time",
        "struct",
        "_weakref",
        "posix",
    }
    assert set(done.stdout.split()) <= cheap
