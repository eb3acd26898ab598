"""The connection to a Redis server: commands, scripts, reconnecting, and Redis Cluster's redirections.

The rules of this file: every operation may be sent twice, because the answer to the first may have been lost, so it takes only what
does no harm when repeated; reconnecting takes a bounded time, and once that has been in vain each further operation tries
just once until one succeeds; nothing is raised but StoreError.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from redis import exceptions as wrong
from redis.connection import Connection, SSLConnection, UnixDomainSocketConnection
from redis.crc import key_slot

from sweep.stores import _redis_words as words
from sweep.stores._redis_clock import ServerClock, machine_s
from sweep.stores._redis_scripts import Script
from sweep.stores._redis_url import Address
from sweep.stores._redis_wire import Value, Wire, packed
from sweep.stores.base import StoreError

PATIENCE_S = 2.0
"""How long an operation reconnects before it gives up."""
CONNECT_S = 3.0
ANSWER_S = 10.0
"""How long an answer is waited for."""
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.02, 0.25
_REDIRECTIONS = 8
_FIRST_LOOK_S, _LAST_LOOK_S = 0.0005, 0.01
_WRITTEN_S = 3.0
"""Redis puts writing off for two seconds at most, counted in whole seconds of its clock."""

_PERSISTENCE = packed((b"INFO", b"persistence"))
_Node = tuple[str, int]


class Call:
    """A script and its keys, ready to be said again and again with one argument."""

    def __init__(self, script: Script, keys: Sequence[Value]) -> None:
        self.script, self.keys = script, keys
        empty = packed((b"EVALSHA", script.sha, len(keys), *keys, b""))
        self._head = empty.removesuffix(b"$0\r\n\r\n")

    def of(self, arg: bytes) -> bytes:
        """What the server is to be told."""
        return b"%b$%d\r\n%b\r\n" % (self._head, len(arg), arg)


_PASSING = (wrong.ConnectionError, wrong.TimeoutError, wrong.ClusterDownError, wrong.TryAgainError, OSError)
"""What may be over in a moment. Wrong passwords and certificates are ConnectionErrors, too: `words.is_lasting` tells."""


class Link:
    """One server, or one cluster, as one thread speaks to it."""

    def __init__(
        self, address: Address, *, patience_s: float = PATIENCE_S, answer_s: float = ANSWER_S
    ) -> None:
        self.address, self.patience_s, self._answer_s = address, patience_s, answer_s
        self.clock = ServerClock()
        self.clustered = False
        self._home: _Node = (address.host, address.port)
        self._wires: dict[_Node, Wire] = {}
        self._owners: dict[int, _Node] = {}
        """The nodes of a cluster that have slots, as far as they told."""
        self._down = False
        """The last operation could not reach the server."""
        self._early: dict[_Node, bool] = {}
        """Whether a node may answer before it has written what it was told; asked anew of a server that was away."""

    def close(self) -> None:
        """Close all connections; the link may be used again."""
        for wire in self._wires.values():
            wire.disconnect()
        self._wires.clear()

    # --- operations

    def run(
        self, script: Script, keys: Sequence[Value], args: Sequence[Value] = (), *, kept: bool = False
    ) -> Any:
        """Run a script; `keys[0]` decides where. `kept`: it returns only when a kill of the server cannot undo it."""
        said = packed((b"EVALSHA", script.sha, len(keys), *keys, *args))
        return self._run(script, keys, args, said, self._ask_kept if kept else self._ask)

    def call(self, call: Call, arg: bytes) -> Any:
        """The same with a script and keys that were made ready, and what it does is kept."""
        return self._run(call.script, call.keys, (arg,), call.of(arg), self._ask_kept)

    def _run(
        self,
        script: Script,
        keys: Sequence[Value],
        args: Sequence[Value],
        said: bytes,
        ask: Callable[[_Node, bytes], Any],
    ) -> Any:
        def send(node: _Node) -> Any:
            try:
                return ask(node, said)
            except wrong.NoScriptError:
                return ask(node, packed((b"EVAL", script.text, len(keys), *keys, *args)))

        return self._try(send, keys[0])

    def command(self, *command: Value, key: Value | None = None, kept: bool = False) -> Any:
        """Run a command; `key` decides where (any node without one); `kept` as in `run`."""
        ask, said = self._ask_kept if kept else self._ask, packed(command)
        return self._try(lambda node: ask(node, said), key)

    def commands(self, commands: Sequence[tuple[Value, ...]]) -> list[Any]:
        """Run several commands, each with its key in second place (but for OBJECT), in one round trip where one server has
        all."""
        if self.clustered:
            return [self.command(*command, key=command[1 + (command[0] == "OBJECT")]) for command in commands]
        return self._try(lambda node: self._ask_all(node, commands), None) if commands else []

    def scan(self, pattern: str) -> list[bytes]:
        """All keys that match a glob pattern."""
        found: list[bytes] = []
        for node in self._nodes() if self.clustered else [self._home]:
            cursor: Any = b"0"
            while True:
                said = packed((b"SCAN", cursor, b"MATCH", pattern, b"COUNT", 1000))
                cursor, keys = self._try(lambda _, n=node, s=said: self._ask(n, s), None)
                found += keys
                if cursor in (b"0", 0):
                    break
        return sorted(set(found))

    def another(self) -> Wire:
        """A connection beside this link's, not made yet."""
        return self._new_wire(self._home)

    def read_clock(self) -> None:
        """Take a reading of the server's clock."""
        asked_s = machine_s()
        seconds, micros = self.command("TIME")
        self.clock.read(int(seconds) + int(micros) / 1e6, asked_s, machine_s())

    # --- inside

    def _try(self, send: Any, key: Value | None) -> Any:
        deadline_s, pause_s = time.monotonic() + self.patience_s, _FIRST_PAUSE_S
        slot = self._slot(key)
        node, redirections = self._owners.get(slot, self._home), 0
        while True:
            try:
                answer = send(node)
                self._down = False
                return answer
            except wrong.MovedError as moved:
                redirections += 1
                if redirections > _REDIRECTIONS:
                    raise words.in_words(moved, self.address) from moved
                node = self._owners[slot] = (moved.host or node[0], moved.port)
            except wrong.AskError as ask:  # the slot is on its way to another node
                redirections += 1
                if redirections > _REDIRECTIONS:
                    raise words.in_words(ask, self.address) from ask
                self._ask((ask.host, ask.port), packed((b"ASKING",)))
                node = (ask.host, ask.port)
            except _PASSING as error:
                if words.is_lasting(error) or self._down or time.monotonic() + pause_s > deadline_s:
                    self._down = not words.is_lasting(error)
                    raise self._in_words(error, node) from error
                self._owners.pop(slot, None)
                self._early.clear()
                node = self._home if node not in self._wires else node
                time.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, _LAST_PAUSE_S)
            except wrong.RedisError as error:
                raise words.in_words(error, self.address) from error

    def _in_words(self, error: BaseException, node: _Node) -> StoreError:
        away = self.clustered and node != self._home and not words.is_lasting(error)
        return words.node_away(node, self.address, error) if away else words.in_words(error, self.address)

    def _slot(self, key: Value | None) -> int:
        if key is None or not self.clustered:
            return -1
        slot: int = key_slot(key if isinstance(key, bytes) else str(key).encode())
        return slot

    def _nodes(self) -> list[_Node]:
        """The nodes of a cluster that keep keys of their own."""
        ranges = self.command("CLUSTER", "SLOTS")
        return sorted({(found[2][0].decode() or self._home[0], int(found[2][1])) for found in ranges})

    def _ask(self, node: _Node, said: bytes) -> Any:
        wire = self._wire(node)
        wire.send(said)
        return wire.receive()

    def _ask_kept(self, node: _Node, said: bytes) -> Any:
        """As `_ask`, and the server has handed its append-only file to the system, which outlives it. With `appendfsync everysec` it
        answers before it has, while an fsync is under way: for two seconds at most."""
        early = self._early.get(node)
        if early is None:
            early = self._early[node] = self._answers_early(node)
        wire = self._wire(node)
        wire.send(said + _PERSISTENCE if early else said)
        if not early:
            return wire.receive()
        try:
            answer = wire.receive()
        except wrong.ResponseError:
            wire.receive()
            raise
        about, until_s, pause_s = wire.receive(), time.monotonic() + _WRITTEN_S, _FIRST_LOOK_S
        while not words.is_written(about) and time.monotonic() < until_s:
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LAST_LOOK_S)
            about = self._persistence(wire)
        return answer

    def _persistence(self, wire: Wire) -> bytes:
        wire.send(_PERSISTENCE)
        about: bytes = wire.receive()
        return about

    def _answers_early(self, node: _Node) -> bool:
        """Whether a node may answer before it has written to its append-only file. Where it does not tell, it is not asked again and again."""
        wire = self._wire(node)
        try:
            if words.parse_info(self._persistence(wire)).get("aof_enabled") != "1":
                return False
        except wrong.NoPermissionError:
            return False
        try:
            fsync = (wire.ask((b"CONFIG", b"GET", b"appendfsync")) or [b"", b""])[1]
        except wrong.ResponseError:
            return True
        return bool(fsync not in (b"always", b"no"))

    def _ask_all(self, node: _Node, commands: Sequence[Sequence[Value]]) -> list[Any]:
        wire = self._wire(node)
        wire.send(b"".join(map(packed, commands)))
        answers: list[Any] = []
        for _ in commands:
            try:
                answers.append(wire.receive())
            except wrong.ResponseError as error:  # the answers behind it must be read all the same
                answers.append(error)
        for answer in answers:
            if isinstance(answer, wrong.ResponseError):
                raise answer
        return answers

    def _wire(self, node: _Node) -> Wire:
        wire = self._wires.get(node)
        if wire is None:
            wire = self._wires[node] = self._new_wire(node)
        return wire

    def _new_wire(self, node: _Node) -> Wire:
        return Wire(self._connection(node))

    def _connection(self, node: _Node) -> Any:
        address = self.address
        options: dict[str, Any] = {
            "username": address.user or None,
            "password": address.password or None,
            "socket_timeout": self._answer_s,
            "protocol": 2,
        }
        if not self.clustered:
            options["db"] = address.db
        if address.path:
            return UnixDomainSocketConnection(path=address.path, **options)
        options |= {"host": node[0], "port": node[1], "socket_keepalive": True}
        options["socket_connect_timeout"] = min(CONNECT_S, self._answer_s)
        if address.tls is None:
            return Connection(**options)
        tls: dict[str, Any] = dict(address.tls)
        tls["ssl_check_hostname"] = tls.get("ssl_check_hostname", "true") == "true"
        try:
            return SSLConnection(**tls, **options)
        except wrong.RedisError as error:
            raise StoreError(f"{address.shown}: {error}") from None
