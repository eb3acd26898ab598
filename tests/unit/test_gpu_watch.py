"""Who computes on a GPU and whether it still works, with a stand-in for NVIDIA's library and real processes; and with a real GPU."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.agents import trees
from sweep.agents.gpu_watch import GpuWatch, Looker
from sweep.agents.gpus import Gpu, Slot, discover, plan_slots
from sweep.core.agent import Finding
from sweep.core.spec import Resources

GIB = 1 << 30


class FakeNvml:
    """As much of `pynvml` as is used: two GPUs."""

    nvmlMemory_v2 = 2

    class NVMLError(Exception):
        def __init__(self, value: int) -> None:
            super().__init__(f"error {value}")
            self.value = value

    def __init__(self) -> None:
        self.works, self.open = True, 0
        self.handle_error: dict[str, int] = {}
        self.errors: dict[str, int | None] = {}
        self.computing: dict[str, list[tuple[int, int | None]]] = {}
        self.drawing: dict[str, list[tuple[int, int | None]]] = {}
        self.used: dict[str, int] = {}
        self.blocked = threading.Event()
        self.blocked.set()

    def nvmlInit(self) -> None:
        self.blocked.wait(60)
        if not self.works:
            raise self.NVMLError(9)
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid in self.handle_error:
            raise self.NVMLError(self.handle_error[uuid])
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle: str, version: int | None = None) -> Any:
        kept = 0 if version == 2 else GIB
        return SimpleNamespace(total=80 * GIB, used=self.used.get(handle, 0) + kept)

    def nvmlDeviceGetTotalEccErrors(self, handle: str, kind: int, counter: int) -> int:
        assert (kind, counter) == (1, 0)  # uncorrected, since the driver was loaded
        count = self.errors.get(handle)
        if count is None:
            raise self.NVMLError(3)
        return count

    def nvmlDeviceGetComputeRunningProcesses(self, handle: str) -> list[Any]:
        return [SimpleNamespace(pid=p, usedGpuMemory=m) for p, m in self.computing.get(handle, [])]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: str) -> list[Any]:
        return [SimpleNamespace(pid=p, usedGpuMemory=m) for p, m in self.drawing.get(handle, [])]


A, B = Gpu(0, "GPU-a", "H100", 80 * GIB), Gpu(1, "GPU-b", "H100", 80 * GIB)
SLOTS = [Slot(0, 1.0, (A,)), Slot(1, 1.0, (B,))]
HALF = [Slot(0, 1.0, (A,), 0.5), Slot(1, 1.0, (A,), 0.5)]


@pytest.fixture
def nvml() -> FakeNvml:
    return FakeNvml()


@contextlib.contextmanager
def elsewhere(**env: str) -> Iterator[int]:
    """The number of a process that is not below this one, with this environment."""
    program = """
