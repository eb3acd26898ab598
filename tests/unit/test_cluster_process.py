"""The agent process of a slot without Ray around it: its environment, the wait for its GPU, its end with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sweep.cluster import ClusterError
from sweep.cluster.cluster import _unreachable, connected, starts_ray
from sweep.cluster.launch import _check_store
from sweep.cluster.order import Order
from sweep.cluster.process import AgentProcess, agent_environ, environ_at_start, occupants
from sweep.cluster.shape import ClusterNode

SECRET = "rediss://:hunter2hunter2@store.example/0"


def order(folder: Path, **more: Any) -> Order:
    given = {
        "sweep": "nosuch",
        "store_url": f"sqlite:///{folder}/.sweep/store.db",
        "cwd": str(folder),
        "workdir": str(folder),
        "kill_after_s": 0.0,
        "environ": {"SWEEP_STORE": f"sqlite:///{folder}/.sweep/store.db"},
    }
    return Order(**{**given, **more})


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    found: list[subprocess.Popen[bytes]] = []
    yield found
    for child in found:
        child.kill()
        child.wait()


def test_the_environment_of_an_agent(tmp_path: Path) -> None:
    node = {
        "PATH": "/bin",
        "HF_HOME": "/data",
        "OMP_NUM_THREADS": "7",
        "CUDA_VISIBLE_DEVICES": "2,3",
        "RAY_JOB_ID": "01",
        "SPT_NOENV": "1",
        "PYTHONBREAKPOINT": "ray.util.rpdb.set_trace",
        "SWEEP_RUN_ID": "outer",
    }
    env = agent_environ(node, {"CUDA_VISIBLE_DEVICES": "3"}, order(tmp_path, environ={"SWEEP_STORE": SECRET}))
    assert env == {
        "PATH": "/bin",
        "HF_HOME": "/data",
        "OMP_NUM_THREADS": "7",
        "CUDA_VISIBLE_DEVICES": "3",
        "SWEEP_STORE": SECRET,
        "SWEEP_LAUNCHED": "1",
    }
    assert agent_environ(node, {}, order(tmp_path))["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_what_was_set_since_the_start_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as Ray does
    monkeypatch.setenv("SET_LATER", "1")
    found = environ_at_start()
    assert found["PATH"]
    assert "OMP_NUM_THREADS" not in found or not Path("/proc").is_dir()
    if Path("/proc/self/environ").exists():
        assert "SET_LATER" not in found


def test_an_order_does_not_show_its_store(tmp_path: Path) -> None:
    assert "hunter2" not in repr(order(tmp_path, store_url=SECRET, environ={"SWEEP_STORE": SECRET}))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
def test_a_gpu_is_waited_for(tmp_path: Path, children: list[subprocess.Popen[bytes]]) -> None:
    devices = "GPU-of-this-test-only"
    env = {**os.environ, "SWEEP_RUN_ID": "x-1", "CUDA_VISIBLE_DEVICES": f"9,{devices}"}
    sleeping = subprocess.Popen(
        [sys.executable, "-c", "print(end='.', flush=True); import time; time.sleep(600)"],
        env=env,
        stdout=subprocess.PIPE,
    )
    children.append(sleeping)
    assert sleeping.stdout is not None
    assert sleeping.stdout.read(1) == b"."
    sleeping.stdout.close()
    assert occupants(devices) == [sleeping.pid]
    assert occupants("8") == []
    agent = AgentProcess(order(tmp_path), gpus=1, cpus=1, devices=devices, alone=True)
    until = time.monotonic() + 60
    while not agent.problem:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert f"waits until process {sleeping.pid} has left GPU {devices}" in agent.problem
    assert agent.pid == 0
    sleeping.kill()
    sleeping.wait()
    end = agent.wait()  # there is no such store: the agent that is started now says so
    assert (end.code, end.joined) == (2, False)
    assert "store.db" in end.words
    assert agent.problem == ""


def test_an_agent_that_is_told_before_it_starts(
    tmp_path: Path, children: list[subprocess.Popen[bytes]]
) -> None:
    env = {**os.environ, "SWEEP_RUN_ID": "x-1", "CUDA_VISIBLE_DEVICES": "GPU-of-another-test"}
    children.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=env))
    agent = AgentProcess(
        order(tmp_path, kill_after_s=600), gpus=1, cpus=1, devices="GPU-of-another-test", alone=True
    )
    agent.leave(now=True)
    end = agent.wait()
    assert (end.told, end.joined) == (True, False)


def test_leaving_with_standard_input() -> None:
    code = (
        "import signal, time; from sweep.cli import detaching\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); detaching.leave_with_stdin()\n"  # as in Ray's workers
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True); time.sleep(600)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdin is not None and child.stdout is not None
    assert child.stdout.readline() == "set()\n"
    child.stdin.close()
    assert child.wait(60) == -signal.SIGTERM
    child.stdout.close()


def node(host: str) -> ClusterNode:
    return ClusterNode(id=host, host=host, address="10.0.0.1", resources={"CPU": 1.0})


def test_a_store_that_the_cluster_cannot_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "here")
    here, there = node("here"), node("there")
    local = order(tmp_path, host="here")
    _check_store(local, [here, here])
    with pytest.raises(
        ClusterError, match=r"is in a file of this machine .*\(there\).*sweep store serve.*SWEEP_STORE=redis"
    ):
        _check_store(local, [here, there])
    with pytest.raises(ClusterError) as caught:
        _check_store(order(tmp_path, store_url="redis://:hunter2@localhost:6379/0"), [here, there])
    assert "an address that means this machine" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    _check_store(order(tmp_path, store_url="redis://:hunter2@store.example/0"), [here, there])


def test_which_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert starts_ray("auto")
    assert starts_ray("local")
    assert not starts_ray("head:6379")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")  # left by a Ray that is gone
    assert starts_ray("auto")
    assert _unreachable("127.0.0.1:1")
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert not starts_ray("auto")
    assert starts_ray("local")


def test_a_client_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="give host:port"), connected("ray://head:10001", tmp_path):
        pass
