"""Reading what processes, a node and its GPUs have used: counters that only grow, and what is the case now.

The rule of this file: it reads and keeps nothing but what reading again needs. What cannot be read is None, with the reason in words:
never zero. It runs in a thread of its own (`sweep.agents.telemetry`), since a GPU that fell off the bus can keep a call for a minute.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from sweep.agents import trees


class TreeReading(NamedTuple):
    """Of a process and all below it."""

    cpu_s: float
    """CPU time of those that are there, and of the children that they have waited for."""
    memory_bytes: int
    read_bytes: int | None
    written_bytes: int | None
    processes: int
    """How many processes there were."""


class TreeMeter:
    """Reads one run's process tree, also those of its processes that have lost their parents."""

    def __init__(self, pid: int, marks: Collection[bytes] = ()) -> None:
        """`marks`: the `NAME=value` strings by which a process is known to belong to it."""
        self.pid, self._marks = pid, set(marks)
        self._known: dict[int, Any] = {}
        self._orphans: dict[int, bool] = {}
        """Children of the guard -> whether they are this run's."""
        self._parent: int | None = None

    def read(self) -> TreeReading | None:
        """None when the process is gone."""
        import psutil

        cpu_s, memory, counts = 0.0, 0, [0, 0]
        has_io, found = True, dict[int, Any]()
        for pid in self._pids():
            try:
                process = self._known.get(pid) or psutil.Process(pid)
                with process.oneshot():
                    times, taken = process.cpu_times(), process.memory_info().rss
            except psutil.Error:
                continue
            found[pid] = process
            cpu_s += times.user + times.system
            cpu_s += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            memory += taken
            try:
                moved = process.io_counters()
                counts = [counts[0] + moved.read_bytes, counts[1] + moved.write_bytes]
            except (psutil.Error, AttributeError, RuntimeError, OSError):
                has_io = False
        self._known = found
        if self.pid not in found:
            return None
        return TreeReading(
            cpu_s, memory, counts[0] if has_io else None, counts[1] if has_io else None, len(found)
        )

    def _pids(self) -> list[int]:
        if not sys.platform.startswith("linux"):
            import psutil

            with contextlib.suppress(psutil.Error):
                return [
                    self.pid,
                    *(child.pid for child in psutil.Process(self.pid).children(recursive=True)),
                ]
            return [self.pid]
        roots = [self.pid, *self._adopted()]
        return [*roots, *trees.descendants(roots)]

    def _adopted(self) -> list[int]:
        """Processes of this run whose parents are gone: the guard has them."""
        if self._parent is None:
            fields = trees.read_bytes(f"/proc/{self.pid}/stat").rpartition(b")")[2].split()
            self._parent = int(fields[1]) if len(fields) > 1 else 0
        if self._parent <= 1:
            return []
        there = [pid for pid in trees.listed_children(self._parent) if pid != self.pid]
        self._orphans = {pid: self._orphans.get(pid) or self._is_ours(pid) for pid in there}
        return [pid for pid, ours in self._orphans.items() if ours]

    def _is_ours(self, pid: int) -> bool:
        try:
            if os.getpgid(pid) == self.pid:
                return True
        except OSError:
            return False
        return bool(self._marks) and self._marks <= (trees.environment_now(pid) or set())


class NodeReading(NamedTuple):
    """Of the whole node."""

    sent_bytes: int | None
    received_bytes: int | None
    cpu_energy_j: float | None


class NodeMeter:
    """Reads a node's network interfaces and the energy counters of its processors."""

    def __init__(self, powercap: Path = Path("/sys/class/powercap")) -> None:
        self._zones = [_Zone(path) for path in sorted(powercap.glob("intel-rapl:*")) if _is_package(path)]
        self.why_no_energy = ""
        """Why the processors' energy cannot be read, '' where it can."""
        if not self._zones:
            self.why_no_energy = "this machine shows no energy counters of its processors (RAPL)"
        elif any(zone.read() is None for zone in self._zones):
            self._zones = []
            self.why_no_energy = "the energy counters of the processors (RAPL) may be read by root only"

    def read(self) -> NodeReading:
        """The counters now."""
        import psutil

        sent = received = None
        with contextlib.suppress(OSError, psutil.Error, RuntimeError):
            counts = psutil.net_io_counters(pernic=True, nowrap=False)
            others = [count for name, count in counts.items() if not name.startswith("lo")]
            if others:
                sent = sum(count.bytes_sent for count in others)
                received = sum(count.bytes_recv for count in others)
        energies = [zone.read() for zone in self._zones]
        known = [energy for energy in energies if energy is not None]
        return NodeReading(sent, received, sum(known) if known and len(known) == len(energies) else None)


