"""Why a program failed, beyond its exit code: out of memory (on a GPU, or on the node), or a fault of the node.

The rule of this file: what a person would look for. A failure is judged by the last words of its output (the last chain of
Python tracebacks where there is one, so that an error which the program survived earlier says nothing), and a SIGKILL
that sweep did not send by the kernel's own count of processes that it ended for want of memory.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from sweep.core.agent import Cause
from sweep.core.outcomes import ErrorClass
from sweep.core.secrets import redact

LOOKED_AT_BYTES = 65_536
"""So much of the end of an attempt's output is read when it has failed."""
KILLED = (-9, 137)
"""How a process ends by SIGKILL, and how a shell passes on that its child did."""
_LONGEST = 160

_GPU_MEMORY = re.compile(
    r"\bOutOfMemoryError\b.*\b(?:CUDA|HIP|GPU|XPU)\b|torch\.(?:cuda\.)?OutOfMemoryError"
    r"|cupy\.cuda\.memory\.OutOfMemoryError"
    r"|\b(?:CUDA|HIP|XPU|MPS backend) (?:error: )?out of memory"
    r"|(?:CUDA|HIP)_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation|hipErrorOutOfMemory|cudaMalloc failed"
    r"|CU(?:BLAS|DNN|SOLVER|SPARSE|FFT)_(?:STATUS_)?ALLOC_FAILED"
    r"|RESOURCE_EXHAUSTED: .*(?:[Oo]ut of memory|\bOOM\b|[Ff]ailed to allocate)"
    r"|ResourceExhaustedError\b.*\bOOM\b(?!.*device:CPU)"
)
_NODE = re.compile(
    r"uncorrectable ECC|\bGPU is lost\b|GPU has fallen off the bus|Unable to determine the device handle"
    r"|Failed to initialize NVML|Driver/library version mismatch|CUDA driver (?:initialization failed|version is insufficient)"
    r"|No CUDA GPUs are available|no CUDA-capable device is detected|CUDA-capable device\(s\) is/are busy or unavailable"
    r"|No space left on device|Disk quota exceeded|Input/output error|Stale file handle|Read-only file system"
    r"|Transport endpoint is not connected"
)
_HOST_MEMORY = re.compile(
    r"^(?:[\w.]+\.)?_?(?:Array)?MemoryError\b|std::bad_alloc|DefaultCPUAllocator: (?:can't|not enough)"
    r"|\[Errno 12\] Cannot allocate memory|\bOOM when allocating tensor\b.*device:CPU"
)
_TRACEBACK = "Traceback (most recent call last):"
_LINKS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
# Exceptions by which a launcher says only that one of its processes failed: what failed stands above.
_LAUNCHERS = re.compile(
    r"^(?:[\w.]+\.)?(?:ChildFailedError|CalledProcessError|ProcessExitedException|ProcessRaisedException|SystemExit|RayTaskError)\b"
)


def judge(status: int | None, output: str, oom_kill: str) -> Cause | None:
    """What made a program fail that ended with `status`; None when nothing beyond its exit code is known.

    `output`: the end of what it printed; `oom_kill`: which count of the kernel's OOM kills rose while it ran, or ''.
    """
    if status in KILLED and oom_kill:
        return Cause("memory", f"out of memory: the kernel ended it (oom_kill in {oom_kill} rose)")
    lines = last_words(output)
    found: tuple[tuple[re.Pattern[str], ErrorClass, str], ...] = (
        (_GPU_MEMORY, "gpu_memory", "out of GPU memory"),
        (_NODE, "node", "the node failed"),
        (_HOST_MEMORY, "memory", "out of memory"),
    )
    for pattern, error_class, words in found:
        line = next((line for line in reversed(lines) if pattern.search(line)), None)
        if line is not None:
            return Cause(error_class, f"{words} ({_shown(line)})")
    return None


def last_words(output: str) -> list[str]:
    """The lines to judge by: from the beginning of the last chain of tracebacks, unless that is a launcher's, or there is
    none; then all of them."""
    lines = [line.strip() for line in output.split("\n")]
    starts = [number for number, line in enumerate(lines) if line == _TRACEBACK]
    if not starts or any(_LAUNCHERS.match(line) for line in lines[starts[-1] :]):
        return lines
    first = len(starts) - 1
    while first and any(line in _LINKS for line in lines[starts[first - 1] : starts[first]]):
        first -= 1
    return lines[starts[first] :]


def _shown(line: str) -> str:
    line = redact(line)
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


class OomKills:
    """The kernel's counts of processes that it ended for want of memory: of this process's cgroup, and of the machine."""

    def __init__(self, root: Path = Path("/")) -> None:
        """`root`: where `proc` and `sys` are found."""
        self._files: dict[str, int] = {}
        for path in oom_files(_text(root / "proc/self/cgroup")):
            try:
                self._files["/" + path] = os.open(root / path, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                continue

    def close(self) -> None:
        """Let the files go."""
        for fd in self._files.values():
            os.close(fd)
        self._files.clear()

    def counts(self) -> dict[str, int]:
        """Path of each count that can be read -> the count. Costs some 30 µs."""
        found = {}
        for path, fd in self._files.items():
            try:
                count = oom_kill_count(os.pread(fd, 16_384, 0))
            except OSError:
                continue
            if count is not None:
                found[path] = count
        return found

    def risen(self, before: Mapping[str, int]) -> str:
        """The first count that has risen since `before` was taken, '' when none has."""
        return next((path for path, n in self.counts().items() if n > before.get(path, n)), "")


def oom_files(cgroups: str) -> Iterable[str]:
    """The files that may hold counts, most telling first, from the text of `/proc/self/cgroup`. A container may not see
    its own path, only what is mounted as the root."""
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for folder in dict.fromkeys((path.strip("/"), "")):
            if number == "0" and not controllers:
                yield "/".join(filter(None, ("sys/fs/cgroup", folder, "memory.events")))
            elif "memory" in controllers.split(","):
                yield "/".join(filter(None, ("sys/fs/cgroup/memory", folder, "memory.oom_control")))
    yield "proc/vmstat"


def oom_kill_count(text: bytes) -> int | None:
    """The number behind `oom_kill`, as `memory.events`, `memory.oom_control` and `/proc/vmstat` have it; None without."""
    match = re.search(rb"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
