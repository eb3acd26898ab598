"""The codec of journal entries: every kind survives, as bytes and as JSON, and what cannot be read says why."""

from __future__ import annotations

import datetime
import json
import math
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core import entries as e
from sweep.core.entries import AnyEntry, Recorded
from sweep.core.journal import (
    DamagedEntry,
    JournalError,
    UnknownEntry,
    decode,
    encode,
    from_jsonable,
    settle,
    to_jsonable,
)

KINDS = get_args(AnyEntry)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
keys = text | st.sampled_from(["$float", "$bytes", "$dict", "$$float", "$", "$datetime", "type", ""])
whole = st.integers() | st.integers(-(2**80), 2**80)
leaves = st.none() | st.booleans() | whole | st.floats() | text | st.binary(max_size=8)
plain = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)
)
odd_keys = st.dictionaries(st.none() | st.integers(-9, 9) | st.binary(max_size=2) | keys, leaves, max_size=3)
objects = st.dictionaries(keys, plain | odd_keys, max_size=4)
numbers = st.integers(-(2**63), 2**64 - 1)


def field_values(annotation: Any) -> st.SearchStrategy[Any]:
    """Values for a field of an entry, by its type."""
    inspected = msgspec.inspect.type_info(annotation)
    return _by_type(inspected)


def _by_type(kind: msgspec.inspect.Type) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.IntType():
            return numbers
        case msgspec.inspect.FloatType():
            return st.floats()
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.StrType():
            return text
        case msgspec.inspect.NoneType():
            return st.none()
        case msgspec.inspect.AnyType():
            return plain
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of(*map(_by_type, types))
        case msgspec.inspect.VarTupleType(item_type=item):
            return st.lists(_by_type(item), max_size=3).map(tuple)
        case msgspec.inspect.TupleType(item_types=items):
            return st.tuples(*map(_by_type, items))
        case msgspec.inspect.StructType(cls=cls, fields=fields):
            return st.builds(cls, **{field.name: _by_type(field.type) for field in fields})
        case msgspec.inspect.DictType(value_type=msgspec.inspect.AnyType()):
            return objects
        case msgspec.inspect.DictType(value_type=value):
            return st.dictionaries(text, _by_type(value), max_size=3)
    raise AssertionError(f"this test knows no values for {kind}")


def entries_of(kind: type[AnyEntry]) -> st.SearchStrategy[AnyEntry]:
    return st.builds(kind, **{field.name: field_values(field.type) for field in msgspec.structs.fields(kind)})


def records(entry: st.SearchStrategy[AnyEntry]) -> st.SearchStrategy[Recorded]:
    some = st.none() | numbers
    return st.builds(Recorded, numbers, st.floats(), text, numbers, entry, st.none() | text, some, numbers)


def same(one: Any, other: Any) -> bool:
    """Equal in value and type, all the way down; NaN equals NaN, and -0.0 is not 0.0."""
    if isinstance(one, msgspec.Struct):
        return type(one) is type(other) and same(msgspec.structs.asdict(one), msgspec.structs.asdict(other))
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return type(other) is dict and same(list(one.items()), list(other.items()))
    return type(one) is type(other) and repr(one) == repr(other)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_every_kind_of_entry_survives(kind: type[AnyEntry], data: st.DataObject) -> None:
    recorded = data.draw(records(entries_of(kind)))
    entry = recorded.entry
    assert same(decode(encode(entry)), entry)
    assert same(settle(entry)[1], entry)
    line = json.dumps(to_jsonable(recorded), allow_nan=False)
    assert same(from_jsonable(json.loads(line)), recorded)


def test_every_kind_is_in_the_union() -> None:
    def below(kind: type[Any]) -> set[type[Any]]:
        return {kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))}

    assert below(e.Entry) - {e.Entry, e.Event, e.Decision} == set(KINDS)


def recorded(entry: AnyEntry) -> Recorded:
    return Recorded(1, 2.5, "w", 1, entry)


def spec(value: Any) -> e.SpecRevised:
    return e.SpecRevised(1, {"value": value})


def test_an_export_has_names_and_no_arrays() -> None:
    form = to_jsonable(Recorded(3, 2.5, "w", 4, e.RunAdded(1, 2, 0, 77), based_on=2))
    assert form == {
        "position": 3,
        "at_s": 2.5,
        "writer": "w",
        "seq": 4,
        "addressee": None,
        "based_on": 2,
        "format": 1,
        "entry": {"type": "RunAdded", "run": 1, "trial": 2, "replicate": 0, "seed": 77, "purpose": "search"},
    }


@pytest.mark.parametrize(
    ("value", "form"),
    [
        (math.nan, {"$float": "nan"}),
        (-math.inf, {"$float": "-inf"}),
        (b"\0\xff", {"$bytes": "AP8="}),
        ({"$float": "nan"}, {"$$float": "nan"}),
        ({"$$float": 1, "$": 2, "a": 3}, {"$$$float": 1, "$$": 2, "a": 3}),
        ({1: "a", "$b": b""}, {"$dict": [[1, "a"], ["$b", {"$bytes": ""}]]}),
        ({(1, "$x"): None}, {"$dict": [[[1, "$x"], None]]}),
        (2**80, 2**80),
    ],
)
def test_special_values_in_an_export(value: Any, form: Any) -> None:
    jsonable = to_jsonable(recorded(spec(value)))
    assert jsonable["entry"]["spec"] == {"value": form}
    back = from_jsonable(json.loads(json.dumps(jsonable))).entry
    assert same(back, spec(value))
    assert same(decode(encode(back)), spec(value))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ((1, (2,)), [1, [2]]),
        (frozenset([3]), [3]),
        ("a\udc80b", "a\\udc80b"),
        (["\udcff", 2**70, {"k\udc80": (1,)}], ["\\udcff", 2**70, {"k\\udc80": [1]}]),
        ({(1, 2): 2**70}, {(1, 2): 2**70}),
        (datetime.date(2024, 2, 29), "2024-02-29"),
        (type("Reading", (float,), {})(0.5), 0.5),
        (type("Name", (str,), {})("x"), "x"),
    ],
)
def test_what_is_nearly_plain_becomes_plain(value: Any, read: Any) -> None:
    assert same(settle(spec(value))[1], spec(read))


