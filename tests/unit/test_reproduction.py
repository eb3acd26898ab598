"""Two executions of one run compared value by value, and the verdicts that follow."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.analysis.history import History
from sweep.analysis.reproduction import (
    EXIT_CODES,
    Difference,
    Tolerance,
    calibrate,
    compare_streams,
    first_difference,
    judge,
    prediction_interval,
)
from sweep.stores import HistoryChunk

VALUE = st.floats(allow_nan=True, allow_infinity=True)


def written(value: float) -> float | str:
    """As the SDK writes it."""
    return value if math.isfinite(value) else "nan" if value != value else "inf" if value > 0 else "-inf"


def history(*rows: dict[str, float], steps: list[float] | None = None) -> History:
    lines = [
        json.dumps(
            {"s": steps[i] if steps else i, "m": {name: written(value) for name, value in row.items()}}
        )
        for i, row in enumerate(rows)
    ]
    return History.from_chunks([HistoryChunk(0, 1, 0, len(rows), "\n".join(lines).encode())])


def curve(*values: float) -> History:
    return history(*({"loss": value} for value in values))


@given(st.lists(VALUE, min_size=1, max_size=20))
def test_a_run_is_identical_to_itself(values: list[float]) -> None:
    [stream] = compare_streams(curve(*values), curve(*values), Tolerance())
    assert (stream.compared, stream.identical, stream.first, stream.different) == (
        len(values),
        len(values),
        None,
        0,
    )
    assert judge([stream], differs=()).verdict == "identical"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20), st.data())
def test_one_bit_is_a_difference(values: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(values) - 1))
    again = [*values]
    again[place] = math.nextafter(values[place], math.inf)
    [stream] = compare_streams(curve(*values), curve(*again), Tolerance(rtol=0, atol=0))
    assert (stream.compared - stream.identical, stream.different) == (1, 1)
    assert stream.first == Difference("loss", float(place), values[place], again[place])
    assert judge([stream], differs=()).verdict == "different"


def test_the_sign_of_zero_counts_and_nan_is_nan() -> None:
    [stream] = compare_streams(curve(0.0, math.nan), curve(-0.0, math.nan), Tolerance())
    assert (stream.identical, stream.within, stream.different) == (1, 1, 0)
    [stream] = compare_streams(curve(math.nan, math.inf), curve(1.0, -math.inf), Tolerance(rtol=1, atol=1e9))
    assert (stream.within, stream.different) == (0, 2), "what is not finite is never close"


def test_values_that_only_one_side_has_are_differences() -> None:
    [loss, extra] = compare_streams(curve(1.0, 2.0, 3.0), history({"loss": 1.0}, {"new": 4.0}), Tolerance())
    assert (loss.compared, loss.missing, loss.extra, loss.different) == (1, 2, 0, 2)
    assert (extra.name, extra.compared, extra.extra) == ("new", 0, 1)
    assert first_difference([loss, extra]) == Difference("loss", 1.0, 2.0, None)
    assert judge([loss, extra], differs=()).verdict == "different"


def test_a_later_value_at_the_same_step_counts_and_rows_can_be_cut() -> None:
    recorded = history({"loss": 1.0}, {"loss": 2.0}, {"loss": 3.0}, steps=[0, 0, 1])
    [stream] = compare_streams(recorded, history({"loss": 2.0}, {"loss": 9.0}), Tolerance())
    assert (stream.compared, stream.identical) == (2, 1)
    [stream] = compare_streams(curve(1.0, 2.0), curve(1.0, 9.0), Tolerance(), rows=1)
    assert (stream.compared, stream.identical) == (1, 1)


def test_metrics_that_are_not_to_be_compared() -> None:
    left, right = history({"loss": 1.0, "time/epoch": 3.1}), history({"loss": 1.0, "time/epoch": 2.9})
    assert [stream.name for stream in compare_streams(left, right, Tolerance(), ignore=("time/*",))] == [
        "loss"
    ]


def test_tolerance() -> None:
    left, right = curve(1.0, 1000.0), curve(1.0 + 1e-7, 1000.0)
    [stream] = compare_streams(left, right, Tolerance())
    assert judge([stream], differs=("packages",)).verdict == "within tolerance"
    assert judge(compare_streams(left, right, Tolerance(1e-8, 1e-9)), differs=()).verdict == "different"


def test_calibration_is_the_spread_of_executions_and_nothing_else() -> None:
    spread = calibrate([curve(1.0, 2.0), curve(1.25, 2.0), curve(1.0, 1.875)])
    assert spread == {"loss": 0.25}
    within = Tolerance(0, 0, spread)
    assert judge(compare_streams(curve(1.0), curve(1.25), within), differs=()).verdict == "within tolerance"
    assert judge(compare_streams(curve(1.0), curve(1.26), within), differs=()).verdict == "different"
    assert calibrate([curve(1.0), curve(1.0)]) == {"loss": 0.0}
    assert calibrate([curve(1.0), curve(math.nan)]) == {"loss": math.inf}
    exact = Tolerance(1.0, 1.0, {"loss": 0.0})
    assert judge(compare_streams(curve(1.0), curve(1.5), exact), differs=()).verdict == "different", (
        "it repeats here"
    )


def test_nothing_compared_is_never_success() -> None:
    assert judge([], differs=()).verdict == "inconclusive"
    assert (
        judge(compare_streams(curve(1.0), history({"other": 1.0}), Tolerance()), differs=()).verdict
        == "inconclusive"
    )


def test_what_else_differs_makes_it_inconclusive_only_where_values_differ() -> None:
    same, other = (
        compare_streams(curve(1.0), curve(1.0), Tolerance()),
        compare_streams(curve(1.0), curve(2.0), Tolerance()),
    )
    assert judge(same, differs=("packages", "cpu")).verdict == "identical"
    said = judge(other, differs=("packages", "cpu"))
    assert (said.verdict, "packages and cpu" in said.reason) == ("inconclusive", True)
    assert judge(other, differs=(), uncontrolled="chance was left alone").verdict == "inconclusive"
    assert judge(other, differs=("cpu",), control="with seed 5").verdict == "different"


def test_a_program_that_ends_otherwise_is_no_success_although_all_values_are_the_same() -> None:
    same = compare_streams(curve(1.0), curve(1.0), Tolerance())
    assert judge(same, differs=(), ended="exit code 1").verdict == "different"


def test_seed_noise() -> None:
    other = compare_streams(curve(1.0), curve(2.0), Tolerance())
    inside = judge(other, differs=("cpu",), seed_noise=(1.5, 2.5), objective=2.0)
    outside = judge(other, differs=(), seed_noise=(2.5, 3.5), objective=2.0)
    assert (inside.verdict, outside.verdict) == ("within seed noise", "different")
    assert (
        judge(other, differs=(), ended="exit code 1", seed_noise=(1, 3), objective=2.0).verdict == "different"
    )


def test_the_prediction_interval_of_three_values() -> None:
    found = prediction_interval([1.0, 2.0, 3.0])
    assert found is not None
    half = 4.302652729911275 * math.sqrt(4 / 3)  # t(2, 0.975), s = 1
    assert found == (pytest.approx(2 - half), pytest.approx(2 + half))
    assert prediction_interval([1.0]) is None


def test_each_verdict_has_an_exit_code_of_its_own_and_only_one_is_success() -> None:
    assert len(set(EXIT_CODES.values())) == 6
    assert [verdict for verdict, code in EXIT_CODES.items() if code == 0] == ["identical"]
