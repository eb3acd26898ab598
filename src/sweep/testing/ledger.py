"""The ground on which the oracle stands: what it keeps of a journal, and questions to it.

The rule of this file is the oracle's: nothing of `evolve`, `decide`, `lifecycle` or `state` is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.core import entries as e
from sweep.testing.accounts import PatienceAccount, RunAccount, naive_wanted, over
from sweep.testing.blame import NodesAccount
from sweep.testing.terms import CUTS, naive_reached

if TYPE_CHECKING:
    from sweep.testing.world import World


class Violation(AssertionError):
    """Something happened that must not happen."""


class Ledger:
    """What is known after the entries so far, and whether it is as it must be."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.spec = world.spec
        self.cap = world.spec.run_cap
        self.configs: list[str] = []
        self.runs: list[RunAccount] = []
        self.agents: dict[str, bool] = {}
        self.nodes = NodesAccount()
        self.shares: dict[str, float | None] = {}
        """What the spec gave a run of the GPUs when an agent joined."""
        self.times: list[float] = []
        """When each entry was written."""
        self.notes: dict[int, tuple[tuple[str, ...], str]] = {}
        """Tags and note of each run; of the sweep under -1."""
        self.patience = PatienceAccount()
        self.to_reopen = False
        self.only_confirm = False
        """The sweep goes on, or is about to, for its confirmation alone."""
        self.last_end = ""
        """Why it ended last."""
        """Somebody gave the ended sweep more to do."""
        self.said = ""
        """Why the sweep ended last, where nothing but runs to be tried again has been asked of it since."""
        self.soft: list[bool] = []  # whether, after each entry, the target or `patience` kept new trials away
        self.run_times: dict[int, float | None] = {1: world.spec.limits.run_time_s}
        """`limits.run_time` by revision."""
        self.open_offers: dict[tuple[str, int], int] = {}
        self.used_offers: set[tuple[str, int]] = set()
        self.phase = "active"
        self.stopping = False
        self.ever_cut_short = False
        """Somebody stopped the sweep, or a limit or the target ended it."""
        self.numbers: dict[str, int] = {}
        self.revision = 1
        self.exhausted = False
        self.target_hit = False
        self.first_joined_s: float | None = None
        self.leader = 0
        self.revised = 1
        """Position of the entry that made the current revision of the spec."""
        self.position = 0

    # --- one entry

    def follow(self, recorded: e.Recorded) -> None:
        """Take in one entry and check what can be checked at once."""
        self.position += 1
        self.times.append(recorded.at_s)
        self.need(recorded.position == self.position, "positions have a gap")
        last = self.numbers.get(recorded.writer, 0)
        self.need(recorded.seq == last + 1, f"{recorded.writer} wrote number {recorded.seq} after {last}")
        self.numbers[recorded.writer] = recorded.seq
        self._check_leader(recorded.writer)
        if isinstance(recorded.entry, e.Decision):
            self.need(recorded.based_on is not None, "a decision without the position it is based on")
            self.need((recorded.based_on or 0) < recorded.position, "a decision based on the future")
        name = f"_{type(recorded.entry).__name__}"
        handler = getattr(self, name, None)
        if handler is not None:
            handler(recorded.entry, recorded)
        self.soft.append(self.target_hit or self.patience.stalled or self.only_confirm)

    def _check_leader(self, writer: str) -> None:
        """Once somebody else leads, an earlier controller writes nothing any more."""
        if writer.startswith("controller/"):
            token = int(writer.rpartition("/")[2])
            self.need(token >= self.leader, f"controller {token} wrote although {self.leader} leads")
            self.leader = token

    def need(self, holds: bool, otherwise: str) -> None:
        """Raise Violation unless `holds`."""
        if not holds:
            raise Violation(f"entry {self.position}: {otherwise}")

    # --- questions

    def spent(self) -> bool:
        """No further trial may be proposed."""
        return self.exhausted or (self.cap is not None and len(self.configs) >= self.cap)

    def stopped_by(self, at_s: float) -> list[str]:
        """What of the spec ends the sweep at this time, by the words of the reasons."""
        found = over(self.runs, self.spec.limits, self.first_joined_s, at_s)
        return found + ["target"] * self.target_hit + ["patience"] * self.patience.stalled

    def _value(self, run: RunAccount, value: float | None) -> None:
        """Whether an objective reaches the target."""
        if run.added.purpose != "search":
            return
        self.target_hit = self.target_hit or naive_reached(self.spec, value)

    # --- what is to be confirmed

    def _confirmations(self) -> list[RunAccount]:
        """The runs that there are of what is to be confirmed."""
        wanted = naive_wanted(self.spec, self.runs, self.world.goal)
        return [run for run in self.runs if (run.added.trial, run.added.replicate) in wanted]

    def _to_confirm(self, again: Sequence[RunAccount]) -> None:
        """An ended sweep is to go on for its confirmation, if there is anything to confirm and no limit forbids it."""
        if self.phase != "ended" or self.to_reopen:
            return
        if {*CUTS} & set(self.stopped_by(self.times[-1])):
            return
        have = {(run.added.trial, run.added.replicate) for run in self._confirmations()}
        shelved = [run for run in self.runs if run.shelved and run.added.purpose == "confirm"]
        if again or shelved or have != naive_wanted(self.spec, self.runs, self.world.goal):
            self.to_reopen = self.only_confirm = True
            self.world.counts["reopened to confirm"] += 1

    def _all_confirmed(self) -> None:
        """The best configs have all their runs on fresh seeds."""
        wanted = naive_wanted(self.spec, self.runs, self.world.goal)
        have = {(run.added.trial, run.added.replicate) for run in self._confirmations()}
        self.need(have == wanted, f"confirmed were {sorted(have)}, should be {sorted(wanted)}")
        self.world.counts["confirmed"] += bool(wanted)

    def _check_confirms(self, entry: e.RunAdded) -> None:
        """A confirmation comes after the search, and is one of the best configs on one of the fresh seeds."""
        self.need(not self.stopping, "a result is confirmed although somebody stopped the sweep")
        ended = self.spent() or self.target_hit or self.patience.stalled or self.only_confirm
        open_runs = [r.added.run for r in self.runs if r.added.purpose == "search" and not r.final]
        self.need(ended and not open_runs, f"a result is confirmed before the search has ended: {open_runs}")
        wanted = naive_wanted(self.spec, self.runs, self.world.goal)
        what = f"trial {entry.trial}, replicate {entry.replicate}"
        self.need((entry.trial, entry.replicate) in wanted, f"{what} is confirmed, to be are {wanted}")
