"""Which of several sweeps gets a slot of one agent: the highest priority first, equal shares among equals. Pure.

The rule of this file: a slot is lent to one sweep at a time, and what two slots need of the machine is never lent twice. The shell says
what became of a loan (it was used, the run is over, it came back) and carries out what `lend` and `recall` answer. Times are seconds of
one clock that never goes back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

PATIENCE_S = 1.0
"""A sweep that has not used a slot for so long is thought to have no work, and others may have it."""
AGAIN_S, AGAIN_AT_MOST_S = 5.0, 60.0
"""It is asked again after so long, each time twice as long, unless something in it has changed."""
_EPSILON = 1e-9


class Need(msgspec.Struct, frozen=True):
    """What a slot takes of the machine."""

    cpus: float
    gpus: Mapping[str, float] = {}
    """UUID -> part of it."""


class Loan(msgspec.Struct, frozen=True, order=True):
    """A slot of a sweep."""

    sweep: str
    slot: int


class _Sweep(msgspec.Struct):
    """What is known of one sweep."""

    needs: tuple[Need, ...]
    priority: int
    order: int
    used: float
    """Part of the machine, times seconds, that its runs have had."""
    waiting: dict[int, float] = {}
    """slot -> since when it is lent without having been used."""
    busy: dict[int, float] = {}
    """slot -> since when a run is there."""
    returning: set[int] = set()
    """Asked back, and not confirmed yet."""
    wants: bool = True
    dry: bool = False
    blocked: frozenset[int] = frozenset()
    news: object = None
    quiet_until_s: float = -math.inf
    again_s: float = AGAIN_S

    def taken(self) -> Iterator[int]:
        yield from self.waiting
        yield from self.busy
        yield from self.returning

    def idle(self, now_s: float) -> bool:
        """Whether it has something that it does not use."""
        return any(now_s >= since + PATIENCE_S for since in self.waiting.values())


class Sharing:
    """The slots of one agent, and the sweeps that share them."""

    def __init__(self, cpus: float, gpus: Iterable[str] = (), slots: int | None = None) -> None:
        """`slots`: how many runs at once at most."""
        self._cpus, self._gpus = cpus, frozenset(gpus)
        self._slots = slots
        self.left: int | None = None
        """How many runs may still be begun, None for any number."""
        self._sweeps: dict[str, _Sweep] = {}
        self._joined = 0

    # --- queries

    def waiting(self, sweep: str) -> tuple[int, ...]:
        """Slots that are lent to it and were not used yet."""
        return tuple(self._sweeps[sweep].waiting)

    def busy(self, sweep: str) -> tuple[int, ...]:
        """Slots where its runs are."""
        return tuple(self._sweeps[sweep].busy)

    def returning(self, sweep: str) -> tuple[int, ...]:
        """Slots that were asked back, and are not confirmed to be free."""
        return tuple(self._sweeps[sweep].returning)

    def next_wake_s(self, now_s: float) -> float | None:
        """When `recall` may have something to say that it has not now."""
        times = [
            since + PATIENCE_S
            for one in self._sweeps.values()
            for since in one.waiting.values()
            if len(self._sweeps) > 1
        ]
        if times:
            times += [one.quiet_until_s for one in self._sweeps.values()]
        return min((time for time in times if time > now_s), default=None)

    # --- what the shell says

    def join(self, sweep: str, needs: Sequence[Need], priority: int) -> None:
        """A sweep that takes part from now on; `needs`: of each of its slots. It has no claim to what others had before it came."""
        used = min((one.used for one in self._sweeps.values()), default=0.0)
        self._joined += 1
        self._sweeps[sweep] = _Sweep(tuple(needs), priority, self._joined, used)

    def leave(self, sweep: str) -> None:
        """It is over, and nothing of it is left on this machine."""
        del self._sweeps[sweep]

    def look(
        self,
        sweep: str,
        *,
        priority: int,
        wants: bool,
        dry: bool = False,
        news: object = None,
        blocked: Iterable[int] = (),
        now_s: float,
    ) -> None:
        """How a sweep stands. `wants`: it may have runs at all, being neither paused nor on its way out; `dry`: its listing says that
        none is left to assign; `news`: anything that differs when it may have work again; `blocked`: slots that are set aside."""
        one = self._sweeps[sweep]
        one.priority, one.wants, one.dry, one.blocked = priority, wants, dry, frozenset(blocked)
        if news != one.news:
            one.news, one.quiet_until_s, one.again_s = news, now_s, AGAIN_S

    def began(self, sweep: str, slot: int, now_s: float) -> None:
        """The sweep has assigned a run to a slot that was lent to it."""
        one = self._sweeps[sweep]
        one.waiting.pop(slot, None)
        one.returning.discard(slot)
        one.busy[slot] = now_s
        one.quiet_until_s, one.again_s = now_s, AGAIN_S

    def ended(self, sweep: str, slot: int, now_s: float) -> None:
        """The run there is over: the slot is free."""
        one = self._sweeps[sweep]
        since = one.busy.pop(slot, now_s)
        one.used += self._part(one.needs[slot]) * (now_s - since)

    def forget(self, sweep: str) -> None:
        """Nothing of what it was lent is left on this machine."""
        one = self._sweeps[sweep]
        one.waiting.clear()
        one.busy.clear()
        one.returning.clear()

    def returned(self, sweep: str, slot: int) -> None:
        """The store has confirmed that an offer is gone, unused."""
        self._sweeps[sweep].returning.discard(slot)

    # --- what is to be done

    def recall(self, now_s: float) -> list[Loan]:
        """What is to be asked back: all that is not used, where another sweep may have a run that fits only then. To be called after
        `lend`, which gives away what is free."""
        unused = frozenset(
            Loan(name, slot)
            for name, one in self._sweeps.items()
            for slot, since in one.waiting.items()
            if not one.wants or one.dry or slot in one.blocked or now_s >= since + PATIENCE_S
        )
        wanted = [
            name
            for name, one in self._sweeps.items()
            if unused
            and self._hungry(one, now_s)
            and self._fitting(name) is None
            and self._fitting(name, unused) is not None
        ]
        asked = sorted(loan for loan in unused if any(name != loan.sweep for name in wanted))
        for loan in asked:
            one = self._sweeps[loan.sweep]
            del one.waiting[loan.slot]
            one.returning.add(loan.slot)
            if one.wants and loan.slot not in one.blocked:
                self._quieten(one, now_s)
        return asked

    def lend(self, now_s: float) -> list[Loan]:
        """What is to be offered: nothing that fits is left over while a sweep may have a run."""
        lent: list[Loan] = []
        for only_hungry in (True, False):  # what no hungry sweep has room for is offered to whoever may yet
            while (loan := self._next(now_s, only_hungry)) is not None:
                self._sweeps[loan.sweep].waiting[loan.slot] = now_s
                lent.append(loan)
        return lent

    # --- inside

    def _next(self, now_s: float, only_hungry: bool) -> Loan | None:
        ranked = sorted(self._sweeps.items(), key=lambda item: self._rank(item[1], now_s))
        for name, one in ranked:
            if self._hungry(one, now_s) if only_hungry else one.wants:
                slot = self._fitting(name)
                if slot is not None:
                    return Loan(name, slot)
        return None

    def _rank(self, one: _Sweep, now_s: float) -> tuple[float, float, float, int]:
        held = sum(self._part(one.needs[slot]) for slot in one.taken())
        used = one.used + sum(
            self._part(one.needs[slot]) * (now_s - since) for slot, since in one.busy.items()
        )
        return (-one.priority, round(held, 6), used, one.order)

    def _hungry(self, one: _Sweep, now_s: float) -> bool:
        """Whether it may well have a run for one more slot."""
        return one.wants and not one.dry and now_s >= one.quiet_until_s and not one.idle(now_s)

    def _fitting(self, sweep: str, without: frozenset[Loan] = frozenset()) -> int | None:
        """The first slot of a sweep that fits into what is free, or would be `without` those loans."""
        one = self._sweeps[sweep]
        taken = [
            (other, slot)
            for name, other in self._sweeps.items()
            for slot in other.taken()
            if Loan(name, slot) not in without
        ]
        waiting = sum(slot not in other.busy for other, slot in taken)
        if self._slots is not None and len(taken) >= self._slots:
            return None
        if self.left is not None and waiting >= self.left:
            return None
        cpus, gpus = self._free([other.needs[slot] for other, slot in taken])
        mine = {slot for other, slot in taken if other is one}
        for slot, need in enumerate(one.needs):
            if slot not in mine and slot not in one.blocked and _fits(need, cpus, gpus):
                return slot
        return None

    def _free(self, needs: Iterable[Need]) -> tuple[float, dict[str, float]]:
        cpus, gpus = self._cpus, dict.fromkeys(self._gpus, 1.0)
        for need in needs:
            cpus -= need.cpus
            for uuid, part in need.gpus.items():
                gpus[uuid] -= part
        return cpus, gpus

    def _part(self, need: Need) -> float:
        """How much of the machine a slot is, by what it takes most of."""
        gpus = sum(need.gpus.values()) / len(self._gpus) if self._gpus else 0.0
        return max(need.cpus / self._cpus, gpus)

    def _quieten(self, one: _Sweep, now_s: float) -> None:
        if now_s >= one.quiet_until_s:
            one.quiet_until_s = now_s + one.again_s
            one.again_s = min(2 * one.again_s, AGAIN_AT_MOST_S)


def _fits(need: Need, cpus: float, gpus: Mapping[str, float]) -> bool:
    return need.cpus <= cpus + _EPSILON and all(
        part <= gpus.get(uuid, 0.0) + _EPSILON for uuid, part in need.gpus.items()
    )
