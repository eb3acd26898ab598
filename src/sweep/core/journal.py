"""How entries are written down: msgpack arrays in a store, objects with field names in an export.

The rule of this file: what `decode` returns for `encode(entry)` is what every reader will see for ever, and
`from_jsonable(to_jsonable(r)) == r` for every record that a store can return, NaN and infinities included.
"""

from __future__ import annotations

import base64
import datetime
import math
from collections.abc import Iterable
from typing import Any, get_args

import msgspec

from sweep.core.entries import AnyEntry, Entry, Recorded

_BIG_INT = 1
"""Code of our only msgpack extension: an int outside 64 bits, as decimal digits."""

_TYPES: dict[str, type[Entry]] = {kind.__name__: kind for kind in get_args(AnyEntry)}


class JournalError(ValueError):
    """An entry that this version of sweep cannot read or write; the message says why."""


class UnknownEntry(JournalError):
    """An entry of a kind, or with a field, that this version does not know: a newer sweep wrote it."""


class DamagedEntry(JournalError):
    """Bytes, or an exported object, that are no entry at all."""


# --- as bytes --------------------------------------------------------------------------------------------------


def encode(entry: Entry) -> bytes:
    """The entry as a msgpack array: its type's name, then its fields in order.

    Values must be plain data (None, bool, int, float, str, bytes, lists, dicts); tuples and sets become lists, dates
    become text. Ints of any size survive. Text that is not Unicode (a file name with stray bytes) is written with
    backslashes. Raises `JournalError` for anything else.
    """
    try:
        return _ENCODER.encode(entry)
    except (OverflowError, UnicodeEncodeError):
        return _encode_slowly(entry)
    except (TypeError, RecursionError) as error:
        raise _writing_error(entry, error) from error


def settle(entry: Entry) -> tuple[bytes, AnyEntry]:
    """The entry's bytes, and the entry as every reader will see it. Raises `JournalError` for an entry that cannot be
    written or that could not be read again (a field of a wrong type): such a one must never reach a journal."""
    data = encode(entry)
    try:
        return data, decode(data)
    except JournalError as error:
        raise _writing_error(entry, error) from error


def decode(data: bytes) -> AnyEntry:
    """The entry in `data`. Fields that a newer version appended are dropped (`Recorded.format` tells of them).

    Raises `UnknownEntry` for a kind of entry that this version does not know, `DamagedEntry` for anything else that
    cannot be read.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _reading_error(data, error) from error


def decode_all(many: Iterable[bytes]) -> list[AnyEntry]:
    """As `decode`, for a long journal: no call of ours per entry. Raises for the first that cannot be read, without saying
    which."""
    try:
        return list(map(_DECODER.decode, many))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DamagedEntry(f"not all of these are entries: {error}") from error


def _encode_slowly(entry: Entry) -> bytes:
    try:
        return _ENCODER.encode([type(entry).__name__, *map(_portable, _field_values(entry))])
    except (TypeError, ValueError, RecursionError) as error:
        raise _writing_error(entry, error) from error


def _writing_error(entry: Entry, error: Exception) -> JournalError:
    return JournalError(f"this {type(entry).__name__} cannot be recorded: {error}")


def _reading_error(data: bytes, error: Exception) -> JournalError:
    """Tell a journal from the future from a damaged one."""
    try:
        raw = msgspec.msgpack.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raw = None
    if isinstance(raw, list) and raw and isinstance(raw[0], str):
        if raw[0] not in _TYPES:
            return _unknown_kind(raw[0])
        return DamagedEntry(f"a {raw[0]} entry cannot be read: {error}")
    return DamagedEntry(f"this is not a journal entry: {error}")


def _unknown_kind(kind: str) -> UnknownEntry:
    return UnknownEntry(
        f"this version of sweep does not know entries of the kind {kind!r}: a newer version wrote this journal; upgrade sweep"
    )


def _field_values(entry: Entry) -> list[Any]:
    return [getattr(entry, name) for name in entry.__struct_fields__]


def _portable(value: Any) -> Any:
    """The slow path: what msgpack has no form for, as something that it has."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_BIG_INT, str(value).encode())
    if isinstance(value, dict):
        return {_portable_key(key): _portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_portable(item) for item in value]
    if isinstance(value, msgspec.Struct):
        return _portable(msgspec.structs.asdict(value))
    return value


def _portable_key(key: Any) -> Any:
    plain = _portable(key)
    if isinstance(plain, msgspec.msgpack.Ext):
        raise TypeError(f"{key} is too large for a key")
    return _as_key(plain)


def _encode_other(value: Any) -> Any:
    """Numbers and text of a derived class (numpy's float64 is one) are recorded as what they derive from."""
    for plain in (float, int, str):
        if isinstance(value, plain):
            return plain(value)
    raise TypeError(f"a value of type {type(value).__name__} is not plain data")


def _decode_extension(code: int, data: memoryview) -> int:
    if code != _BIG_INT:
        raise ValueError(f"unknown extension {code}")
    return int(bytes(data))


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_encode_other)
_DECODER: msgspec.msgpack.Decoder[AnyEntry] = msgspec.msgpack.Decoder(AnyEntry, ext_hook=_decode_extension)


