"""Types of single fields, read leniently where the dialect is lenient: numbers written as text, durations, plain texts.

The rule of this file: each reader raises `PydanticCustomError` with words for the person who wrote the file; the JSON schema
of each type says what an editor should accept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from sweep.spec._problems import nearest, number, shorten, show
from sweep.spec._scalars import numeric_text

_DURATION = re.compile(
    r"(?:(?P<d>\d+(?:\.\d+)?)d)? ?(?:(?P<h>\d+(?:\.\d+)?)h)? ?(?:(?P<m>\d+(?:\.\d+)?)m(?!s))? ?"
    r"(?:(?P<s>\d+(?:\.\d+)?)s)? ?(?:(?P<ms>\d+(?:\.\d+)?)ms)?"
)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_EXACT = 2**53
_LONGEST_DURATION = 40
_NO_DURATION = "must be a duration such as 90s, 2h, 1h30m or 500ms (or seconds as a number)"
MAX_SEED = 2**63 - 1


def wrong(message: str) -> PydanticCustomError:
    """A validation error with exactly this message."""
    return PydanticCustomError("sweep", "{message}", {"message": message})


def read_number(value: Any) -> int | float:
    """A finite number; text that looks like one (`1e-4`) counts, true and false do not."""
    if isinstance(value, str):
        found = numeric_text(value)
        if found is None:
            raise wrong(f"must be a number, not {show(value)}")
        value = found
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"must be a number, not {show(value)}")
    try:
        finite = math.isfinite(float(value))
    except OverflowError:
        finite = False
    if not finite:
        raise wrong(f"must be a finite number, not {number(value)}")
    return value


def read_whole(value: Any) -> int:
    """A whole number; 10.0 counts."""
    try:
        value = read_number(value)
    except PydanticCustomError as error:
        raise wrong(str(error).replace("a number", "a whole number")) from None
    if value != int(value):
        raise wrong(f"must be a whole number, not {number(value)}")
    return int(value)


def _ranged(
    read: Callable[[Any], Any],
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        value = read(value)
        if least is not None and value < least:
            raise wrong(f"must be at least {number(least)}, not {number(value)}")
        if above is not None and value <= above:
            raise wrong(f"must be above {number(above)}, not {number(value)}")
        if most is not None and value > most:
            raise wrong(f"must be at most {number(most)}, not {number(value)}")
        return value

    return check


def read_gpus(value: Any) -> int | float:
    """A share of one GPU (0.5), or whole GPUs."""
    gpus: int | float = _ranged(read_number, least=0)(value)
    if gpus > 1 and gpus != int(gpus):
        raise wrong(f"must be a share of one GPU below 1 (0.5), or a whole number, not {number(gpus)}")
    return gpus


def read_duration(value: Any) -> float:
    """Seconds: a number, or text such as `90s`, `2h`, `1h30m`, `500ms`."""
    if isinstance(value, str) and numeric_text(value) is None:
        text = value.strip()
        match = _DURATION.fullmatch(text) if 0 < len(text) <= _LONGEST_DURATION else None
        if match is None:
            raise wrong(f"{_NO_DURATION}, not {show(value)}")
        return math.fsum(float(part) * _SECONDS[unit] for unit, part in match.groupdict().items() if part)
    try:
        seconds = float(read_number(value))
    except PydanticCustomError:
        raise wrong(f"{_NO_DURATION}, not {show(value)}") from None
    if seconds < 0:
        raise wrong(f"must not be negative, but is {number(value)}")
    return seconds


def read_limit(value: Any) -> float:
    """A duration above zero."""
    seconds = read_duration(value)
    if not 0 < seconds < math.inf:
        raise wrong("must be longer than 0 s; leave it out for no limit")
    return seconds


def read_text(value: Any) -> str:
    """Text that is not empty."""
    if not isinstance(value, str):
        hint = f"; write it in quotes: '{show(value)}'" if isinstance(value, bool | int | float) else ""
        raise wrong(f"must be text, not {show(value)}{hint}")
    if not value.strip():
        raise wrong("must not be empty")
    return value


def read_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise wrong(f"must be true or false, not {show(value)}")
    return value


def read_exact_int(value: Any) -> int:
    """A whole number that a float holds exactly."""
    whole = read_whole(value)
    if abs(whole) > _EXACT:
        raise wrong(
            f"must lie between -2**53 and 2**53, where every whole number is exact; it is {number(whole)}"
        )
    return whole


def read_impute_while_running(value: Any) -> bool | str:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in ("worst", "best", "latest"):
        return value
    raise wrong(f"must be true, false, worst, best or latest, not {show(value)}")


def read_step(value: Any) -> str:
    """`count`, `logged`, `time` or `metric:NAME`."""
    words = ("count", "logged", "time", "metric:NAME")
    if isinstance(value, dict) and list(value) == ["metric"]:
        raise wrong(
            f"must be one text; write it without a space: `step: metric:{shorten(str(value['metric']))}`"
        )
    if isinstance(value, str) and (value in words[:3] or value.startswith("metric:")):
        name = value.removeprefix("metric:")
        if not name.strip():
            raise wrong("names no metric; write, for example, `step: metric:epoch`")
        return f"metric:{name.strip()}" if value.startswith("metric:") else value
    hint = ""
    if isinstance(value, str) and value.strip() and show(value) == f"'{value}'":
        found = nearest(value, list(words[:3]))
        hint = f"; did you mean `{found}`?" if found else f"; where it is a metric, write `metric:{value}`"
    raise wrong(f"must be count, logged, time or metric:NAME, not {show(value)}{hint}")


def read_percentile(value: Any) -> float:
    """A number between 0 and 100, neither of them included."""
    percent = float(_ranged(read_number, above=0)(value))
    if percent >= 100:
        raise wrong(f"must be below 100, not {number(value)}")
    return percent


def read_part(value: Any) -> float:
    """A number between 0 and 1, neither of them included."""
    part = float(_ranged(read_number, above=0)(value))
    if part >= 1:
        raise wrong(f"must be below 1, not {number(value)}")
    return part


def read_share(value: Any) -> float:
    return float(_ranged(read_number, least=0, most=1)(value))


def _field(read: Callable[[Any], Any], **schema: Any) -> tuple[PlainValidator, WithJsonSchema]:
    return PlainValidator(read), WithJsonSchema(schema)


_DURATION_TEXT = {"type": "string", "pattern": r"^\s*(\d+(\.\d+)?(d|h|ms|m|s)\s*)+$"}

Number = Annotated[float, *_field(read_number, type="number")]
Positive = Annotated[float, *_field(_ranged(read_number, above=0), type="number", exclusiveMinimum=0)]
AboveOne = Annotated[float, *_field(_ranged(read_number, above=1), type="number", exclusiveMinimum=1)]
NotNegative = Annotated[float, *_field(_ranged(read_number, least=0), type="number", minimum=0)]
Percentile = Annotated[
    float, *_field(read_percentile, type="number", exclusiveMinimum=0, exclusiveMaximum=100)
]
Part = Annotated[float, *_field(read_part, type="number", exclusiveMinimum=0, exclusiveMaximum=1)]
Step = Annotated[str, *_field(read_step, type="string", pattern="^(count|logged|time|metric:.+)$")]
Share = Annotated[float, *_field(read_share, type="number", minimum=0, maximum=1)]
Whole = Annotated[int, *_field(read_exact_int, type="integer")]
AtLeastOne = Annotated[int, *_field(_ranged(read_exact_int, least=1), type="integer", minimum=1)]
AtLeastTwo = Annotated[int, *_field(_ranged(read_exact_int, least=2), type="integer", minimum=2)]
AtLeastZero = Annotated[int, *_field(_ranged(read_exact_int, least=0), type="integer", minimum=0)]
MAX_PRIORITY = 1000
Priority = Annotated[
    int,
    *_field(
        _ranged(read_exact_int, least=-MAX_PRIORITY, most=MAX_PRIORITY),
        type="integer",
        minimum=-MAX_PRIORITY,
        maximum=MAX_PRIORITY,
    ),
]
Seed = Annotated[
    int,
    *_field(_ranged(read_whole, least=0, most=MAX_SEED), type="integer", minimum=0, maximum=MAX_SEED),
]
Gpus = Annotated[float, *_field(read_gpus, type="number", minimum=0)]
Duration = Annotated[float, *_field(read_duration, anyOf=[{"type": "number", "minimum": 0}, _DURATION_TEXT])]
Limit = Annotated[
    float, *_field(read_limit, anyOf=[{"type": "number", "exclusiveMinimum": 0}, _DURATION_TEXT])
]
Determinism = Annotated[
    Literal["off", "seeded", "strict"], BeforeValidator(lambda value: "off" if value is False else value)
]
"""YAML reads a bare `off` as false."""
Text = Annotated[str, *_field(read_text, type="string", minLength=1)]
Word = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]
Bool = Annotated[bool, *_field(read_bool, type="boolean")]
ImputeWhileRunning = Annotated[
    bool | str,
    *_field(read_impute_while_running, anyOf=[{"type": "boolean"}, {"enum": ["worst", "best", "latest"]}]),
]
