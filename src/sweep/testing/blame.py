"""Which node is to blame, by hand: slow, plain, and written from the guide (docs/guide/nodes.md) alone, for the oracle.

The rule of this file: nothing is kept up to date but the list of all ends; every question is answered from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import comb
from typing import NamedTuple

from sweep.core import entries as e
from sweep.testing.accounts import AttemptAccount, RunAccount
from sweep.testing.terms import naive_class


class End(NamedTuple):
    """An attempt that completed, was pruned, or failed."""

    host: str
    run: int
    life: int
    """How often the run had been asked for, or its node blamed, before."""
    good: bool
    error: str
    began_s: float
    lasted_s: float
    purged: bool
    """Its node has been set aside since."""


def naive_row(ends: Sequence[End], host: str) -> list[End]:
    """The failures on a node after which no attempt has succeeded there that had begun no sooner, and that no other node has
    had of the same run."""
    here = [end for end in ends if end.host == host and not end.purged]
    return [
        end
        for place, end in enumerate(here)
        if not end.good
        and not any(later.good and later.began_s >= end.began_s for later in here[place + 1 :])
        and not failed_elsewhere(ends, end)
    ]


def failed_elsewhere(ends: Sequence[End], end: End) -> bool:
    """Whether the run of this failure has failed on several nodes in one life of it, in this one or later."""
    failures = [other for other in ends if other.run == end.run and other.life >= end.life and not other.good]
    return any(
        len({other.host for other in failures if other.life == life}) > 1
        for life in {f.life for f in failures}
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


class NodesAccount:
    """What the journal says of nodes."""

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}
        """The node of each agent."""
        self.aside: dict[str, str] = {}
        """Agents whose node was set aside, and why."""
        self.ends: list[End] = []

    def note_end(self, run: RunAccount, attempt: AttemptAccount, entry: e.AttemptEnded, at_s: float) -> None:
        """An attempt has ended; what it says about its node."""
        agent = attempt.assigned.agent
        if entry.outcome in ("completed", "pruned", "paused", "failed") and agent not in self.aside:
            began_s = attempt.started_s if attempt.started else at_s
            good, error = entry.outcome != "failed", entry.error_class or "exit"
            self.ends.append(
                End(self.hosts[agent], run.added.run, run.life, good, error, began_s, at_s - began_s, False)
            )

    def blamed(self, host: str, alive: Mapping[str, bool]) -> bool:
        """Whether a node must be set aside, whatever still runs elsewhere."""
        return bool(self._working(alive) - {host}) and naive_blame(self.ends, host, 0)

    def wrong_with(
        self, entry: e.NodeSetAside, runs: Sequence[RunAccount], alive: Mapping[str, bool], at_s: float
    ) -> str:
        """What speaks against setting this node aside, '' for nothing."""
        row = naive_row(self.ends, entry.host)
        longest = max((end.lasted_s for end in row), default=0.0)
        if not naive_blame(self.ends, entry.host, self._outlived(entry.host, longest, runs, at_s)):
            return f"{entry.host} was set aside: {entry.reason}"
        if set(entry.runs) != {end.run for end in row}:
            return f"runs {entry.runs} are not those that failed in a row on {entry.host}"
        return (
            ""
            if self._working(alive) - {entry.host}
            else f"{entry.host} was set aside, and no other node works"
        )

    def forgive(self, host: str, runs: Sequence[RunAccount]) -> list[int]:
        """The failures in a row on this node were its own. The runs that go on and had failed for good."""
        row, again = naive_row(self.ends, host), list[int]()
        for end in row:
            run = runs[end.run]
            if naive_class(end.error) in run.failures and run.life == end.life:
                run.failures.remove(naive_class(end.error))
        for number in sorted({end.run for end in row}):
            run = runs[number]
            run.life += 1
            if run.final == "failed":
                run.final = ""
                again.append(number)
        self.ends = [end._replace(purged=end.purged or end.host == host) for end in self.ends]
        return again

    def _working(self, alive: Mapping[str, bool]) -> set[str]:
        return {self.hosts[name] for name, here in alive.items() if here and name not in self.aside}

    def _outlived(self, host: str, longest: float, runs: Sequence[RunAccount], at_s: float) -> int:
        """How many runs go on elsewhere that have run for longer than so many seconds."""
        going = [run.attempts[-1] for run in runs if run.attempts and run.attempts[-1].ended is None]
        return sum(
            one.started and at_s - one.started_s > longest and self.hosts[one.assigned.agent] != host
            for one in going
        )
