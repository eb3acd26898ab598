"""What this node has, and how it is divided into slots.

Rule of this file: NVML is the only thing asked about GPUs, and only in `usable`; everything else computes. A GPU's
index is NVML's, which is the order of the PCI bus; runs are started with CUDA_DEVICE_ORDER=PCI_BUS_ID, so that CUDA
counts the same way.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep.core.errors import SweepError
from sweep.core.spec import Resources

_EPSILON = 1e-9
"""0.1 CPUs ten times are one CPU."""
_NO_MORE = ("", "-1", "nodevfiles", "none", "void")
"""Entries of CUDA_VISIBLE_DEVICES that are there to hide GPUs, as Slurm, Ray and NVIDIA's containers write them."""


class NotEnough(SweepError):
    """The node does not have what was asked for; the message says what it has."""


class Gpu(msgspec.Struct, frozen=True):
    """One GPU, or one MIG instance of a GPU that is divided."""

    index: int
    """In the order of the PCI bus; for a MIG instance that of its GPU."""
    uuid: str
    """`GPU-…`, `MIG-…`."""
    name: str
    memory_bytes: int

    @property
    def device(self) -> str:
        """Its name in CUDA_VISIBLE_DEVICES: an index, which every program understands; a MIG instance has none."""
        return self.uuid if self.uuid.startswith("MIG-") else str(self.index)


class Slot(msgspec.Struct, frozen=True):
    """What one run at a time gets."""

    number: int
    cpus: float
    gpus: tuple[Gpu, ...] = ()
    share: float = 1.0
    """Its part of each of its GPUs: 0.5 when two slots share one."""


# --- what there is ----------------------------------------------------------------------------------------------


def discover(environ: Mapping[str, str], nvml: Any = None) -> list[Gpu]:
    """The GPUs that this process may use, as an inherited CUDA_VISIBLE_DEVICES allows (and in its order). Empty on a
    machine without an NVIDIA driver. `nvml`: a module like `pynvml`, for tests."""
    return usable(environ, nvml)[0]


def usable(environ: Mapping[str, str], nvml: Any = None) -> tuple[list[Gpu], str]:
    """(what `discover` finds, in words what of an inherited CUDA_VISIBLE_DEVICES names nothing here, '' when all is well)."""
    if nvml is None:
        nvml = importlib.import_module("pynvml")  # here, because it takes longer to import than all the rest
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver, or none that works
        return [], ""
    try:
        found = [gpu for i in range(nvml.nvmlDeviceGetCount()) for gpu in _devices(nvml, i)]
    except nvml.NVMLError:
        return [], ""
    finally:
        nvml.nvmlShutdown()
    allowed = environ.get("CUDA_VISIBLE_DEVICES")
    return (found, "") if allowed is None else (_visible(found, allowed), _doubt(found, allowed))


def _devices(nvml: Any, index: int) -> Iterator[Gpu]:
    """A GPU or, when it is divided, its MIG instances. A GPU that has fallen off the bus is left out."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        instances = _mig_instances(nvml, handle)
        for device in [handle] if instances is None else instances:
            yield Gpu(
                index,
                _text(nvml.nvmlDeviceGetUUID(device)),
                _text(nvml.nvmlDeviceGetName(device)),
                int(nvml.nvmlDeviceGetMemoryInfo(device).total),
            )
    except nvml.NVMLError:
        return


def _mig_instances(nvml: Any, handle: Any) -> list[Any] | None:
    """None when the GPU is not divided."""
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] == 0:
            return None
    except nvml.NVMLError:  # this kind of GPU has no MIG
        return None
    instances = []
    for i in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instances.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, i))
        except nvml.NVMLError:  # no instance at this place
            continue
    return instances


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _visible(gpus: Sequence[Gpu], allowed: str) -> list[Gpu]:
    """As CUDA reads the variable: in its order, up to the first entry that names nothing (`-1`, `NoDevFiles`)."""
    chosen: list[Gpu] = []
    for entry in allowed.split(","):
        named = _named(gpus, entry.strip())
        if not named:
            break
        chosen += [gpu for gpu in named if gpu not in chosen]
    return chosen


def _doubt(gpus: Sequence[Gpu], allowed: str) -> str:
    for entry in (text.strip() for text in allowed.split(",")):
        if entry.lower() in _NO_MORE:
            return ""
        if not _named(gpus, entry):
            here = ", ".join(dict.fromkeys(gpu.device for gpu in gpus)) or "none"
            return (
                f"CUDA_VISIBLE_DEVICES={allowed}: there is no GPU {entry} here (there is {here}); CUDA ignores it and "
                "what follows it, and so do runs"
            )
    return ""


def _named(gpus: Sequence[Gpu], entry: str) -> list[Gpu]:
    """The GPU of an index, or of a UUID or a beginning of one that is unique. An index of a divided GPU means all its instances."""
    if entry.isdecimal():
        return [gpu for gpu in gpus if gpu.index == int(entry)]
    if not entry.startswith(("GPU-", "MIG-")):
        return []
    matches = [gpu for gpu in gpus if gpu.uuid.startswith(entry)]
    return matches if len(matches) == 1 else []


def select(gpus: Sequence[Gpu], wanted: str | None) -> list[Gpu]:
    """The GPUs that a person asked for: `0,2` (indices as nvidia-smi shows them, or UUIDs), `none`, or None for all.
    Raises NotEnough for one that is not there or named twice."""
    if wanted is None:
        return list(gpus)
    if wanted.strip().lower() in ("none", ""):
        return []
    chosen: list[Gpu] = []
    for entry in wanted.split(","):
        named = _named(gpus, entry.strip())
        if not named:
            here = ", ".join(gpu.device for gpu in gpus)
            has = f"this agent can use {here}" if here else "this agent can use none"
            raise NotEnough(f"--gpus {wanted}: there is no GPU {entry.strip() or '(empty)'}; {has}")
        if any(gpu in chosen for gpu in named):
            raise NotEnough(f"--gpus {wanted}: GPU {entry.strip()} is named twice")
        chosen += named
    return chosen


def visible_env(gpus: Sequence[Gpu]) -> dict[str, str]:
    """Variables that let a process see exactly these GPUs."""
    devices = ",".join(gpu.device for gpu in gpus)
    return {"CUDA_VISIBLE_DEVICES": devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def cpu_count(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> float:
    """CPUs that this process may use: its affinity, and the CPU quota of its control groups (version 2) if lower. May
    be a fraction; above 0."""
    if hasattr(os, "sched_getaffinity"):
        count = float(len(os.sched_getaffinity(0)))
    else:
        count = float(os.cpu_count() or 1)
    return min([count, *_quotas(proc, cgroups)])


def _quotas(proc: Path, cgroups: Path) -> Iterator[float]:
    """CPU quotas of this process's control group and all above it."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    own = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), None)
    if own is None or ".." in own.split("/"):
        own = ""  # in a container the path can be one of the host; then only the root is ours
    folder = cgroups / own
    for group in (folder, *folder.parents):
        if group != cgroups and cgroups not in group.parents:
            return
        try:
            quota, period = (group / "cpu.max").read_text().split()
            if quota != "max" and float(quota) > 0:
                yield float(quota) / float(period)
        except (OSError, ValueError, ZeroDivisionError):
            continue


