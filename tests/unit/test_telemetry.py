"""What runs use, read from real processes; GPUs, their energy and that of processors by stand-ins at the libraries' boundary."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.agents import telemetry, trees
from sweep.agents.gpus import Gpu, Slot
from sweep.agents.meters import GpuMeter, NodeMeter, TreeMeter
from sweep.agents.telemetry import Key, Sampler, Telemetry
from sweep.core import entries as e
from sweep.core.samples import unpack
from sweep.core.spec import Limits

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
GIB = 1 << 30

# Burns CPU, takes memory and writes a file, in itself, a child and a grandchild; says so, and waits to be told to end.
BUSY = """
import os, subprocess, sys, time
depth, folder = int(sys.argv[1]), sys.argv[2]
child = None
if depth:
    child = subprocess.Popen([sys.executable, "-S", "-c", os.environ["BUSY"], str(depth - 1), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
block = b"x" * 30_000_000
with open(os.path.join(folder, "file%d" % depth), "wb") as file:
    file.write(os.urandom(3_000_000)); file.flush(); os.fsync(file.fileno())
while time.process_time() < 0.3: pass
print("done", flush=True)
sys.stdin.read()
if child is not None: child.communicate()
"""
ORPHAN = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while time.process_time() < 0.3: pass
        os.write(1, b"done\\n"); sys.stdin.read(); os._exit(0)
    os._exit(0)
os.wait()
sys.stdin.read()
"""


@contextlib.contextmanager
def started(program: str, *args: str, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has said that it is done with its work, and is told to end afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", program, *args],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **env}, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        yield process
    finally:
        process.communicate()


def wait_for(what: Callable[[], Any], for_s: float = 60.0) -> None:
    until = time.monotonic() + for_s
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


@linux
def test_a_tree_with_children_and_grandchildren(tmp_path: Path) -> None:
    with started(BUSY, "2", str(tmp_path), BUSY=BUSY) as process:
        read = TreeMeter(process.pid).read()
        assert read is not None
        assert read.processes == 3
        assert 0.8 <= read.cpu_s < 30
        assert 90_000_000 < read.memory_bytes < 400_000_000
        assert read.written_bytes is not None
        assert read.written_bytes >= 9_000_000
    assert TreeMeter(process.pid).read() is None


@linux
def test_children_that_were_waited_for_count_on() -> None:
    program = "import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', 'import time\\nwhile time.process_time() < 0.3: pass'])\nprint('done', flush=True); sys.stdin.read()"
    with started(program) as process:
        read = TreeMeter(process.pid).read()
        assert read is not None
        assert read.processes == 1
        assert read.cpu_s >= 0.28


@linux
def test_a_daemon_that_left_its_session_and_lost_its_parent_counts() -> None:
    was, before, orphans = trees.is_subreaper(), set(trees.listed_children(os.getpid())), list[int]()
    trees.become_subreaper()
    try:
        with started(ORPHAN, SWEEP_RUN_ID="swp-7", SWEEP_ATTEMPT="1") as process:
            mine, other = ({b"SWEEP_RUN_ID=swp-7", b"SWEEP_ATTEMPT=1"}, {b"SWEEP_RUN_ID=swp-8"})
            orphans = sorted({*trees.listed_children(os.getpid())} - before - {process.pid})
            read = TreeMeter(process.pid, mine).read()
            assert read is not None
            assert (read.processes, read.cpu_s >= 0.28) == (2, True)
            of_another = TreeMeter(process.pid, other).read()
            assert of_another is not None
            assert of_another.processes == 1
    finally:
        for orphan in orphans:
            os.waitpid(orphan, 0)
        if not was:
            trees.stop_being_subreaper()


# --- devices


class FakeNvml:
    """As much of `pynvml` as is used. Counters stand still but for a person's hand on them."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.energy_mj = {"GPU-a": 1_000_000, "GPU-b": 9_000_000}
        self.open = 0
        self.silent: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        return uuid

    def nvmlDeviceGetUtilizationRates(self, handle: str) -> Any:
        return SimpleNamespace(gpu=80 if handle == "GPU-a" else 40)

    def nvmlDeviceGetMemoryInfo(self, handle: str) -> Any:
        return SimpleNamespace(used=10 * GIB)

    def nvmlDeviceGetPowerUsage(self, handle: str) -> int:
        return 300_000

    def nvmlDeviceGetTemperature(self, handle: str, sensor: int) -> int:
        assert sensor == 0
        return 60 if handle == "GPU-a" else 70

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        self.gate.wait(60)
        if handle in self.silent:
            raise self.NVMLError("not supported")
        return self.energy_mj[handle]


A, B = Gpu(0, "GPU-a", "H100", 80 * GIB), Gpu(1, "GPU-b", "H100", 80 * GIB)


def zone(folder: Path, microjoules: int, most: int = 1_000_000_000) -> Path:
    place = folder / "intel-rapl:0"
    (place / "intel-rapl:0:0").mkdir(parents=True, exist_ok=True)  # a part of it: not counted twice
    (place / "max_energy_range_uj").write_text(str(most))
    (place / "new").write_text(str(microjoules))
    (place / "new").replace(place / "energy_uj")  # whole, whenever it is read
    return folder


class Desk:
    """A loop's side, with a sampler of its own."""

    def __init__(self, nvml: FakeNvml, powercap: Path) -> None:
        self.nvml, self.sampler = nvml, Sampler(nvml, powercap)
        self.selector = selectors.DefaultSelector()
        self.telemetry = Telemetry(self.selector, "agent", self.sampler)
        self.kept: dict[str, bytes] = {}
        self.told: list[e.AnyEntry] = []
        self.over: list[Key] = []

    def begin(self, run: int, *gpus: Gpu, share: float = 1.0, pid: int = 0) -> None:
        slot = Slot(run, 1.0, gpus, share)
        self.telemetry.begin((run, 1), pid or os.getpid(), slot, set(), time.monotonic())
        wait_for(lambda: not self.sampler._opened)
        with self.sampler.lock:  # it is in, and its devices were read
            pass

    def end(self, run: int, disk: tuple[int, int] | None = None) -> e.Usage:
        self.telemetry.ended((run, 1), lambda: self.over.append((run, 1)))
        until = time.monotonic() + 60
        while (run, 1) not in self.over:
            assert time.monotonic() < until
            for key, _ in self.selector.select(0.05):
                key.data()
            self.step(time.monotonic())
        usage, _ = self.telemetry.last((run, 1), disk, self.kept.__setitem__)
        assert usage is not None
        return usage

    def step(self, now_s: float, limits: Limits | None = None) -> None:
        self.telemetry.step(now_s, limits or Limits(), self.told.append, self.kept.__setitem__)

    def samples(self, run: int) -> Any:
        found = unpack(self.kept.get(f"usage/{run}/1"))
        assert found is not None
        return found


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(telemetry, "LINGER_S", 0.0)
    made = Desk(FakeNvml(), tmp_path / "none")
    yield made
    made.telemetry.close()
    made.selector.close()
    made.nvml.gate.set()
    wait_for(lambda: made.sampler._thread is None)
    wait_for(lambda: made.nvml.open == 0)


def test_energy_is_the_difference_of_the_counters_of_its_gpus(desk: Desk) -> None:
    desk.begin(0, A, B)
    wait_for(lambda: {"GPU-a", "GPU-b"} <= desk.sampler._energy.keys())
    desk.nvml.energy_mj["GPU-a"] += 5_000
    desk.nvml.energy_mj["GPU-b"] += 2_500
    usage = desk.end(0)
    assert (usage.gpu_energy_j, usage.energy_j, usage.gpu_shared) == (7.5, 7.5, False)
    assert (usage.gpu_percent, usage.gpu_memory_bytes, usage.gpu_celsius) == (60.0, 20 * GIB, 70.0)
    assert usage.node_cpu_energy_j is None, "this machine shows none, and none is not zero"
    assert desk.samples(0).columns["gpu.percent"][-1] == 60


def test_a_shared_gpu_is_labelled_and_counts_once_in_sums(desk: Desk) -> None:
    desk.begin(0, A, share=0.5)
    wait_for(lambda: "GPU-a" in desk.sampler._energy)
    desk.nvml.energy_mj["GPU-a"] += 1_000  # the first alone
    desk.begin(1, A, share=0.5)
    wait_for(lambda: len(desk.sampler._here) == 2)
    desk.nvml.energy_mj["GPU-a"] += 4_000  # both
    first, second = desk.end(0), desk.end(1)
    assert (first.gpu_energy_j, second.gpu_energy_j) == (5.0, 4.0)
    assert (first.energy_j, second.energy_j) == (3.0, 2.0), "together what the device has used"
    assert first.gpu_shared and second.gpu_shared
    assert desk.samples(0).gpu_shared


def test_a_counter_that_does_not_answer_is_not_measured(desk: Desk) -> None:
    desk.nvml.silent.add("GPU-a")
    desk.begin(0, A)
    usage = desk.end(0)
    assert (usage.gpu_energy_j, usage.energy_j) == (None, None)
    assert usage.gpu_percent == 80.0


def test_a_gpu_that_hangs_does_not_hold_up_the_end_of_a_run(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "WAIT_S", 0.05)
    desk.nvml.gate.clear()
    desk.telemetry.begin((0, 1), os.getpid(), Slot(0, 1.0, (A,)), set(), time.monotonic())
    usage = desk.end(0)
    assert usage.gpu_energy_j is None


def test_a_library_that_misbehaves_costs_no_run_its_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: str) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(desk.nvml, "nvmlDeviceGetUtilizationRates", broken, raising=False)
    desk.telemetry.begin((0, 1), os.getpid(), Slot(0, 1.0, (A,)), set(), time.monotonic())
    wait_for(lambda: desk.sampler._here)
    assert desk.end(0).gpu_percent is None
    monkeypatch.undo()
    monkeypatch.setattr(telemetry, "LINGER_S", 0.0)
    desk.begin(1, A)
    wait_for(lambda: "GPU-a" in desk.sampler._energy)
    desk.nvml.energy_mj["GPU-a"] += 1_000
    assert desk.end(1).gpu_energy_j == 1.0, "the next one is looked at again"


def test_processors_where_they_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "LINGER_S", 0.0)
    desk = Desk(FakeNvml(), zone(tmp_path, 999_000_000))
    try:
        desk.begin(0)
        desk.begin(1)
        wait_for(lambda: len(desk.sampler._here) == 2)
        zone(tmp_path, 3_000_000)  # the counter was full, and began anew
        first, second = desk.end(0), desk.end(1)
        assert (first.node_cpu_energy_j, first.energy_j) == (pytest.approx(4.0), pytest.approx(2.0))
        assert second.energy_j == pytest.approx(2.0)
    finally:
        desk.telemetry.close()
        desk.selector.close()


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may read everything")
def test_counters_for_root_only_say_so(tmp_path: Path) -> None:
    (zone(tmp_path, 1) / "intel-rapl:0" / "energy_uj").chmod(0)
    assert "root only" in NodeMeter(tmp_path).why_no_energy


def test_a_node_without_counters_says_so(tmp_path: Path) -> None:
    meter = NodeMeter(tmp_path)
    assert "no energy counters" in meter.why_no_energy
    assert meter.read().cpu_energy_j is None


def test_an_instance_of_a_gpu_has_the_energy_of_the_whole(desk: Desk) -> None:
    nvml: Any = desk.nvml
    nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle = lambda handle: "GPU-a"
    nvml.nvmlDeviceGetUUID = lambda handle: handle
    meter = GpuMeter(nvml)
    read = meter.read(["MIG-1"])["MIG-1"]
    meter.close()
    assert (read.energy_j, read.device) == (1000.0, "GPU-a")


# --- what reaches the store


@linux
def test_a_run_is_sampled_kept_and_reported(
    tmp_path: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "FIRST_S", 0.05)
    monkeypatch.setattr(telemetry, "EVERY_S", 0.05)
    with started(BUSY, "1", str(tmp_path), BUSY=BUSY) as process:
        desk.begin(0, pid=process.pid)
        [metered] = [here.metered for here in desk.telemetry._runs.values()]
        wait_for(lambda: metered.sums.count >= 4)
        now = time.monotonic()
        desk.step(now + 31)
        assert list(desk.kept) == ["usage/0/1"]
        assert desk.told == []
        desk.step(now + 33, Limits(cpu_hours=1))
        [report] = desk.told
        assert isinstance(report, e.UsageReported)
        assert report.cpu_s is not None and report.cpu_s >= 0.5
        assert report.energy_j is None
        usage, seen_s = desk.telemetry.last((0, 1), (0, 50_000_000), desk.kept.__setitem__)
    assert usage is not None
    assert seen_s >= 0.5
    assert usage.memory_bytes is not None and usage.memory_bytes > 50_000_000
    assert usage.written_bytes == 50_000_000, "the kernel's last word is more than was seen"
    assert desk.samples(0).columns["memory.bytes"][-1] > 50_000_000


def test_a_run_that_was_over_at_once_has_what_the_kernel_says(desk: Desk) -> None:
    desk.begin(0, pid=2**22 + 1)
    usage = desk.end(0, (4096, 8192))
    assert (usage.samples, usage.read_bytes, usage.written_bytes) == (0, 4096, 8192)
    assert usage.memory_bytes is None
    assert desk.kept == {}
    desk.begin(1, pid=2**22 + 1)
    assert desk.end(1, None).read_bytes is None


def test_what_is_forgotten_is_told_of_no_more(desk: Desk) -> None:
    desk.begin(0, A)
    desk.telemetry.ended((0, 1), lambda: desk.over.append((0, 1)))
    desk.telemetry.forget()
    desk.step(time.monotonic() + 100)
    assert (desk.over, desk.kept) == ([], {})


def test_when_the_guard_dies_nothing_is_waited_for(desk: Desk) -> None:
    desk.nvml.gate.clear()
    desk.telemetry.begin((0, 1), os.getpid(), Slot(0, 1.0, (A,)), set(), time.monotonic())
    desk.telemetry.ended((0, 1), lambda: desk.over.append((0, 1)))
    desk.telemetry.give_up()
    assert desk.over == [(0, 1)]
