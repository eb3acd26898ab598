"""Looking at the GPUs of slots: who computes there, and whether they still work.

Rules of this file: NVML is asked in a thread of its own, since one GPU that fell off the bus can keep a call for a minute; it is opened
for each look and closed again, so that nothing is held on the GPUs between. What cannot be told is not held against a GPU.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from sweep.agents import trees
from sweep.agents.gpus import Gpu, Slot
from sweep.core.agent import Finding

TAKEN_BYTES = 1 << 30
"""Where NVML lists no process (containers), a GPU with more of its memory taken is used by somebody."""

_GONE = (6, 15, 16, 28, 999)
"""NVML's errors for a GPU that cannot be reached any more: not found, lost, reset required, GPU not found, unknown."""
_UNCORRECTED, _SINCE_DRIVER = 1, 0


class GpuWatch:
    """Looks at GPUs in the background, and wakes a selector when there is something to `take`."""

    def __init__(
        self, selector: selectors.BaseSelector, slots: Sequence[Slot], agent: str, nvml: Any = None
    ) -> None:
        """`nvml`: a module like `pynvml`, for tests."""
        self._slots, self._looker = slots, Looker(agent, nvml)
        self._asked: deque[tuple[tuple[int, ...], frozenset[str]]] = deque()
        self._found: deque[dict[int, Finding]] = deque()
        self._lock = threading.Lock()
        self._at_work = False
        self._ours, self._theirs = socket.socketpair()
        for end in (self._ours, self._theirs):
            end.setblocking(False)
        selector.register(self._ours, selectors.EVENT_READ, self._empty)

    def begin(self) -> None:
        """Note what the GPUs' counts of errors begin with. Apart, since the first guard may be a fork of this process, which
        should have one thread only then."""
        if any(slot.gpus for slot in self._slots):
            self.look((), frozenset())

    def look(self, numbers: Sequence[int], running: frozenset[str]) -> None:
        """Have these slots looked at; `running`: UUIDs of the GPUs on which runs of this agent are."""
        with self._lock:
            self._asked.append((tuple(numbers), running))
            if self._at_work:
                return
            self._at_work = True
        threading.Thread(target=self._work, name="gpu-watch", daemon=True).start()

    def take(self) -> list[dict[int, Finding]]:
        """What was found since the last call: slot -> finding."""
        found = []
        while self._found:
            found.append(self._found.popleft())
        return found

    def close(self) -> None:
        """Let go; a look that goes on comes to nothing."""
        with self._lock:
            self._asked.clear()
        self._ours.close()
        self._theirs.close()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._asked:
                    self._at_work = False
                    return
                numbers, running = self._asked.popleft()
            if not numbers:
                with contextlib.suppress(Exception):  # as below
                    self._looker.begin(self._slots)
                continue
            try:
                found = self._looker.look([self._slots[number] for number in numbers], running)
            except Exception:  # a library that misbehaves says nothing about a GPU
                found = dict.fromkeys(numbers, Finding())
            self._found.append(found)
            with contextlib.suppress(OSError):  # full: it will be read; closed: nobody waits
                self._theirs.send(b"!")

    def _empty(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._ours.recv(4096):
                pass


class Looker:
    """What is asked of NVML."""

    def __init__(self, agent: str, nvml: Any = None) -> None:
        """`agent`: whose runs are ours."""
        self._agent, self._nvml = agent, nvml
        self._errors: dict[str, int] = {}
        """UUID -> how many uncorrectable errors the GPU had when this agent began."""

    def begin(self, slots: Sequence[Slot]) -> None:
        """Note what the counts of errors begin with."""
        with self._opened() as nvml:
            for gpu in {gpu.uuid: gpu for slot in slots for gpu in slot.gpus}.values() if nvml else ():
                with contextlib.suppress(nvml.NVMLError):
                    count = _uncorrected(nvml, nvml.nvmlDeviceGetHandleByUUID(gpu.uuid))
                    if count is not None:
                        self._errors[gpu.uuid] = count

    def look(self, slots: Sequence[Slot], running: frozenset[str] = frozenset()) -> dict[int, Finding]:
        """Slot -> what was found; `running`: UUIDs of the GPUs on which runs of this agent are."""
        with self._opened() as nvml:
            if nvml is None:
                return {slot.number: Finding() for slot in slots}
            return {slot.number: self._of_slot(nvml, slot, running) for slot in slots}

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Any]:
        """NVML; None when it cannot be used, which says nothing about a single GPU."""
        nvml = self._nvml = self._nvml or importlib.import_module("pynvml")
        try:
            nvml.nvmlInit()
        except nvml.NVMLError:
            yield None
            return
        try:
            yield nvml
        finally:
            with contextlib.suppress(nvml.NVMLError):
                nvml.nvmlShutdown()

    def _of_slot(self, nvml: Any, slot: Slot, running: frozenset[str]) -> Finding:
        busy = ""
        for gpu in slot.gpus:
            try:
                handle = nvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
                nvml.nvmlDeviceGetMemoryInfo(handle)
            except nvml.NVMLError as error:
                if getattr(error, "value", None) in _GONE:
                    return Finding(lost=f"GPU {gpu.device} cannot be reached any more (NVML: {error})")
                continue
            count = _uncorrected(nvml, handle)
            if count is not None and count > self._errors.get(gpu.uuid, count):
                return Finding(lost=f"GPU {gpu.device} has had uncorrectable memory errors (ECC)")
            busy = busy or self._users(nvml, handle, gpu, slot.share, gpu.uuid in running)
        return Finding(busy=busy)

    def _users(self, nvml: Any, handle: Any, gpu: Gpu, share: float, ours_run: bool) -> str:
        """Who else computes on a GPU, in words; '' when nobody does, or that cannot be told."""
        computing = _processes(nvml.nvmlDeviceGetComputeRunningProcesses, handle, nvml)
        others = {
            process.pid: process
            for process in computing
            if not self._is_ours(process.pid, share) and not (ours_run and not _visible(process.pid))
        }
        if others:
            process = min(others.values(), key=lambda one: -(one.usedGpuMemory or 0))
            facts = [_name(process.pid) or "in another container", _size(process.usedGpuMemory)]
            more = f" and {len(others) - 1} more" if len(others) > 1 else ""
            known = ", ".join(fact for fact in facts if fact)
            return f"GPU {gpu.device} is used by process {process.pid} ({known}){more}"
        if computing or ours_run or _processes(nvml.nvmlDeviceGetGraphicsRunningProcesses, handle, nvml):
            return ""
        taken = _taken(nvml, handle)
        if taken <= TAKEN_BYTES:
            return ""
        return (
            f"GPU {gpu.device} is used by something that cannot be seen from here ({_size(taken)} are taken)"
        )

    def _is_ours(self, pid: int, share: float) -> bool:
        """Whether a process comes from a run of this agent or, where slots share GPUs, of any agent here."""
        if _name(pid).startswith("nvidia-cuda-mps"):  # it stands for programs that share the GPU, ours too
            return True
        chain = trees.ancestry(pid)
        if os.getpid() in chain:
            return True
        mark = b"SWEEP_AGENT=" + (b"" if share < 1 else os.fsencode(self._agent))
        for one in chain:
            environment = trees.environment_of(one)
            if mark in environment or (share < 1 and any(entry.startswith(mark) for entry in environment)):
                return True
        return False


