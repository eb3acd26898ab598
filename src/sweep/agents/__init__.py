"""The agent: the process that works a sweep off on one machine."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sweep.agents.checkpoints import EVERY_S
from sweep.agents.functions import Function
from sweep.agents.gpus import Gpu, NotEnough, Slot, cpu_count, plan_slots, select, usable
from sweep.agents.guardian import become_subreaper
from sweep.agents.leading import Lead, Leading, MakeDriver
from sweep.agents.loop import Loop
from sweep.agents.options import Options
from sweep.agents.session import Timing
from sweep.agents.starting import Launcher
from sweep.agents.view import SlotLine, Snapshot, View
from sweep.agents.warming import supported
from sweep.core import entries as e
from sweep.core.names import node_name
from sweep.core.spec import SweepSpec
from sweep.core.until import Until
from sweep.provenance import record_node, shadow_warning
from sweep.search import engines
from sweep.stores import Store, StoreError, SweepRemoved, digest_of

REJOIN_S = 5.0
"""Pause before a store that failed is asked again to let this agent in after it lost its lease."""


class Node(msgspec.Struct, frozen=True):
    """What this machine gives to a sweep."""

    slots: tuple[Slot, ...]
    gpus: tuple[Gpu, ...]
    cpus: float
    doubt: str = ""
    """What a person should know about its GPUs."""

    @classmethod
    def plan(
        cls,
        spec: SweepSpec,
        *,
        slots: int | None,
        gpus: str | None,
        environ: Mapping[str, str],
        cpus: float | None = None,
    ) -> Node:
        """As many slots as the machine has room for, or as fit into `cpus` of its CPUs. Raises NotEnough."""
        found, doubt = usable(environ)
        cpus = cpu_count() if cpus is None else cpus
        try:
            chosen = select(found, gpus)
            planned = plan_slots(cpus, chosen, spec.resources, slots)
        except NotEnough as error:
            allowed = environ.get("CUDA_VISIBLE_DEVICES")
            if allowed is None or "GPU" not in str(error):
                raise
            raise NotEnough(
                f"{error}, where CUDA_VISIBLE_DEVICES={allowed or '(empty)'} was inherited"
            ) from None
        return cls(tuple(planned), tuple(chosen), cpus, doubt)


class End(msgspec.Struct, frozen=True):
    """Why an agent has left."""

    reason: str
    broken: bool = False
    """It gave up because its first runs all failed."""
    set_aside: bool = False
    """The controller has set this node aside: runs fail here as they do not elsewhere."""
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
    make_driver: MakeDriver | None,
    count: int | None = None,
    until: Until | None = None,
    timing: Timing | None = None,
    wandb: bool = False,
    function: Function | None = None,
    place: Mapping[str, Any] | None = None,
    checkpoint_every_s: float = EVERY_S,
    avoid_busy: bool = False,
) -> End:
    """Work `sweep` off on this node until it has ended. `root`: where run folders are made; `workdir`: where runs start;
    `wandb`: runs find the stand-in for wandb; `function`: runs call it, in forks of this process, instead of the spec's program;
    `until`: when this agent must be gone, by `time.monotonic`; `make_driver`: None for an agent that never leads.
    `place`: what is recorded of the code that runs execute here; `checkpoint_every_s`: how often, at most, a checkpoint folder is kept
    in the store while its run is at work, where the spec asks for that; `avoid_busy`: no slot is offered while another program computes
    on its GPUs.

    When the agent's lease is lost (the machine was frozen or cut off), its runs are ended and it joins anew.
    """
    become_subreaper()
    launcher = Launcher(sweep, spec, root, workdir, os.environ, wandb, function)
    blobs: list[bytes] = []  # kept with the entry that names them

    def keep(data: bytes) -> str:
        blobs.append(data)
        return digest_of(data)

    record = record_node(keep, os.environ)
    if place is not None:
        record["place"] = dict(place)
    left, rejoining = count, False
    aside: dict[int, str] = {}
    for warning in _warnings(spec, node, workdir):
        view.say(warning, "warning")

    def joined(agent: str) -> e.AgentJoined:
        host, gpus = node_name(os.environ, socket.gethostname()), tuple(gpu.uuid for gpu in node.gpus)
        return e.AgentJoined(agent, host, os.getpid(), len(node.slots), gpus, engines(), record=record)

    while True:
        options = Options(
            count=left,
            until=until,
            timing=timing or Timing(),
            checkpoint_every_s=checkpoint_every_s,
            avoid_busy=avoid_busy,
            aside=aside,
        )
        loop = Loop(store, sweep, spec, node.slots, launcher, view, make_driver, options)
        loop.session.blobs.extend(blobs)
        try:
            loop.run(joined)
        except StoreError as error:
            if not rejoining or isinstance(error, SweepRemoved):
                raise
            view.say(f"{error} (trying again)", "error")
            time.sleep(REJOIN_S)
            continue
        aside = loop.core.gpus.aside
        if left is not None:
            left = max(0, left - loop.core.taken)
        if not loop.lost or left == 0:
            core = loop.core
            return End(core.draining, bool(core.broken), bool(core.aside), loop.ended_by)
        rejoining = True


def _warnings(spec: SweepSpec, node: Node, workdir: Path) -> Iterator[str]:
    """What a person should know before the first run starts."""
    if spec.preload and not supported():
        yield "preload works on Linux only: runs start the ordinary way"
    if node.doubt:
        yield node.doubt
    if (warning := shadow_warning(spec, workdir)) is not None:
        yield warning


__all__ = [
    "End",
    "Lead",
    "Leading",
    "Loop",
    "MakeDriver",
    "Node",
    "NotEnough",
    "Options",
    "SlotLine",
    "Snapshot",
    "Timing",
    "View",
    "run_agent",
]
