"""The machine: processor, memory, operating system, GPUs.

What cannot be measured is not guessed: it stands under `not_measured` with the reason.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_VECTOR_FLAG = re.compile(r"sse4_[12]|ssse3|avx.*|fma|f16c|bmi[12]|amx.*|neon|asimd.*|sve.*|bf16|i8mm")


def hardware_record() -> dict[str, Any]:
    """`host`, `os`, `kernel`, `libc`, `container`, `cpu`, `memory_bytes`, `gpus` (empty without one), `gpu_driver`,
    `cuda_version`, and `not_measured`: {what: why}. Sizes are in bytes. Never raises."""
    missing: dict[str, str] = {}
    record: dict[str, Any] = {
        "host": socket.gethostname(),
        "os": _measure("os", _os_name, missing),
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()).strip(),
        "container": _measure("container", container_hint, missing),
        "cpu": _measure("cpu", _cpu, missing),
        "memory_bytes": _measure("memory_bytes", _memory_bytes, missing),
        "memory_limit_bytes": _cgroup_memory_limit(),
        "gpus": [],
    }
    record.update(_measure("gpus", _nvidia, missing) or {})
    record["not_measured"] = missing
    return record


def container_hint(root: Path = Path("/")) -> str:
    """`docker`, `podman`, `apptainer`, `kubernetes`, … when this process seems to be in a container, else empty."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    if (root / ".singularity.d").exists():
        return "apptainer"
    if (root / "var/run/secrets/kubernetes.io").exists():
        return "kubernetes"
    try:
        groups = (root / "proc/1/cgroup").read_text()
    except OSError:
        return ""
    for word in ("kubepods", "docker", "libpod", "lxc", "containerd"):
        if word in groups:
            return word
    return ""


def parse_cpuinfo(text: str) -> tuple[str, list[str]]:
    """(model, flags) from the text of Linux's /proc/cpuinfo; the model is empty where the processor does not say."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    model = fields.get("model name") or fields.get("Processor") or fields.get("cpu model") or ""
    return model, sorted(set((fields.get("flags") or fields.get("Features") or "").split()))


def _measure(what: str, measure: Callable[[], Any], missing: dict[str, str]) -> Any:
    # Drivers and odd kernels fail in any way they like, and a sweep must start nevertheless.
    try:
        return measure()
    except Exception as error:
        missing[what] = f"not measured: {type(error).__name__}: {error}"
        return None


def _os_name() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", platform.system())
    except OSError:
        return platform.platform()


def _cpu() -> dict[str, Any]:
    flags: list[str] = []
    if sys.platform == "darwin":
        model = _sysctl("machdep.cpu.brand_string")
    else:
        model, flags = parse_cpuinfo(Path("/proc/cpuinfo").read_text())
    affinity = getattr(os, "sched_getaffinity", None)
    return {
        "model": model,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "cores_usable": len(affinity(0)) if affinity else os.cpu_count(),
        "vector_flags": [flag for flag in flags if _VECTOR_FLAG.fullmatch(flag)],
        "flags_digest": hashlib.blake2b(" ".join(flags).encode(), digest_size=16).hexdigest()
        if flags
        else "",
    }


def _memory_bytes() -> int:
    if sys.platform == "darwin":
        return int(_sysctl("hw.memsize"))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _sysctl(name: str) -> str:
    done = subprocess.run(
        ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True
    )
    return done.stdout.strip()


def _cgroup_memory_limit() -> int | None:
    """The limit of the container's memory in bytes, None without one."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limit = int(Path(path).read_text())
        except (OSError, ValueError):
            continue
        return limit if limit < 2**60 else None
    return None


def _nvidia() -> dict[str, Any]:
    """GPUs as the driver's management library sees them: all of the machine, in PCI order."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pynvml
    try:
        pynvml.nvmlInit()
    except (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded):
        return {"gpus": []}
    try:
        return {
            "gpus": [_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())],
            "gpu_driver": _text(pynvml.nvmlSystemGetDriverVersion()),
            "cuda_version": cuda_version(pynvml.nvmlSystemGetCudaDriverVersion_v2()),
        }
    finally:
        pynvml.nvmlShutdown()


def cuda_version(number: int) -> str:
    """`12.4` from the driver's 12040: the newest CUDA that it supports."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _gpu(nvml: Any, index: int) -> dict[str, Any]:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    gpu = {
        "name": _text(nvml.nvmlDeviceGetName(handle)),
        "uuid": _text(nvml.nvmlDeviceGetUUID(handle)),
        "memory_bytes": int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
    }
    # Many models have neither, and say so by an error.
    for name, ask in (
        ("mig", lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0])),
        ("ecc", lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0])),
        ("compute_capability", lambda: "{}.{}".format(*nvml.nvmlDeviceGetCudaComputeCapability(handle))),
    ):
        try:
            gpu[name] = ask()
        except nvml.NVMLError:
            continue
    return gpu


def _text(value: str | bytes) -> str:
    """Older versions of the library return bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
