"""Agents whose runs take a set time and no work, and a controller in a process of its own: how soon is an ended run answered?"""

from __future__ import annotations

import heapq
import json
import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from measure import SOURCE, environment
from recorded import create, spec

from sweep.agents.session import Session, Timing
from sweep.controller import driver_maker
from sweep.core import entries as e
from sweep.stores import listen, open_store

SWEEP = "bench"
_TIMING = Timing(agent_ttl_s=60.0, controller_ttl_s=60.0)
_POLL_S = 0.05


class Answers(NamedTuple):
    latencies_ms: list[float]
    per_s: float


def answers(url: str, folder: Path, *, agents: int, slots: int, per_s: float, seconds: float) -> Answers:
    """Runs for `seconds`; every agent has so many slots, and runs take so long, more or less, that `per_s` of them end each second."""
    store = open_store(url, folder)
    create(store, SWEEP, spec(1_000_000))
    store.close()
    env = environment(folder, PYTHONPATH=os.pathsep.join([str(SOURCE), str(Path(__file__).parent)]))
    took_s = agents * slots / per_s
    head = [sys.executable, __file__, url]
    leader = subprocess.Popen([*head, "lead", str(seconds + 4)], env=env)
    time.sleep(1.0)
    working = [
        subprocess.Popen(
            [*head, "work", str(seconds), str(slots), str(took_s)], env=env, stdout=subprocess.PIPE, text=True
        )
        for _ in range(agents)
    ]
    found: list[float] = []
    for process in working:
        found += json.loads(process.communicate()[0])
    leader.terminate()
    leader.wait()
    return Answers(found, len(found) / seconds)


def lead(url: str, seconds: float) -> None:
    """A session that leads and runs nothing."""
    store = open_store(url, Path.cwd())
    make = driver_maker(store, SWEEP, print)
    session = Session(store, SWEEP, "leader", make, timing=_TIMING, unix_s=time.time)
    session.join(e.AgentJoined("leader", "host", 1, 0))
    session.commit()
    news = listen(store, SWEEP, "leader")
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        if news is not None:
            news.leading = True
            select.select([news], [], [], _POLL_S)
            news.take()
        else:
            time.sleep(0.001)
        if session.behind():
            session.commit()


def work(url: str, seconds: float, slots: int, took_s: float) -> None:
    """An agent; prints how long each answer took, in milliseconds."""
    store = open_store(url, Path.cwd())
    agent = f"agent-{os.getpid()}"
    session = Session(store, SWEEP, agent, None, timing=_TIMING, unix_s=time.time)
    session.join(e.AgentJoined(agent, "host", os.getpid(), slots))
    offers = 0
    for slot in range(slots):
        offers += 1
        session.add(e.SlotOffered(agent, slot, offers))
    news = listen(store, SWEEP, agent)
    ending: list[tuple[float, int, e.RunAssigned]] = []
    asked: dict[int, float] = {}
    latencies: list[float] = []
    begin_s = time.monotonic()
    while (now_s := time.monotonic()) < begin_s + seconds + 1.0:
        left_s = min(_POLL_S, max(0.0, ending[0][0] - now_s)) if ending else _POLL_S
        if news is not None:
            select.select([news], [], [], left_s)
            news.take()
        else:
            time.sleep(min(left_s, 0.001))
        now_s = time.monotonic()
        while ending and ending[0][0] <= now_s:
            run = heapq.heappop(ending)[2]
            offers += 1
            session.add(e.AttemptEnded(run.run, run.attempt, agent, "completed", exit_code=0, score=0.5))
            session.add(e.SlotOffered(agent, run.slot, offers))
            asked[run.slot] = now_s
        orders = session.commit()
        now_s = time.monotonic()
        for entry in orders:
            if isinstance(entry, e.RunAssigned):
                if entry.slot in asked and now_s > begin_s + 1.0:  # the first second is for warming up
                    latencies.append(1e3 * (now_s - asked[entry.slot]))
                session.add(e.RunStarted(entry.run, entry.attempt, agent, 1, "host", entry.slot))
                heapq.heappush(ending, (now_s + took_s * random.uniform(0.2, 1.8), entry.run, entry))
    print(json.dumps(latencies))


if __name__ == "__main__":
    address, what, *numbers = sys.argv[1:]
    if what == "lead":
        lead(address, float(numbers[0]))
    else:
        work(address, float(numbers[0]), int(numbers[1]), float(numbers[2]))
