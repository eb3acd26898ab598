"""What agents that are gone have left running on this machine is ended before any of it can be done a second time.

A guard sees to that when its agent dies. When both are killed in the same moment nobody does, until another agent for the
same sweep is at work here: it looks when it joins, when it starts a further attempt of a run, and now and then.
"""

from __future__ import annotations

import contextlib
import os
import socket

from sweep.agents.guardian import end_leftovers
from sweep.agents.view import View
from sweep.core.names import AGENT_LEASES, agent_lease, node_name
from sweep.core.rows import AGENT_PREFIX, decode_agents
from sweep.stores.base import Store, StoreError

LIMIT_S = 1.0
"""How long the agent's loop may be held up; killed processes are gone within milliseconds unless stuck in the kernel."""


class Leftovers:
    """Knows which agents of this machine have been seen to."""

    def __init__(self, store: Store, sweep: str, agent: str, every_s: float, view: View) -> None:
        """`agent`: the one that looks; `every_s`: how often `tick` looks."""
        self._store, self._sweep, self._agent = store, sweep, agent
        self._every_s, self._view = every_s, view
        self._host = node_name(os.environ, socket.gethostname())
        self._done: set[str] = set()
        self._next_s = 0.0

    def tick(self, now_s: float) -> None:
        """Look when it is time; `now_s` is of a clock that never goes back."""
        if now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            self.end()

    def end(self) -> None:
        """Kill what agents of this machine whose lease has run out have left. Never raises: there is a next time."""
        with contextlib.suppress(StoreError):
            gone = self._gone()
            if not gone:
                return
            count = end_leftovers(gone.__contains__, LIMIT_S)
            self._done |= gone
            if count:
                processes = f"{count} process{'es' if count > 1 else ''}"
                self._view.say(f"ended {processes} that an agent which is gone had left behind", "warning")

    def _gone(self) -> set[str]:
        held = {lease.name for lease in self._store.leases(AGENT_LEASES)}
        if agent_lease(self._agent) not in held:
            return set()  # the store has no room for renewals: that says nothing about the others either
        agents = decode_agents(self._store.read_index(self._sweep, AGENT_PREFIX).rows)
        here = {agent.agent for agent in agents if agent.host == self._host}
        return {agent for agent in here - self._done if agent_lease(agent) not in held}
