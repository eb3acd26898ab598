"""What one attempt has used, added up from readings. No clocks, files or threads here: `sweep.agents.telemetry` brings what was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sweep.agents.meters import GpuReading, NodeReading, TreeReading
from sweep.core.outcomes import Usage
from sweep.core.samples import Samples


class Sums:
    """One attempt: what it has used since its first reading, and how that went over time."""

    def __init__(self, gpus: Sequence[str], shared: bool, began_s: float, unix_s: float) -> None:
        """`gpus`: UUIDs of its GPUs; `shared`: others have a part of them; `began_s`, `unix_s`: when it started, by the
        monotonic clock and in Unix time."""
        self.gpus, self.shared, self.began_s = tuple(gpus), shared, began_s
        self.samples = Samples(unix_s)
        self.count = 0
        """How often its processes were read."""
        self.cpu_s = 0.0
        self.energy_j: float | None = None
        """Its part in sums."""
        self._gpu_energy_j: dict[str, float] = {}
        self._node_energy_j: float | None = None
        self._sent = self._received = 0.0
        self._network = False
        self._moved: list[float | None] = [0.0, 0.0]
        self._memory = self._gpu_memory = 0
        self._celsius: float | None = None
        self._busy_s = self._watched_s = 0.0
        self._at_s, self._tree = began_s, TreeReading(0.0, 0, 0, 0, 0)  # its process began with nothing
        self._node: NodeReading | None = None
        self._watts: dict[str, float] = {}
        """GPU -> joules since the last sample."""

    def spend(self, device: str, joules: float, part_j: float) -> None:
        """A device that this attempt had used so much energy, of which `part_j` are counted for it."""
        if device:
            self._gpu_energy_j[device] = self._gpu_energy_j.get(device, 0.0) + joules
            self._watts[device] = self._watts.get(device, 0.0) + joules
        else:
            self._node_energy_j = (self._node_energy_j or 0.0) + joules
        self.energy_j = (self.energy_j or 0.0) + part_j

    def take(
        self,
        now_s: float,
        tree: TreeReading | None,
        node: NodeReading,
        gpus: Mapping[str, GpuReading],
    ) -> None:
        """One reading of everything; `tree`: None where its processes are gone already."""
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        if elapsed_s <= 0:
            return
        values = self._of_gpus([gpus[uuid] for uuid in self.gpus if uuid in gpus], elapsed_s)
        if tree is not None:
            self.count += 1
            values |= self._of_tree(tree, self._tree, elapsed_s)
            self._tree = tree
        if self._node is not None:
            values |= self._of_node(node, self._node, elapsed_s)
        self._node = node
        if values:
            self.samples.gpu_shared = self.shared
            self.samples.add(now_s - self.began_s, values)

    def open(self, node: NodeReading) -> None:
        """What the node's counters stood at when this attempt began."""
        self._node = node

    def _of_tree(self, tree: TreeReading, last: TreeReading, elapsed_s: float) -> dict[str, float]:
        """What processes that nobody waited for took with them is in no later reading: only what is more counts."""
        values = {"memory.bytes": float(tree.memory_bytes)}
        self._memory = max(self._memory, tree.memory_bytes)
        more_s = max(0.0, tree.cpu_s - last.cpu_s)
        self.cpu_s += more_s
        pairs = [(tree.read_bytes, last.read_bytes), (tree.written_bytes, last.written_bytes)]
        for at, (name, (now, before)) in enumerate(zip(("read", "written"), pairs, strict=True)):
            known = self._moved[at]
            if now is None or before is None or known is None:
                self._moved[at] = None
                continue
            self._moved[at] = known + max(0, now - before)
            values[f"disk.{name}_bytes_per_s"] = max(0, now - before) / elapsed_s
        values["cpu.percent"] = 100.0 * more_s / elapsed_s
        return values

    def _of_node(self, node: NodeReading, last: NodeReading, elapsed_s: float) -> dict[str, float]:
        values = {}
        if node.cpu_energy_j is not None and last.cpu_energy_j is not None:
            values["node.cpu_watts"] = max(0.0, node.cpu_energy_j - last.cpu_energy_j) / elapsed_s
        if node.sent_bytes is not None and last.sent_bytes is not None:
            sent = max(0, node.sent_bytes - last.sent_bytes)
            received = max(0, (node.received_bytes or 0) - (last.received_bytes or 0))
            self._sent, self._received, self._network = self._sent + sent, self._received + received, True
            values["node.sent_bytes_per_s"] = sent / elapsed_s
            values["node.received_bytes_per_s"] = received / elapsed_s
        return values

    def _of_gpus(self, mine: Sequence[GpuReading], elapsed_s: float) -> dict[str, float]:
        values = {}
        percents = [one.percent for one in mine if one.percent is not None]
        if percents:
            values["gpu.percent"] = sum(percents) / len(percents)
            self._busy_s += values["gpu.percent"] * elapsed_s
            self._watched_s += elapsed_s
        taken = [one.memory_bytes for one in mine if one.memory_bytes is not None]
        if taken:
            values["gpu.memory_bytes"] = float(sum(taken))
            self._gpu_memory = max(self._gpu_memory, sum(taken))
        degrees = [one.celsius for one in mine if one.celsius is not None]
        if degrees:
            values["gpu.celsius"] = max(degrees)
            self._celsius = max([*degrees, *([] if self._celsius is None else [self._celsius])])
        joules, self._watts = sum(self._watts.values()), {}
        watts = [one.watts for one in mine if one.watts is not None]
        if joules:  # by the counter: what was between, too
            values["gpu.watts"] = joules / elapsed_s
        elif watts:
            values["gpu.watts"] = sum(watts)
        return values

    def usage(self, disk_bytes: tuple[int, int] | None = None) -> Usage:
        """All of it in one. `disk_bytes`: read and written, by the kernel's own account at its end."""
        moved: list[float | None] = list(self._moved) if self.count else [None, None]
        if disk_bytes is not None:
            moved = [max(known or 0, told) for known, told in zip(moved, disk_bytes, strict=True)]
        read, written = (None if known is None else int(known) for known in moved)
        return Usage(
            memory_bytes=self._memory or None,
            read_bytes=read,
            written_bytes=written,
            gpu_percent=self._busy_s / self._watched_s if self._watched_s else None,
            gpu_memory_bytes=self._gpu_memory or None,
            gpu_celsius=self._celsius,
            gpu_energy_j=sum(self._gpu_energy_j.values()) if self._gpu_energy_j else None,
            gpu_shared=self.shared and bool(self.gpus),
            node_cpu_energy_j=self._node_energy_j,
            node_sent_bytes=int(self._sent) if self._network else None,
            node_received_bytes=int(self._received) if self._network else None,
            energy_j=self.energy_j,
            samples=self.count,
        )
