"""The lines that a run sends (docs/reference/protocol.md), decoded.

Rule of this file: pure. What the training side sends takes the fast path, a typed decoder; what any other program sends
and a lenient reader understands (the tokens NaN and Infinity, nested metrics, null, bytes that are no UTF-8) is put right
by the slow path, also in the raw text, so that history holds strict JSON only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
"""How numbers that JSON does not have are written."""
_MAX_DEPTH = 32


class BadLine(Exception):
    """No line of the protocol; the message says why."""


class Line(msgspec.Struct, gc=False):
    """One line. `op` is empty for a row."""

    op: str = ""
    i: int | None = None
    """The sender's own number of the row, for a sender that numbers them."""
    s: int | float | None = None
    """Step."""
    t: float | None = None
    """Seconds since the program's start."""
    m: dict[str, int | float | str] | None = None
    """Numbers by flattened name; non-finite ones are strings."""
    x: dict[str, Any] | None = None
    """Other values."""
    c: dict[str, Any] | None = None
    """Config that the program filled in."""
    run: str = ""
    attempt: int = 0
    pid: int = 0
    stop: str = ""


_decode = msgspec.json.Decoder(Line).decode


def decode(raw: bytes) -> tuple[Line, bytes]:
    """The line, and its text as history keeps it. Raises BadLine."""
    try:
        line = _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        line, raw = _lenient(raw)
    if not line.op and line.m is None and line.x is None and line.i is None:
        raise BadLine("it has neither metrics (m, x) nor an op")
    return line, raw


def number(value: int | float | str | None) -> float | None:
    """A value of `m` as a number that fits everywhere: an int of more than 64 bits becomes a float. None for a string that
    is no number."""
    if isinstance(value, str):
        return NON_FINITE.get(value)
    return value if value is None or -(2**63) <= value < 2**63 else _as_float(value)


def shown(value: int | float | str) -> int | float | str:
    """A value of `m` for the summary: as `number` has it, and a string that is none as it is."""
    found = number(value)
    return value if found is None else found


def storable(value: Any) -> Any:
    """The same value without what an encoder could refuse."""
    try:
        return _plain(value)
    except BadLine as error:
        return f"({error})"


def _lenient(raw: bytes) -> tuple[Line, bytes]:
    try:
        found = json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise BadLine("it is not JSON") from None
    if not isinstance(found, dict):
        raise BadLine("it is not a JSON object")
    for name in ("m", "x", "c"):
        if found.get(name) is not None and not isinstance(found[name], dict):
            raise BadLine(f'"{name}" is not an object')
    clean: dict[str, Any] = _plain(found)
    if clean.get("m") is not None or clean.get("x") is not None:
        clean["m"], clean["x"] = _sorted(clean.get("m") or {}, clean.get("x") or {})
    clean = {name: value for name, value in clean.items() if value is not None and value != {}}
    try:
        text = msgspec.json.encode(clean)
        return _decode(text), text
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise BadLine(str(error)) from None


def _sorted(m: Mapping[str, Any], x: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Numbers to m, everything else to x."""
    numbers: dict[str, Any] = {}
    others = dict(x)
    for name, value in _flat(m):
        if isinstance(value, bool):
            numbers[name] = int(value)
        elif isinstance(value, int | float) or (isinstance(value, str) and value in NON_FINITE):
            numbers[name] = value
        else:
            others[name] = value
    return numbers, others


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _plain(value: Any, depth: int = 0) -> Any:
    """The same value without what strict JSON, or its decoder, does not have."""
    if depth > _MAX_DEPTH:
        raise BadLine(f"it is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_plain(name): _plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner, depth + 1) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        value = _as_float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value
