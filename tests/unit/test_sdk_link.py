"""The connection when things go wrong: full buffers, agents that vanish, interruptions, forks, full disks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdk_agent import FakeAgent, until
from sweep.sdk import _link
from sweep.sdk._link import BROKEN, CLEAR, CLOSED, FILED, HOLDING, Link

END = b'{"op":"end"}\n'


class Client:
    """A Link with what it said."""

    def __init__(self, path: str | None, file: Path, numbered: bool = True) -> None:
        self.said: list[str] = []
        self.link = Link(path, str(file), self.hello, self.said.append, numbered)
        self.link.open()

    def hello(self) -> bytes:
        return b'{"op":"hello","pid":%d}\n' % os.getpid()

    def log(self, k: int, text: str = "") -> None:
        self.link.row(f'"t":0,"m":{{"k":{k}}},"x":{{"text":"{text}"}}}}\n')


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    yield fake
    fake.go()


@pytest.fixture
def connect(agent: FakeAgent) -> Iterator[Callable[..., Client]]:
    """Makes clients of `agent` and closes them."""
    clients: list[Client] = []

    def make(numbered: bool = True) -> Client:
        clients.append(Client(agent.path, agent.run_dir / "unsent-2.jsonl", numbered))
        return clients[-1]

    yield make
    agent.go()
    for client in clients:
        client.link.finish(b"", limit_s=0.01)


@pytest.fixture
def no_nurse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the thread, as where no thread can be started."""

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_link, "start_new_thread", refuse)


def ks(rows: list[dict[str, Any]]) -> list[int]:
    return [row["m"]["k"] for row in rows]


def test_a_full_buffer_holds_rows_until_there_is_room(
    agent: FakeAgent, connect: Callable[..., Client]
) -> None:
    client = connect()
    for k in range(5000):
        client.log(k)
    assert client.link._state == HOLDING
    agent.read_until(lambda _: len(agent.rows()) == 5000)  # nobody logs: the thread sends
    assert ks(agent.numbered()) == list(range(5000))
    until(lambda: client.link._state == CLEAR)
    client.log(5000)
    agent.read()
    assert ks(agent.numbered())[-1] == 5000
    assert agent.connected == 1


@pytest.mark.usefixtures("no_nurse")
def test_without_a_thread_the_next_log_sends(agent: FakeAgent, connect: Callable[..., Client]) -> None:
    client = connect()
    for k in range(2000):
        client.log(k)
    assert client.link._state == HOLDING
    more = iter(range(2000, 10**9))

    def log_on(_: object) -> bool:
        client.log(next(more))
        return client.link._state == CLEAR

    agent.read_until(log_on)
    agent.read()
    got = ks(agent.numbered())
    assert len(got) > 2000
    assert got == list(range(len(got)))


