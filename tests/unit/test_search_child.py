"""A searcher in a child process: the same answers, deltas only, and survival of everything."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sweep.core.codec import spec_to_builtins
from sweep.core.plugins import Observation, Proposals
from sweep.core.space import Categorical, Numeric, Parameter, Space
from sweep.core.spec import Metric, SweepSpec
from sweep.search import make_searcher
from sweep.search._wire import Answer, Ask, Frames, Init, decode_answer, decode_message, frame
from sweep.search.parent import ChildSearcher

SPACE = Space(
    (Parameter(("lr",), Numeric(1e-4, 1, scale="log")), Parameter(("n", "c"), Categorical((None, [1, 2]))))
)
SPEC = SweepSpec(method="random", space=SPACE, seed=3, metric=Metric(name="loss"))
WAIT_S = 60.0


@pytest.fixture
def child() -> Iterator[ChildSearcher]:
    searcher = ChildSearcher(SPEC)
    yield searcher
    searcher.close()


def wait(child: ChildSearcher) -> Answer:
    while (answer := child.poll()) is None:
        ready, _, _ = select.select([child.fileno()], [], [], WAIT_S)
        assert ready, "no answer"
    return answer


def history(trials: int) -> list[Observation]:
    configs = make_searcher(SPEC).propose([], trials).configs
    return [Observation(i, config, "completed", float(i)) for i, config in enumerate(configs)]


def test_answers_are_those_of_the_searcher_itself(child: ChildSearcher) -> None:
    seen = history(5)
    child.ask(1, [], 2)
    child.ask(2, seen, 3)
    assert wait(child) == Answer(1, make_searcher(SPEC).propose([], 2))
    assert wait(child) == Answer(2, make_searcher(SPEC).propose(seen, 3))
    assert child.poll() is None


def test_a_model_in_a_child_answers_as_here_and_prints_nothing_in_between() -> None:
    spec = SweepSpec(
        method="bayes", engine="optuna-tpe", space=SPACE, seed=3, metric=Metric(name="loss"), run_cap=8
    )
    child = ChildSearcher(spec)
    try:
        here, seen = make_searcher(spec), history(6)
        for request in range(4):
            child.ask(request, seen, 1)
            answer = wait(child)
            assert answer == Answer(request, here.propose(seen, 1))
            assert answer.proposals is not None
            seen = [*seen, Observation(len(seen), answer.proposals.configs[0], "open")]
            seen[request] = Observation(request, seen[request].config, "failed")
        assert (child.name, child.version) == (here.name, here.version)
    finally:
        child.close()


def test_only_what_changed_is_sent(child: ChildSearcher, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(
        "sweep.search.parent.Ask",
        lambda request, changed, n: sent.append(len(changed)) or Ask(request, changed, n),
    )
    seen = history(50)
    for request in range(3):
        child.ask(request, list(seen), 1)
        assert wait(child).proposals is not None
        seen[7] = Observation(7, seen[7].config, "pruned", float(request))
        seen.append(Observation(len(seen), {"lr": 0.5, "n": {"c": None}}, "open"))
    assert sent == [50, 2, 2]


def test_asking_never_blocks_however_long_the_history(child: ChildSearcher) -> None:
    """The child is stopped, so that nothing reads the pipe: 40 times its size must still be taken."""
    child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    seen = history(20_000)
    child.ask(1, seen, 1)
    assert child.poll() is None
    os.kill(child.pid, signal.SIGCONT)
    assert wait(child).proposals == make_searcher(SPEC).propose(seen, 1)


def test_a_killed_child_is_reported_and_started_again_with_everything(child: ChildSearcher) -> None:
    seen = history(4)
    child.ask(1, seen, 1)
    assert wait(child).proposals is not None
    pid = child.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    child.ask(2, seen, 1)
    child.ask(3, seen, 1)
    answers = [wait(child), wait(child)]
    assert [answer.request for answer in answers] == [2, 3]
    assert all("the searcher's process ended (exit status -9)" in answer.error for answer in answers)
    assert child.pid is None and child.poll() is None
    child.ask(4, seen, 1)
    assert wait(child) == Answer(4, make_searcher(SPEC).propose(seen, 1))
    assert child.pid not in (None, pid)


def test_an_error_in_the_searcher_is_an_answer_and_the_child_goes_on(child: ChildSearcher) -> None:
    child.ask(1, [Observation(5, {}, "open")], 1)  # trial 5 without 0 to 4
    assert wait(child).error == "ValueError: trial 5 was sent before trial 0"
    child.ask(2, [], 1)
    assert wait(child).proposals == make_searcher(SPEC).propose([], 1)


def test_a_death_at_the_start_shows_what_was_printed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "sitecustomize.py").write_text("import os, sys; os.write(2, b'no such luck'); os._exit(3)")
    child = ChildSearcher(SPEC, os.environ | {"PYTHONPATH": str(tmp_path)})
    child.ask(1, [], 1)
    answer = wait(child)
    assert answer.error == "the searcher's process ended (exit status 3); its last output:\nno such luck"
    child.close()


def test_ctrl_c_does_not_reach_it(child: ChildSearcher) -> None:
    child.start()
    assert child.pid is not None
    assert os.getpgid(child.pid) != os.getpgrp()
    child.ask(1, [], 1)
    assert wait(child).proposals is not None
    os.kill(child.pid, signal.SIGINT)
    child.ask(2, [], 1)
    assert wait(child).proposals is not None


def test_threads_are_limited_unless_the_environment_says_otherwise() -> None:
    searcher = ChildSearcher(SPEC, {"OMP_NUM_THREADS": "3"})
    assert searcher._environment["OMP_NUM_THREADS"] == "3"
    assert searcher._environment["OPENBLAS_NUM_THREADS"] == "1"


def test_close_leaves_no_process(child: ChildSearcher) -> None:
    child.ask(1, [], 1)
    pid = child.pid
    assert pid is not None
    child.close()
    child.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ValueError, match="is not running"):
        child.fileno()
    assert child.poll() is None


@pytest.mark.parametrize("busy", [False, True])
def test_the_child_ends_when_its_input_closes(busy: bool) -> None:
    """Also with a long answer under way."""
    messages = frame(Init(spec_to_builtins(SPEC)))
    messages += frame(Ask(1, [], 10**9)) if busy else b""
    ended = subprocess.run(
        [sys.executable, "-m", "sweep.search.child"],
        input=messages,
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, b"")


def test_a_child_without_a_usable_spec_says_so() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sweep.search.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin is not None and process.stdout is not None
    with process:
        process.stdin.write(frame(Ask(1, [], 1)) + frame(Init({"method": "grid"})) + frame(Ask(2, [], 1)))
        process.stdin.flush()
        frames, bodies = Frames(), list[bytes]()
        while len(bodies) < 2:
            bodies += frames.feed(os.read(process.stdout.fileno(), 1000))
        process.stdin.close()
    assert decode_answer(bodies[0]).error == "no spec was sent"
    assert "is not the record of a spec" in decode_answer(bodies[1]).error


def test_frames_are_cut_wherever_the_bytes_were_split() -> None:
    messages = [Init({"a": [1.5, None]}), Ask(7, history(2), 3), Ask(8, [], 1)]
    data = b"".join(map(frame, messages))
    for size in (1, 3, 100, len(data)):
        frames = Frames()
        bodies = [body for i in range(0, len(data), size) for body in frames.feed(data[i : i + size])]
        assert [decode_message(body) for body in bodies] == messages
    answer = Answer(3, Proposals(({"x": [True, None, float("inf")]},), exhausted=True))
    assert decode_answer(Frames().feed(frame(answer))[0]) == answer
