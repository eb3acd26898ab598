"""The machine; GPUs are asked for through a stand-in for the driver's library."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.provenance import hardware_record
from sweep.provenance.hardware import container_hint, cuda_version, parse_cpuinfo


class _NvmlError(Exception):
    pass


class _LibraryNotFound(_NvmlError):
    pass


class _DriverNotLoaded(_NvmlError):
    pass


def _library(**changes: Any) -> SimpleNamespace:
    """A machine with two GPUs that know nothing of MIG."""

    def unsupported(handle: int) -> None:
        raise _NvmlError("Not Supported")

    calls: list[str] = []
    content: dict[str, Any] = {
        "NVMLError": _NvmlError,
        "NVMLError_LibraryNotFound": _LibraryNotFound,
        "NVMLError_DriverNotLoaded": _DriverNotLoaded,
        "nvmlInit": lambda: calls.append("init"),
        "nvmlShutdown": lambda: calls.append("shutdown"),
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda handle: b"Example GPU",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=8 * 2**30),
        "nvmlDeviceGetMigMode": unsupported,
        "nvmlDeviceGetEccMode": lambda handle: [1, 1],
        "nvmlDeviceGetCudaComputeCapability": lambda handle: (9, 0),
        "nvmlSystemGetDriverVersion": lambda: "550.54",
        "nvmlSystemGetCudaDriverVersion_v2": lambda: 12040,
        "calls": calls,
    }
    return SimpleNamespace(**{**content, **changes})


def _raiser(error: Exception) -> Any:
    def raise_it(*arguments: object) -> None:
        raise error

    return raise_it


def test_gpus_are_recorded_as_plain_data(monkeypatch: pytest.MonkeyPatch) -> None:
    library = _library()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    record = hardware_record()
    gpu = {"name": "Example GPU", "memory_bytes": 8 * 2**30, "ecc": True, "compute_capability": "9.0"}
    assert record["gpus"] == [{**gpu, "uuid": "GPU-0"}, {**gpu, "uuid": "GPU-1"}]
    assert (record["gpu_driver"], record["cuda_version"]) == ("550.54", "12.4")
    assert library.calls == ["init", "shutdown"]
    assert json.loads(json.dumps(record)) == record


@pytest.mark.parametrize("error", [_LibraryNotFound(), _DriverNotLoaded()])
def test_without_a_driver_there_are_no_gpus(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _library(nvmlInit=_raiser(error)))
    record = hardware_record()
    assert record["gpus"] == [] and "gpus" not in record["not_measured"]


def test_a_failing_driver_is_said_and_nothing_is_invented(monkeypatch: pytest.MonkeyPatch) -> None:
    library = _library(nvmlDeviceGetUUID=_raiser(_NvmlError("GPU is lost")))
    monkeypatch.setitem(sys.modules, "pynvml", library)
    record = hardware_record()
    assert record["gpus"] == [] and "gpu_driver" not in record
    assert record["not_measured"] == {"gpus": "not measured: _NvmlError: GPU is lost"}
    assert library.calls == ["init", "shutdown"]


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", _library(nvmlDeviceGetCount=lambda: 0))
    record = hardware_record()
    assert record["memory_bytes"] > 2**20 and record["cpu"]["cores"] >= record["cpu"]["cores_usable"] >= 1
    assert record["host"] and record["os"] and record["kernel"]


def test_cpuinfo_of_common_processors() -> None:
    intel = "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: sse4_2 avx2 fma\n\nprocessor\t: 1\nmodel name\t: Other\n"
    assert parse_cpuinfo(intel) == ("Some CPU @ 2GHz", ["avx2", "fma", "sse4_2"])
    assert parse_cpuinfo("processor : 0\nFeatures : fp asimd\n") == ("", ["asimd", "fp"])


@pytest.mark.parametrize(
    ("path", "text", "hint"),
    [
        (".dockerenv", "", "docker"),
        ("run/.containerenv", "", "podman"),
        (".singularity.d/x", "", "apptainer"),
        ("proc/1/cgroup", "0::/kubepods/pod1\n", "kubepods"),
        ("proc/1/cgroup", "0::/init.scope\n", ""),
        ("other", "", ""),
    ],
)
def test_hints_of_a_container(path: str, text: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_text(text)
    assert container_hint(tmp_path) == hint


def test_cuda_versions() -> None:
    assert [cuda_version(number) for number in (11080, 12040, 13000)] == ["11.8", "12.4", "13.0"]
