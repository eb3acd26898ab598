"""A run that was executed again against its record: every value of every metric, and what follows from it.

The rule of this file: pure. Values are compared as the 64 bits of a float first (two NaN are the same), and only where
these differ by tolerances. A value that only one side has counts as a difference, never as nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal

import msgspec

from sweep.analysis.history import History

Verdict = Literal[
    "identical", "within tolerance", "within seed noise", "different", "inconclusive", "unreproducible"
]
EXIT_CODES: dict[Verdict, int] = {
    "identical": 0,
    "within tolerance": 10,
    "within seed noise": 11,
    "different": 12,
    "inconclusive": 13,
    "unreproducible": 14,
}
RTOL, ATOL = 1e-6, 1e-9
"""Relative and absolute tolerance unless others are asked for: about what a float32 that is printed keeps."""
AT_END = math.inf
"""The step of what stands in the summary alone."""
LEVEL = 0.95
"""Of the prediction interval of a config's replicates."""


class Difference(msgspec.Struct, frozen=True):
    """One value that is not what it was; None where that side has no value at this step."""

    metric: str
    step: float
    recorded: float | None
    again: float | None


class Stream(msgspec.Struct, frozen=True):
    """One metric, compared step by step."""

    name: str
    compared: int
    """Values that both sides have."""
    identical: int
    within: int
    """Of the others, those within the tolerance."""
    missing: int
    """Values that only the record has."""
    extra: int
    """Values that only the new execution has."""
    largest: float
    """The largest absolute difference of two finite values."""
    first: Difference | None = None

    @property
    def different(self) -> int:
        """Values outside the tolerance, those that one side lacks included."""
        return self.compared - self.identical - self.within + self.missing + self.extra


class Tolerance(msgspec.Struct, frozen=True):
    """How far from the recorded value counts as the same: `atol + rtol * |recorded|`, or, where a metric was calibrated, what
    its executions here differed by among themselves."""

    rtol: float = RTOL
    atol: float = ATOL
    calibrated: Mapping[str, float] | None = None

    def allows(self, metric: str, recorded: float, again: float) -> bool:
        """Whether `again` is close enough. What is not finite must be the same."""
        if not (math.isfinite(recorded) and math.isfinite(again)):
            return False
        limit = self.atol + self.rtol * abs(recorded)
        if self.calibrated is not None:
            limit = max(self.calibrated.get(metric, 0.0), 0.0)
        return abs(recorded - again) <= limit


class Judgement(msgspec.Struct, frozen=True):
    """The verdict, and why, in words for a person."""

    verdict: Verdict
    reason: str


def compare_streams(
    recorded: History,
    again: History,
    tolerance: Tolerance,
    *,
    rows: int | None = None,
    ignore: Sequence[str] = (),
) -> list[Stream]:
    """Every metric of both sides, those first that the record has. `rows`: only the first so many rows of each (None: all);
    `ignore`: patterns of metrics that are not compared, such as `time/*`."""
    left, right = _values(recorded, rows), _values(again, rows)
    names = [name for name in dict.fromkeys([*left, *right]) if not any(fnmatchcase(name, p) for p in ignore)]
    return [_stream(name, left.get(name, {}), right.get(name, {}), tolerance) for name in names]


def compare_summaries(
    recorded: Mapping[str, Any],
    again: Mapping[str, Any],
    histories: Sequence[History],
    tolerance: Tolerance,
    ignore: Sequence[str] = (),
) -> list[Stream]:
    """The numbers that a program set in its summary and logged in no row, such as a test score at its end: each a stream of one value,
    at the step `AT_END`."""
    logged = {name for history in histories for name in history.metrics}
    left, right = _numbers(recorded, logged), _numbers(again, logged)
    names = [name for name in dict.fromkeys([*left, *right]) if not any(fnmatchcase(name, p) for p in ignore)]
    return [_stream(name, left.get(name, {}), right.get(name, {}), tolerance) for name in names]


def _numbers(summary: Mapping[str, Any], logged: set[str]) -> dict[str, dict[float, float]]:
    return {
        name: {AT_END: float(value)}
        for name, value in summary.items()
        if name not in logged and isinstance(value, int | float) and not isinstance(value, bool)
    }


def step_words(step: float) -> str:
    """`at step 3`, `in the summary`."""
    return "in the summary" if step == AT_END else f"at step {step:g}"


def calibrate(executions: Sequence[History], rows: int | None = None) -> dict[str, float]:
    """Metric -> the largest difference of any two of these executions at one step: what does not repeat here anyway. 0 for one
    that repeats; infinite where one of them has no finite value and another has."""
    found: dict[str, float] = {}
    streams = [_values(history, rows) for history in executions]
    for name in dict.fromkeys(name for stream in streams for name in stream):
        spread = 0.0
        for step in dict.fromkeys(step for stream in streams for step in stream.get(name, {})):
            values = [stream.get(name, {}).get(step) for stream in streams]
            if len({_bits(value) for value in values}) == 1:
                continue
            finite = [value for value in values if value is not None and math.isfinite(value)]
            spread = max(spread, max(finite) - min(finite)) if len(finite) == len(values) else math.inf
        found[name] = spread
    return found


