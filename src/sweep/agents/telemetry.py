"""What runs use of this node: sampled in a thread beside the agent's loop, which only carries off what is ready.

Rules of this file: nothing that the loop calls waits; the thread holds the lock only to add up what it has read. One
Sampler serves all loops of a process, because what a device used is divided among all the runs that have it. There is no thread while
nothing runs.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sweep.agents.gpus import Slot
from sweep.agents.metering import Sums
from sweep.agents.meters import GpuMeter, GpuReading, NodeMeter, NodeReading, TreeMeter
from sweep.core import entries as e
from sweep.core.names import usage_cache
from sweep.core.spec import Limits

EVERY_S = 5.0
"""How often each run is looked at; in its first seconds every second."""
FIRST_S, FIRST = 1.0, 5
KEEP_S = 30.0
"""How often what was sampled goes into the store while a run is at work; and once more at its end."""
REPORT_S, BUDGET_REPORT_S = 300.0, 15.0
"""How often the journal is told what a run has used up to now: that is what is known of it if its agent vanishes; and where
a budget depends on it."""
WAIT_S = 1.0
"""So long the end of an attempt waits for the last reading of its devices."""
Key = tuple[int, int]
"""A run, and its attempt."""
LINGER_S = 10.0
"""So long the thread waits for another run."""


class Metered:
    """One attempt that is looked at."""

    def __init__(self, pid: int, marks: set[bytes], sums: Sums) -> None:
        self.tree, self.sums = TreeMeter(pid, marks), sums
        self.next_s = sums.began_s + FIRST_S
        self.closing: Callable[[], None] | None = None
        """Called in the thread after the last reading."""
        self.fresh = False
        """Something came since it was packed last."""


class Sampler:
    """The thread, and the devices of this process's runs."""

    def __init__(self, nvml: Any = None, powercap: Path = Path("/sys/class/powercap")) -> None:
        """`nvml`, `powercap`: for tests."""
        self._powercap = powercap
        self._nvml = nvml
        self._node: NodeMeter | None = None
        self.lock = threading.Lock()
        self._wake = threading.Condition(self.lock)
        self._here: list[Metered] = []
        self._opened: list[Metered] = []
        """Those whose devices have not been read yet."""
        self._dropped: set[Metered] = set()
        """Those that were given up while the thread looked at them."""
        self._thread: threading.Thread | None = None
        self._idle_s = 0.0
        self._energy: dict[str, float] = {}
        """Device ('' for the processors) -> its counter when it was read last."""

    @property
    def node(self) -> NodeMeter:
        """What is known of the node's own counters."""
        if self._node is None:
            self._node = NodeMeter(self._powercap)
        return self._node

    def add(self, metered: Metered) -> None:
        """Look at this one from now on."""
        with self.lock:
            if self.has_devices(metered):
                self._opened.append(metered)
                self._wake.notify()
            else:  # the thread looks once a second anyway: a short run costs nothing
                self._here.append(metered)
            self._run()

    def has_devices(self, metered: Metered) -> bool:
        """Whether there are counters to be read at its start and end."""
        return bool(metered.sums.gpus) or not self.node.why_no_energy

    def finish(self, metered: Metered, done: Callable[[], None]) -> None:
        """Read its devices once more, then call `done` (in the thread) and look at it no more."""
        with self.lock:
            metered.closing = done
            self._run()
            self._wake.notify()

    def drop(self, metered: Metered) -> None:
        """Look at it no more."""
        with self.lock:
            for group in (self._here, self._opened):
                if metered in group:
                    group.remove(metered)
                    return
            self._dropped.add(metered)

    def _run(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
            self._thread.start()

    # --- in the thread

    def _work(self) -> None:
        gpus = GpuMeter(self._nvml)
        try:
            while self._turn(gpus):
                pass
        finally:
            gpus.close()

    def _turn(self, gpus: GpuMeter) -> bool:
        """Wait until something is due and do it; False when there has been nobody to look at for a while."""
        with self.lock:
            now = time.monotonic()
            if self._here or self._opened:
                self._idle_s = now
            elif now >= self._idle_s + LINGER_S:
                self._thread = None
                self._energy.clear()
                return False
            due = min((one.next_s for one in self._here), default=math.inf)
            if not self._opened and due > now and not any(one.closing for one in self._here):
                self._wake.wait(min(due - now, FIRST_S))
                return True
            opened, self._opened = self._opened, []
            here = [*self._here, *opened]
        try:
            self._look(gpus, here, opened)
        except Exception:  # a library that misbehaves says nothing about a run
            with self.lock:
                self._here += [one for one in opened if one not in self._dropped and one not in self._here]
                done = [one for one in here if one.closing is not None]
                self._here = [one for one in self._here if one not in done]
                for one in here:
                    one.next_s = time.monotonic() + EVERY_S
            for one in done:
                assert one.closing is not None
                one.closing()
        with self.lock:
            self._dropped.clear()
        return True

    def _look(self, meter: GpuMeter, here: Sequence[Metered], opened: Sequence[Metered]) -> None:
        """One reading of all devices, and of the processes of those whose time it is."""
        node = self.node.read()
        gpus = meter.read(dict.fromkeys(uuid for one in here for uuid in one.sums.gpus))
        now = time.monotonic()
        trees = {id(one): one.tree.read() for one in here if one.next_s <= now and one.closing is None}
        now = time.monotonic()
        done = []
        with self.lock:
            self._share([one for one in here if one not in opened], node, gpus)
            self._here += [one for one in opened if one not in self._dropped]
            for one in opened:
                one.sums.open(node)
            for one in here:
                if one.closing is not None:
                    one.sums.take(now, None, node, gpus)
                    done.append(one)
                elif id(one) in trees:
                    one.sums.take(now, trees[id(one)], node, gpus)
                    one.next_s = _next(one, now)
                one.fresh = True
            for one in done:
                if one in self._here:
                    self._here.remove(one)
        for one in done:
            assert one.closing is not None
            one.closing()

    def _share(self, here: Sequence[Metered], node: NodeReading, gpus: dict[str, GpuReading]) -> None:
        """Give what each device has used since it was read last to those that had it."""
        now: dict[str, float] = {}
        users: dict[str, list[Metered]] = {"": list(here)}
        if node.cpu_energy_j is not None:
            now[""] = node.cpu_energy_j
        for one in here:
            for uuid in one.sums.gpus:
                reading = gpus.get(uuid)
                if reading is not None and one not in users.setdefault(reading.device, []):
                    users[reading.device].append(one)
        for reading in gpus.values():
            if reading.energy_j is not None:
                now[reading.device] = reading.energy_j
        for device, joules in now.items():
            used_j = max(0.0, joules - self._energy.get(device, joules))
            having = users.get(device, [])
            for one in having:
                one.sums.shared = one.sums.shared or (bool(device) and len(having) > 1)
                if device in self._energy:
                    one.sums.spend(device, used_j, used_j / len(having))
        # One that gave no answer this time may the next.
        had = {uuid for one in here for uuid in one.sums.gpus}
        self._energy = {device: old for device, old in self._energy.items() if device in had} | now


def _next(one: Metered, now: float) -> float:
    """Soon in its first seconds; later at the same times as all others, so that devices are read once for all."""
    if one.sums.count < FIRST:
        return now + FIRST_S
    return (math.floor(now / EVERY_S) + 1) * EVERY_S


SAMPLER = Sampler()
"""That of this process."""


class _Here:
    """An attempt of one loop."""

    def __init__(self, metered: Metered, now_s: float) -> None:
        self.metered = metered
        self.keep_s, self.told_s = now_s + KEEP_S, now_s
        self.then: Callable[[], None] | None = None
        """What waits for the last reading."""
        self.until_s = math.inf


class Telemetry:
    """One loop's side of it."""

    def __init__(self, selector: selectors.BaseSelector, agent: str, sampler: Sampler = SAMPLER) -> None:
        self._agent, self._sampler = agent, sampler
        self._runs: dict[Key, _Here] = {}
        self._awaited: set[Key] = set()
        """Those that have ended, and whose last reading is not in."""
        self._done: deque[Key] = deque()
        self._step_s = 0.0
        self._ours, self._theirs = socket.socketpair()
        for end in (self._ours, self._theirs):
            end.setblocking(False)
        selector.register(self._ours, selectors.EVENT_READ, self._take)

    def begin(self, key: Key, pid: int, slot: Slot, marks: set[bytes], now_s: float) -> None:
        """The process of an attempt has started."""
        gpus = [gpu.uuid for gpu in slot.gpus]
        shared = slot.share < 1 or any(uuid.startswith("MIG-") for uuid in gpus)
        metered = Metered(pid, marks, Sums(gpus, shared, now_s, time.time()))
        self._runs[key] = _Here(metered, now_s)
        self._sampler.add(metered)

    def step(
        self,
        now_s: float,
        limits: Limits,
        add: Callable[[e.AnyEntry], None] | None,
        put: Callable[[str, bytes], None],
    ) -> None:
        """Carry off what is due: to the journal by `add` (None: not now), to the store beside it by `put`."""
        if self._awaited:
            for key in [key for key in self._awaited if self._runs[key].until_s <= now_s]:
                self._over(key)
        if now_s < self._step_s or add is None:
            return
        self._step_s = now_s + 1.0
        budget = limits.cpu_hours is not None or limits.energy_kwh is not None
        for (run, attempt), here in self._runs.items():
            if here.then is not None or not here.metered.sums.count:
                continue
            if here.metered.fresh and now_s >= here.keep_s:
                here.keep_s = now_s + KEEP_S
                put(usage_cache(run, attempt), self._packed(here))
            if now_s >= here.told_s + (BUDGET_REPORT_S if budget else REPORT_S):
                here.told_s = now_s
                with self._sampler.lock:
                    cpu_s, energy_j = here.metered.sums.cpu_s, here.metered.sums.energy_j
                add(e.UsageReported(run, attempt, self._agent, cpu_s, energy_j))

    def ended(self, key: Key, then: Callable[[], None]) -> None:
        """The process is gone: `then` is called when the last reading of its devices is in, at once where it has none. Fetch what
        is known by `last` then."""
        here = self._runs.get(key)
        if here is None or not self._sampler.has_devices(here.metered):
            then()
            return
        here.then, here.until_s = then, time.monotonic() + WAIT_S
        self._awaited.add(key)
        self._sampler.finish(here.metered, lambda: self._finished(key))

    def last(
        self, key: Key, disk_bytes: tuple[int, int] | None, put: Callable[[str, bytes], None]
    ) -> tuple[e.Usage | None, float]:
        """What an attempt has used in all, and its CPU time as far as it was seen; it is looked at no more."""
        here = self._runs.pop(key, None)
        self._awaited.discard(key)
        if here is None:
            return None, 0.0
        self._sampler.drop(here.metered)
        sums = here.metered.sums
        if len(sums.samples):
            put(usage_cache(*key), self._packed(here))
        with self._sampler.lock:
            return sums.usage(disk_bytes), sums.cpu_s

    def give_up(self) -> None:
        """Wait for no last reading any more, and look at nothing of what was here."""
        for key in list(self._awaited):
            self._over(key)
        self.forget()

    def forget(self) -> None:
        """Nothing that runs here counts any more."""
        for here in self._runs.values():
            self._sampler.drop(here.metered)
        self._runs.clear()
        self._awaited.clear()

    def due_s(self) -> float | None:
        """When `step` must be called at the latest."""
        return min(self._runs[key].until_s for key in self._awaited) if self._awaited else None

    def close(self) -> None:
        """Let go."""
        self.forget()
        self._ours.close()
        self._theirs.close()

    def _packed(self, here: _Here) -> bytes:
        with self._sampler.lock:
            here.metered.fresh = False
            return here.metered.sums.samples.pack()

    def _finished(self, key: Key) -> None:
        """In the sampler's thread."""
        self._done.append(key)
        with contextlib.suppress(OSError):  # full: it will be read; closed: nobody waits
            self._theirs.send(b"!")

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._ours.recv(4096):
                pass
        while self._done:
            self._over(self._done.popleft())

    def _over(self, key: Key) -> None:
        here = self._runs.get(key)
        self._awaited.discard(key)
        if here is not None and here.then is not None:
            then, here.then = here.then, None
            then()
