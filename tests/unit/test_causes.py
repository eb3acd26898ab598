"""Why a program failed: judged by its last words and by the kernel's counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.agents.causes import OomKills, judge, last_words, oom_files, oom_kill_count

TRACE = "Traceback (most recent call last):\n"
DURING = "During handling of the above exception, another exception occurred:\n"


def raised(line: str, *, before: str = "", after: str = "") -> str:
    return f'{before}epoch 3\n{TRACE}  File "train.py", line 7, in <module>\n    step()\n{line}\n{after}'


GPU_MEMORY = [
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79 GiB",
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2.00 GiB",
    "RuntimeError: CUDA out of memory. Tried to allocate 1.00 GiB",
    "RuntimeError: CUDA error: out of memory",
    "RuntimeError: MPS backend out of memory (MPS allocated: 9.06 GB)",
    "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "cupy_backends.cuda.api.runtime.CUDARuntimeError: cudaErrorMemoryAllocation: out of memory",
    "pycuda._driver.Error: CUDA_ERROR_OUT_OF_MEMORY",
    "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.",
    "tensorflow.python.framework.errors_impl.ResourceExhaustedError: OOM when allocating tensor with shape[64] on /device:GPU:0",
]
HOST_MEMORY = [
    "MemoryError",
    "MemoryError: bad allocation",
    "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 7.45 GiB for an array with shape (1000000000,)",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes.",
    "OSError: [Errno 12] Cannot allocate memory",
    "tensorflow.ResourceExhaustedError: OOM when allocating tensor with shape[64] on /device:CPU:0",
]
NODE = [
    "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "Unable to determine the device handle for GPU 0000:3B:00.0: GPU is lost.  Reboot the system to recover this GPU",
    "pynvml.NVMLError_LibRmVersionMismatch: RM has detected an NVML/RM version mismatch: Driver/library version mismatch",
    "OSError: [Errno 28] No space left on device: 'ckpt.pt'",
    "OSError: [Errno 5] Input/output error",
    "OSError: [Errno 116] Stale file handle",
    "RuntimeError: No CUDA GPUs are available",
]
OWN = [
    "ValueError: bad config",
    "RuntimeError: CUDA error: device-side assert triggered",
    "RuntimeError: CUDA error: an illegal memory access was encountered",
    "grpc.RpcError: RESOURCE_EXHAUSTED: received message larger than max (5 vs. 4)",
    "my.NotAMemoryErrorAtAll: x",
    "KeyError: 'MemoryError'",
]


@pytest.mark.parametrize("line", GPU_MEMORY)
def test_out_of_gpu_memory(line: str) -> None:
    cause = judge(1, raised(line), "")
    assert cause is not None
    assert cause.error_class == "gpu_memory"
    assert cause.text.startswith(f"out of GPU memory ({line[:40]}")


@pytest.mark.parametrize("line", HOST_MEMORY)
def test_out_of_memory_on_the_host(line: str) -> None:
    cause = judge(1, raised(line), "")
    assert cause is not None
    assert (cause.error_class, cause.text[:15]) == ("memory", "out of memory (")


@pytest.mark.parametrize("line", NODE)
def test_a_fault_of_the_node(line: str) -> None:
    cause = judge(1, raised(line), "")
    assert cause is not None
    assert (cause.error_class, cause.text[:17]) == ("node", "the node failed (")


@pytest.mark.parametrize("line", OWN)
def test_a_fault_of_its_own(line: str) -> None:
    assert judge(1, raised(line), "") is None


def test_a_program_without_python() -> None:
    cause = judge(
        -6, "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n", ""
    )
    assert cause is not None and cause.error_class == "memory"
    assert judge(3, "it just ends\n", "") is None
    assert judge(3, "", "") is None


def test_what_a_program_survived_says_nothing() -> None:
    survived = raised("torch.cuda.OutOfMemoryError: CUDA out of memory.") + "halving the batch\n"
    assert judge(1, survived + raised("ValueError: no"), "") is None
    again = judge(1, survived + raised("torch.cuda.OutOfMemoryError: CUDA out of memory. Again."), "")
    assert again is not None and again.text.endswith("Again.)")


def test_a_failure_while_another_is_handled_belongs_to_it() -> None:
    output = raised("torch.cuda.OutOfMemoryError: CUDA out of memory.", after="\n" + DURING + "\n")
    cause = judge(1, output + raised("AttributeError: 'NoneType' object has no attribute 'close'"), "")
    assert cause is not None and cause.error_class == "gpu_memory"
    assert last_words("x\n" + output)[0] == TRACE.strip()


def test_a_launcher_that_passes_on_a_failure_is_looked_through() -> None:
    worker = raised("torch.OutOfMemoryError: CUDA out of memory.")
    for line in (
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
        "subprocess.CalledProcessError: Command 'x' returned non-zero exit status 1.",
    ):
        cause = judge(1, worker + raised(line), "")
        assert cause is not None and cause.error_class == "gpu_memory"


def test_the_kernel_counts_when_it_was_a_kill() -> None:
    path = "/sys/fs/cgroup/memory.events"
    for status in (-9, 137):
        cause = judge(status, "", path)
        assert cause is not None
        assert cause.error_class == "memory"
        assert path in cause.text
        assert judge(status, "", "") is None
    assert judge(-15, "", path) is None
    assert judge(1, "", path) is None


def test_evidence_is_short_and_holds_no_secret() -> None:
    cause = judge(1, raised("MemoryError: token=hf_" + "a" * 34 + " " + "x" * 500), "")
    assert cause is not None
    assert "hf_" not in cause.text
    assert len(cause.text) < 200


# --- the kernel's counts

EVENTS = b"low 0\nhigh 0\nmax 33\noom 2\noom_kill 1\noom_group_kill 0\n"
CONTROL = b"oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"
VMSTAT = b"nr_free_pages 1\noom_kill 12\ndrop_pagecache 0\n"


@pytest.mark.parametrize(
    ("text", "count"), [(EVENTS, 1), (CONTROL, 4), (VMSTAT, 12), (b"", None), (b"xoom_kill 3\n", None)]
)
def test_the_count_in_each_form(text: bytes, count: int | None) -> None:
    assert oom_kill_count(text) == count


def test_where_counts_are_looked_for() -> None:
    assert list(oom_files("0::/user.slice/job\n")) == [
        "sys/fs/cgroup/user.slice/job/memory.events",
        "sys/fs/cgroup/memory.events",
        "proc/vmstat",
    ]
    assert list(oom_files("4:cpu,memory:/a\n1:cpu:/\n")) == [
        "sys/fs/cgroup/memory/a/memory.oom_control",
        "sys/fs/cgroup/memory/memory.oom_control",
        "proc/vmstat",
    ]
    assert list(oom_files("")) == ["proc/vmstat"]


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)


def test_a_count_that_rises_is_named(tmp_path: Path) -> None:
    events = "sys/fs/cgroup/job/memory.events"
    write(tmp_path, {"proc/self/cgroup": b"0::/job\n", events: EVENTS, "proc/vmstat": VMSTAT})
    kills = OomKills(tmp_path)
    before = kills.counts()
    assert before == {f"/{events}": 1, "/proc/vmstat": 12}
    assert kills.risen(before) == ""
    write(tmp_path, {"proc/vmstat": VMSTAT.replace(b"12", b"13")})
    assert kills.risen(before) == "/proc/vmstat"
    write(tmp_path, {events: EVENTS.replace(b"oom_kill 1", b"oom_kill 2")})
    assert kills.risen(before) == f"/{events}"
    assert kills.risen({}) == ""
    kills.close()
    assert kills.counts() == {}


def test_a_machine_without_counts(tmp_path: Path) -> None:
    kills = OomKills(tmp_path)
    assert kills.counts() == {}
    assert kills.risen({}) == ""
    kills.close()


@pytest.mark.skipif(not Path("/proc/vmstat").exists(), reason="not Linux")
def test_the_real_counts_can_be_read() -> None:
    kills = OomKills()
    counts = kills.counts()
    assert all(isinstance(count, int) for count in counts.values())
    kills.close()
