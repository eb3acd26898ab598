"""Which node is to blame, by hand: slow, plain, and written from the guide (docs/guide/nodes.md) alone, for the oracle.

The rule of this file: nothing is kept up to date; every question is answered from the list of all ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import comb
from typing import NamedTuple


class End(NamedTuple):
    """An attempt that completed, was pruned, or failed."""

    host: str
    run: int
    life: int
    """How often the run had been asked for, or its node blamed, before."""
    good: bool
    error: str
    lasted_s: float
    purged: bool
    """Its node has been set aside since."""


def naive_row(ends: Sequence[End], host: str) -> list[End]:
    """The failures on a node since the last success there that no other node has had of the same run."""
    here = [end for end in ends if end.host == host and not end.purged]
    last = max((place for place, end in enumerate(here) if end.good), default=-1)
    return [end for end in here[last + 1 :] if not failed_elsewhere(ends, end)]


def failed_elsewhere(ends: Sequence[End], end: End) -> bool:
    """Whether the run of this failure has failed on another node as well in this life of it."""
    return any(
        other.run == end.run and other.life == end.life and other.host != end.host and not other.good
        for other in ends
    )


def naive_blame(ends: Sequence[End], host: str, outlived: int) -> bool:
    """Whether a node must be set aside while `outlived` runs elsewhere have run for longer than any that failed there."""
    row = naive_row(ends, host)
    count = len({end.run for end in row})
    elsewhere = [end.good for end in ends if end.host != host and not end.purged][-20:]
    good, bad = elsewhere.count(True) + outlived, elsewhere.count(False)
    if count < 3:
        return False
    if count >= 10 and bad == 0 and good > 0:
        return True
    return Fraction(comb(count + bad, count), comb(count + bad + good, count)) < Fraction(1, 1000)


def longest_s(row: Sequence[End]) -> float:
    """How long the longest of these failures lasted."""
    return max((end.lasted_s for end in row), default=0.0)
