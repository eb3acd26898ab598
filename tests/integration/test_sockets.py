"""The agent's socket with real connections: nothing is lost, nothing blocks, nobody starves."""

from __future__ import annotations

import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.agents import sockets
from sweep.agents.inbox import RunInbox
from sweep.agents.sockets import RunServer, socket_path


class World:
    """A server and its selector, turned by hand."""

    def __init__(self, path: str) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = RunServer(self.selector, path)
        self.clients: list[socket.socket] = []
        self.connected: list[tuple[int, int, bool]] = []
        self.now_s = 0.0

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.now_s += 1.0
            for key, _ in self.selector.select(0):
                key.data()
            self.connected += self.server.poll(self.now_s)
            due_s = self.server.due_s()
            if due_s is not None:  # a new connection is read from a moment later
                self.connected += self.server.poll(due_s)

    def expect(self, run: int = 7, attempt: int = 1, metric: str | None = "loss") -> RunInbox:
        return self.server.expect(run, f"abc-{run}", attempt, metric)

    def client(
        self, *lines: Any, run: int = 7, attempt: int = 1, hello: bool = True, **more: Any
    ) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(self.server.path)
        client.setblocking(False)
        self.clients.append(client)
        if hello:
            send(client, {"op": "hello", "run": f"abc-{run}", "attempt": attempt, "pid": 5, **more})
        send(client, *lines)
        return client

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.server.close()
        self.selector.close()


@pytest.fixture
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="sweep-", dir="/tmp") as folder:
        world = World(f"{folder}/s")
        yield world
        world.close()


