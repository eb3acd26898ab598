"""Fewer points of a long curve, and fewer of many items, with the same look.

The rule of this file: numbers in, places in them out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def outline(values: Sequence[float], most: int) -> list[int]:
    """Indices of at most about `most` values that keep the curve's outline: smallest and largest of each stretch, the
    first and the last value, and one of each stretch that has no finite value."""
    n = len(values)
    if n <= most:
        return list(range(n))
    kept = {0, n - 1}
    stretches = max(most // 2 - 1, 1)
    for number in range(stretches):
        part = range(number * n // stretches, (number + 1) * n // stretches)
        finite = [i for i in part if math.isfinite(values[i])]
        if finite:
            kept.update((min(finite, key=lambda i: values[i]), max(finite, key=lambda i: values[i])))
        else:
            kept.add(part[0])
    return sorted(kept)


def thin(items: list[Any], most: int, key: Any) -> list[Any]:
    """At most `most` of them in their order: the best half by `key`, of the others an even sample."""
    if len(items) <= most:
        return items
    best = set(sorted(range(len(items)), key=lambda i: (key(items[i]), i))[: most // 2])
    others = [i for i in range(len(items)) if i not in best]
    room = most - len(best)
    sample = {others[number * len(others) // room] for number in range(room)}
    return [item for i, item in enumerate(items) if i in best or i in sample]
