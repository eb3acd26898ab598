"""A state as bytes, and back: the cache by which a controller need not fold a long journal from its start.

The rule of this file: it knows no field by name that it could find out. Attributes and slots are taken as they are, so that
a new one is kept as well; what was packed by other code than this is not unpacked (`fingerprint`). A snapshot never decides
anything: whoever cannot use one folds the journal, and comes to the same state.

Runs and trials are packed in parts of `State.block` numbers each, and a part is packed again only when one of its own has changed
(`State.touch`): a long sweep's snapshot costs what has happened since the last one. Likewise each is opened when the first of its
own is asked for.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from sweep.core.closed import Observations, closed_runs, closed_trials, opened
from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.entries import Recorded
from sweep.core.plugins import Observation
from sweep.core.state import Agent, MakeStopper, Run, State, Trial

T = TypeVar("T")

_TUPLE, _SET, _ARRAY = 1, 2, 3
"""Codes of the msgpack extensions: what msgpack itself would turn into a list."""
_PLAIN = frozenset((type(None), bool, int, float, str, bytes))
_ELSEWHERE = frozenset(
    ("make_stopper", "stopper", "_spec", "runs", "trials", "agents", "observations", "_yardstick", "touched")
)
"""Attributes of a State that are not packed as they are."""
_LEVEL = 1


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """The journal's entry that a state is folded up to: another journal, or another story of it, has another one."""

    position: int
    at_s: float
    writer: str
    seq: int


class _Head(msgspec.Struct, frozen=True, array_like=True):
    fingerprint: str
    mark: Mark
    block: int
    """`State.block` of the state that was packed."""
    lengths: tuple[int, ...]
    """Bytes of the parts that follow: the state without its runs and trials, then these, block by block."""
    digest: bytes
    """Of all this: damage must not become a state."""


class _Part(msgspec.Struct, frozen=True):
    data: bytes
    digest: bytes


def mark_of(recorded: Recorded) -> Mark:
    """What a snapshot of the state after `recorded` is marked with."""
    return Mark(recorded.position, recorded.at_s, recorded.writer, recorded.seq)


class Packer:
    """Packs one state again and again, as it grows."""

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        """Block -> as it was packed last; out of date where the state has touched it since."""
        self._unable = False

    def prepare(self, state: State, before: int) -> bool:
        """Pack one block that has not changed since position `before` of the journal, so that less is left for `pack`. Whether
        there was one."""
        if self._unable:
            return False
        number = next(iter(state.touched), None)
        if number is None or state.touched[number] >= before:
            return False
        try:
            self._parts[number] = _part(_block(state, number))
        except _NO_FORM:
            self._unable = True  # until somebody asks for all of it
            return False
        del state.touched[number]
        return True

    def pack(self, state: State, mark: Mark) -> bytes | None:
        """`state` as bytes; None for one that holds what has no form here (an int beyond 64 bits).

        `mark` is that of the entry at `state.position`. Takes about 7 µs a run of those blocks that have changed.
        """
        try:
            for number in range(_blocks(state)):
                if number in state.touched or number not in self._parts:
                    self._parts[number] = _part(_block(state, number))
            parts = [_part(_body(state)), *(self._parts[number] for number in range(_blocks(state)))]
        except _NO_FORM:
            return None
        state.touched.clear()
        lengths = tuple(len(part.data) for part in parts)
        digest = _digest(mark, state.block, lengths, [part.digest for part in parts])
        head = _encode(_Head(fingerprint(), mark, state.block, lengths, digest))
        return b"".join([len(head).to_bytes(4, "little"), head, *(part.data for part in parts)])

    def unpack(self, data: bytes, make_stopper: MakeStopper) -> State | None:
        """As the function `unpack`; what has not changed until the state is packed again need not be packed again."""
        found = _checked(data)
        if found is None:
            return None
        body, *blocks = found[1]
        state = _state(_open(body), found[0].block, blocks, make_stopper)
        self._parts = dict(enumerate(blocks)) if found[0].block == state.block else {}
        return state


def pack(state: State, mark: Mark) -> bytes | None:
    """As `Packer.pack`, all of it: about 10 µs a run."""
    touched = state.touched.copy()
    try:
        return Packer().pack(state, mark)
    finally:
        state.touched.update(touched)


def read_mark(data: bytes) -> Mark | None:
    """The mark of a snapshot that this code can unpack; None for any other bytes. Cheap."""
    head, _ = _split(data)
    return head.mark if head is not None else None


def unpack(data: bytes, make_stopper: MakeStopper) -> State | None:
    """The state that `pack` was given, with a stopper that has been told what the runs have reported; None when `data` is
    damaged or was made by other code than this."""
    return Packer().unpack(data, make_stopper)


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