def test_a_moment_in_time_survives() -> None:
    moment = datetime.datetime(2024, 2, 29, 12, 30, 1, 5, datetime.UTC)
    assert same(settle(spec(moment))[1], spec(moment))
    assert same(from_jsonable(to_jsonable(recorded(spec(moment)))).entry, spec(moment))


class Opaque:
    pass


circle: list[Any] = []
circle.append(circle)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (spec(Opaque()), "a value of type Opaque is not plain data"),
        (spec([2**70, Opaque()]), "type Opaque"),
        (spec(circle), "recursion"),
        (spec({2**70: 1}), "too large for a key"),
        (e.RunAdded(1, 1, 0, 2**70), "RunAdded"),
        (e.RunAdded("one", 1, 0, 7), "Expected `int`, got `str`"),  # type: ignore[arg-type]
        (e.AttemptEnded(1, 1, "a", "exploded"), "exploded"),  # type: ignore[arg-type]
    ],
)
def test_what_no_reader_could_read_is_refused(entry: AnyEntry, words: str) -> None:
    with pytest.raises(JournalError, match=f"this {type(entry).__name__} cannot be recorded.*{words}"):
        settle(entry)


def test_an_entry_of_a_newer_version_is_named() -> None:
    with pytest.raises(UnknownEntry, match=r"does not know entries of the kind 'RunCloned': .*upgrade sweep"):
        decode(msgspec.msgpack.encode(["RunCloned", 1, 2]))


def test_fields_that_a_newer_version_appended_are_dropped() -> None:
    assert decode(msgspec.msgpack.encode(["AgentLost", "a", {"new": 1}])) == e.AgentLost("a")


def test_fields_that_an_older_version_lacked_get_their_defaults() -> None:
    assert decode(msgspec.msgpack.encode(["AgentLeft", "a"])) == e.AgentLeft("a", "")
    form = to_jsonable(recorded(e.SweepCreated("s", {})))
    for name in ("source", "source_path", "record"):
        del form["entry"][name]
    for name in ("addressee", "based_on", "format"):
        del form[name]
    assert from_jsonable(form) == recorded(e.SweepCreated("s", {}))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"text",
        msgspec.msgpack.encode({"type": "AgentLost"}),
        msgspec.msgpack.encode([7, "a"]),
        msgspec.msgpack.encode(["SlotOffered", "a"]),
        msgspec.msgpack.encode(["SpecRevised", 1, {"x": msgspec.msgpack.Ext(9, b"")}]),
        msgspec.msgpack.encode(["SpecRevised", 1, {"x": msgspec.msgpack.Ext(1, b"ten")}]),
        encode(e.AgentLost("é")).replace("é".encode(), b"\xff\xff"),
        encode(e.RunAdded(1, 1, 0, 7))[:-1],
    ],
)
def test_damaged_bytes_are_called_damaged(data: bytes) -> None:
    with pytest.raises(DamagedEntry):
        decode(data)


def changed(**changes: Any) -> dict[str, Any]:
    form = to_jsonable(recorded(e.RunAdded(1, 2, 0, 7)))
    entry = {**form["entry"], **changes.pop("entry", {})}
    return {**form, "entry": entry, **changes}


@pytest.mark.parametrize(
    ("form", "kind", "words"),
    [
        ([], DamagedEntry, "expected an object"),
        ({"entry": 1}, DamagedEntry, "expected an object"),
        ({"position": 1, "entry": {}}, DamagedEntry, "no 'type'"),
        (changed(entry={"type": "RunCloned"}), UnknownEntry, "RunCloned"),
        (changed(entry={"colour": 1}), UnknownEntry, "a RunAdded entry has a field .*'colour'"),
        (changed(colour=1), UnknownEntry, "a record has a field .*'colour'"),
        (changed(entry={"seed": "7"}), DamagedEntry, "Expected `int`"),
        (changed(position=None), DamagedEntry, "position"),
        (changed(entry={"seed": {"$float": "seven"}}), DamagedEntry, r"'\$float'"),
        (changed(entry={"seed": {"$bytes": "?"}}), DamagedEntry, r"'\$bytes'"),
        (changed(entry={"seed": {"$dict": [[{"$dict": []}, 1]]}}), DamagedEntry, r"'\$dict'"),
        (changed(entry={"seed": {"$complex": "1j"}}), UnknownEntry, r"'\$complex'"),
        (changed(entry={"seed": {"$float": "1", "x": 1}}), DamagedEntry, "beside other keys"),
    ],
)
def test_an_export_that_cannot_be_read_says_why(form: Any, kind: type[JournalError], words: str) -> None:
    with pytest.raises(kind, match=words):
        from_jsonable(form)


def test_a_missing_field_is_named() -> None:
    form = changed()
    del form["entry"]["trial"]
    with pytest.raises(DamagedEntry, match="RunAdded entry lacks its field 'trial'"):
        from_jsonable(form)


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(JournalError, match="type Opaque cannot be exported"):
        to_jsonable(recorded(spec(Opaque())))
