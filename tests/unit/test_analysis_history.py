"""History: rows as columns, several attempts, rows that cannot be read."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from analysed import Chunk, history, rows
from sweep.analysis.history import History, as_number


def _row(step: float, **metrics: object) -> dict[str, object]:
    return {"i": 0, "s": step, "t": 1.5, "m": metrics, "x": {"note": "text"}}


def test_columns_hold_what_was_logged() -> None:
    series = history([3.0, 2, 1.5]).series("loss")
    assert list(series.steps) == [0.0, 1.0, 2.0]
    assert list(series.seconds) == [0.0, 0.5, 1.0]
    assert list(series.values) == [3.0, 2.0, 1.5]


def test_non_finite_numbers_are_strings_in_the_rows() -> None:
    values = history(["nan", "inf", "-inf", 1.0]).series("loss").values
    assert math.isnan(values[0])
    assert list(values[1:]) == [math.inf, -math.inf, 1.0]


def test_slash_and_dot_in_a_metric_name_are_the_same() -> None:
    logged = history([1.0], "val/top/acc")
    assert list(logged.series("val.top.acc").values) == [1.0]
    assert list(logged.series("val/top.acc").values) == [1.0]
    assert len(logged.series("val").values) == 0
    assert logged.metrics == ["val/top/acc"]


def test_a_metric_that_is_not_in_every_row_keeps_its_own_steps() -> None:
    data = rows(_row(0, loss=1.0), _row(1, loss=0.9, acc=0.5), _row(2, loss=0.8), _row(3, acc=0.7))
    logged = History.from_chunks([Chunk(1, 0, 4, data)])
    assert list(logged.series("acc").steps) == [1.0, 3.0]
    assert list(logged.series("loss").steps) == [0.0, 1.0, 2.0]
    assert len(logged) == 4


def test_the_last_attempt_counts_from_its_first_step_on() -> None:
    first = rows(*(_row(s, loss=10.0 + s, early=1.0) for s in range(6)))
    second = rows(*(_row(s, loss=20.0 + s) for s in range(3, 5)))
    logged = History.from_chunks([Chunk(2, 0, 2, second), Chunk(1, 0, 6, first)])
    assert list(logged.series("loss").steps) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert list(logged.series("loss").values) == [10.0, 11.0, 12.0, 23.0, 24.0]
    assert list(logged.series("early").steps) == [0.0, 1.0, 2.0]


def test_an_attempt_that_starts_afresh_replaces_everything_and_one_without_rows_nothing() -> None:
    first = Chunk(1, 0, 2, rows(_row(0, old=1.0), _row(1, old=1.0)))
    logged = History.from_chunks([first, Chunk(2, 0, 1, rows(_row(0, loss=2.0)))])
    assert logged.metrics == ["loss"]
    kept = History.from_chunks([first, Chunk(2, 0, 0, b"")])
    assert len(kept.series("old").values) == 2


def test_rows_that_two_chunks_share_are_read_once() -> None:
    data = [rows(_row(s, loss=float(s))) for s in range(4)]
    logged = History.from_chunks([Chunk(1, 0, 3, b"".join(data[:3])), Chunk(1, 2, 2, b"".join(data[2:]))])
    assert list(logged.series("loss").steps) == [0.0, 1.0, 2.0, 3.0]


def test_a_row_that_cannot_be_read_is_counted_and_costs_no_other_row() -> None:
    data = rows(_row(0, loss=1.0)) + b'{"s": 1, "m": {"lo\n' + b"\xff\xfe\n" + rows(_row(2, loss=3.0))
    logged = History.from_chunks([Chunk(1, 0, 4, data)])
    assert list(logged.series("loss").values) == [1.0, 3.0]
    assert logged.malformed == 2


def test_values_that_are_no_numbers_are_left_out() -> None:
    logged = History.from_chunks([Chunk(1, 0, 1, rows(_row(0, loss=None, text="hello", ok=1)))])
    assert logged.metrics == ["ok"]
    assert as_number(True) is None
    assert as_number(10**400) == math.inf


@given(st.lists(st.binary(max_size=60), max_size=6))
def test_nothing_that_a_run_sent_raises(pieces: list[bytes]) -> None:
    logged = History.from_chunks([Chunk(1, i, 1, piece) for i, piece in enumerate(pieces)])
    assert len(logged.seconds) == len(logged.steps)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 20), st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=20)
        ),
        max_size=5,
    )
)
def test_steps_are_in_order_whatever_the_attempts_did(attempts: list[tuple[int, list[float]]]) -> None:
    chunks = [
        Chunk(number, 0, len(values), rows(*(_row(first + i, loss=v) for i, v in enumerate(values))))
        for number, (first, values) in enumerate(attempts, start=1)
    ]
    series = History.from_chunks(chunks).series("loss")
    assert list(series.steps) == sorted(set(series.steps))
    last = next(((first, values) for first, values in reversed(attempts) if values), None)
    if last is not None:
        assert list(series.values[-len(last[1]) :]) == last[1]
        assert all(step < last[0] for step in series.steps[: -len(last[1])])