def test_finish_waits_for_a_slow_agent(agent: FakeAgent) -> None:
    done = agent.run(
        "import sweep\nrun = sweep.init()\nfor k in range(20000): run.log({'k': k})\n",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert ks(agent.numbered()) == list(range(20000))
    assert agent.messages[-1] == {"op": "end"}
    assert agent.unsent() == []


@pytest.mark.usefixtures("no_nurse")
def test_a_frozen_agent_costs_finish_its_limit_and_no_row(
    agent: FakeAgent, connect: Callable[..., Client]
) -> None:
    client = connect()
    for k in range(1000):
        client.log(k)
    start = time.monotonic()
    client.link.finish(END, limit_s=0.2)
    assert 0.2 <= time.monotonic() - start < 30
    agent.read()
    received = agent.numbered()
    rest = agent.unsent()
    assert rest[-1] == {"op": "end"}
    rows = {row["i"]: row for row in [*received, *rest[:-1]]}
    assert ks([rows[i] for i in range(1000)]) == list(range(1000))
    assert 0 < len(received) < 1000
    assert rest[0]["i"] <= len(received), "the file goes on where the socket ended"
    assert "the agent did not take everything in" in client.said[0]


def test_rows_longer_than_the_buffer_arrive_whole(agent: FakeAgent, connect: Callable[..., Client]) -> None:
    client = connect()
    for k in range(4):
        client.log(k, "y" * 3_000_000)
    agent.read_until(lambda _: len(agent.rows()) == 4)
    assert [len(row["x"]["text"]) for row in agent.numbered()] == [3_000_000] * 4


def test_a_broken_connection_is_made_anew_and_nothing_is_lost(
    agent: FakeAgent, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "_RECONNECT_S", 0.01)
    client = connect()
    client.log(0)
    agent.read()
    for k in range(1, 50):
        client.log(k)
    agent.drop()  # with 49 rows unread
    client.log(50)
    agent.read_until(lambda _: len(agent.numbered()) == 51)
    assert ks(agent.numbered()) == list(range(51))
    assert agent.connected == 2
    assert client.said == []


def test_reconnections_are_rare(agent: FakeAgent, connect: Callable[..., Client]) -> None:
    client = connect()
    for k in range(200):
        client.log(k)
        agent.drop()
    assert agent.connected <= 3


@pytest.mark.usefixtures("no_nurse")
def test_a_vanished_agent_leaves_the_rows_to_the_file(
    agent: FakeAgent, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect()
    client.log(0)
    agent.read()
    agent.go()
    client.log(1)
    client.log(2)
    assert client.link._state == BROKEN
    assert agent.unsent() == []
    monkeypatch.setattr(_link, "_GIVE_UP_S", 0.0)
    client.link._retry_at = 0.0
    client.log(3)
    assert client.link._state == FILED
    client.log(4)
    assert [row["i"] for row in agent.unsent()] == [0, 1, 2, 3, 4], "a row in doubt is there, too"
    client.link.finish(END)
    assert agent.unsent()[-1] == {"op": "end"}
    assert len(client.said) == 1
    assert "there is no connection to the agent; logged values go to" in client.said[0]


def test_no_agent_from_the_start(agent: FakeAgent) -> None:
    agent.go()
    done = agent.run(
        "import sweep, time\nrun = sweep.init()\nstart = time.monotonic()\nrun.log({'k': 0})\nrun.summary['a'] = 1\n"
        "run.finish()\nassert time.monotonic() - start < 30\n"
    )
    assert done.returncode == 0
    assert [row.get("op", "row") for row in agent.unsent()] == ["row", "summary", "end"]
    assert "logged values go to" in done.stderr


def test_an_agent_that_comes_late_gets_everything(
    agent: FakeAgent, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "_RECONNECT_S", 0.01)
    agent.go()
    client = connect()
    client.log(0)
    agent.listen()
    agent.read_until(lambda _: len(agent.rows()) == 1)
    client.log(1)
    agent.read()
    assert ks(agent.numbered()) == [0, 1]


def test_a_full_backlog_delays_no_program(agent: FakeAgent, connect: Callable[..., Client]) -> None:
    clients = [connect() for _ in range(40)]  # the backlog is 16
    for client in clients:
        client.log(0)
    agent.read_until(lambda _: len(agent.rows()) == 40)


@pytest.mark.usefixtures("no_nurse")
def test_the_queue_is_bounded(
    agent: FakeAgent, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "_MAX_HELD_BYTES", 1_000_000)
    client = connect()
    for k in range(2000):
        client.log(k, "z" * 1000)
    assert client.link._state == FILED
    assert client.link._held_bytes == 0
    agent.read()
    sent = len(agent.numbered())
    filed = [row["i"] for row in agent.unsent()]
    assert filed == list(range(filed[0], 2000))
    assert filed[0] <= sent < 2000
    assert "too slowly" in client.said[0]


@pytest.mark.parametrize("part", [0, 10, 10_000])
def test_an_exception_in_the_middle_of_a_send(
    agent: FakeAgent, connect: Callable[..., Client], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal handler raised while a line was sent: some, all or nothing of it has gone."""
    monkeypatch.setattr(_link, "_RECONNECT_S", 0.0)
    client = connect()
    client.log(0)
    real = client.link._send

    def interrupted(line: bytes, flags: int) -> int:
        real(line[:part], flags)
        raise KeyboardInterrupt

    client.link._send = interrupted  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        client.log(1)
    client.log(2)
    client.link.finish(END)
    agent.read()
    assert ks(agent.numbered()) == [0, 1, 2]
    assert agent.messages[-1] == {"op": "end"}


def test_a_signal_handler_may_log_in_the_middle_of_a_log(
    agent: FakeAgent, connect: Callable[..., Client]
) -> None:
    client = connect()
    real = client.link._send

    def interrupted(line: bytes, flags: int) -> int:
        client.link._send = real
        client.log(1)
        client.link.control(b'{"op":"summary"}\n')
        return real(line, flags)

    client.link._send = interrupted  # type: ignore[assignment]
    client.log(0)
    agent.read()
    assert ks(agent.numbered()) == [0, 1]
    assert agent.ops()[-1] == "summary"


def test_sigterm_with_the_default_handler_loses_nothing_logged(agent: FakeAgent) -> None:
    done = agent.run(
        "import os, signal, sweep\nrun = sweep.init()\nfor k in range(100): run.log({'k': k})\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
    )
    assert done.returncode == -15
    assert ks(agent.numbered()) == list(range(100))


def test_a_program_that_gave_sigpipe_its_default_back_survives(agent: FakeAgent) -> None:
    done = agent.run(
        "import os, signal, sweep, time\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nrun = sweep.init()\n"
        "run._link._socket.shutdown(1)\nrun.log({'k': 0})\nrun.finish()\nprint('alive')\n"
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")
    assert ks(agent.numbered()) == [0]


def test_exit_by_exception_still_sends_everything(agent: FakeAgent) -> None:
    done = agent.run("import sweep\nrun = sweep.init()\nrun.log({'k': 0})\nraise ValueError('mine')\n")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: mine")
    assert agent.ops() == ["hello", "row", "end"]


def test_a_forked_child_has_a_connection_of_its_own(agent: FakeAgent) -> None:
    done = agent.run(
        "import os, sweep\nrun = sweep.init()\nrun.log({'k': 0})\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    run.log({'k': 100})\n    raise SystemExit(3)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3\n"
        "run.log({'k': 1})\n"
        "if os.fork() == 0: raise SystemExit\n"  # a child that never logs says nothing
        "os.wait()\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    parent, child = agent.by_pid.values()
    assert [(row.get("op"), row.get("i")) for row in parent] == [
        ("hello", None),
        (None, 0),
        (None, 1),
        ("end", None),
    ]
    assert [(row.get("op"), row.get("i")) for row in child] == [("hello", None), (None, None)]
    assert agent.connected == 2


def test_a_child_forked_while_rows_are_held_does_not_send_them(agent: FakeAgent) -> None:
    program = (
        "import os, sweep\nrun = sweep.init()\nfor k in range(3000): run.log({'k': k})\n"
        "if os.fork() == 0: raise SystemExit\nos.wait()\n"
    )
    done = agent.run(program)
    assert done.returncode == 0
    assert ks(agent.rows()) == list(range(3000))


def test_a_second_program_of_one_run_does_not_number_its_rows(agent: FakeAgent) -> None:
    program = "import sweep\nrun = sweep.init()\nrun.log({'k': 0})\n"
    agent.run(program)
    agent.run(program)
    assert [row.get("i") for row in agent.rows()] == [0, None]
    assert agent.ops() == ["hello", "row", "end", "hello", "row"]
    agent.run(program, SWEEP_ATTEMPT="3")
    assert agent.rows()[-1]["i"] == 0


def test_rows_without_numbers_are_not_sent_twice_after_a_break(
    agent: FakeAgent, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "_RECONNECT_S", 0.01)
    client = connect(numbered=False)
    for k in range(5):
        client.log(k)
    agent.read()
    agent.drop()
    client.log(5)
    agent.read_until(lambda _: len(agent.rows()) == 6)
    client.log(6)
    agent.read()
    assert ks(agent.rows()) == list(range(7))


def test_a_full_disk_is_said_and_survived(agent: FakeAgent) -> None:
    agent.go()
    (agent.run_dir / "unsent-2.jsonl").symlink_to("/dev/full")
    done = agent.run("import sweep\nrun = sweep.init()\nrun.log({'k': 0})\nrun.finish()\nprint('on')\n")
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert "logged values are lost: cannot write" in done.stderr
    assert "No space left" in done.stderr


def test_a_missing_run_folder_is_survived(agent: FakeAgent) -> None:
    agent.go()
    done = agent.run("import sweep\nrun = sweep.init()\nrun.log({'k': 0})\n", SWEEP_RUN_DIR="/nowhere/at/all")
    assert done.returncode == 0
    assert "logged values are lost" in done.stderr


def test_a_closed_standard_error_is_survived(agent: FakeAgent) -> None:
    agent.go()
    done = agent.run(
        "import sys, sweep\nsys.stderr.close()\nsys.stderr = None\nsweep.init().log({'k': object()})\n"
    )
    assert done.returncode == 0


def test_a_stop_reaches_a_program_after_a_break(
    agent: FakeAgent, connect: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_link, "_RECONNECT_S", 0.01)
    client = connect()
    agent.read()
    assert client.link.stop_reason() is None
    agent.drop()
    assert client.link.stop_reason() is None  # finds the connection gone
    agent.read_until(lambda _: agent.connected == 2)
    agent.stop("why")
    until(lambda: client.link.stop_reason() == "why")


def test_lines_from_the_agent_may_come_in_pieces_and_be_odd(
    agent: FakeAgent, connect: Callable[..., Client]
) -> None:
    client = connect()
    agent.read()
    for piece in (b"\xff\n[]\nnot json\n", b'{"op":"st', b'op"}\n'):
        assert client.link.stop_reason() is None
        agent._connections[0].sendall(piece)
    assert client.link.stop_reason() == "the agent asked it to stop"


def test_a_detached_link_without_an_agent_appends_to_the_same_file(tmp_path: Path) -> None:
    client = Client(None, tmp_path / "rows.jsonl")
    client.log(0)
    client.link.detach()
    client.log(1)
    client.link.finish(b"")
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert [line.startswith('{"i":0') for line in lines] == [True, False]
    assert client.link._state == FILED


def test_finish_closes(agent: FakeAgent, connect: Callable[..., Client]) -> None:
    client = connect()
    agent.stop("unread")
    client.link.finish(END)
    assert client.link._state == CLOSED
    assert client.link._socket is None
    assert agent.read()[-1] == {"op": "end"}
