"""Multiples of q as exact decimals: 3 * 0.1 is 0.3 here, and the same on every machine.

The rule of this file: a float means the decimal number that Python prints for it, and everything in between is
integer arithmetic; the one rounding is the last division, which Python rounds correctly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple, overload

# From here on floats are at least 1 apart.
_EXACT = 2.0**53
_LARGEST = 1.7976931348623157e308


class _Decimal(NamedTuple):
    """digits * 10**-places: what the shortest decimal notation of a float says."""

    digits: int
    places: int

    def over(self, places: int) -> int:
        """The digits at another, not smaller, number of places."""
        return int(self.digits * 10 ** (places - self.places))


@lru_cache(maxsize=4096)
def _decimal(x: float) -> _Decimal:
    mantissa, _, exponent = repr(float(x)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = fraction.rstrip("0")
    places = len(fraction) - int(exponent or 0)
    digits = int(whole + fraction)
    return _Decimal(digits, places) if places >= 0 else _Decimal(digits * 10**-places, 0)


class Steps(Sequence[Any]):
    """(start + i * step) / 10**places for i in 0 … count-1: indexable at any size, never stored."""

    def __init__(self, start: int, step: int, places: int, count: int, integer: bool) -> None:
        self._start, self._step, self._places = start, step, places
        self._integer = integer
        self.count_all = count
        """The same as len(), which cannot count beyond 2**63."""
        self._scale: int = 10**places
        self._unit = step / self._scale  # q
        self._first = start // step if start % step == 0 else None  # start as a multiple of the step

    def __len__(self) -> int:
        return self.count_all

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.count_all))]
        if index < 0:
            index += self.count_all
        if not 0 <= index < self.count_all:
            raise IndexError(index)
        return self._value(index)

    def _value(self, index: int) -> Any:
        digits = self._start + index * self._step
        return digits // self._scale if self._integer else digits / self._scale

    def nearest(self, x: float) -> Any:
        """The value nearest to x: round(x / q) * q, clipped to the first and the last."""
        return self._value(self.index_near(x))

    def index_near(self, x: float | int) -> int:
        """Where the value nearest to the finite number `x` stands."""
        if isinstance(x, int) and abs(x) >= _EXACT:
            return self._index_of(_Decimal(x, 0))
        if self._first is None:
            quotient, first = (x - self._start / self._scale) / self._unit, 0
        else:
            quotient, first = x / self._unit, self._first
        if abs(quotient) >= _EXACT:
            return self._index_of(_decimal(x))
        return int(min(max(round(quotient) - first, 0), self.count_all - 1))

    def _index_of(self, x: _Decimal) -> int:
        """`index_near` where floats are too coarse."""
        places = max(x.places, self._places)
        shift = int(10 ** (places - self._places))
        twice = 2 * (x.over(places) - self._start * shift)
        index = (twice + self._step * shift) // (2 * self._step * shift)
        return min(max(index, 0), self.count_all - 1)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Where `value` (a number) stands. Raises ValueError when it is none of the values."""
        if is_finite(value):
            found = self.index_near(value)
            if self._value(found) == value and start <= found < (self.count_all if stop is None else stop):
                return found
        raise ValueError(f"{value!r} is none of the values")

    def __contains__(self, value: object) -> bool:
        try:
            self.index(value)
        except ValueError:
            return False
        return True


def count(values: Sequence[Any]) -> int:
    """How many values there are, also beyond the 2**63 that len() can count to."""
    return values.count_all if isinstance(values, Steps) else len(values)


@lru_cache(maxsize=4096)
def multiples(low: float, high: float, q: float, integer: bool) -> Steps:
    """Multiples of q in [low, high]; when there is none inside, the one nearest to the middle."""
    start, stop, step = _decimal(low), _decimal(high), _decimal(q)
    places = max(start.places, stop.places, step.places)
    width = step.over(places)
    first, last = -(-start.over(places) // width), stop.over(places) // width
    if last < first:
        first = last = round((start.over(places) + stop.over(places)) / (2 * width))
    return Steps(first * step.digits, step.digits, step.places, last - first + 1, integer)


@lru_cache(maxsize=4096)
def steps_from(low: float, high: float, q: float, integer: bool) -> Steps:
    """Upstream's rule for q_uniform in a grid: from low in steps of q below high."""
    start, stop, step = _decimal(math.ceil(low) if integer else low), _decimal(high), _decimal(q)
    places = max(start.places, stop.places, step.places)
    width = step.over(places)
    number = max(-((start.over(places) - stop.over(places)) // width), 1)
    return Steps(start.over(places), width, places, number, integer)


def round_to(x: float, q: float | None, integer: bool) -> Any:
    """round(x / q) * q as an exact decimal."""
    if q is None and not integer:
        return x
    step = _decimal(1.0 if q is None else q)
    multiple = x / (1.0 if q is None else q)
    if abs(multiple) >= _EXACT:
        return int(x) if integer else x
    digits = round(multiple) * step.digits
    return digits // 10**step.places if integer else digits / 10**step.places


def is_finite(value: Any) -> bool:
    """Whether `value` is a number (a bool is none) within what floats can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -_LARGEST <= value <= _LARGEST


def is_multiple(x: float, q: float | None) -> bool:
    """Whether `x` is what `round_to` makes of some number; everything is when there is no q."""
    return q is None or bool(round_to(float(x), q, False) == x)