def _checked(data: bytes) -> tuple[_Head, list[_Part]] | None:
    """The head and the parts of a snapshot; None when it is damaged or void."""
    head, rest = _split(data)
    if head is None or sum(head.lengths) != len(rest) or not head.lengths:
        return None
    parts, start = list[_Part](), 0
    for length in head.lengths:
        piece = bytes(rest[start : start + length])
        parts.append(_Part(piece, _sum(piece)))
        start += length
    digest = _digest(head.mark, head.block, head.lengths, [part.digest for part in parts])
    return (head, parts) if digest == head.digest else None


def _digest(mark: Mark, block: int, lengths: tuple[int, ...], digests: list[bytes]) -> bytes:
    return _sum(_encode([mark, block, lengths, digests]))


def _sum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _part(plain: dict[str, Any]) -> _Part:
    data = zlib.compress(_encode(plain), _LEVEL)
    return _Part(data, _sum(data))


def _open(part: _Part) -> dict[str, Any]:
    plain: dict[str, Any] = _decode(zlib.decompress(part.data))
    return plain


# --- a state as plain data -------------------------------------------------------------------------------------


def _body(state: State) -> dict[str, Any]:
    """All but its runs and trials."""
    names = [name for name in vars(state) if name not in _ELSEWHERE]
    return {
        "state": {name: _plain(getattr(state, name)) for name in names},
        "spec": _plain(spec_to_builtins(state.spec)),
        "agents": [list(state.agents), _columns(Agent, list(state.agents.values()))],
        "numbers": [len(state.runs), len(state.trials)],
    }


def _blocks(state: State) -> int:
    return -(-max(len(state.runs), len(state.trials)) // state.block)


def _block(state: State, number: int) -> dict[str, Any]:
    """The runs and trials with these numbers."""
    some = slice(number * state.block, (number + 1) * state.block)
    seen = state.observations[some]
    return {
        "runs": _columns(Run, state.runs[some]),
        "trials": _columns(Trial, state.trials[some]),
        # A trial's number and config stand in the trials.
        "seen": [[getattr(one, name) for one in seen] for name in ("status", "score", "worth")],
    }


def _state(body: dict[str, Any], block: int, parts: list[_Part], make_stopper: MakeStopper) -> State:
    state = State(make_stopper)
    vars(state).update(body["state"])
    state._spec = spec_from_builtins(body["spec"])
    names, columns = body["agents"]
    state.agents = dict(zip(names, _objects(Agent, columns), strict=True))
    runs, trials = body["numbers"]
    seen = state.observations = Observations()
    for first, part in enumerate(parts):
        closed = _Closed(part, first * block, seen)
        closed.runs = closed_runs(min(block, max(0, runs - first * block)), closed.open)
        closed.trials = closed_trials(min(block, max(0, trials - first * block)), closed.open)
        seen.add_closed(len(closed.trials), block, closed.open)
        state.runs += closed.runs
        state.trials += closed.trials
    state.stopper = make_stopper(state.spec)
    if state.stopper is not None:
        for run in state.runs:
            if run.values and run.purpose == "search":
                state.stopper.report(run.run, run.values, run.progress)
    return state


class _Closed:
    """A block, until somebody asks for anything in it."""

    def __init__(self, part: _Part, first: int, seen: Observations) -> None:
        self._part, self._first, self._seen = part, first, seen
        self.runs: list[Run] = []
        self.trials: list[Trial] = []

    def open(self) -> None:
        """Make its runs, its trials and what searchers see of them what they are."""
        block, runs, trials = _open(self._part), self.runs, self.trials
        _fill(Run, runs, block["runs"])
        _fill(Trial, trials, block["trials"])
        opened(Run, runs)
        opened(Trial, trials)
        numbers = range(self._first, self._first + len(trials))
        configs = [trial.config for trial in trials]
        self._seen.fill(self._first, map(Observation, numbers, configs, *block["seen"]))


# --- many objects with slots, column by column: ten times cheaper than one by one --------------------------------


def _fields(kind: type) -> tuple[str, ...]:
    return tuple(kind.__slots__)  # type: ignore[attr-defined]


def _columns(kind: type, objects: Sequence[object]) -> dict[str, Any]:
    columns = {name: _column(list(map(attrgetter(name), objects))) for name in _fields(kind)}
    return {"": len(objects), **columns}


def _objects(kind: type[T], columns: dict[str, Any]) -> list[T]:
    objects = [kind.__new__(kind) for _ in range(columns[""])]
    _fill(kind, objects, columns)
    return objects


def _fill(kind: type, objects: Sequence[object], columns: dict[str, Any]) -> None:
    for name in _fields(kind):
        setter: Callable[[object, Any], None] = getattr(kind, name).__set__
        deque(map(setter, objects, _cells(columns[name])), maxlen=0)


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


_NO_FORM = (OverflowError, UnicodeEncodeError)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ext_hook=_extension).decode
_decode_head = msgspec.msgpack.Decoder(_Head).decode
