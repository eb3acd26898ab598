"""The agent: the process that works a sweep off on one machine."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sweep.agents.gpus import Gpu, NotEnough, Slot, cpu_count, discover, plan_slots, select
from sweep.agents.guardian import become_subreaper
from sweep.agents.loop import Loop, Options
from sweep.agents.session import Leading, Timing
from sweep.agents.starting import Launcher
from sweep.agents.view import SlotLine, Snapshot, View
from sweep.core import entries as e
from sweep.core.spec import SweepSpec
from sweep.provenance import record_node
from sweep.search import engines
from sweep.stores import Lease, Store


class Node(msgspec.Struct, frozen=True):
    """What this machine gives to a sweep."""

    slots: tuple[Slot, ...]
    gpus: tuple[Gpu, ...]
    cpus: float

    @classmethod
    def plan(
        cls, spec: SweepSpec, *, slots: int | None, gpus: str | None, environ: Mapping[str, str]
    ) -> Node:
        """As many slots as the machine has room for. Raises NotEnough."""
        chosen = select(discover(environ), gpus)
        cpus = cpu_count()
        return cls(tuple(plan_slots(cpus, chosen, spec.resources, slots)), tuple(chosen), cpus)


class End(msgspec.Struct, frozen=True):
    """Why an agent has left."""

    reason: str
    broken: bool = False
    """It gave up because its first runs all failed."""
    signal: int = 0
    """The signal that ended it, 0 for none."""


def run_agent(
    store: Store,
    sweep: str,
    spec: SweepSpec,
    node: Node,
    *,
    root: Path,
    workdir: Path,
    view: View,
    make_driver: Callable[[Lease], Leading],
    count: int | None = None,
    timing: Timing | None = None,
) -> End:
    """Work `sweep` off on this node until it has ended. `root`: where run folders are made; `workdir`: where runs start.

    When the agent's lease is lost (the machine was frozen or cut off), its runs are ended and it joins anew.
    """
    become_subreaper()
    launcher = Launcher(sweep, spec, root, workdir, os.environ)
    record = record_node(store.put_blob, os.environ)
    left = count
    while True:
        loop = Loop(
            store,
            sweep,
            spec,
            node.slots,
            launcher,
            view,
            make_driver,
            Options(count=left, timing=timing or Timing()),
        )
        loop.run(
            lambda agent: e.AgentJoined(
                agent,
                socket.gethostname(),
                os.getpid(),
                len(node.slots),
                tuple(gpu.uuid for gpu in node.gpus),
                engines(),
                record=record,
            )
        )
        if left is not None:
            left = max(0, left - loop.core.taken)
        if not loop.lost or left == 0:
            return End(loop.core.draining, bool(loop.core.broken), loop.ended_by)


__all__ = [
    "End",
    "Loop",
    "Node",
    "NotEnough",
    "Options",
    "SlotLine",
    "Snapshot",
    "Timing",
    "View",
    "run_agent",
]