def _is_package(path: Path) -> bool:
    """Whether this is a whole processor, and not a part of one."""
    return path.name.count(":") == 1


class _Zone:
    """The energy counter of one processor, which begins anew when it is full."""

    def __init__(self, path: Path) -> None:
        self._path = path / "energy_uj"
        self._last: int | None = None
        self._turns = 0
        try:
            self._most = int((path / "max_energy_range_uj").read_text())
        except (OSError, ValueError):
            self._most = 0

    def read(self) -> float | None:
        """Joules, from some point on."""
        try:
            now = int(self._path.read_text())
        except (OSError, ValueError):
            return None
        if self._last is not None and now < self._last:
            self._turns += 1
        self._last = now
        return (now + self._turns * self._most) / 1e6


class GpuReading(NamedTuple):
    """Of one GPU; None: it does not tell."""

    percent: float | None
    memory_bytes: int | None
    watts: float | None
    celsius: float | None
    energy_j: float | None
    device: str
    """What its energy is counted under: a MIG instance has its GPU's."""


class GpuMeter:
    """Reads GPUs through NVML, which is kept open between (opening it takes longer than all the rest) until `close`."""

    def __init__(self, nvml: Any = None) -> None:
        """`nvml`: a module like `pynvml`, for tests."""
        self._nvml, self._open = nvml, False
        self._handles: dict[str, tuple[Any, Any]] = {}
        """UUID -> its handle, and that of the GPU which it is an instance of (or itself)."""

    def read(self, uuids: Iterable[str]) -> dict[str, GpuReading]:
        """Those that can be reached."""
        found = {}
        for uuid in uuids:
            handles = self._handles_of(uuid)
            if handles is not None:
                found[uuid] = self._one(uuid, *handles)
        return found

    def close(self) -> None:
        """Hold nothing on the GPUs any more."""
        self._handles.clear()
        if self._open:
            self._open = False
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    def _handles_of(self, uuid: str) -> tuple[Any, Any] | None:
        if uuid in self._handles:
            return self._handles[uuid]
        nvml = self._nvml = self._nvml or importlib.import_module("pynvml")
        try:
            if not self._open:
                nvml.nvmlInit()
                self._open = True
            handle = whole = nvml.nvmlDeviceGetHandleByUUID(uuid)
            if uuid.startswith("MIG-"):
                whole = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
        except nvml.NVMLError:
            return None
        self._handles[uuid] = (handle, whole)
        return handle, whole

    def _one(self, uuid: str, handle: Any, whole: Any) -> GpuReading:
        nvml = self._nvml
        device = uuid
        if handle is not whole:
            device = str(self._ask("nvmlDeviceGetUUID", whole) or uuid)
        percent = self._ask("nvmlDeviceGetUtilizationRates", handle)
        memory = self._ask("nvmlDeviceGetMemoryInfo", handle)
        milliwatts = self._ask("nvmlDeviceGetPowerUsage", whole)
        celsius = self._ask("nvmlDeviceGetTemperature", whole, getattr(nvml, "NVML_TEMPERATURE_GPU", 0))
        millijoules = self._ask("nvmlDeviceGetTotalEnergyConsumption", whole)
        return GpuReading(
            None if percent is None else float(percent.gpu),
            None if memory is None else int(memory.used),
            None if milliwatts is None else milliwatts / 1e3,
            None if celsius is None else float(celsius),
            None if millijoules is None else millijoules / 1e3,
            device,
        )

    def _ask(self, name: str, *arguments: Any) -> Any:
        """None where this kind of GPU, or this driver, does not tell."""
        try:
            return getattr(self._nvml, name)(*arguments)
        except (self._nvml.NVMLError, AttributeError):
            return None
