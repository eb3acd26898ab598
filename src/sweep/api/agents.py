"""Who works on the sweeps of a store, and asking agents on this machine to leave.

The rule of this file: an agent is alive exactly while it holds its lease, whatever a process table says; and a process is sent a
signal only when it has this very store open.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

from sweep.api.finding import NotFound
from sweep.api.reading import load_views
from sweep.api.requests import Refused
from sweep.core.names import AGENT_LEASES, node_name
from sweep.core.rows import AGENT_PREFIX, SWEEP_KEY, decode_agents, decode_sweep
from sweep.core.views import AgentView, SlotKeptView, nodes_aside
from sweep.stores import Store


class AgentAtWork(msgspec.Struct, frozen=True):
    """One agent of one sweep. Times are Unix seconds."""

    agent: str
    sweep: str
    host: str
    pid: int
    slots: int
    gpus: tuple[str, ...]
    state: Literal["working", "leaving", "left", "lost"]
    """Working while it holds its lease, leaving once `end_agent` has asked it to; lost when it did not say goodbye."""
    since_s: float
    ended_s: float | None
    running: int
    done: int
    """Attempts that ended with it, however they did."""
    aside: str = ""
    """Why its node was set aside, '' where it was not."""
    kept: tuple[SlotKeptView, ...] = ()
    """Slots that it does not offer because of their GPUs."""

    @property
    def here(self) -> bool:
        """Whether it is on this machine."""
        return self.host == node_name(os.environ, socket.gethostname())


def list_agents(store: Store, sweeps: Iterable[str], *, everyone: bool = False) -> list[AgentAtWork]:
    """The agents that are alive, or with `everyone` all that ever joined, the oldest first."""
    held = {lease.holder for lease in store.leases(AGENT_LEASES)}
    found: list[AgentAtWork] = []
    for sweep in sweeps:
        if everyone or any(store.last_seq(sweep, holder) for holder in held):
            found += _of_sweep(store, sweep, held, everyone)
    return sorted(found, key=lambda agent: agent.since_s)


def list_aside(store: Store, sweeps: Iterable[str]) -> list[tuple[str, str, str]]:
    """(sweep, node, reason) of the nodes that are set aside in sweeps that have not ended."""
    found: list[tuple[str, str, str]] = []
    for sweep in sweeps:
        row = store.read_index(sweep, SWEEP_KEY).rows.get(SWEEP_KEY)
        if row is not None and decode_sweep(row).state != "ended":
            agents = decode_agents(store.read_index(sweep, AGENT_PREFIX).rows)
            found += [(sweep, host, reason) for host, reason in nodes_aside(agents).items()]
    return found


def _of_sweep(store: Store, sweep: str, held: set[str], everyone: bool) -> list[AgentAtWork]:
    views = load_views(store, sweep)
    agents = {view.agent: view for view in views.agents if everyone or view.agent in held}
    told = _told(store, sweep)
    running, done = dict.fromkeys(agents, 0), dict.fromkeys(agents, 0)
    for attempt in (attempt for run in views.runs for attempt in run.attempts):
        if attempt.agent in agents:
            counted = running if attempt.outcome is None else done
            counted[attempt.agent] += 1
    return [
        AgentAtWork(
            name,
            sweep,
            view.host,
            view.pid,
            view.slots,
            view.gpus,
            _state(view, held, told),
            view.joined_s,
            view.ended_s,
            running[name],
            done[name],
            view.aside,
            view.kept if view.state == "joined" else tuple(slot for slot in view.kept if slot.lasting),
        )
        for name, view in agents.items()
    ]


def _state(view: AgentView, held: set[str], told: set[str]) -> Literal["working", "leaving", "left", "lost"]:
    if view.state != "joined":
        return view.state
    if view.agent not in held:
        return "lost"
    return "leaving" if view.agent in told else "working"


_TOLD = "agents told to leave"
"""The cache of a sweep that keeps their IDs. Without it an agent that is asked twice would take that as Ctrl-C twice, and end its
runs; that is all that is lost when it vanishes."""


def _told(store: Store, sweep: str) -> set[str]:
    return set((store.get_cache(sweep, _TOLD) or b"").decode().split())


def _note_told(store: Store, agent: AgentAtWork) -> None:
    with store.batch():
        alive = {lease.holder for lease in store.leases(AGENT_LEASES)}
        told = _told(store, agent.sweep) & alive | {agent.agent}
        store.put_cache(agent.sweep, _TOLD, "\n".join(sorted(told)).encode())


def find_agent(agents: Iterable[AgentAtWork], text: str) -> AgentAtWork:
    """The agent whose ID is `text` or begins with it, alone. Raises NotFound."""
    known = {agent.agent: agent for agent in agents}
    matches = [text] if text in known else [name for name in known if text and name.startswith(text)]
    if len(matches) == 1:
        return known[matches[0]]
    if matches:
        raise NotFound(f"{text!r} could be any of {', '.join(matches[:5])}: type more of the agent's ID")
    there = f"; at work: {', '.join(list(known)[:5])}" if known else "; none is at work"
    raise NotFound(f"there is no agent {text!r} at work{there}")


def end_agent(store: Store, agent: AgentAtWork, *, now: bool, already: Iterable[AgentAtWork] = ()) -> None:
    """Ask a living agent on this machine to leave: it lets its runs finish, or with `now` ends them, to be started again
    elsewhere. Asking twice is asking once; `already`: who has been asked just now, since an agent of several sweeps has a name in each
    and is one process. Does not wait for it. Raises Refused for an agent elsewhere, or one that cannot be
    reached."""
    if not agent.here:
        raise Refused(
            f"agent {agent.agent} works on {agent.host}: type `sweep agents --end {agent.agent}` there"
        )
    if not _has_open(agent.pid, store):
        raise Refused(
            f"process {agent.pid} is not agent {agent.agent} as seen from here (another container?); end it where it runs"
        )
    if agent.state == "leaving" and not now:
        return
    if any(told.host == agent.host and told.pid == agent.pid for told in already):
        _note_told(store, agent)
        return
    try:
        os.kill(agent.pid, signal.SIGTERM if now else signal.SIGINT)
    except ProcessLookupError:
        raise Refused(f"agent {agent.agent} is gone already; its lease runs out in a moment") from None
    except PermissionError:
        raise Refused(f"agent {agent.agent} (process {agent.pid}) belongs to another user") from None
    _note_told(store, agent)


def _has_open(pid: int, store: Store) -> bool:
    """Whether a process has the store's file open; True where that cannot be told."""
    fds = Path(f"/proc/{pid}/fd")
    if not store.url.startswith("sqlite:///") or not Path("/proc/self/fd").is_dir():
        return True
    try:
        opened = {str(fd.readlink()) for fd in fds.iterdir()}
    except FileNotFoundError:
        return not Path(f"/proc/{pid}").exists()  # gone: the signal says so
    except OSError:
        return True
    return str(Path(store.url.removeprefix("sqlite:///")).resolve()) in opened
