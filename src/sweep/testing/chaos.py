"""Real agents of one sweep, and somebody who kills and freezes them, their guards, their runs and the Redis server.

The rule of this file: whatever is done to a process is noted with its time, so that the record can be held against it
(`sweep.testing.witness`), and every process is found again by a mark in its environment, whoever started it.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from sweep.agents import trees
from sweep.core.names import controller_lease
from sweep.core.rows import AGENT_PREFIX, decode_agents
from sweep.stores import Store, StoreError
from sweep.stores.sqlite import SqliteStore

MARK = "CHAOS_MARK"  # not SWEEP_…: a guard is given none of those, and is to be found as well
WRITE_LOCK = 120
"""The byte of the file beside an SQLite database (-shm) that whoever writes has locked (sqlite.org/walformat.html, section 2.3)."""
LIKELY = {
    "kill training": 4,
    "kill agent": 3,
    "kill guard": 2,
    "kill agent and guard": 1,
    "kill controller": 1,
    "kill server": 2,
    "freeze training": 2,
    "freeze agent": 2,
    "freeze guard": 2,
    "freeze controller": 1,
    "freeze server": 1,
}
"""What is done, and how often beside the others."""


class Server(Protocol):
    """A Redis server that keeps its data when it is killed."""

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...

    def start(self) -> object: ...


class Harm(msgspec.Struct):
    """A process was dead or frozen from `begin_s` to `end_s` (Unix seconds)."""

    begin_s: float
    end_s: float


class Crew:
    """The agents of one sweep: who is gone before the sweep has ended is replaced."""

    def __init__(self, agent: Sequence[str], agents: int, folder: Path, env: Mapping[str, str]) -> None:
        """`agent`: the command of an agent; `env`: its whole environment; its output goes to files in `folder`."""
        self.command, self.size, self.folder = list(agent), agents, folder
        self.mark = secrets.token_hex(8)
        self.env = {**env, MARK: self.mark}
        self.members: list[subprocess.Popen[bytes]] = []

    @property
    def alive(self) -> list[subprocess.Popen[bytes]]:
        """Agents that have not ended; a frozen one has not."""
        return [member for member in self.members if member.poll() is None]

    @property
    def done(self) -> bool:
        """Whether one has left of its own will: the sweep has ended."""
        return any(member.poll() == 0 for member in self.members)

    def keep_up(self) -> None:
        """Start as many agents as are missing."""
        for _ in range(0 if self.done else self.size - len(self.alive)):
            with (self.folder / f"agent-{len(self.members)}.log").open("wb") as log:
                self.members.append(
                    subprocess.Popen(
                        self.command,
                        cwd=self.folder,
                        env=self.env,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                )

    def processes(self) -> list[int]:
        """All that an agent has started, and what that has started, and the agents."""
        mark = f"{MARK}={self.mark}".encode()
        return [pid for pid in trees.processes() if mark in trees.environment_of(pid) and living(pid)]

    def trainings(self) -> list[int]:
        """Main processes of runs."""
        return [
            pid
            for pid in self.processes()
            if any(entry.startswith(b"SWEEP_RUN_ID=") for entry in trees.environment_of(pid))
        ]

    def guards(self, agent: int) -> list[int]:
        """The guard of an agent; none for a moment after one has died."""
        return [pid for pid in trees.descendants([agent]) if is_guard(pid)]

    def said(self) -> str:
        """What all agents have printed."""
        logs = sorted(self.folder.glob("agent-*.log"), key=lambda log: log.stat().st_mtime)
        return "\n".join(log.read_text(errors="replace") for log in logs)

    def end(self) -> None:
        """SIGKILL whatever is left."""
        trees.kill_until_gone(self.processes, 10.0)
        for member in self.members:
            member.kill()
            member.wait()


def is_guard(pid: int) -> bool:
    """Whether a process is the guard of an agent."""
    return b"guard.main(" in trees.read_bytes(f"/proc/{pid}/cmdline")


def living(pid: int) -> bool:
    """Whether it is there, and not only waiting to be reaped."""
    return trees.read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2][:1] not in (b"", b"Z", b"X")


def locks_writers_out(pid: int, database: Path) -> bool:
    """Whether a process that was just stopped holds the write lock of an SQLite file in WAL mode, and keeps it until it goes on."""
    while (state := trees.read_bytes(f"/proc/{pid}/stat").rpartition(b") ")[2][:1]) in (b"R", b"S", b"D"):
        time.sleep(0.001)  # not stopped yet
    shared = Path(f"{database}-shm")
    if state != b"T" or not shared.exists():
        return False
    # "1: POSIX ADVISORY WRITE pid major:minor:inode first last"
    locks = (line.split() for line in trees.read_bytes("/proc/locks").decode().splitlines())
    inode = str(shared.stat().st_ino)
    return any(
        lock[1] == "POSIX"
        and lock[-5:-3] == ["WRITE", str(pid)]
        and lock[-3].endswith(f":{inode}")
        and int(lock[-2]) <= WRITE_LOCK <= int(lock[-1])
        for lock in locks
    )


class Striker:
    """Kills and freezes what belongs to `sweep`, as chance has it."""

    def __init__(
        self,
        crew: Crew,
        store: Store,
        sweep: str,
        rng: random.Random,
        server: Server | None = None,
        freeze_s: tuple[float, float] = (0.2, 3.0),
        outage_s: tuple[float, float] = (0.1, 1.0),
    ) -> None:
        """`freeze_s`: the shortest and longest time that something is frozen; `outage_s`: that the server is away."""
        self.crew, self.store, self.sweep, self.rng, self.server = crew, store, sweep, rng, server
        self.freeze_s, self.outage_s = freeze_s, outage_s
        self.harms: dict[int, list[Harm]] = {}
        """Agent's process id -> what was done to it."""
        self.outages: list[Harm] = []
        """When nobody could write to the store: the server was away, or whoever held the SQLite file's lock was frozen."""
        self.struck: Counter[str] = Counter()
        self._later: list[tuple[float, Callable[[], None]]] = []
        """What is to be done when, by Unix time."""
        self._away = False
        self._kinds = [kind for kind in LIKELY if server is not None or not kind.endswith("server")]
        self._undone = list(self._kinds)

    def strike(self) -> str:
        """Do something; says what. A victim that was gone before it was hit is a miss."""
        kind = self._draw()
        how, _, victim = kind.partition(" ")
        try:
            if victim == "server":
                self._hit_server(how)
            elif victim == "training":
                self._hit(how, self.rng.choice(self.crew.trainings()))
            else:
                self._hit_agent(how, victim)
        except (IndexError, OSError, StoreError):
            self._undone.append(kind)
            kind = "missed"
        self.struck[kind] += 1
        return kind

    def tick(self) -> None:
        """Continue what was frozen long enough, and start the server again."""
        due = [one for one in self._later if one[0] <= time.time()]
        self._later = [one for one in self._later if one not in due]
        for _, act in due:
            act()

    def end(self) -> None:
        """Continue everything that is frozen; a server that is away comes back."""
        self._later, later = [], self._later
        for _, act in later:
            act()

    # --- inside

    def _draw(self) -> str:
        """Each kind once, in any order, then as likely as they are."""
        if self._undone:
            return self._undone.pop(self.rng.randrange(len(self._undone)))
        return self.rng.choices(self._kinds, [LIKELY[kind] for kind in self._kinds])[0]

    def _hit_agent(self, how: str, victim: str) -> None:
        agent = self._leader() if victim == "controller" else self.rng.choice(self.crew.alive)
        if victim == "guard":
            self._hit(how, self.rng.choice(self.crew.guards(agent.pid)))
            return
        if victim == "agent and guard":
            guard = self.rng.choice(self.crew.guards(agent.pid))
        harm = self._note(agent.pid)
        if victim == "agent and guard":
            agent.send_signal(signal.SIGSTOP)  # so that neither has the time to notice the other's death
            os.kill(guard, signal.SIGKILL)
        self._hit(how, agent.pid, harm)
        if how == "kill":
            agent.wait()

    def _leader(self) -> subprocess.Popen[bytes]:
        """The agent that is the sweep's controller. Raises IndexError when it is not one of the crew."""
        holders = {lease.holder for lease in self.store.leases(controller_lease(self.sweep))}
        agents = decode_agents(self.store.read_index(self.sweep, AGENT_PREFIX).rows)
        pids = {agent.pid for agent in agents if agent.agent in holders}
        return [member for member in self.crew.alive if member.pid in pids][0]  # noqa: RUF015

    def _note(self, agent: int) -> Harm:
        harm = Harm(time.time(), float("inf"))
        self.harms.setdefault(agent, []).append(harm)
        return harm

    def _hit(self, how: str, pid: int, harm: Harm | None = None) -> None:
        os.kill(pid, signal.SIGKILL if how == "kill" else signal.SIGSTOP)
        if how == "freeze":
            harms = [] if harm is None else [harm]
            if isinstance(self.store, SqliteStore) and locks_writers_out(pid, self.store.path):
                self.outages.append(Harm(time.time(), float("inf")))
                harms.append(self.outages[-1])

            def go_on() -> None:
                for one in harms:
                    one.end_s = time.time()
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGCONT)

            self._later.append((time.time() + self.rng.uniform(*self.freeze_s), go_on))

    def _hit_server(self, how: str) -> None:
        server = self.server
        if server is None or self._away:
            raise IndexError
        self._away = True
        outage = Harm(time.time(), float("inf"))
        self.outages.append(outage)
        pid = server.pid
        if how == "kill":
            server.kill()
        else:
            os.kill(pid, signal.SIGSTOP)

        def come_back() -> None:
            if how == "kill":
                server.start()
            else:
                os.kill(pid, signal.SIGCONT)
            outage.end_s = time.time()
            self._away = False

        self._later.append((time.time() + self.rng.uniform(*self.outage_s), come_back))


def work_off(
    crew: Crew,
    striker: Striker | None,
    *,
    pause_s: tuple[float, float],
    strikes: int,
    limit_s: float,
    show: Callable[[float], None] = lambda _: None,
) -> bool:
    """Keep the crew at work, and strike `strikes` times with a pause in between, until the sweep has ended and every agent has
    left. False when it has not after `limit_s` seconds. `show` is called a few times a second, with the seconds so far."""
    begun_s = time.monotonic()
    rng = striker.rng if striker is not None else random.Random(0)
    next_s, left = begun_s + rng.uniform(*pause_s), strikes if striker is not None else 0
    while (now_s := time.monotonic()) < begun_s + limit_s:
        crew.keep_up()
        if crew.done and not crew.alive:
            return True
        if striker is not None:
            if crew.done:
                striker.end()
            elif left and now_s >= next_s:
                left, next_s = left - 1, now_s + rng.uniform(*pause_s)
                striker.strike()
            striker.tick()
        show(now_s - begun_s)
        time.sleep(0.05)
    return False