def first_difference(streams: Sequence[Stream]) -> Difference | None:
    """The one with the lowest step; of several the metric that was logged first."""
    found = [stream.first for stream in streams if stream.first is not None]
    return min(found, key=lambda difference: difference.step, default=None)


def prediction_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Where another replicate of the same config is to be expected: mean ± t(n-1) · s · √(1 + 1/n), at `LEVEL` (two-sided). None for
    fewer than two values."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    n = len(values)
    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * deviation * math.sqrt(1 + 1 / n)
    return mean - half, mean + half


def judge(
    streams: Sequence[Stream],
    *,
    differs: Sequence[str],
    uncontrolled: str = "",
    ended: str = "",
    seed_noise: tuple[float, float] | None = None,
    objective: float | None = None,
    control: str = "",
) -> Judgement:
    """The verdict on an execution that could be made.

    Args:
        differs: what is not here as it was recorded (packages, hardware, code), in words.
        uncontrolled: why chance was not in our hands, such as `determinism: off`; empty when it was.
        ended: in which way the program ended otherwise than it did then; empty when it did not.
        seed_noise: where the objective of another replicate is to be expected, and `objective`: what it is now.
        control: what was changed on purpose, in words; empty when nothing was.
    """
    compared = sum(stream.compared for stream in streams)
    if compared == 0:
        return Judgement(
            "inconclusive", ended or "no value was compared: nothing was logged in both executions"
        )
    if not ended and not any(stream.first for stream in streams):
        also = f", although {_list(differs)} {_verb(differs)} not as recorded" if differs else ""
        which = "the one value is" if compared == 1 else f"all {compared:,} values are"
        return Judgement("identical", f"{which} the same to the last bit{also}")
    wrong = sum(stream.different for stream in streams)
    if not ended and wrong == 0:
        count = sum(stream.within for stream in streams)
        return Judgement(
            "within tolerance", f"{count:,} of {compared:,} values differ, all within the tolerance"
        )
    of = sum(stream.compared + stream.missing + stream.extra for stream in streams)
    how = ended or f"{wrong:,} of {of:,} values {'differs' if wrong == 1 else 'differ'}"
    if (
        not ended
        and seed_noise is not None
        and objective is not None
        and seed_noise[0] <= objective <= seed_noise[1]
    ):
        low, high = seed_noise
        return Judgement(
            "within seed noise",
            f"{how}, but the objective ({objective:.6g}) is where another seed's would be expected ({low:.6g} to {high:.6g})",
        )
    if control:
        return Judgement("different", f"{how} {control}")
    if differs:
        return Judgement(
            "inconclusive", f"{how}, and {_list(differs)} {_verb(differs)} not as recorded: either may be why"
        )
    if uncontrolled:
        return Judgement("inconclusive", f"{how}, and {uncontrolled}")
    return Judgement("different", f"{how}, although everything that was compared beforehand is as recorded")


def _values(history: History, rows: int | None) -> dict[str, dict[float, float]]:
    """Metric -> step -> value; of two values at one step the later one."""
    found: dict[str, dict[float, float]] = {}
    length = len(history) if rows is None else min(rows, len(history))
    for name in history.metrics:
        column = history.aligned(name)[:length]
        values = {
            step: value for step, value in zip(history.steps, column, strict=False) if value is not None
        }
        if values:
            found[name] = values
    return found


def _stream(
    name: str, left: Mapping[float, float], right: Mapping[float, float], tolerance: Tolerance
) -> Stream:
    compared = identical = within = 0
    largest, first = 0.0, None
    for step in sorted({*left, *right}):
        recorded, again = left.get(step), right.get(step)
        both = recorded is not None and again is not None
        compared += both
        if both and _bits(recorded) == _bits(again):
            identical += 1
            continue
        if first is None:
            first = Difference(name, step, recorded, again)
        if recorded is not None and again is not None:
            within += tolerance.allows(name, recorded, again)
            if math.isfinite(recorded) and math.isfinite(again):
                largest = max(largest, abs(recorded - again))
    missing, extra = len(left.keys() - right.keys()), len(right.keys() - left.keys())
    return Stream(name, compared, identical, within, missing, extra, largest, first)


def _bits(value: float | None) -> str:
    """Equal for the same float64; the payload of a NaN is not logged."""
    if value is None:
        return ""
    return "nan" if value != value else value.hex()


def _verb(words: Sequence[str]) -> str:
    return "is" if len(words) == 1 and not words[0].endswith("s") else "are"


def _list(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