def send(client: socket.socket, *lines: Any) -> None:
    for line in lines:
        client.sendall((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")


def row(i: int | None, **metrics: Any) -> dict[str, Any]:
    return {"i": i, "m": metrics}


def received(client: socket.socket) -> list[Any]:
    try:
        return [json.loads(line) for line in client.recv(65536).splitlines()]
    except BlockingIOError:
        return []


# --- talking


def test_rows_reach_the_inbox_of_their_run(world: World) -> None:
    first, second = world.expect(7), world.expect(8)
    world.client(row(0, loss=1.0), row(1, loss=0.5), run=7)
    world.client(row(0, loss=9.0), run=8, stop="raise")
    world.turn()
    assert world.connected == [(7, 1, False), (8, 1, True)]
    assert (first.rows, second.rows) == (2, 1)
    assert first.take().values == [1.0, 0.5]
    assert sorted(world.server.reported()) == [7, 8]
    assert world.server.reported() == []


def test_a_new_connection_is_read_from_a_moment_later_and_then_at_once(world: World) -> None:
    box = world.expect()
    client = world.client(row(0, loss=1.0))
    for key, _ in world.selector.select(5):
        key.data()
    assert world.server.poll(1.0) == [] and world.server.due_s() == 1.0 + sockets.FRESH_S
    assert world.selector.select(0) == []  # nobody is woken by what it says meanwhile
    assert world.server.poll(1.0 + sockets.FRESH_S) == [(7, 1, False)]
    assert (box.rows, world.server.due_s()) == (1, None)
    send(client, row(1, loss=0.5))
    for key, _ in world.selector.select(5):
        key.data()
    world.server.poll(1.0 + sockets.FRESH_S)
    assert box.rows == 2


def test_a_line_in_pieces(world: World) -> None:
    box = world.expect()
    client = world.client()
    for byte in b'{"i":0,"m":{"loss":0.5}}':
        client.send(bytes([byte]))
        world.turn()
    assert box.rows == 0 and world.server.reported() == []
    client.send(b"\n")
    world.turn()
    assert box.take().data == b'{"i":0,"m":{"loss":0.5}}'


def test_a_last_line_without_its_newline_counts_if_it_is_whole(world: World) -> None:
    box = world.expect()
    for text in (b'{"m":{"loss":0.5}}', b'{"m":{"loss":0.'):
        client = world.client()
        client.send(text)
        client.close()
    world.turn(3)
    assert (box.rows, box.malformed) == (1, 0)


def test_several_connections_of_one_run(world: World) -> None:
    box = world.expect()
    world.client(row(0, loss=1.0), stop="raise")
    for _ in range(3):
        world.client({"m": {"loss": 2.0}}).close()
    world.turn(2)
    assert box.rows == 4
    assert [raises for *_, raises in world.connected] == [
        True
    ] * 4  # a shell client changes nothing about that


def test_rows_sent_again_after_a_broken_connection_count_once(world: World) -> None:
    box = world.expect()
    world.client(row(0, loss=1.0), row(1, loss=1.0)).close()
    world.turn()
    world.client(row(0, loss=1.0), row(1, loss=1.0), row(2, loss=1.0))
    world.turn()
    assert (box.rows, box.duplicates) == (3, 2)


def test_nonsense_is_shown_once_and_hurts_nobody(world: World) -> None:
    box = world.expect()
    world.client(b"garbage", row(0, loss=1.0), b"\xff\xfe", b"", b'{"m":{"loss":NaN}}', row(1, loss=1.0))
    world.turn()
    assert (box.rows, box.malformed) == (3, 2)
    assert world.server.complaints() == [(7, "a line that it sent cannot be used: it is not JSON: garbage")]
    world.client(b"more garbage")
    world.turn()
    assert world.server.complaints() == []


@pytest.mark.parametrize(
    "first",
    [
        {"op": "hello", "run": "abc-7", "attempt": 2},
        {"op": "hello", "run": "other-7", "attempt": 1},
        {"m": {"loss": 1}},
        b"GET / HTTP/1.1",
        {"op": "hello"},
    ],
)
def test_who_does_not_run_here_is_refused(world: World, first: Any) -> None:
    box = world.expect()
    client = world.client(first, row(0, loss=1.0), hello=False)
    world.turn()
    assert world.connected == [] and box.rows == 0
    assert len(world.server.complaints()) == 1
    assert client.recv(10) == b""


def test_an_earlier_attempt_is_refused_once_the_next_is_expected(world: World) -> None:
    old = world.expect(attempt=1)
    first = world.client(row(0, loss=1.0))
    world.turn()
    new = world.expect(attempt=2)
    assert first.recv(10) == b""
    world.client(row(0, loss=5.0), attempt=2)
    world.client(row(1, loss=1.0), attempt=1)
    world.turn()
    assert (old.rows, new.rows) == (1, 1)


# --- stopping


def test_a_stop_reaches_every_connection_also_later_ones(world: World) -> None:
    world.expect(7)
    world.expect(8)
    early, other = world.client(row(0, loss=1.0)), world.client(run=8)
    world.turn()
    world.server.send_stop(7, "worse than the rest")
    world.server.send_stop(7, "worse than the rest")
    late = world.client()
    assert received(early) == [{"op": "stop", "reason": "worse than the rest"}]
    world.turn()
    assert received(late) == [{"op": "stop", "reason": "worse than the rest"}]
    assert received(other) == [] and received(early) == []


def test_the_next_attempt_is_not_told_to_stop(world: World) -> None:
    world.expect(attempt=1)
    world.server.send_stop(7, "paused")
    world.expect(attempt=2)
    client = world.client(attempt=2)
    world.turn()
    assert received(client) == []


def test_a_stop_to_a_client_that_is_gone(world: World) -> None:
    world.expect()
    client = world.client()
    world.turn()
    client.close()
    world.server.send_stop(7, "x")
    world.turn()


# --- the end of a run


def test_drain_takes_what_was_sent_before_anything_was_accepted(world: World) -> None:
    box = world.expect()
    world.client(row(0, loss=1.0), {"op": "end"}).close()
    assert world.server.drain(7) == [(7, 1, False)]
    assert box.rows == 1 and box.ended
    world.server.forget(7)
    world.turn()
    assert len(world.server._connections) == 0


def test_drain_does_not_wait_for_a_connection_that_stays_open(world: World) -> None:
    box = world.expect()
    client = world.client(row(0, loss=1.0))
    world.server.drain(7)
    assert box.rows == 1
    world.server.forget(7)
    assert client.recv(10) == b""


def test_drain_takes_more_than_one_turn_would(world: World) -> None:
    box = world.expect()
    client = world.client()
    world.turn()
    line = json.dumps(row(None, pad="x" * 400)).encode() + b"\n"
    sent = 0
    try:
        while True:
            assert client.send(line) == len(line)
            sent += 1
    except BlockingIOError:
        pass
    assert sent > 100
    world.server.drain(7)
    assert box.rows == sent


def test_drain_leaves_other_runs_alone_and_hears_their_hello(world: World) -> None:
    world.expect(7)
    other = world.expect(8)
    world.client(row(0, loss=1.0), run=8)
    assert world.server.drain(7) == [(8, 1, False)]
    world.turn()
    assert other.rows == 1


# --- bounds


def test_a_flood_of_one_run_does_not_starve_another(world: World) -> None:
    world.expect(7, metric=None)
    quiet = world.expect(8)
    flood = world.client(run=7)
    world.turn()
    flood.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    block = b"".join(json.dumps({"m": {"n": n}}).encode() + b"\n" for n in range(40))
    try:
        while True:
            flood.send(block)
    except BlockingIOError:
        pass
    world.client(row(0, loss=1.0), run=8)
    before = world.server._inboxes["abc-7", 1].pending_bytes
    world.turn()
    assert quiet.rows == 1
    assert world.server._inboxes["abc-7", 1].pending_bytes - before <= sockets.TURN_BYTES


def test_a_run_of_which_too_much_waits_is_not_read_until_it_was_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_PENDING_BYTES", 100)
    box = world.expect()
    client = world.client(*(row(i, loss=1.0) for i in range(10)))
    world.turn()
    assert box.rows == 10
    send(client, row(10, loss=1.0))
    world.turn(3)
    assert box.rows == 10
    assert world.selector.select(0) == []  # and nothing spins meanwhile
    box.take()
    world.turn(2)
    assert box.rows == 11
    box.take()
    send(client, row(11, loss=1.0))
    client.close()
    world.turn(3)
    assert box.rows == 12


def test_a_run_that_waits_can_be_drained_and_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_PENDING_BYTES", 1)
    box = world.expect()
    client = world.client(row(0, loss=1.0))
    world.turn()
    send(client, row(1, loss=1.0))
    world.turn(2)
    assert box.rows == 1
    world.server.drain(7)
    assert box.rows == 2
    world.server.forget(7)
    world.turn()
    assert client.recv(10) == b""


def test_a_line_that_is_too_long_is_left_out_and_the_next_one_counts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(sockets, "TURN_BYTES", 256)
    box = world.expect()
    client = world.client(row(0, loss=1.0))
    send(client, row(1, pad="x" * 5000), row(2, loss=2.0))
    world.turn(60)
    assert (box.rows, box.malformed) == (2, 1)
    assert [run for run, _ in world.server.complaints()] == [7]
    assert "left out" in box.complaint


def test_a_line_just_below_the_limit_passes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "TURN_BYTES", 256)
    box = world.expect()
    world.client(row(0, **{f"name{n}": n for n in range(5000)}))
    world.turn(500)
    assert (box.rows, len(box.summary())) == (1, 5000)


def test_many_short_clients_leave_nothing_behind(world: World) -> None:
    box = world.expect()
    descriptors = len(list(Path("/dev/fd").iterdir()))
    for _ in range(300):
        world.client({"m": {"loss": 1.0}}).close()
        world.turn()
    world.turn(3)
    assert box.rows == 300
    assert len(world.server._connections) == 0
    assert len(list(Path("/dev/fd").iterdir())) == descriptors


# --- where the socket is


def test_the_path_is_short_and_private(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        path = Path(socket_path({"XDG_RUNTIME_DIR": runtime}))
        assert path.parent == Path(runtime) / "sweep"
        assert path.parent.stat().st_mode & 0o777 == 0o700
    for environ in ({}, {"XDG_RUNTIME_DIR": "/no/such/folder"}, {"XDG_RUNTIME_DIR": f"/tmp/{'x' * 90}"}):
        path = Path(socket_path(environ))
        assert path.parent == Path(f"/tmp/sweep-{os.getuid()}")
        assert len(os.fsencode(path)) <= sockets.MAX_PATH_BYTES
    assert socket_path({}) != socket_path({})


def test_a_folder_that_others_can_enter_is_not_used() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime:
        (Path(runtime) / "sweep").mkdir(mode=0o777)
        (Path(runtime) / "sweep").chmod(0o777)
        assert not socket_path({"XDG_RUNTIME_DIR": runtime}).startswith(runtime)


def test_sockets_of_dead_agents_are_removed_and_living_ones_kept() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as runtime, selectors.DefaultSelector() as selector:
        environ = {"XDG_RUNTIME_DIR": runtime}
        alive = RunServer(selector, environ=environ)
        dead = Path(alive.path).with_name("1-dead.sock")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(dead))
        assert dead.exists()
        another = RunServer(selector, environ=environ)
        assert not dead.exists() and Path(alive.path).exists()
        for server in (alive, another):
            server.close()
        assert list((Path(runtime) / "sweep").iterdir()) == []


def test_the_socket_is_only_for_its_owner(world: World) -> None:
    assert Path(world.server.path).stat().st_mode & 0o077 == 0


# --- with the real training side

PROGRAM = """
import sweep
run = sweep.init(config={"epochs": 3}, stop="raise")
for step in range(500):
    run.log({"val": {"loss": 1.0 / (step + 1)}, "note": "x"}, step=step)
run.log({"val/loss": float("nan")})
run.summary["best"] = float("inf")
run.finish()
"""


def test_the_training_side_and_this_side_understand_each_other(world: World, tmp_path: Path) -> None:
    box = world.expect(metric="val.loss")
    (tmp_path / "config.json").write_text('{"lr": 0.5}')
    env = {name: value for name, value in os.environ.items() if not name.startswith("SWEEP_")}
    env |= {
        "SWEEP_RUN_ID": "abc-7",
        "SWEEP_ATTEMPT": "1",
        "SWEEP_SEED": "1",
        "SWEEP_SOCKET": world.server.path,
    }
    env |= {"SWEEP_CONFIG": str(tmp_path / "config.json"), "SWEEP_RUN_DIR": str(tmp_path), "SWEEP_ID": "abc"}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], env=env)
    while process.poll() is None:
        world.turn()
    assert process.returncode == 0
    world.server.drain(7)
    box.take_unsent(tmp_path / "unsent-1.jsonl")
    assert world.connected == [(7, 1, True)]
    assert (box.rows, box.duplicates, box.malformed, box.ended) == (501, 0, 0, True)
    taken = box.take()
    assert taken.values[:500] == [1.0 / (step + 1) for step in range(500)]
    assert taken.steps[:500] == list(range(500))
    assert box.score("minimize") == 1.0 / 500
    assert box.summary()["best"] == float("inf") and box.summary()["note"] == "x"
    assert box.config == {"epochs": 3}
