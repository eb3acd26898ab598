"""Python values to wire text and back."""

from __future__ import annotations

import enum
import json
import math
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.sdk import _wire


def row(values: dict[Any, Any]) -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.json.decode("{" + _wire.row_text(values) + "}")
    return decoded


class Colour(enum.IntEnum):
    RED = 3


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1),
        (0.1, 0.1),
        (True, 1),
        (False, 0),
        (Colour.RED, 3),
        (2**62, 2**62),
        (2**70, float(2**70)),
        (10**400, "inf"),
        (-(10**400), "-inf"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float64(0.1), 0.1),
        (np.float32(0.5), 0.5),
        (np.int8(-3), -3),
        (np.bool_(True), 1),
        (np.float16(np.nan), "nan"),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (Decimal("0.25"), 0.25),
        (Fraction(1, 4), 0.25),
    ],
)
def test_numbers(value: object, number: object) -> None:
    assert row({"a": value}) == {"m": {"a": number}}


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        ("text", "text"),
        ("", ""),
        ("line\nbreak \x00 \N{SNOWMAN}", "line\nbreak \x00 \N{SNOWMAN}"),
        ("lone \ud800 surrogate", "lone \N{REPLACEMENT CHARACTER} surrogate"),
        (np.str_("text"), "text"),
        (None, None),
        ([1, 0.5, "a", None, True], [1, 0.5, "a", None, True]),
        ((1, math.nan), [1, "nan"]),
        ([{"a": [1]}, {}], [{"a": [1]}, {}]),
        (np.array([1.0, 2.0]), [1.0, 2.0]),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    ],
)
def test_other_json(value: object, recorded: object) -> None:
    assert row({"a": value}) == {"m": {}, "x": {"a": recorded}}


def test_what_is_no_json_becomes_its_repr_and_is_told() -> None:
    told: list[tuple[str, object]] = []

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    class Item:
        def item(self) -> float:
            raise ValueError("not one element")

        def __repr__(self) -> str:
            return "Item!"

    values = {"p": Path("/a"), "b": Broken(), "i": Item(), "bytes": b"x", "big": np.zeros(5000), "z": 1j}
    text = _wire.row_text(values, lambda name, value: told.append((name, value)))
    others = msgspec.json.decode("{" + text + "}")["x"]
    assert others["p"] == "PosixPath('/a')"
    assert others["b"] == "<Broken>"
    assert others["i"] == "Item!"
    assert others["bytes"] == "b'x'"
    assert others["z"] == "1j"
    assert others["big"].startswith("array(")
    assert [name for name, _ in told] == list(values)


def test_nested_mappings_are_flattened() -> None:
    values = {"train": {"loss": 1, "top": {5: 0.5}}, "empty": {}, "val": {"note": "x"}}
    assert row(values) == {"m": {"train/loss": 1, "train/top/5": 0.5}, "x": {"val/note": "x"}}


def test_the_last_of_equal_names_counts() -> None:
    assert row({"a": {"b": 1}, "a/b": "text"}) == {"m": {}, "x": {"a/b": "text"}}
    assert row({"a/b": "text", "a": {"b": 1}}) == {"m": {"a/b": 1}}


def test_endless_nesting_ends() -> None:
    values: dict[str, Any] = {"loss": 1}
    values["self"] = values
    assert row(values)["m"]["loss"] == 1
    items: list[Any] = [1]
    items.append(items)
    assert row({"a": items})["x"]["a"][0] == 1


def test_the_cache_of_names_is_bounded() -> None:
    for k in range(10_000):
        assert _wire.names[f"name {k}"] == f'"name {k}":'
    assert len(_wire.names) <= 4096


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values | st.text()))
def test_a_row_is_strict_ascii_json_of_one_line(values: dict[str, Any]) -> None:
    text = _wire.row_text(values)
    assert text.isascii()
    assert "\n" not in text
    decoded = msgspec.json.decode("{" + text + "}")
    assert all(isinstance(number, float | int | str) for number in decoded["m"].values())


@given(json_values)
def test_parse_reads_what_python_writes(value: object) -> None:
    text = json.dumps(value)
    assert repr(_wire.parse(f" {text}\n")) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", " ", "{", '{"a":}', "{} {}", "[1,]", "nope", '{"a":1}x', '"open'])
def test_parse_refuses_what_is_not_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        _wire.parse(text)
