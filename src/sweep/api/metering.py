"""What an execution of a program costs here: CPU time, and the energy of the devices that it had meanwhile.

The rule of this file: what cannot be read is None, never zero; energy is that of whole devices, whoever used them.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping

import msgspec

from sweep.agents.gpus import usable
from sweep.agents.meters import GpuMeter, NodeMeter


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """Of an execution; None: not measured."""

    wall_s: float | None = None
    cpu_s: float | None = None
    gpu_energy_j: float | None = None
    """By the counters of the GPUs that it could see."""
    node_cpu_energy_j: float | None = None
    """Of all the node's processors (RAPL)."""


class Meter:
    """Measures from its making to `read`, which is once the program is gone and waited for."""

    def __init__(self, env: Mapping[str, str], *, gpus: bool) -> None:
        """`env`: the program's environment, which says which GPUs it can see; `gpus`: the recorded run had some."""
        self._uuids = {gpu.uuid for gpu in usable(env)[0]} if gpus else set()
        self._gpus, self._node = GpuMeter(), NodeMeter()
        self._energy = self._gpu_energy()
        self._node_j = self._node.read().cpu_energy_j
        self._cpu_s, self._began_s = _children_s(), time.monotonic()

    def read(self) -> Cost:
        """What it was."""
        try:
            wall_s, cpu_s = time.monotonic() - self._began_s, _children_s() - self._cpu_s
            return Cost(
                wall_s=wall_s,
                cpu_s=cpu_s,
                gpu_energy_j=_difference(self._energy, self._gpu_energy()),
                node_cpu_energy_j=_difference(self._node_j, self._node.read().cpu_energy_j),
            )
        finally:
            self._gpus.close()

    def _gpu_energy(self) -> float | None:
        """Each device once, however many of its instances there are."""
        read = self._gpus.read(self._uuids)
        if not self._uuids or read.keys() != self._uuids:
            return None
        devices = {one.device: one.energy_j for one in read.values()}
        known = [energy for energy in devices.values() if energy is not None]
        return sum(known) if len(known) == len(devices) else None


def _children_s() -> float:
    """CPU time of the processes that this one has waited for, and of those that these have waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(after - before, 0.0)
