"""How many slots a launch should have, and which of them go: pure.

Slots are added while there are fewer than the runs that are left can use and the cluster has room; those that nobody can use any
more are given back, after a while, as the queue may fill again (a run that failed is tried again).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sweep.cluster.shape import ClusterNode, Shape, room_on
from sweep.core.sizes import trials
from sweep.core.spec import SweepSpec
from sweep.core.views import SweepView

SPARE_S = 5.0
"""So long a slot is kept that no run is left for."""
HASTE_S = 10.0
"""A slot that ends sooner has failed to start."""
PAUSES_S = (0.0, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pause before the next try to start one, after so many failures in a row."""
GIVE_UP = 8
"""So many failures in a row, with no slot at work, end the launch."""


def runs_left(view: SweepView, spec: SweepSpec, at_work: int) -> int | None:
    """How many runs can still use a slot, those at work included; None when there is no end to them."""
    if view.state == "ended":
        return 0
    if view.state != "active":  # paused, or finishing: nothing starts
        return at_work
    counts = view.counts
    waiting = counts.get("queued", 0) + counts.get("paused", 0)
    total = trials(spec, view.run_cap)
    if total is None:
        return None if not view.exhausted else at_work + waiting
    done = sum(counts.get(state, 0) for state in ("completed", "failed", "pruned", "cancelled"))
    unborn = 0 if view.exhausted else total * spec.replicates - done
    return max(at_work + waiting, unborn)


def slots_wanted(left: int | None, max_slots: int | None, room: int) -> int:
    """How many slots the sweep should have, room or no room. Without an end to its runs and without a limit: what there is
    room for."""
    limits = [limit for limit in (left, max_slots) if limit is not None]
    return min(limits) if limits else max(1, room)


def slots_allowed(wanted: int, max_slots: int | None, room: int, closed: int) -> int:
    """How many slots there should be now. Those that gave up (`closed`) are not replaced: what was allowed to them, and the room
    that they had, stays empty."""
    limit = wanted if max_slots is None else min(wanted, max_slots - closed)
    return max(0, min(limit, room - closed))


def slots_to_ask_for(wanted: int, room: int, tries: int) -> int:
    """For how many slots the autoscaler is asked, after so many requests since the cluster has last changed. First for all that are
    wanted; but an autoscaler (Ray's second) does nothing about a request that the cluster can never meet as a whole, so then for ever
    fewer than that, down to what there is (so that other launches' requests are met), and from the beginning."""
    more = max(0, wanted - room)
    return min(wanted, room) + (more >> tries % (more.bit_length() + 1))


def room_for(shape: Shape, nodes: Sequence[ClusterNode]) -> int:
    """How many slots the nodes have room for."""
    return sum(room_on(shape, node) for node in nodes)


class SlotFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What counts of a slot when slots are to go."""

    name: str
    placed: bool
    """It has its place on a node."""
    idle_s: float | None
    """How long its agent has had no run; None while it has one, or has not joined."""
    leaving: bool = False


def surplus(slots: Sequence[SlotFacts], wanted: int, allowed: int, max_slots: int | None = None) -> list[str]:
    """The slots that should go: first those that found no place, then idle ones, then, where there are more than `max_slots`, others:
    they leave when their run has ended. `wanted`, `allowed`: as `slots_wanted` and `slots_allowed` say."""
    staying = [slot for slot in slots if not slot.leaving]
    waiting = [slot.name for slot in staying if not slot.placed]
    placed = [slot for slot in staying if slot.placed]
    gone = waiting[: max(0, len(staying) - allowed)]
    idle = [slot.name for slot in placed if slot.idle_s is not None and slot.idle_s >= SPARE_S]
    gone += idle[: max(0, len(staying) - len(gone) - wanted)]
    over = len(staying) - len(gone) - max_slots if max_slots is not None else 0
    rest = [slot.name for slot in placed if slot.name not in gone]
    return gone + rest[: max(0, over)]
