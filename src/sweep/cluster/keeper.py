"""The keeper: the actor that gives a sweep its slots on a cluster, for as long as it has runs for them.

It holds nothing that it could not find again: slots are named actors of their own that outlive it, and what the sweep needs stands in
the store. So Ray may start it anew on another node at any time.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

from sweep.api.finding import NotFound
from sweep.cluster import planning
from sweep.cluster.cluster import ask_autoscaler, living_nodes
from sweep.cluster.following import Following
from sweep.cluster.order import LaunchReport, Order, SlotEnd
from sweep.cluster.record import note_end, note_leaving, read_record
from sweep.cluster.shape import ClusterNode, Shape, describe, shape_of
from sweep.cluster.slots import Slot, keeper_name, keepers, named_actor
from sweep.core.spec import Resources
from sweep.stores import Store, StoreError, SweepRemoved, open_store

TICK_S = 0.5
NODES_S = 2.0
ASK_AGAIN_S = 60.0
"""The autoscaler is told again what is wanted, as others on the cluster may have said something else since."""
ASK_LESS_S = (12.0, 20.0)
"""So long it has, by chance, for a request that the cluster has no room for yet (it looks every 5 seconds) before it is asked for less.
What it has begun to start by then it goes on with. By chance, as it does nothing about what all launches together want while one of
them wants too much: they must not go through their requests in step."""
ASK_AT_MOST = 1000
"""More slots than this are not asked for at once."""
LAST_S = 30.0
"""How much longer than `limits.kill_after` agents may take to leave when the sweep has ended."""
INTERRUPTED, GAVE_UP = 130, 3


class Keeper:
    """Works in a thread of its own; Ray calls the public methods in others."""

    def __init__(self, order: Order, resources: Resources) -> None:
        self._order, self._resources = order, resources
        self._max_slots = order.max_slots
        self._shape: Shape | None = None
        self._slots: list[Slot] = []
        self._nodes: list[ClusterNode] = []
        self._closed: Counter[str] = Counter()
        self._failures, self._next_start_s = 0, 0.0
        self._leaving: bool | None = None
        """True: runs are ended, too; None: it works."""
        self._end_s: float | None = None
        """When the sweep was seen to have ended."""
        self._wanted = self._room = self._allowed = 0
        self._notes: deque[tuple[int, str]] = deque(maxlen=50)
        self._noted = 0
        self._asked: tuple[int, float] = (0, 0.0)
        """For how many slots the autoscaler was asked last, and when."""
        self._tries, self._less_s, self._room_then = 0, 0.0, -1
        self._nodes_due_s = 0.0
        self._over = ("", False)
        self._done = False
        threading.Thread(target=self._work, name="keeper", daemon=True).start()

    # --- what others may ask

    def look(self) -> LaunchReport:
        """How the launch is now."""
        reason, broken = self._over
        state = "ended" if self._done else "leaving" if self._leaving is not None else "working"
        return LaunchReport(
            sweep=self._order.sweep,
            state=state,
            reason=reason,
            broken=broken,
            wanted=self._wanted,
            room=self._room,
            shape=self._shape,
            cluster=describe(self._nodes),
            slots=tuple(slot.report for slot in list(self._slots)),
            notes=tuple(self._notes),
        )

    def demand(self) -> list[tuple[dict[str, float], dict[str, str]]]:
        """What of the cluster's resources the autoscaler is asked for: what the runs that are left can use, or less (`slots_to_ask_for`)."""
        shape = self._shape
        if shape is None or self._done or self._leaving is not None:
            return []
        bundle = {name: amount for name, amount in shape.bundle.items() if not name.startswith("node:")}
        wanted = min(self._wanted, ASK_AT_MOST)
        return [(bundle, shape.labels)] * planning.slots_to_ask_for(wanted, self._room, self._tries)

    def leave(self, now: bool) -> None:
        """Have all agents leave: when their runs have ended, or with `now` at once."""
        self._leaving = now or bool(self._leaving)

    def allow(self, max_slots: int) -> None:
        """At most so many slots from now on."""
        self._max_slots = max_slots

    # --- the loop

    def _work(self) -> None:
        try:
            store = open_store(self._order.store_url, Path.home())
        except StoreError as error:
            self._finish(None, f"the store cannot be opened on the cluster: {error}", True)
            return
        self._slots = Slot.found(self._order.sweep)
        record = read_record(store, self._order.sweep)
        if record is not None and not record.ended and record.leaving is not None:
            self._leaving = record.leaving
        following: Following | None = None
        while True:
            began_s = time.monotonic()
            try:
                if following is None:
                    following = Following(store, self._order.sweep)
                following.turn()
                if self._turn(store, following, began_s):
                    return
            except (NotFound, SweepRemoved):
                self._finish(store, f"sweep {self._order.sweep} has been removed", False)
                return
            except StoreError as error:
                self._note(f"{error} (trying again)")
            except (
                Exception
            ) as error:  # Ray's head away for a moment, say: what was to be done is derived anew
                self._note(f"the cluster is in trouble: {type(error).__name__}: {_last(str(error))[:200]}")
            time.sleep(max(0.05, TICK_S - (time.monotonic() - began_s)))

    def _turn(self, store: Store, following: Following, now_s: float) -> bool:
        """One round; whether it was the last."""
        self._look_at_nodes(now_s)
        self._collect(now_s)
        left = planning.runs_left(following.view, following.spec, following.at_work)
        assert self._shape is not None
        self._room = planning.room_for(self._shape, self._nodes)
        self._wanted = planning.slots_wanted(left, self._max_slots, self._room)
        if following.view.state == "ended":
            return self._close(store, f"the sweep has ended: {following.view.reason}", now_s)
        closed = sum(self._closed.values())
        self._allowed = planning.slots_allowed(self._wanted, self._max_slots, self._room, closed)
        if self._leaving is not None:
            note_leaving(store, self._order.sweep, self._leaving)  # for another life of this actor
            return self._close(store, "it was told to leave", now_s)
        self._end_s = None
        if self._gave_up():
            words = self._notes[-1][1] if self._notes else ""
            self._finish(store, f"no slot is left: {words}", True)
            return True
        self._add(now_s)
        self._give_back(following, now_s)
        self._ask(now_s)
        return False

    def _look_at_nodes(self, now_s: float) -> None:
        if now_s < self._nodes_due_s:
            return
        self._nodes_due_s = now_s + NODES_S
        known = {node.id: node for node in self._nodes}
        nodes = living_nodes()
        if self._order.host:
            nodes = [node for node in nodes if node.host == self._order.host]
        if known:
            for node in nodes:
                if node.id not in known:
                    self._note(f"{node.host} has joined the cluster")
            for gone in known.keys() - {node.id for node in nodes}:
                self._note(f"{known[gone].host} has left the cluster")
                self._closed.pop(gone, None)
        self._nodes = nodes
        if self._shape is None or not self._slots:
            pinned = nodes[0].address if self._order.host and nodes else None
            self._shape = shape_of(self._resources, nodes, pinned)

    def _collect(self, now_s: float) -> None:
        """Take in what has become of the slots."""
        for slot in list(self._slots):
            end = slot.poll()
            if slot.report.problem:
                self._note(f"{slot.report.host}: {slot.report.problem}")
            if slot.report.agent:
                self._failures = 0
            if end is None:
                continue
            self._slots.remove(slot)
            if isinstance(end, SlotEnd):
                self._ended(slot, end, now_s)
            elif not slot.told:
                self._lost(slot, end, now_s)

    def _ended(self, slot: Slot, end: SlotEnd, now_s: float) -> None:
        slot.kill()
        report = slot.report
        if end.told or slot.told or end.code == 0:
            return
        if end.code == GAVE_UP:
            self._closed[report.node] += 1
            self._note(
                f"agent {report.agent} on {report.host} gave up, because its runs failed or its node was set aside; its slot stays empty"
            )
        elif end.code == INTERRUPTED:
            self._closed[report.node] += 1
            self._note(
                f"agent {report.agent} on {report.host} was told to leave by somebody; its slot stays empty"
            )
        else:
            how = f"was ended by signal {-end.code}" if end.code < 0 else f"ended with exit code {end.code}"
            self._note(f"the agent of a slot on {report.host or 'the cluster'} {how}: {_last(end.words)}")
            self._failed(slot, end.joined, now_s)

    def _lost(self, slot: Slot, error: Exception, now_s: float) -> None:
        if "No module named 'sweep'" in str(error):
            self._note(
                "a node of the cluster has no package sweep: pip install 'sweep[ray]' there, in the Python that Ray runs in"
            )
        elif slot.report.node:
            self._note(
                f"a slot on {slot.report.host} is gone, with its actor or its node; another takes its place"
            )
        else:
            self._note(f"a slot could not be started: {_last(str(error))}")
        self._failed(slot, bool(slot.report.agent), now_s)

    def _failed(self, slot: Slot, joined: bool, now_s: float) -> None:
        """Wait before the next is started when slots fail as soon as they are there."""
        if joined and now_s - slot.began_s >= planning.HASTE_S:
            return
        self._failures += 0 if joined else 1
        self._next_start_s = now_s + planning.PAUSES_S[min(self._failures, len(planning.PAUSES_S) - 1)]

    def _gave_up(self) -> bool:
        if any(slot.report.agent for slot in self._slots):
            return False
        return self._failures >= planning.GIVE_UP or (
            not self._slots and bool(self._closed) and self._allowed == 0
        )

    def _add(self, now_s: float) -> None:
        missing = self._allowed - len(self._slots)
        if self._room == 0 and not self._slots and self._shape is not None:
            self._note(
                f"no node has room for a slot ({self._shape.words}); the cluster has {describe(self._nodes)}. The autoscaler was "
                "asked; waiting"
            )
        if missing <= 0 or now_s < self._next_start_s:
            return
        assert self._shape is not None
        for _ in range(1 if self._failures else missing):
            self._slots.append(Slot.start(self._order, self._shape))

    def _give_back(self, following: Following, now_s: float) -> None:
        facts = []
        for slot in self._slots:
            agent = slot.report.agent
            idle = bool(agent) and following.is_idle(agent)
            slot.idle_since_s = (slot.idle_since_s or now_s) if idle else None
            idle_s = None if slot.idle_since_s is None else now_s - slot.idle_since_s
            facts.append(
                planning.SlotFacts(
                    name=slot.name, placed=bool(slot.report.node), idle_s=idle_s, leaving=slot.told
                )
            )
        going = set(planning.surplus(facts, self._wanted, self._allowed, self._max_slots))
        for slot in [slot for slot in self._slots if slot.name in going]:
            slot.leave(now=False)

    def _ask(self, now_s: float) -> None:
        if self._room != self._room_then:
            self._tries, self._room_then = 0, self._room
            self._less_s = now_s + random.uniform(*ASK_LESS_S)
        elif self._wanted > self._room and now_s >= self._less_s:
            self._tries += 1
            self._less_s = now_s + random.uniform(*ASK_LESS_S)
        demand, (count, asked_s) = self.demand(), self._asked
        if count != len(demand) or now_s - asked_s >= ASK_AGAIN_S:
            self._asked = (len(demand), now_s)
            ask_autoscaler(demand + _of_others(self._order.sweep))

    # --- the end

    def _close(self, store: Store, why: str, now_s: float) -> bool:
        """Let the agents leave; whether all have."""
        if self._end_s is None:
            self._end_s = now_s
            ask_autoscaler(_of_others(self._order.sweep))
        late = self._leaving is None and now_s - self._end_s > self._order.kill_after_s + LAST_S
        if self._leaving is not None or late:
            for slot in list(self._slots):
                slot.leave(now=bool(self._leaving) or late)
        if self._slots:
            return False
        self._finish(store, why, False)
        return True

    def _finish(self, store: Store | None, reason: str, broken: bool) -> None:
        """The last words, and the end of this actor."""
        import ray

        with contextlib.suppress(Exception):
            ask_autoscaler(_of_others(self._order.sweep))
        for slot in self._slots:
            with contextlib.suppress(Exception):
                slot.leave(now=True)
        if store is not None:
            with contextlib.suppress(StoreError):
                note_end(store, self._order.sweep, reason, broken)
            store.close()
        self._over, self._done = (reason, broken), True  # from now on whoever watches may take Ray away
        time.sleep(2 * TICK_S)  # and should see these words
        ray.kill(named_actor(keeper_name(self._order.sweep)), no_restart=True)

    def _note(self, text: str) -> None:
        if not self._notes or self._notes[-1][1] != text:
            self._noted += 1
            self._notes.append((self._noted, text))


def _of_others(sweep: str) -> list[tuple[dict[str, float], dict[str, str]]]:
    """What the keepers of other sweeps on this cluster want: what is asked of the autoscaler replaces what they have asked."""
    import ray

    asked: list[Any] = []
    for other in keepers():
        if other != sweep:
            keeper = named_actor(keeper_name(other))
            with contextlib.suppress(Exception):  # it is about to end
                asked += ray.get(keeper.demand.remote(), timeout=2) if keeper is not None else []
    return asked


def _last(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