def _processes(ask: Any, handle: Any, nvml: Any) -> Sequence[Any]:
    try:
        return list(ask(handle))
    except nvml.NVMLError:
        return ()


def _uncorrected(nvml: Any, handle: Any) -> int | None:
    """How many uncorrectable memory errors a GPU has had since its driver was loaded; None without such a count."""
    try:
        return int(nvml.nvmlDeviceGetTotalEccErrors(handle, _UNCORRECTED, _SINCE_DRIVER))
    except nvml.NVMLError:
        return None


def _taken(nvml: Any, handle: Any) -> int:
    """Memory that is taken, in bytes; where the driver can tell, without what it keeps for itself."""
    with contextlib.suppress(nvml.NVMLError, AttributeError, TypeError):
        return int(nvml.nvmlDeviceGetMemoryInfo(handle, nvml.nvmlMemory_v2).used)
    with contextlib.suppress(nvml.NVMLError, AttributeError):
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).used)
    return 0


def _visible(pid: int) -> bool:
    """Whether NVML's number of a process is one of this process's namespace, as far as can be told."""
    return bool(_name(pid))


def _name(pid: int) -> str:
    text = trees.read_bytes(f"/proc/{pid}/comm").decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else "?" for c in text)


def _size(count: int | None) -> str:
    return f"{count / 1e9:.2g} GB" if count else ""
