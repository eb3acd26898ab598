"""A changing set of numbers and its element of rank int(n / eta), in logarithmic time.

The rule of this file: two heaps meet at the wanted rank. An entry of a heap counts only while its owner has this value on
this side, so that a value is replaced by adding the new one; old entries are dropped when they come to the top.
"""

from __future__ import annotations

import heapq

_Entry = tuple[float, int]


class Ranked:
    """One value per owner; `threshold()` is sorted(values)[int(n / eta)]."""

    def __init__(self, eta: float) -> None:
        self._eta = eta
        self._values: dict[int, float] = {}
        self._is_low: dict[int, bool] = {}
        # `low`: the int(n / eta) + 1 smallest, the largest of them on top (negated); `high`: the others.
        self._low: list[_Entry] = []
        self._high: list[_Entry] = []
        self._low_count = 0

    def __len__(self) -> int:
        return len(self._values)

    def get(self, owner: int) -> float | None:
        """The value of `owner`, None without one."""
        return self._values.get(owner)

    def put(self, owner: int, value: float) -> None:
        """`owner` has `value` (not NaN) from now on."""
        if self._values.get(owner) == value:
            return
        self.discard(owner)
        self._values[owner] = value
        top = self._top_low()
        self._push(owner, value, low=top is None or value < top[0])
        self._balance()

    def discard(self, owner: int) -> None:
        """`owner` has no value any more."""
        if self._values.pop(owner, None) is not None:
            self._low_count -= self._is_low.pop(owner)
            self._balance()

    def threshold(self) -> float:
        """The element of rank int(n / eta), counted from 0. Raises ValueError when there is none."""
        top = self._top_low()
        if top is None:
            raise ValueError("no values")
        return top[0]

    def _push(self, owner: int, value: float, low: bool) -> None:
        self._is_low[owner] = low
        self._low_count += low
        if low:
            heapq.heappush(self._low, (-value, owner))
        else:
            heapq.heappush(self._high, (value, owner))

    def _balance(self) -> None:
        wanted = int(len(self._values) / self._eta) + 1 if self._values else 0
        while self._low_count > wanted:
            top = self._top_low()
            assert top is not None
            heapq.heappop(self._low)
            self._low_count -= 1
            self._push(top[1], top[0], low=False)
        while self._low_count < wanted:
            top = self._top_high()
            assert top is not None
            heapq.heappop(self._high)
            self._push(top[1], top[0], low=True)

    def _top_low(self) -> _Entry | None:
        while self._low:
            value, owner = -self._low[0][0], self._low[0][1]
            if self._is_low.get(owner) is True and self._values[owner] == value:
                return value, owner
            heapq.heappop(self._low)
        return None

    def _top_high(self) -> _Entry | None:
        while self._high:
            value, owner = self._high[0]
            if self._is_low.get(owner) is False and self._values[owner] == value:
                return value, owner
            heapq.heappop(self._high)
        return None
