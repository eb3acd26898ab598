"""A state as bytes, and back: the cache by which a controller need not fold a long journal from its start.

The rule of this file: it knows no field by name that it could find out. Attributes and slots are taken as they are, so that
a new one is kept as well; what was packed by other code than this is not unpacked (`fingerprint`). A snapshot never decides
anything: whoever cannot use one folds the journal, and comes to the same state.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.entries import Recorded
from sweep.core.plugins import Observation
from sweep.core.state import Agent, MakeStopper, Run, State, Trial

T = TypeVar("T")

_TUPLE, _SET, _ARRAY = 1, 2, 3
"""Codes of the msgpack extensions: what msgpack itself would turn into a list."""
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
_ELSEWHERE = frozenset(
    ("make_stopper", "stopper", "_spec", "runs", "trials", "agents", "observations", "_yardstick")
)
"""Attributes of a State that are not packed as they are."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """The journal's entry that a state is folded up to: another journal, or another story of it, has another one."""

    position: int
    at_s: float
    writer: str
    seq: int


class _Head(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: str
    mark: Mark
    digest: bytes
    """Of mark and body: damage must not become a state."""


def mark_of(recorded: Recorded) -> Mark:
    """What a snapshot of the state after `recorded` is marked with."""
    return Mark(recorded.position, recorded.at_s, recorded.writer, recorded.seq)


def pack(state: State, mark: Mark) -> bytes | None:
    """`state` as bytes; None for one that holds what has no form here (an int beyond 64 bits).

    `mark` is that of the entry at `state.position`. Takes about 2 µs a run.
    """
    try:
        body = _encode(_body(state))
    except (OverflowError, UnicodeEncodeError):
        return None
    head = _encode(_Head(fingerprint(), mark, _digest(mark, body)))
    return len(head).to_bytes(4, "little") + head + body


def read_mark(data: bytes) -> Mark | None:
    """The mark of a snapshot that this code can unpack; None for any other bytes. Cheap."""
    head, _ = _split(data)
    return head.mark if head is not None else None


def unpack(data: bytes, make_stopper: MakeStopper) -> State | None:
    """The state that `pack` was given, with a stopper that has been told what the runs have reported; None when `data` is
    damaged or was made by other code than this."""
    head, body = _split(data)
    if head is None or _digest(head.mark, body) != head.digest:
        return None
    return _state(_decode(body), make_stopper)


@functools.cache
def fingerprint() -> str:
    """Names the code that folds journals into states: with any change of it, earlier snapshots are void."""
    digest = hashlib.blake2b(repr((sys.version_info[:2], msgspec.__version__)).encode(), digest_size=16)
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    digest.update(repr([sorted(vars(State(lambda _: None))), *map(_fields, (Run, Trial, Agent))]).encode())
    return digest.hexdigest()


def _split(data: bytes) -> tuple[_Head | None, memoryview]:
    view = memoryview(data)
    end = 4 + int.from_bytes(view[:4], "little")
    try:
        head = _decode_head(view[4:end])
    except (msgspec.DecodeError, ValueError):
        return None, view[:0]
    return (head if head.fingerprint == fingerprint() else None), view[end:]


def _digest(mark: Mark, body: bytes | memoryview) -> bytes:
    digest = hashlib.blake2b(_encode(mark), digest_size=16)
    digest.update(body)
    return digest.digest()


# --- a state as plain data -------------------------------------------------------------------------------------


def _body(state: State) -> dict[str, Any]:
    names = [name for name in vars(state) if name not in _ELSEWHERE]
    return {
        "state": {name: _plain(getattr(state, name)) for name in names},
        "spec": _plain(spec_to_builtins(state.spec)),
        "runs": _columns(Run, state.runs),
        "trials": _columns(Trial, state.trials),
        "agents": [list(state.agents), _columns(Agent, list(state.agents.values()))],
        # A trial's number and config stand in the trials.
        "seen": [
            [getattr(seen, name) for seen in state.observations] for name in ("status", "score", "worth")
        ],
    }


def _state(body: dict[str, Any], make_stopper: MakeStopper) -> State:
    state = State(make_stopper)
    vars(state).update(body["state"])
    state._spec = spec_from_builtins(body["spec"])
    state.runs = _objects(Run, body["runs"])
    state.trials = _objects(Trial, body["trials"])
    names, columns = body["agents"]
    state.agents = dict(zip(names, _objects(Agent, columns), strict=True))
    configs = [trial.config for trial in state.trials]
    state.observations = list(map(Observation, range(len(configs)), configs, *body["seen"]))
    state.stopper = make_stopper(state.spec)
    if state.stopper is not None:
        for run in state.runs:
            if run.values and run.purpose == "search":
                state.stopper.report(run.run, run.values, run.progress)
    return state


# --- many objects with slots, column by column: ten times cheaper than one by one --------------------------------


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(kind.__slots__)  # type: ignore[attr-defined]


def _columns(kind: type, objects: Sequence[object]) -> dict[str, Any]:
    columns = {name: _column(list(map(attrgetter(name), objects))) for name in _fields(kind)}
    return {"": len(objects), **columns}


def _objects(kind: type[T], columns: dict[str, Any]) -> list[T]:
    objects = [kind.__new__(kind) for _ in range(columns[""])]
    for name in _fields(kind):
        setter: Callable[[T, Any], None] = getattr(kind, name).__set__
        deque(map(setter, objects, _cells(columns[name])), maxlen=0)
    return objects


def _column(cells: list[Any]) -> Any:
    kinds = set(map(type, cells))
    if kinds == {array}:
        joined = b"".join(map(array.tobytes, cells))
        return {"type": cells[0].typecode, "lengths": list(map(len, cells)), "data": joined}
    return cells if kinds <= _PLAIN else list(map(_plain, cells))


def _cells(column: Any) -> Sequence[Any]:
    if not isinstance(column, dict):
        return column  # type: ignore[no-any-return]
    joined = array(column["type"])
    joined.frombytes(column["data"])
    cells, start = [], 0
    for length in column["lengths"]:
        cells.append(joined[start : start + length])
        start += length
    return cells


# --- single values ---------------------------------------------------------------------------------------------


def _plain(value: Any) -> Any:
    """`value` with a form for what msgpack would turn into a list. Raises TypeError for what is no plain data."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is dict:
        if _PLAIN.issuperset(map(type, value.values())):
            return value
        return {key: _plain(item) for key, item in value.items()}
    if kind is list:
        return value if _PLAIN.issuperset(map(type, value)) else list(map(_plain, value))
    if kind is tuple:
        return msgspec.msgpack.Ext(_TUPLE, _encode(list(map(_plain, value))))
    if kind is set:
        return msgspec.msgpack.Ext(_SET, _encode(list(map(_plain, value))))
    if kind is array:
        return msgspec.msgpack.Ext(_ARRAY, value.typecode.encode() + value.tobytes())
    raise TypeError(f"a state holds a {kind.__name__}, which a snapshot has no form for")


def _extension(code: int, data: memoryview) -> Any:
    if code == _ARRAY:
        restored: array[Any] = array(chr(data[0]))
        restored.frombytes(bytes(data[1:]))
        return restored
    items = _decode(data)
    return tuple(items) if code == _TUPLE else set(items)


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ext_hook=_extension).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