# --- as JSON ---------------------------------------------------------------------------------------------------

# What JSON cannot say is an object with one key that begins with "$"; such a key in somebody's own data gets one
# more "$" in front, so the two can be told apart.


def to_jsonable(recorded: Recorded) -> dict[str, Any]:
    """The record with its field names, made of nothing but what `json.dumps(allow_nan=False)` accepts.

    `{"position": 3, "at_s": …, "writer": …, "seq": …, "addressee": …, "based_on": …, "format": 1,
    "entry": {"type": "RunAdded", "run": 1, …}}`. Special values: `{"$float": "nan" | "inf" | "-inf"}`,
    `{"$bytes": base64}`, `{"$dict": [[key, value], …]}` for a dict with keys that are not text,
    `{"$datetime": ISO 8601}`.
    """
    form = {name: _to_json(getattr(recorded, name)) for name in Recorded.__struct_fields__ if name != "entry"}
    entry = recorded.entry
    fields = {name: _to_json(getattr(entry, name)) for name in entry.__struct_fields__}
    return {**form, "entry": {"type": type(entry).__name__, **fields}}


def from_jsonable(form: dict[str, Any]) -> Recorded:
    """The inverse of `to_jsonable`. Fields that an older version did not write get their defaults.

    Raises `UnknownEntry` for a kind or a field that this version does not know, `DamagedEntry` for anything that is
    not such a form.
    """
    if not isinstance(form, dict) or not isinstance(form.get("entry"), dict):
        raise DamagedEntry("this is not an exported journal entry: expected an object with the key 'entry'")
    try:
        envelope = {key: _from_json(value) for key, value in form.items() if key != "entry"}
        _refuse_unknown("a record", envelope, Recorded)
        return msgspec.convert({**envelope, "entry": _entry_array(form["entry"])}, Recorded)
    except (msgspec.ValidationError, RecursionError) as error:
        raise DamagedEntry(f"this is not an exported journal entry: {error}") from error


def _entry_array(form: dict[str, Any]) -> list[Any]:
    name = form.get("type")
    if not isinstance(name, str):
        raise DamagedEntry("this is not an exported journal entry: its 'entry' has no 'type'")
    kind = _TYPES.get(name)
    if kind is None:
        raise _unknown_kind(name)
    given = {key: _from_json(value) for key, value in form.items() if key != "type"}
    _refuse_unknown(f"a {name} entry", given, kind)
    return [name, *(_field(field, given, name) for field in msgspec.structs.fields(kind))]


def _field(field: msgspec.structs.FieldInfo, given: dict[str, Any], kind: str) -> Any:
    if field.name in given:
        return given[field.name]
    if field.default is not msgspec.NODEFAULT:
        return field.default
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    raise DamagedEntry(f"a {kind} entry lacks its field {field.name!r}")


def _refuse_unknown(what: str, given: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    unknown = sorted(set(given) - set(kind.__struct_fields__))
    if unknown:
        raise UnknownEntry(
            f"{what} has a field that this version of sweep does not know, {unknown[0]!r}: a newer version exported it; "
            "upgrade sweep"
        )


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {_escaped(key): _to_json(item) for key, item in value.items()}
        return {"$dict": [[_to_json(key), _to_json(item)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(float(value))}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime.datetime):
        return {"$datetime": value.isoformat()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, msgspec.Struct):  # part of an entry (`Usage`): what it does not say is not written
        return {
            name: _to_json(item) for name, item in msgspec.structs.asdict(value).items() if item is not None
        }
    raise JournalError(f"a value of type {type(value).__name__} cannot be exported")


def _escaped(key: str) -> str:
    return f"${key}" if key.startswith("$") else key


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        key, item = next(iter(value.items()))
        if key.startswith("$") and not key.startswith("$$"):
            return _special(key, item)
    return {_unescaped(key): _from_json(item) for key, item in value.items()}


def _unescaped(key: str) -> str:
    if not key.startswith("$"):
        return key
    if key.startswith("$$"):
        return key[1:]
    raise DamagedEntry(f"{key!r} cannot stand beside other keys in an exported entry")


def _special(key: str, value: Any) -> Any:
    try:
        match key:
            case "$float":
                return float(value)
            case "$bytes":
                return base64.b64decode(value, validate=True)
            case "$datetime":
                return datetime.datetime.fromisoformat(value)
            case "$dict":
                return {_as_key(_from_json(name)): _from_json(item) for name, item in value}
    except (TypeError, ValueError) as error:
        raise DamagedEntry(
            f"{key!r} in an exported entry has a value that cannot be read: {error}"
        ) from error
    raise UnknownEntry(f"this version of sweep does not know the exported value {key!r}; upgrade sweep")


def _as_key(value: Any) -> Any:
    """Keys come back hashable, as msgpack decodes them."""
    return tuple(map(_as_key, value)) if isinstance(value, list) else value
