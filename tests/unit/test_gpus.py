"""What a node has and how it is divided, with a stand-in for NVIDIA's library; and once with a real GPU, where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.agents.gpus import Gpu, NotEnough, cpu_count, discover, plan_slots, select, usable, visible_env
from sweep.core.spec import Resources

GIB = 1 << 30


class FakeNvml:
    """As much of `pynvml` as is used. `gpus`: per GPU None (fallen off the bus), a name, or a list of names of instances."""

    class NVMLError(Exception):
        pass

    def __init__(self, *gpus: str | list[str | None] | None, works: bool = True, old: bool = False) -> None:
        self.gpus, self.works, self.old = gpus, works, old
        self.open = 0

    def nvmlInit(self) -> None:
        if not self.works:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        if self.gpus[index] is None:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(index=index, uuid=f"GPU-{index}aaa", name=self.gpus[index])

    def nvmlDeviceGetMigMode(self, handle: Any) -> list[int]:
        if self.old:
            raise self.NVMLError("Not Supported")
        divided = int(isinstance(self.gpus[handle.index], list))
        return [divided, divided]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Any) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Any, index: int) -> Any:
        instances = self.gpus[handle.index]
        assert isinstance(instances, list)
        if index >= len(instances) or instances[index] is None:
            raise self.NVMLError("Not Found")
        return SimpleNamespace(uuid=f"MIG-{handle.index}{index}bbb", name=instances[index])

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return str(handle.uuid)

    def nvmlDeviceGetName(self, handle: Any) -> bytes:
        return str(handle.name).encode()

    def nvmlDeviceGetMemoryInfo(self, handle: Any) -> Any:
        return SimpleNamespace(total=80 * GIB)


def some(count: int) -> list[Gpu]:
    return discover({}, FakeNvml(*["H100"] * count))


# --- discovery


def test_all_gpus_are_found_and_the_library_is_closed_again() -> None:
    nvml = FakeNvml("H100", "H200")
    assert discover({}, nvml) == [
        Gpu(0, "GPU-0aaa", "H100", 80 * GIB),
        Gpu(1, "GPU-1aaa", "H200", 80 * GIB),
    ]
    assert nvml.open == 0


@pytest.mark.parametrize("nvml", [FakeNvml(), FakeNvml("H100", works=False)])
def test_no_gpu_is_no_error(nvml: FakeNvml) -> None:
    assert discover({}, nvml) == []
    assert discover({"CUDA_VISIBLE_DEVICES": "0"}, nvml) == []


def test_a_gpu_that_is_lost_is_left_out() -> None:
    assert [gpu.index for gpu in discover({}, FakeNvml("H100", None, "H100"))] == [0, 2]


def test_old_gpus_have_no_instances() -> None:
    assert [gpu.uuid for gpu in discover({}, FakeNvml("V100", old=True))] == ["GPU-0aaa"]


def test_a_divided_gpu_is_its_instances() -> None:
    found = discover({}, FakeNvml("H100", ["1g", None, "2g"]))
    assert [gpu.uuid for gpu in found] == ["GPU-0aaa", "MIG-10bbb", "MIG-12bbb"]
    assert [gpu.device for gpu in found] == ["0", "MIG-10bbb", "MIG-12bbb"]


@pytest.mark.parametrize(
    ("value", "indices"),
    [
        ("0,1,2", [0, 1, 2]),
        ("2,0", [2, 0]),
        (" 1 , 2 ", [1, 2]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,-1,2", [1]),
        ("0,9,1", [0]),
        ("1,1", [1]),
        ("GPU-2aaa,GPU-0aaa", [2, 0]),
        ("GPU-1", [1]),
        ("GPU-", []),  # the beginning of more than one
        ("GPU-nope", []),
    ],
)
def test_an_inherited_cuda_visible_devices_is_obeyed(value: str, indices: list[int]) -> None:
    found = discover({"CUDA_VISIBLE_DEVICES": value}, FakeNvml("a", "b", "c"))
    assert [gpu.index for gpu in found] == indices


@pytest.mark.parametrize(
    "value", ["", "-1", "NoDevFiles", "none", "void", "0,1", "GPU-1", "1,-1,9", "MIG-20"]
)
def test_what_hides_gpus_on_purpose_is_nothing_to_talk_about(value: str) -> None:
    assert usable({"CUDA_VISIBLE_DEVICES": value}, FakeNvml("a", "b", ["1g"]))[1] == ""


@pytest.mark.parametrize(
    ("value", "entry"),
    [("7", "7"), ("0,7", "7"), ("GPU-nope", "GPU-nope"), ("MIG-9,0", "MIG-9"), ("gpu0", "gpu0")],
)
def test_an_inherited_entry_that_names_nothing_is_said(value: str, entry: str) -> None:
    says = usable({"CUDA_VISIBLE_DEVICES": value}, FakeNvml("a", "b", ["1g"]))[1]
    assert says.startswith(
        f"CUDA_VISIBLE_DEVICES={value}: there is no GPU {entry} here (there is 0, 1, MIG-20bbb)"
    )


def test_an_inherited_instance_is_obeyed() -> None:
    nvml = FakeNvml(["1g", "2g"], "H100")
    assert [g.uuid for g in discover({"CUDA_VISIBLE_DEVICES": "MIG-01"}, nvml)] == ["MIG-01bbb"]
    assert [g.uuid for g in discover({"CUDA_VISIBLE_DEVICES": "0"}, nvml)] == ["MIG-00bbb", "MIG-01bbb"]


# --- selection


def test_selection() -> None:
    gpus = some(3)
    assert select(gpus, None) == gpus
    assert select(gpus, "none") == select(gpus, " None ") == []
    assert [gpu.index for gpu in select(gpus, "2, 0")] == [2, 0]
    assert [gpu.index for gpu in select(gpus, "GPU-1aaa")] == [1]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("3", "--gpus 3: there is no GPU 3; this agent can use 0, 1"),
        ("0,,1", "there is no GPU (empty)"),
        ("zero", "there is no GPU zero"),
        ("0,0", "GPU 0 is named twice"),
    ],
)
def test_a_selection_that_cannot_be(wanted: str, says: str) -> None:
    with pytest.raises(NotEnough) as error:
        select(some(2), wanted)
    assert says in str(error.value)


def test_a_selection_on_a_machine_without() -> None:
    with pytest.raises(NotEnough, match="there is no GPU 0; this agent can use none"):
        select([], "0")


def test_what_a_run_sees() -> None:
    gpus = discover({}, FakeNvml("a", ["1g"], "c"))
    assert visible_env(gpus) == {
        "CUDA_VISIBLE_DEVICES": "0,MIG-10bbb,2",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    assert visible_env([])["CUDA_VISIBLE_DEVICES"] == ""


# --- slots


def layout(slots: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(gpu.index for gpu in slot.gpus) for slot in slots]


@pytest.mark.parametrize(
    ("cpus", "gpus", "resources", "slots", "expected", "each"),
    [
        # Nothing asked: one GPU per run where there are some, else one CPU per run.
        (8.0, 4, Resources(), None, [(0,), (1,), (2,), (3,)], 2.0),
        (8.0, 0, Resources(), None, [()] * 8, 1.0),
        (2.5, 0, Resources(), None, [()] * 2, 1.0),
        (0.5, 0, Resources(), None, [()], 0.5),
        (8.0, 2, Resources(gpus=0), None, [()] * 8, 1.0),
        # Asked: as many as fit.
        (8.0, 4, Resources(gpus=2), None, [(0, 1), (2, 3)], 4.0),
        (8.0, 5, Resources(gpus=2), None, [(0, 1), (2, 3)], 4.0),
        (8.0, 2, Resources(gpus=0.5), None, [(0,), (1,), (0,), (1,)], 2.0),
        (9.0, 1, Resources(gpus=0.3), None, [(0,)] * 3, 3.0),
        (8.0, 4, Resources(cpus=3), None, [(0,), (1,)], 3.0),
        (8.0, 0, Resources(cpus=3), None, [(), ()], 3.0),
        (1.0, 0, Resources(cpus=0.1), None, [()] * 10, 0.1),
        # A number of slots.
        (8.0, 4, Resources(), 2, [(0,), (1,)], 4.0),
        (8.0, 0, Resources(), 2, [(), ()], 4.0),
        (2.0, 0, Resources(), 4, [()] * 4, 0.5),
        (8.0, 0, Resources(cpus=2), 3, [()] * 3, 2.0),
        (8.0, 2, Resources(gpus=0.5), 2, [(0,), (1,)], 4.0),
    ],
)
def test_slots(
    cpus: float,
    gpus: int,
    resources: Resources,
    slots: int | None,
    expected: list[tuple[int, ...]],
    each: float,
) -> None:
    planned = plan_slots(cpus, some(gpus), resources, slots)
    assert layout(planned) == expected
    assert [slot.number for slot in planned] == list(range(len(expected)))
    assert {slot.cpus for slot in planned} == {each}


def test_shares() -> None:
    assert {slot.share for slot in plan_slots(8, some(2), Resources(gpus=0.5))} == {0.5}
    assert {slot.share for slot in plan_slots(8, some(2), Resources(gpus=2))} == {1.0}
    assert {slot.share for slot in plan_slots(8, [], Resources())} == {1.0}


@pytest.mark.parametrize(
    ("cpus", "gpus", "resources", "slots", "says"),
    [
        (8.0, 1, Resources(gpus=2), None, "each run needs 2 GPUs, this node has 1"),
        (8.0, 0, Resources(gpus=1), None, "each run needs 1 GPU, this node has none"),
        (8.0, 0, Resources(gpus=0.5), None, "each run needs 0.5 GPU, this node has none"),
        (8.0, 4, Resources(gpus=1.5), None, "neither a whole number of GPUs nor a part of one"),
        (2.0, 0, Resources(cpus=4), None, "each run needs 4 CPUs, this node has 2"),
        (0.5, 0, Resources(cpus=1), None, "each run needs 1 CPU, this node has 0.5"),
        (2.0, 0, Resources(cpus=0), None, "resources.cpus: 0 is not above 0"),
        (
            8.0,
            2,
            Resources(),
            3,
            "3 slots with 1 GPU each are too many: this node has 2 GPUs, room for 2 (to share a GPU",
        ),
        (8.0, 2, Resources(gpus=1), 3, "room for 2"),
        (
            4.0,
            0,
            Resources(cpus=2),
            3,
            "3 slots with 2 CPUs each are too many: this node has 4 CPUs, room for 2",
        ),
        (4.0, 4, Resources(cpus=4, gpus=1), 2, "2 slots with 1 GPU and 4 CPUs each"),
    ],
)
def test_not_enough(cpus: float, gpus: int, resources: Resources, slots: int | None, says: str) -> None:
    with pytest.raises(NotEnough) as error:
        plan_slots(cpus, some(gpus), resources, slots)
    assert says in str(error.value)


# --- CPUs


def node(tmp_path: Path, cgroup: str, **quotas: str) -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup; in the names of quotas, `_` stands for the root and `a_b` for a/b."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(cgroup)
    for name, quota in quotas.items():
        folder = tmp_path / "cgroup" / name.strip("_").replace("_", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(quota)
    return tmp_path / "proc", tmp_path / "cgroup"


@pytest.fixture
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.usefixtures("eight")
@pytest.mark.parametrize(
    ("cgroup", "quotas", "cpus"),
    [
        ("0::/\n", {"_": "max 100000\n"}, 8.0),
        ("0::/\n", {"_": "250000 100000\n"}, 2.5),
        ("1:cpu:/x\n0::/a/b\n", {"a_b": "max 100000", "a": "300000 100000"}, 3.0),
        ("0::/a/b\n", {"a_b": "200000 100000", "a": "300000 100000"}, 2.0),
        ("0::/a\n", {"a": "9900000 100000"}, 8.0),
        ("0::/a\n", {"a": "nonsense"}, 8.0),
        ("0::/../../other\n", {"_": "100000 100000"}, 1.0),
        ("0::/not/visible/here\n", {"_": "400000 100000"}, 4.0),
        ("1:cpu:/old\n", {}, 8.0),
    ],
)
def test_cpu_quota_of_control_groups(
    tmp_path: Path, cgroup: str, quotas: dict[str, str], cpus: float
) -> None:
    assert cpu_count(*node(tmp_path, cgroup, **quotas)) == cpus


@pytest.mark.usefixtures("eight")
def test_cpus_without_any_control_group(tmp_path: Path) -> None:
    assert cpu_count(tmp_path / "none", tmp_path / "none") == 8.0


def test_cpus_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cpu_count(tmp_path, tmp_path) == 6.0


def test_cpus_of_this_machine() -> None:
    assert 0 < cpu_count() <= (os.cpu_count() or 1)


# --- the real thing


@pytest.mark.gpu
def test_a_real_gpu_is_found_and_a_run_sees_only_its_own() -> None:
    gpus = discover({})
    if not gpus:
        pytest.skip("no NVIDIA GPU on this machine")
    assert all(gpu.memory_bytes > GIB and gpu.uuid.startswith(("GPU-", "MIG-")) for gpu in gpus)
    last = plan_slots(cpu_count(), gpus, Resources())[-1]
    program = (
        "import ctypes; cuda = ctypes.CDLL('libcuda.so.1'); assert cuda.cuInit(0) == 0; n = ctypes.c_int();"
        "cuda.cuDeviceGetCount(ctypes.byref(n)); print(n.value)"
    )
    env = {**os.environ, **visible_env(last.gpus)}
    seen = subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True
    )
    assert seen.stdout == "1\n"
