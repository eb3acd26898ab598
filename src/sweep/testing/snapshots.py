"""A check of snapshots: a state that was packed and unpacked is the state that it was, in every field, and judges alike.

The rule of this file: fields are found out, not listed, so that a new one is compared as well.
"""

from __future__ import annotations

from array import array
from typing import Any

from sweep.core.closed import Observations
from sweep.core.entries import Recorded
from sweep.core.snapshot import Packer, mark_of, pack, read_mark, unpack
from sweep.core.state import Agent, Run, State, Trial
from sweep.testing.states import Inconsistent

_CODE = ("make_stopper", "stopper", "_yardstick", "touched")
_SLOTTED = (Run, Trial, Agent)
_PLAIN = frozenset((int, str, bool, type(None)))


def through_snapshot(state: State, last: Recorded, packer: Packer | None = None) -> State:
    """`state`, which is folded up to `last`, packed and unpacked. Raises Inconsistent when anything of it has changed. `packer`:
    one that has packed earlier states of this sweep, and only packs what has changed since."""
    data = pack(state, mark_of(last)) if packer is None else packer.pack(state, mark_of(last))
    if data is None:
        raise Inconsistent("the state has no snapshot")
    if read_mark(data) != mark_of(last):
        raise Inconsistent("the snapshot is marked with another entry")
    copy = unpack(data, state.make_stopper)
    if copy is None:
        raise Inconsistent("the snapshot cannot be unpacked")
    check_same(state, copy)
    return copy


def check_same(one: State, other: State) -> None:
    """Raise Inconsistent when two states differ in any field, or their stoppers judge any run differently."""
    for name in sorted(vars(one)):
        if name not in _CODE and _comparable(getattr(one, name)) != _comparable(getattr(other, name)):
            raise Inconsistent(
                f"{name}: {_comparable(getattr(one, name))!r} became {_comparable(getattr(other, name))!r}"
            )
    if (one.stopper is None) != (other.stopper is None):
        raise Inconsistent("one state has a stopper, the other has none")
    if one.stopper is None or other.stopper is None:
        return
    for run in one.runs:
        if run.values and one.stopper.condemned(run.run) != other.stopper.condemned(run.run):
            raise Inconsistent(f"the stoppers judge run {run.run} differently")


def _comparable(value: Any) -> Any:
    """What is equal where `value` is, types included, and NaN to NaN; objects with slots by their slots."""
    if type(value) in _PLAIN:
        return (type(value), value)
    if isinstance(value, _SLOTTED):
        kind = value.__class__  # asked for like this, it is no longer a closed one
        return (kind.__name__, *(_comparable(getattr(value, name)) for name in kind.__slots__))
    if isinstance(value, dict):
        return [(_comparable(key), _comparable(item)) for key, item in value.items()]
    if isinstance(value, Observations):
        value = list(value)
    if isinstance(value, list | tuple):
        return (type(value).__name__, *map(_comparable, value))
    if isinstance(value, set):
        return ("set", *sorted(map(repr, value)))
    return (type(value).__name__, repr(value.tolist() if isinstance(value, array) else value))