# --- slots ------------------------------------------------------------------------------------------------------


def plan_slots(
    cpus: float, gpus: Sequence[Gpu], resources: Resources, slots: int | None = None
) -> list[Slot]:
    """Divide a node into as many slots as `resources` allow, or into exactly `slots`.

    What `resources` leaves open is chosen: one GPU per run where there are GPUs, else none; the CPUs shared out evenly
    among slots with GPUs or a number of slots that was asked for, else one CPU per run. Slots are spread over the GPUs
    before any GPU is shared. Raises NotEnough when not even one slot, or fewer than `slots`, fit.
    """
    per_run = resources.gpus if resources.gpus is not None else float(bool(gpus))
    by_gpu = _slots_by_gpu(len(gpus), per_run)
    shared_out = resources.cpus is None and (by_gpu is not None or slots is not None)
    by_cpu = None if shared_out else _slots_by_cpu(cpus, resources.cpus)
    limits = [limit for limit in (by_gpu, by_cpu) if limit is not None]
    most = min(limits, default=slots or 1)
    if slots is not None and slots > most:
        raise NotEnough(_too_many(slots, most, cpus, len(gpus), per_run, resources))
    count = most if slots is None else slots
    if resources.cpus is not None:
        each = resources.cpus
    else:
        each = cpus / count if shared_out else min(1.0, cpus)
    layout = _layout(gpus, per_run, count)
    share = per_run if 0 < per_run < 1 else 1.0
    return [Slot(number, each, layout[number], share) for number in range(count)]


def _slots_by_gpu(have: int, per_run: float) -> int | None:
    """How many runs the GPUs have room for; None when runs need none."""
    if per_run <= 0:
        return None
    if per_run < 1:
        most = have * math.floor(1 / per_run + _EPSILON)
    elif per_run == math.floor(per_run):
        most = have // int(per_run)
    else:
        raise NotEnough(f"resources.gpus: {per_run:g} is neither a whole number of GPUs nor a part of one")
    if most == 0:
        raise NotEnough(f"each run needs {_count(per_run, 'GPU')}, this node has {have or 'none'}")
    return most


def _slots_by_cpu(have: float, per_run: float | None) -> int:
    """How many runs the CPUs have room for, one CPU each unless told."""
    if per_run is None:
        return max(1, math.floor(have + _EPSILON))
    if per_run <= 0:
        raise NotEnough(f"resources.cpus: {per_run:g} is not above 0")
    most = math.floor(have / per_run + _EPSILON)
    if most == 0:
        raise NotEnough(f"each run needs {_count(per_run, 'CPU')}, this node has {have:g}")
    return most


def _layout(gpus: Sequence[Gpu], per_run: float, count: int) -> list[tuple[Gpu, ...]]:
    if per_run <= 0:
        return [()] * count
    if per_run < 1:
        return [(gpus[number % len(gpus)],) for number in range(count)]
    width = int(per_run)
    return [tuple(gpus[number * width : (number + 1) * width]) for number in range(count)]


def _too_many(slots: int, most: int, cpus: float, gpus: int, per_run: float, resources: Resources) -> str:
    needs = [_count(per_run, "GPU")] if per_run > 0 else []
    if resources.cpus is not None:
        needs.append(_count(resources.cpus, "CPU"))
    has = [_count(gpus, "GPU")] if per_run > 0 else []
    if resources.cpus is not None:
        has.append(_count(cpus, "CPU"))
    text = f"{slots} slots with {' and '.join(needs)} each are too many: this node has {' and '.join(has)}, room for {most}"
    if per_run > 0 and resources.gpus is None and gpus:
        text += f" (to share a GPU, set resources: {{gpus: {gpus / slots:.2g}}} in the spec)"
    return text


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}" + ("" if number <= 1 else "s")
