"""The spec as plain Python data, for the journal and for export, and back, without loss.

The rule of this file: builtins only (dicts with string keys, lists, strings, numbers, bools, None). Infinities and NaN stay
floats; a field that a newer version added is taken from its default when an older record lacks it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sweep.core.spec import RETRY_CLASSES, SweepSpec


def spec_to_builtins(spec: SweepSpec) -> dict[str, Any]:
    """`spec` as builtins that msgpack can encode and that share nothing mutable with it."""
    builtins: dict[str, Any] = _plain(msgspec.to_builtins(spec))
    return builtins


def spec_from_builtins(builtins: dict[str, Any]) -> SweepSpec:
    """The spec that `spec_to_builtins` made these from. Raises ValueError when they are not a spec."""
    try:
        return msgspec.convert(_as_now(_plain(builtins)), SweepSpec)
    except msgspec.ValidationError as error:
        raise ValueError(f"this is not the record of a spec: {error}") from None


def _as_now(builtins: dict[str, Any]) -> dict[str, Any]:
    """What a spec that was recorded earlier says in today's words: before failures had classes, all were tried again."""
    retry = builtins.get("retry")
    if isinstance(retry, dict) and "on" not in retry:
        builtins["retry"] = {**retry, "on": list(RETRY_CLASSES)}
    return builtins


def _plain(value: Any) -> Any:
    """A copy with lists for tuples: a recorded spec looks the same before and after the journal."""
    if isinstance(value, dict):
        return {key: item if type(item) in _LEAVES else _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) in _LEAVES else _plain(item) for item in value]
    return value


_LEAVES = frozenset((str, int, float, bool, type(None)))
"""Most of what a spec holds; looked at here, because a call for each would cost more than all the rest."""
