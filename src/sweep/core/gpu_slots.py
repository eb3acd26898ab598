"""Slots with GPUs: which of them wait while another program computes there, and which are set aside for good. Pure.

A slot is looked at by the shell, which answers with a `Finding`: before it is offered where busy GPUs are to be avoided, every few
seconds while it waits, and when a run on it has failed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from sweep.core.agent_actions import Finding, Say

LOOK_EVERY_S = 5.0
"""How often a GPU that another program uses is looked at."""
LOOK_LIMIT_S = 30.0
"""A look that takes longer finds a GPU (or a driver) that hangs: one that fell off the bus often does."""
NO_ANSWER = f"NVML has given no answer about its GPU for {LOOK_LIMIT_S:g} s"


class _Waiting(msgspec.Struct):
    """A slot whose GPU another program uses."""

    why: str
    look_s: float


class GpuSlots:
    """What is known of the slots of one agent that have GPUs."""

    def __init__(
        self, slots: Collection[int] = (), avoid_busy: bool = False, aside: Mapping[int, str] | None = None
    ) -> None:
        """`slots`: those with GPUs; `avoid_busy`: offer none whose GPU another program uses; `aside`: slot -> why it was set
        aside in an earlier life of the agent."""
        self._slots, self._avoid_busy = frozenset(slots), avoid_busy
        self.aside: dict[int, str] = dict(aside or {})
        """slot -> why it takes no run any more."""
        self._waiting: dict[int, _Waiting] = {}
        self._looking: dict[int, float | None] = {}
        """slot -> when the answer is overdue; None until `tick` has seen it."""
        self._free: set[int] = set()
        """Found free, and not offered since."""

    # --- queries

    def why(self, slot: int) -> str:
        """Why a slot is not offered; '' when it may be."""
        if slot in self.aside:
            return self.aside[slot]
        waiting = self._waiting.get(slot)
        return waiting.why if waiting is not None else ""

    def keeps(self, slot: int) -> bool:
        """Whether a slot cannot be offered now: set aside, waiting, or being looked at."""
        return slot in self.aside or slot in self._waiting or slot in self._looking

    def kept(self) -> dict[int, bool]:
        """slot -> whether it is set aside, of those that are or that wait."""
        return dict.fromkeys(self._waiting, False) | dict.fromkeys(self.aside, True)

    @property
    def asked(self) -> int:
        """How many slots are being looked at, to be offered if nothing is found; those that wait do not count."""
        return len(self._looking.keys() - self._waiting.keys())

    def next_wake_s(self) -> float | None:
        """When `tick` must be called at the latest."""
        if not self._waiting and not self._looking:
            return None
        times = [one.look_s for slot, one in self._waiting.items() if slot not in self._looking]
        times += [due for due in self._looking.values() if due is not None]
        return min(times, default=None)

    # --- looking

    def examines(self, slot: int) -> bool:
        """Whether a run that failed on this slot makes its GPUs worth a look; then it counts as being looked at."""
        if slot not in self._slots or slot in self.aside:
            return False
        self._looking[slot] = None
        return True

    def asks(self, slot: int) -> bool:
        """Whether a slot must be looked at before it is offered; then it counts as being looked at."""
        if not self._avoid_busy or slot not in self._slots or slot in self._free:
            self._free.discard(slot)
            return False
        self._looking[slot] = None
        return True

    def tick(self, now_s: float) -> tuple[tuple[int, ...], dict[int, Finding]]:
        """(slots to be looked at again, what is to be thought of those about which nothing was heard)."""
        if not self._waiting and not self._looking:  # as mostly, and on nodes without GPUs always
            return (), {}
        again = [
            slot
            for slot, waiting in self._waiting.items()
            if now_s >= waiting.look_s and slot not in self._looking
        ]
        self._looking.update(dict.fromkeys(again))
        for slot, due in self._looking.items():
            if due is None:
                self._looking[slot] = now_s + LOOK_LIMIT_S
        overdue = {slot for slot, due in self._looking.items() if due is not None and now_s >= due}
        return tuple(again), dict.fromkeys(overdue, Finding(lost=NO_ANSWER))

    def learn(self, found: Mapping[int, Finding], now_s: float) -> list[Say]:
        """What was found; returns what the person is told: once when a slot begins to wait, and once when it is over."""
        said: list[Say] = []
        for slot, finding in found.items():
            self._looking.pop(slot, None)
            if slot in self.aside:
                continue
            waited = self._waiting.pop(slot, None)
            if finding.lost:
                self.aside[slot] = finding.lost
                said.append(Say(f"slot {slot} is set aside: {finding.lost}", "error"))
            elif finding.busy and self._avoid_busy:
                self._waiting[slot] = _Waiting(finding.busy, now_s + LOOK_EVERY_S)
                if waited is None:
                    said.append(Say(f"{finding.busy}: its slot waits", "warning"))
            else:
                self._free.add(slot)
                if waited is not None:
                    said.append(Say(f"slot {slot} goes on: no other program uses its GPU any more"))
        return said

    def rest(self) -> None:
        """No slot is offered any more: none waits."""
        self._waiting.clear()