import os, sys, time
parent = os.getpid()
if os.fork(): os._exit(0)
while os.getppid() == parent: time.sleep(0.001)  # until then it is below this process
os.write(1, b'%d\\n' % os.getpid()); sys.stdin.read()
"""
    caught = trees.is_subreaper()  # by an earlier test
    trees.stop_being_subreaper()
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-S", "-c", program], stdin=pipe, stdout=pipe, env=env)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.communicate()
        if caught:
            trees.become_subreaper()


@pytest.fixture
def stranger() -> Iterator[int]:
    """A process that has nothing to do with sweep."""
    with elsewhere() as pid:
        yield pid


# --- who computes there


def test_nobody(nvml: FakeNvml) -> None:
    assert Looker("ag", nvml).look(SLOTS) == {0: Finding(), 1: Finding()}
    assert nvml.open == 0


def test_another_program(nvml: FakeNvml, stranger: int) -> None:
    nvml.computing["GPU-b"] = [(stranger, 10_400_000_000)]
    found = Looker("ag", nvml).look(SLOTS)
    assert found[0] == Finding()
    assert found[1].busy.startswith(f"GPU 1 is used by process {stranger} (")
    assert found[1].busy.endswith(", 10 GB)")


def test_the_largest_of_several_is_named(nvml: FakeNvml, stranger: int) -> None:
    nvml.computing["GPU-a"] = [(1, None), (stranger, 5_000_000_000)]
    busy = Looker("ag", nvml).look(SLOTS)[0].busy
    assert f"process {stranger} (" in busy
    assert busy.endswith("5 GB) and 1 more")


def test_descendants_of_this_agent_do_not_count(nvml: FakeNvml) -> None:
    program = "import os, sys; os.write(1, b'!'); sys.stdin.read()"
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-S", "-c", program], stdin=pipe, stdout=pipe, env={})
    try:
        assert process.stdout is not None
        process.stdout.read(1)
        nvml.computing["GPU-a"] = [(process.pid, GIB), (os.getpid(), GIB)]
        assert Looker("ag", nvml).look(SLOTS)[0] == Finding()
    finally:
        process.communicate()


def test_runs_of_other_agents_count_unless_gpus_are_shared(nvml: FakeNvml) -> None:
    with elsewhere(SWEEP_AGENT="other-1") as pid:
        nvml.computing["GPU-a"] = [(pid, GIB)]
        assert f"process {pid}" in Looker("ag", nvml).look(SLOTS)[0].busy
        assert Looker("ag", nvml).look(HALF) == {0: Finding(), 1: Finding()}
        assert Looker("other-1", nvml).look(SLOTS)[0] == Finding()
        assert f"process {pid}" in Looker("other", nvml).look(SLOTS)[0].busy  # not the beginning of a name


def test_processes_that_cannot_be_seen_from_here(nvml: FakeNvml) -> None:
    pid = 2**22 + 1  # above what Linux gives out
    nvml.computing["GPU-a"] = [(pid, None)]
    looker = Looker("ag", nvml)
    assert looker.look(SLOTS)[0].busy == f"GPU 0 is used by process {pid} (in another container)"
    assert looker.look(HALF, frozenset({"GPU-a"}))[1] == Finding()  # it may be the other slot's run


def test_memory_tells_where_no_process_is_listed(nvml: FakeNvml) -> None:
    looker = Looker("ag", nvml)
    nvml.used["GPU-a"] = 12_000_000_000
    assert (
        looker.look(SLOTS)[0].busy
        == "GPU 0 is used by something that cannot be seen from here (12 GB are taken)"
    )
    assert looker.look(HALF, frozenset({"GPU-a"}))[1] == Finding()  # the other slot's run has it
    nvml.drawing["GPU-a"] = [(1, GIB)]  # a desktop
    assert looker.look(SLOTS)[0] == Finding()
    nvml.drawing.clear()
    nvml.used["GPU-a"] = GIB // 2
    assert looker.look(SLOTS)[0] == Finding()


def test_any_gpu_of_a_slot_makes_it_wait(nvml: FakeNvml, stranger: int) -> None:
    nvml.computing["GPU-b"] = [(stranger, None)]
    found = Looker("ag", nvml).look([Slot(0, 1.0, (A, B))])
    assert found[0].busy.startswith(f"GPU 1 is used by process {stranger}")


# --- whether it works


@pytest.mark.parametrize("value", [6, 15, 16, 28, 999])
def test_a_gpu_that_cannot_be_reached_is_lost(nvml: FakeNvml, value: int) -> None:
    nvml.handle_error["GPU-b"] = value
    found = Looker("ag", nvml).look(SLOTS)
    assert found == {
        0: Finding(),
        1: Finding(lost=f"GPU 1 cannot be reached any more (NVML: error {value})"),
    }


def test_what_cannot_be_told_is_not_held_against_it(nvml: FakeNvml) -> None:
    nvml.handle_error["GPU-b"] = 4  # no permission
    assert Looker("ag", nvml).look(SLOTS) == {0: Finding(), 1: Finding()}
    nvml.works = False
    assert Looker("ag", nvml).look(SLOTS) == {0: Finding(), 1: Finding()}


def test_uncorrectable_errors_count_from_where_the_agent_began(nvml: FakeNvml) -> None:
    nvml.errors = {"GPU-a": 2, "GPU-b": None}
    looker = Looker("ag", nvml)
    looker.begin(SLOTS)
    assert looker.look(SLOTS) == {0: Finding(), 1: Finding()}
    nvml.errors = {"GPU-a": 3, "GPU-b": 1}
    assert looker.look(SLOTS) == {
        0: Finding(lost="GPU 0 has had uncorrectable memory errors (ECC)"),
        1: Finding(),
    }


# --- in the background


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


def wait(watch: GpuWatch, selector: selectors.BaseSelector) -> dict[int, Finding]:
    for key, _ in selector.select(60):
        key.data()
    [found] = watch.take()
    return found


def test_looks_wake_the_selector_and_never_hold_it_up(
    nvml: FakeNvml, selector: selectors.BaseSelector
) -> None:
    nvml.blocked.clear()
    watch = GpuWatch(selector, SLOTS, "ag", nvml)
    watch.begin()
    watch.look((1,), frozenset())
    assert watch.take() == []
    assert selector.select(0) == []
    nvml.blocked.set()
    assert wait(watch, selector) == {1: Finding()}
    nvml.handle_error["GPU-a"] = 15
    watch.look((0,), frozenset())
    assert wait(watch, selector)[0].lost
    watch.close()


def test_a_library_that_misbehaves_says_nothing(nvml: FakeNvml, selector: selectors.BaseSelector) -> None:
    nvml.nvmlDeviceGetTotalEccErrors = None  # type: ignore[assignment, method-assign]
    watch = GpuWatch(selector, SLOTS, "ag", nvml)
    watch.begin()
    watch.look((0,), frozenset())
    assert wait(watch, selector) == {0: Finding()}
    watch.close()


def test_a_watch_that_is_closed_while_it_looks(nvml: FakeNvml, selector: selectors.BaseSelector) -> None:
    nvml.blocked.clear()
    watch = GpuWatch(selector, SLOTS, "ag", nvml)
    watch.begin()
    watch.look((0,), frozenset())
    watch.close()
    nvml.blocked.set()
    for thread in threading.enumerate():
        if thread.name == "gpu-watch":
            thread.join(60)
            assert not thread.is_alive()


# --- the real thing


@pytest.mark.gpu
def test_a_real_gpu_is_free_until_another_program_computes_there(stranger: int) -> None:
    gpus = discover({})
    if not gpus:
        pytest.skip("no NVIDIA GPU on this machine")
    [slot, *_] = plan_slots(1.0, gpus, Resources(cpus=0.1, gpus=1))
    looker = Looker("ag")
    looker.begin([slot])
    before = looker.look([slot])[0]
    assert before.lost == ""
    if before.busy:
        pytest.skip(f"it is in use: {before.busy}")
    program = (
        "import ctypes, os, sys\n"
        "if os.fork(): os._exit(0)\n"
        "cuda = ctypes.CDLL('libcuda.so.1'); assert cuda.cuInit(0) == 0; context = ctypes.c_void_p()\n"
        "assert cuda.cuCtxCreate_v2(ctypes.byref(context), 0, 0) == 0; memory = ctypes.c_uint64()\n"
        "assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(2 << 30)) == 0\n"
        "os.write(1, b'!'); sys.stdin.read()"
    )
    env = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": slot.gpus[0].uuid}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env
    )
    assert process.stdout is not None
    try:
        assert process.stdout.read(1) == b"!"
        assert f"GPU {slot.gpus[0].device} is used by" in looker.look([slot])[0].busy
    finally:
        process.communicate()
