"""Lines of the protocol, decoded, numbered and summed up; without any socket."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.agents.inbox import RunInbox
from sweep.agents.lines import BadLine, decode, number


def inbox(metric: str | None = "loss") -> RunInbox:
    return RunInbox(3, 1, metric)


def row(i: int | None = None, step: float | None = None, **metrics: Any) -> bytes:
    line: dict[str, Any] = {"m": metrics}
    if i is not None:
        line["i"] = i
    if step is not None:
        line["s"] = step
    return json.dumps(line).encode()


def kept(box: RunInbox) -> list[Any]:
    data = box.take().data
    return [json.loads(line) for line in data.split(b"\n")] if data else []


# --- lines


def test_a_row_keeps_its_text() -> None:
    raw = b'{"i":4,"s":2,"t":0.5,"m":{"a":1,"b":0.25,"c":"nan"},"x":{"n":[1]}}'
    line, text = decode(raw)
    assert text is raw
    assert (line.i, line.s, line.t, line.m, line.x) == (
        4,
        2,
        0.5,
        {"a": 1, "b": 0.25, "c": "nan"},
        {"n": [1]},
    )
    assert type((line.m or {})["a"]) is int


@pytest.mark.parametrize(
    ("raw", "m", "x"),
    [
        (b'{"m":{"a":NaN,"b":Infinity,"c":-Infinity}}', {"a": "nan", "b": "inf", "c": "-inf"}, None),
        (b'{"m":{"a":null,"b":2}}', {"b": 2}, {"a": None}),
        (b'{"m":{"a":{"b":1,"c":{"d":2}}}}', {"a/b": 1, "a/c/d": 2}, None),
        (b'{"m":{"a":true}}', {"a": 1}, None),
        (b'{"m":{"a":[1,2]}}', None, {"a": [1, 2]}),
        (b'{"m":{"a":1e999}}', {"a": "inf"}, None),
        (b'{"m":{"a":"caf\xff\xe9"},"i":null}', {"a": "caf\ufffd\ufffd"}, None),
        (b'{"m":{"a":1},"x":{"b":NaN}}', {"a": 1}, {"b": "nan"}),
        (b'{"m":{"a":1},"x":{"b":"\\ud800"}}', {"a": 1}, {"b": "?"}),
        (b' { "m" : { "a" : 1 } } \r', {"a": 1}, None),
    ],
)  # fmt: skip
def test_what_other_programs_send(raw: bytes, m: Any, x: Any) -> None:
    line, text = decode(raw)
    assert (line.m, line.x) == (m, x) or (line.m is None and line.x == {"a": "caf\ufffd\ufffd"})
    strict = json.loads(text, parse_constant=lambda token: pytest.fail(f"{token} in history"))
    assert {**(strict.get("m") or {}), **(strict.get("x") or {})} == {**(line.m or {}), **(line.x or {})}


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"loss 0.3", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"{}", "neither metrics"),
        (b'{"t":1.5}', "neither metrics"),
        (b'{"m":[1]}', '"m" is not an object'),
        (b'{"m":{"a":1},"s":"two"}', "Expected"),
        (b'{"op":7}', "Expected"),
        (b'{"m":' + b'{"a":' * 40 + b"1" + b"}" * 41, "nested more than"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_cannot_be_used(raw: bytes, says: str) -> None:
    with pytest.raises(BadLine) as error:
        decode(raw)
    assert says in str(error.value)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    box = inbox()
    box.feed(raw)
    assert box.rows + box.malformed <= 1


def test_numbers_that_no_encoder_takes_become_floats_in_the_summary() -> None:
    box = inbox()
    huge, beyond = b"9" * 30, b"9" * 400
    box.feed(b'{"i":0,"m":{"loss":%s,"n":-%s},"x":{"deep":[%s]}}' % (beyond, huge, huge))
    box.feed(b'{"op":"summary","m":{"loss":%s},"x":{"y":{"z":%s}}}' % (beyond, beyond))
    assert box.summary() == {"loss": math.inf, "n": -1e30, "deep": [1e30], "y": {"z": "inf"}}
    assert box.take().values == [math.inf] and box.score("minimize") is None


def test_a_value_nested_without_end_is_replaced_in_the_summary() -> None:
    box = inbox()
    box.feed(b'{"i":0,"x":{"deep":' + b"[" * 200 + b"]" * 200 + b"}}")
    assert box.rows == 1 and "nested more than" in box.summary()["deep"]


def test_numbers() -> None:
    assert math.isnan(number("nan") or 0.0) and number("-inf") == -math.inf and number(3) == 3
    assert number("many") is None and number(None) is None


# --- rows


def test_rows_are_taken_once_and_numbered_on() -> None:
    box = inbox()
    box.feed(row(0, loss=1.0))
    box.feed(row(1, other=1.0))
    box.feed(row(2, loss=0.5))
    assert box.has_objective and box.pending_bytes > 0
    first = box.take()
    assert (first.first, first.values, first.first_row, first.count) == (0, [1.0, 0.5], 0, 3)
    assert first.data.count(b"\n") == 2
    assert not box.has_objective and box.pending_bytes == 0
    box.feed(row(3, loss=0.25))
    second = box.take()
    assert (second.first, second.values, second.first_row, second.count) == (2, [0.25], 3, 1)
    empty = box.take()
    assert (empty.first, empty.values, empty.first_row, empty.count, empty.data) == (3, [], 4, 0, b"")
    assert box.rows == 4 and first.values == [1.0, 0.5]


def test_steps_are_those_given_or_the_rows_number() -> None:
    box = inbox()
    for line in (row(0, step=10, loss=1.0), row(1, loss=1.0), row(2, step=2.5, loss=1.0)):
        box.feed(line)
    assert box.take().steps == [10, 1, 2.5]


def test_repetitions_are_skipped() -> None:
    box = inbox()
    for i in (0, 1, 2, 1, 2, 3, 0):
        box.feed(row(i, loss=float(i)))
    assert [line["i"] for line in kept(box)] == [0, 1, 2, 3]
    assert (box.rows, box.duplicates) == (4, 3)


def test_a_gap_can_be_filled_later_and_only_once() -> None:
    box = inbox()
    for i in (0, 5, 3, 3, 1, 4, 2, 2, 5, 6, 10**15, 7, 7):
        box.feed(row(i, loss=0.0))
    assert [line["i"] for line in kept(box)] == [0, 5, 3, 1, 4, 2, 6, 10**15, 7]
    assert box.duplicates == 4


@given(st.lists(st.integers(0, 12), max_size=40))
def test_each_number_counts_exactly_once_in_any_order(numbers: list[int]) -> None:
    box = inbox()
    for i in numbers:
        box.feed(row(i, loss=0.0))
    assert [line["i"] for line in kept(box)] == list(dict.fromkeys(numbers))
    assert box.duplicates == len(numbers) - len(set(numbers))


def test_rows_of_other_clients_take_no_number_away() -> None:
    """A shell client's rows have no number of their own: none of the training program's may be lost for them."""
    box = inbox()
    for line in (row(0, a=1), row(None, shell=1), row(1, a=2), row(None, shell=2), row(2, a=3)):
        assert box.feed(line)
    taken = box.take()
    assert (taken.first_row, taken.count, box.duplicates) == (0, 5, 0)


def test_rows_that_could_not_be_sent_are_taken_in(tmp_path: Path) -> None:
    box = inbox()
    box.feed(row(0, loss=3.0))
    path = tmp_path / "unsent-1.jsonl"
    lines = [row(0, loss=3.0), row(1, loss=2.0), b"", b'{"op":"summary","m":{"done":1}}', row(2, loss=1.0)]
    path.write_bytes(b"\n".join(lines) + b'\n{"i":3,"m":{"lo')
    assert box.take_unsent(path) == 2
    assert (box.rows, box.duplicates, box.malformed) == (3, 1, 1)
    assert box.score("minimize") == 1.0 and box.summary()["done"] == 1
    assert box.take_unsent(path) == 0
    assert box.take_unsent(tmp_path / "none") == 0


def test_what_is_malformed_is_counted_and_the_first_is_remembered() -> None:
    box = inbox()
    assert not box.feed(b"loss=3 \xff")
    assert not box.feed(b"{}")
    assert box.malformed == 2 and box.complaint == "it is not JSON: loss=3 \ufffd"
    assert box.rows == 0


# --- objective


@pytest.mark.parametrize(
    ("metric", "key", "found"),
    [
        ("loss", "loss", True),
        ("val/loss", "val/loss", True),
        ("val.loss", "val/loss", True),
        ("val.loss", "val.loss", True),
        ("loss", "val/loss", False),
        (None, "loss", False),
    ],
)
def test_the_objective_is_found_by_its_name(metric: str | None, key: str, found: bool) -> None:
    box = inbox(metric)
    box.feed(row(0, **{key: 0.5}))
    assert box.take().values == ([0.5] if found else [])
    assert box.last_objective == (0.5 if found else None)


def test_an_objective_that_is_not_finite_is_reported_but_no_score() -> None:
    box = inbox()
    for i, value in enumerate(["nan", "inf", "-inf"]):
        box.feed(row(i, loss=value))
    assert box.score("minimize") is None and box.score("maximize") is None
    values = box.take().values
    assert math.isnan(values[0]) and values[1:] == [math.inf, -math.inf]
    box.feed(row(3, loss=2))
    box.feed(row(4, loss=5))
    assert (box.score("minimize"), box.score("maximize")) == (2.0, 5.0)
    assert box.last_objective == 5.0


def test_an_objective_that_is_no_number_is_not_reported() -> None:
    box = inbox()
    box.feed(b'{"m":{"loss":"high"}}')
    box.feed(b'{"op":"summary","m":{"loss":"low","name":"x"}}')
    assert not box.has_objective and box.rows == 1 and box.score("minimize") is None
    assert box.summary() == {"loss": "low", "name": "x"}


def test_the_score_looks_at_the_summary_too() -> None:
    box = inbox("test.acc")
    box.feed(b'{"op":"summary","m":{"test/acc":0.75}}')
    assert box.score("maximize") == 0.75 and not box.has_objective
    box.feed(row(0, **{"test/acc": 0.5}))
    assert (box.score("maximize"), box.score("minimize")) == (0.75, 0.5)


# --- summary and the rest


def test_the_summary_is_the_last_of_each_and_what_the_program_says() -> None:
    box = inbox()
    box.feed(b'{"i":0,"m":{"loss":1.0,"n":2},"x":{"note":"a"}}')
    box.feed(b'{"op":"summary","m":{"best":"-inf","n":7},"x":{"model":"x"}}')
    box.feed(b'{"i":1,"m":{"loss":"nan","n":3},"x":{"note":"b"}}')
    summary = box.summary()
    assert math.isnan(summary.pop("loss"))
    assert summary == {"n": 7, "note": "b", "best": -math.inf, "model": "x"}
    assert box.rows == 2


def test_config_end_and_words_of_a_later_version() -> None:
    box = inbox()
    assert box.feed(b'{"op":"config","c":{"epochs":3}}')
    assert not box.ended
    assert box.feed(b'{"op":"end"}') and box.ended
    assert not box.feed(b'{"op":"telepathy","m":{"loss":1}}')
    assert box.config == {"epochs": 3}
    assert (box.rows, box.malformed) == (0, 0)


# --- how far the run is, for the stopper


def timed(t: float | None, **metrics: Any) -> bytes:
    return json.dumps({"m": metrics} | ({} if t is None else {"t": t})).encode()


def test_an_iteration_is_the_step_that_was_given_else_a_value() -> None:
    box = RunInbox(3, 1, "loss", "logged")
    box.feed(row(x=1))
    for step in (None, None, 7, 8.5):
        box.feed(row(step=step, loss=1.0))
    assert box.take().progress == [1, 2, 7, 8.5]
    box.feed(row(loss=1.0))
    assert box.take().progress == [5]


def test_an_iteration_is_a_second_or_a_metric() -> None:
    box = RunInbox(3, 1, "loss", "time")
    for t in (0.5, None, 2.25):
        box.feed(timed(t, loss=1.0))
    first, unknown, last = box.take().progress
    assert (first, last) == (0.5, 2.25)
    assert math.isnan(unknown)
    box = RunInbox(3, 1, "loss", "metric:epoch")
    box.feed(row(loss=1.0))
    box.feed(row(epoch=1))
    box.feed(row(loss=0.9))
    box.feed(row(epoch=2, loss=0.8))
    box.feed(row(epoch="nan", loss=0.7))
    unknown, *known, gone = box.take().progress
    assert math.isnan(unknown)
    assert math.isnan(gone)
    assert known == [1, 2]


def test_without_a_stopper_nothing_of_it_is_recorded() -> None:
    box = inbox()
    box.feed(row(step=3, loss=1.0))
    assert box.take().progress == []
