"""The lives of an agent in one sweep: when its lease is lost, the next one begins, under another name."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec

from sweep.agents.code import Code
from sweep.agents.functions import Function
from sweep.agents.leading import MakeDriver
from sweep.agents.lending import other_python
from sweep.agents.loop import Loop
from sweep.agents.meters import GpuMeter, NodeMeter
from sweep.agents.node import End, Node
from sweep.agents.options import Options
from sweep.agents.place import Place
from sweep.agents.starting import Launcher
from sweep.agents.view import View
from sweep.agents.warming import supported
from sweep.core import entries as e
from sweep.core.names import node_name
from sweep.core.spec import SweepSpec
from sweep.provenance import record_node, shadow_warning
from sweep.search import engines
from sweep.stores import Store, digest_of


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A sweep, and all that an agent must know to work on it."""

    sweep: str
    spec: SweepSpec
    node: Node
    workdir: Path
    """Where runs start."""
    view: View
    make_driver: MakeDriver | None
    """None for an agent that never leads."""
    place: Place | None = None
    """What is known of that folder, and of the code there."""


class Lives:
    """Makes the loop of each life."""

    def __init__(
        self,
        store: Store,
        work: Work,
        root: Path,
        options: Options,
        wandb: bool = False,
        function: Function | None = None,
    ) -> None:
        """As `sweep.agents.run_agent`. Says what a person should know before the first run starts."""
        self._store, self.work, self._options = store, work, options
        self._launcher = Launcher(work.sweep, work.spec, root, work.workdir, os.environ, wandb, function)
        self._blobs: list[bytes] = []  # kept with the entry that names them
        python = None if function is not None else other_python(work.spec.command, os.environ.get("PATH"))
        self._record = record_node(self._keep, os.environ, interpreter=python)
        self._code = self._launcher.code = Code(work.place, self._launcher.move, work.view.say)
        self._aside: dict[int, str] = {}
        self.taken = 0
        """How many runs it has taken in the lives that are over."""
        self._failed: dict[int, None] = {}
        self._succeeded = False
        for warning in _warnings(work.spec, work.node, work.workdir):
            work.view.say(warning, "warning")

    def _keep(self, data: bytes) -> str:
        self._blobs.append(data)
        return digest_of(data)

    def begin(self) -> Loop:
        """The loop of the next life."""
        work, count = self.work, self._options.count
        left = None if count is None else max(0, count - self.taken)
        options = msgspec.structs.replace(self._options, count=left, aside=self._aside)
        launcher, slots = self._launcher, work.node.slots
        loop = Loop(
            self._store, work.sweep, launcher.spec, slots, launcher, work.view, work.make_driver, options
        )
        self._code.join(loop.session)
        loop.session.blobs.extend([*self._blobs, *self._code.blobs])
        return loop

    def over(self, loop: Loop) -> End | None:
        """A life is over. Why the agent has left, or None when another life follows."""
        core, count = loop.core, self._options.count
        self._aside = core.gpus.aside
        self.taken += core.taken
        self._failed |= core.failed
        self._succeeded |= core.succeeded
        if loop.lost and (count is None or self.taken < count):
            return None
        failed = () if self._succeeded else tuple(self._failed)
        return End(core.draining, bool(core.broken), bool(core.aside), loop.ended_by, failed)

    def joined(self, agent: str) -> e.AgentJoined:
        """The event of having joined under this name."""
        node, host = self.work.node, node_name(os.environ, socket.gethostname())
        gpus = tuple(gpu.uuid for gpu in node.gpus)
        return e.AgentJoined(
            agent,
            host,
            os.getpid(),
            len(node.slots),
            gpus,
            engines(),
            record={**self._record, **self._code.record},
        )


def _warnings(spec: SweepSpec, node: Node, workdir: Path) -> Iterator[str]:
    """What a person should know before the first run starts."""
    if spec.preload and not supported():
        yield "preload works on Linux only: runs start the ordinary way"
    if node.doubt:
        yield node.doubt
    if (warning := shadow_warning(spec, workdir)) is not None:
        yield warning
    if spec.limits.energy_kwh is not None and (doubt := _energy_doubt(node)):
        yield doubt


def _energy_doubt(node: Node) -> str:
    """What of the energy that runs use here is not counted in `limits.energy_kwh`; '' where all is that can be."""
    meter = GpuMeter()
    try:
        read = meter.read(gpu.uuid for gpu in node.gpus) if node.gpus else {}
    finally:
        meter.close()
    missing = [gpu.device for gpu in node.gpus if gpu.uuid not in read or read[gpu.uuid].energy_j is None]
    why = NodeMeter().why_no_energy
    if not why and not missing:
        return ""
    parts = [f"GPU {', '.join(dict.fromkeys(missing))} has no energy counter"] if missing else []
    parts += [why] if why else []
    counted = "only that of its GPUs counts" if node.gpus and not missing else ""
    if not counted:
        counted = "only that of its processors counts" if not why else "none of it counts"
        counted = "only a part of it counts" if missing and len(missing) < len(node.gpus) else counted
    return f"limits.energy_kwh: of the energy that runs use on this node {counted}: {'; '.join(parts)}"
