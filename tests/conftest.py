"""What all tests share: a real redis-server, one for each worker."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.redis_server import RedisCluster, RedisServer

# The same examples every time, and no verdict that depends on how busy the machine is.
settings.register_profile(
    "ours", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ours")
# A shell lets what it starts in the background (`.ci/run &`) ignore Ctrl-C, and all that starts there would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means: one more than there are cores, for a third of the time a worker waits for processes."""
    return (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    with tempfile.TemporaryDirectory(prefix="sweep-redis-") as folder:  # short: a socket's path is limited
        server = RedisServer(Path(folder)).start()
        yield server
        server.kill()


@pytest.fixture
def redis_server(shared_redis: RedisServer) -> Iterator[RedisServer]:
    """An empty server; tests that change its settings start one of their own."""
    client: Any = shared_redis.client()
    client.flushall()
    client.close()
    yield shared_redis


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[RedisCluster]:
    with tempfile.TemporaryDirectory(prefix="sweep-redis-") as folder:
        cluster = RedisCluster(Path(folder))
        yield cluster
        cluster.kill()


@pytest.fixture
def redis_cluster(shared_cluster: RedisCluster) -> Iterator[RedisCluster]:
    """An empty Redis Cluster."""
    shared_cluster.flush()
    yield shared_cluster
