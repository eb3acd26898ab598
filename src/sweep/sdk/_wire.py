"""Python values to and from the text of the wire. Pure: no socket, no file, no clock.

Lines are JSON that every strict decoder takes: ASCII only, and a number that JSON has no token for is one of the
strings "nan", "inf", "-inf". The `json` package is avoided because importing it costs more than a whole short run.
"""

from __future__ import annotations

from _collections_abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    _make_scanner: Any

    def _quote(text: str, /) -> str: ...

    Odd = Callable[[str, object], None]
    """Told the name and the value of what could only be recorded as its `repr`, or, an int beyond every float, as infinity."""
else:
    try:
        from _json import encode_basestring_ascii as _quote
        from _json import make_scanner as _make_scanner
    except ImportError:  # an interpreter other than CPython
        from json.encoder import py_encode_basestring_ascii as _quote

        _make_scanner = None

LARGEST = 1.7976931348623157e308
"""The largest finite double: `-LARGEST <= x <= LARGEST` is false for NaN and the infinities."""
LARGEST_INT = 2**63 - 1
_MAX_DEPTH = 32
_MAX_ARRAY = 1000
_MAX_NAMES = 4096


class _Names(dict):  # type: ignore[type-arg]
    """Metric name -> `"name":` as JSON text. Bounded: a program may make up names for ever."""

    def __missing__(self, name: object) -> str:
        if not isinstance(name, str):
            return quote(str(name)) + ":"
        if len(self) >= _MAX_NAMES:
            self.clear()
        text = self[name] = quote(name) + ":"
        return text


def quote(text: str) -> str:
    """`text` as a JSON string. A lone surrogate, which strict decoders reject, becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return _quote(text)


names: dict[str, str] = _Names()


def number_text(value: float) -> str:
    """A float or int (or a subclass of one) as JSON text. An int that does not fit 64 bits is rounded to a float."""
    if isinstance(value, int):
        if -LARGEST_INT <= value <= LARGEST_INT:
            return int.__repr__(int(value))
        try:
            value = float(value)
        except OverflowError:
            return '"inf"' if value > 0 else '"-inf"'
    if -LARGEST <= value <= LARGEST:
        return float.__repr__(value)
    if value != value:
        return '"nan"'
    return '"inf"' if value > 0 else '"-inf"'


def told_text(name: str, number: float, odd: Odd | None) -> str:
    """`number_text`, and `odd` is told where that has made an int infinite."""
    text = number_text(number)
    if text[0] == '"' and isinstance(number, int) and odd is not None:
        odd(name, number)
    return text


def as_number(value: Any) -> float | None:
    """`value` as a number, or None when it is none: floats, ints, bools (1, 0) and whatever holds exactly one of them
    (scalars and one-element arrays of numpy, torch, jax; Decimal, Fraction)."""
    if isinstance(value, (float, int)):
        return value
    if value is None or isinstance(value, (str, bytes)):
        return None
    for name in ("item", "__float__"):
        method = getattr(value, name, None)
        if method is None:
            continue
        try:
            inner = method()
        except Exception:
            continue
        if isinstance(inner, (float, int)):
            return inner
    return None


def value_text(name: str, value: object, odd: Odd | None = None, depth: int = 0) -> str:
    """Any value as JSON text: JSON's own kinds, mappings, sequences, numbers in disguise; else its `repr`, and `odd` is
    told."""
    if value is None or value is True or value is False:
        return "null" if value is None else "true" if value else "false"
    if isinstance(value, str):
        return quote(str.__str__(value))
    number = as_number(value)
    if number is not None:
        return told_text(name, number, odd)
    if depth < _MAX_DEPTH:
        if isinstance(value, Mapping):
            inside = [names[k] + value_text(name, v, odd, depth + 1) for k, v in value.items()]
            return "{" + ",".join(inside) + "}"
        items = _items(value)
        if items is not None:
            return "[" + ",".join([value_text(name, v, odd, depth + 1) for v in items]) + "]"
    if odd is not None:
        odd(name, value)
    return quote(_repr(value))


def _items(value: Any) -> list[Any] | tuple[Any, ...] | None:
    """The elements of a list, a tuple or a small array; None for anything else."""
    if isinstance(value, (list, tuple)):
        return value
    try:
        size = value.size if isinstance(value.size, int) else value.numel()
        listed = value.tolist() if size <= _MAX_ARRAY else None
    except Exception:
        return None
    return listed if isinstance(listed, list) else None


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def flatten(values: Mapping[Any, Any], prefix: str = "", depth: int = 0) -> list[tuple[str, Any]]:
    """Nested mappings as (name, value) pairs, names joined with `/`."""
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = prefix + (key if isinstance(key, str) else str(key))
        if isinstance(value, Mapping) and depth < _MAX_DEPTH:
            flat += flatten(value, name + "/", depth + 1)
        else:
            flat.append((name, value))
    return flat


def row_text(values: Mapping[Any, Any], odd: Odd | None = None) -> str:
    """`"m":{numbers}` and, where there are other values, `,"x":{them}`."""
    numbers: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, value in flatten(values):
        number = as_number(value)
        if number is not None:
            others.pop(name, None)
            numbers[name] = told_text(name, number, odd)
        else:
            numbers.pop(name, None)  # {"a": {"b": 1}, "a/b": "x"}: one name, the last value
            others[name] = value_text(name, value, odd)
    text = f'"m":{{{_members(numbers)}}}'
    return f'{text},"x":{{{_members(others)}}}' if others else text


def _members(texts: dict[str, str]) -> str:
    return ",".join([names[name] + text for name, text in texts.items()])


class _Context:
    """What the C scanner asks its caller for."""

    strict = False
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}.__getitem__


def parse(text: str) -> Any:
    """JSON text, with the tokens NaN, Infinity and -Infinity, to Python values. ValueError when it is not JSON."""
    if _make_scanner is None:
        import json

        return json.loads(text)
    text = text.strip(" \t\r\n")
    try:
        value, end = _make_scanner(_Context)(text, 0)
    except StopIteration as stopped:
        raise ValueError(f"no JSON value at character {stopped.value}") from None
    if end != len(text):
        raise ValueError(f"something follows the JSON value at character {end}")
    return value
