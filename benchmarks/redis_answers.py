"""Agents whose runs take a set time and no work: how soon is an ended run answered, and what does that cost everybody?

The agents are real sessions that hear of news and look as often as the real loop does; several of them share a process, which
spares the start of many interpreters.
"""

from __future__ import annotations

import heapq
import json
import os
import random
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from measure import SOURCE, environment
from recorded import create, spec

from sweep.agents.news import News
from sweep.agents.session import Session, Timing
from sweep.controller import driver_maker
from sweep.core import entries as e
from sweep.stores import open_store
from sweep.stores.redis import RedisStore

SWEEP = "bench"
_TIMING = Timing(agent_ttl_s=60.0, controller_ttl_s=60.0)
WARM_S = 2.0
_STARTED_S = 0.05
"""That a run has started may wait so long, as the real loop has it."""


class Found(NamedTuple):
    """What was measured in the time after all had started."""

    latencies_ms: list[float]
    runs: int
    agents_s: float
    """CPU of all agents."""
    leader_s: float
    """CPU of the controller, where it has a process of its own."""
    server_s: float


def answers(
    url: str,
    folder: Path,
    *,
    processes: int,
    agents: int = 1,
    slots: int,
    per_s: float,
    seconds: float,
    apart: bool = True,
) -> Found:
    """`processes` times `agents` agents have `slots` slots each, and runs take so long, more or less, that `per_s` of them end
    each second (0: no slot is offered). `apart`: the controller is in a process of its own; else one of the agents leads.
    """
    store = RedisStore(url)
    create(store, SWEEP, spec(1_000_000))
    env = environment(folder, PYTHONPATH=os.pathsep.join([str(SOURCE), str(Path(__file__).parent)]))
    took_s = processes * agents * slots / per_s if per_s else 0.0
    head = [sys.executable, __file__, url, str(seconds)]

    def start(*words: object) -> subprocess.Popen[str]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen([*head, *map(str, words)], env=env, text=True, **pipes)  # type: ignore[call-overload,no-any-return]

    started = [start(1, 0, 0.0, 1)] if apart else []
    started += [start(agents, slots, took_s, int(not apart)) for _ in range(processes)]
    for process in started:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    begin_s = time.time() + WARM_S
    for process in started:
        assert process.stdin is not None
        process.stdin.write(f"{begin_s}\n")
        process.stdin.flush()
    time.sleep(max(0.0, begin_s - time.time()))
    server_s = _server_s(store)
    time.sleep(seconds)
    server_s = _server_s(store) - server_s
    store.close()
    found = [json.loads(process.communicate()[0]) for process in started]
    leader_s = found.pop(0)["cpu_s"] if apart else 0.0
    return Found(
        [value for one in found for value in one["latencies_ms"]],
        sum(one["runs"] for one in found),
        sum(one["cpu_s"] for one in found),
        leader_s,
        server_s,
    )


def _server_s(store: RedisStore) -> float:
    info = store._info()
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


class Agent:
    """As much of an agent as deals with the store."""

    def __init__(self, url: str, name: str, slots: int, took_s: float, leads: bool, selector: Any) -> None:
        self._store = open_store(url, Path.cwd())
        make = driver_maker(self._store, SWEEP, print) if leads else None
        self.name, self._took_s = name, took_s
        self._session = Session(self._store, SWEEP, name, make, timing=_TIMING, unix_s=time.time)
        self._session.join(e.AgentJoined(name, "host", os.getpid(), slots))
        self._news = News(selector)
        self._news.follow(self._store, SWEEP, name)
        self._offers = self._started_at_s = 0.0
        self._ending: list[tuple[float, int, e.RunAssigned]] = []
        self._asked: dict[int, float] = {}
        for slot in range(slots if took_s else 0):
            self._offer(slot)

    def due_s(self) -> float:
        """When it has something to do, by the monotonic clock."""
        due_s = self._news.due_s if not self._ending else min(self._news.due_s, self._ending[0][0])
        return min(due_s, self._started_at_s) if self._session.pending else due_s

    def turn(self, now_s: float) -> Iterator[float]:
        """Does what is due, as the real loop would; gives how long each answer took, in seconds."""
        session = self._session
        while self._ending and self._ending[0][0] <= now_s:
            self._end(heapq.heappop(self._ending)[2], now_s)
        urgent = session.urgent and not self._news.gathers(now_s)
        due = urgent or (session.pending and now_s >= self._started_at_s)
        if not due and not self._news.calls(session.leads, session.seen, now_s):
            if now_s < self._news.next_s:
                return
            self._news.looks(session.settled, _TIMING.controller_ttl_s, now_s)
            if not session.behind() and session.driver is not None:
                return
        later = now_s < self._started_at_s
        orders = session.commit(heard=self._news.take(session.leads), later=later)
        self._news.stir(session.stirred, session.settled, now_s)
        for entry in orders:
            if isinstance(entry, e.RunAssigned):
                now_s = time.monotonic()
                if entry.slot in self._asked:
                    yield now_s - self._asked[entry.slot]
                self._start(entry, now_s)

    def _start(self, order: e.RunAssigned, now_s: float) -> None:
        if not self._session.pending:
            self._started_at_s = now_s + _STARTED_S
        self._session.add(e.RunStarted(order.run, order.attempt, self.name, 1, "host", order.slot))
        end_s = now_s + self._took_s * random.uniform(0.2, 1.8)
        heapq.heappush(self._ending, (end_s, order.run, order))

    def _end(self, order: e.RunAssigned, now_s: float) -> None:
        self._session.add(
            e.AttemptEnded(order.run, order.attempt, self.name, "completed", exit_code=0, score=0.5)
        )
        self._offer(order.slot)
        self._asked[order.slot] = now_s

    def _offer(self, slot: int) -> None:
        self._offers += 1
        self._session.add(e.SlotOffered(self.name, slot, int(self._offers)))


def work(url: str, seconds: float, agents: int, slots: int, took_s: float, leads: bool) -> None:
    """Some agents in one process; prints what was measured from the time on that it is told when it is ready."""
    with selectors.DefaultSelector() as selector:
        names = [f"agent-{os.getpid()}-{number}" for number in range(agents)]
        working = [Agent(url, name, slots, took_s, leads, selector) for name in names]
        latencies: list[float] = []
        print("ready", flush=True)
        begin_s = float(sys.stdin.readline())
        for until_s in (begin_s, begin_s + seconds):
            latencies.clear()
            cpu_s = time.process_time()
            while time.time() < until_s:
                due_s = min(agent.due_s() for agent in working) - time.monotonic()
                for key, _ in selector.select(max(0.0, min(due_s, 0.25))):
                    key.data()
                now_s = time.monotonic()
                for agent in working:
                    latencies += agent.turn(now_s)
            cpu_s = time.process_time() - cpu_s
    print(json.dumps({"latencies_ms": [1e3 * s for s in latencies], "runs": len(latencies), "cpu_s": cpu_s}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    address, long, count, each, took, lead = sys.argv[1:]
    work(address, float(long), int(count), int(each), float(took), lead == "1")
