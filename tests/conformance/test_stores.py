"""The shipped conformance suite over every store."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

for module in ("world", "journal_checks", "side_checks", "batch_checks"):
    pytest.register_assert_rewrite(f"sweep.testing._store_{module}")

from sweep.stores import Store  # noqa: E402
from sweep.stores.memory import MemoryStore  # noqa: E402
from sweep.stores.sqlite import SqliteStore  # noqa: E402
from sweep.testing.store_conformance import CHECKS, MODULES  # noqa: E402
from tests.redis_server import RedisCluster, RedisServer  # noqa: E402


class World:
    """A store whose lease clock moves only when it is told to, but for Redis, which has its own."""

    def __init__(self, folder: Path, kind: str, server: RedisServer | RedisCluster | None) -> None:
        self.clock_s, self.real = 1000.0, server is not None
        self.handles: list[Store] = []
        self._make: Callable[[], Store]
        if kind == "memory":
            self._make = MemoryStore(clock=lambda: self.clock_s).client
        elif server is not None:
            from sweep.stores.redis import RedisStore

            def make() -> Store:
                made = RedisStore(server.url)
                if kind == "redis, always packed":
                    made._tidy.segment, made._tidy.pack_at, made._tidy.hot_rows = 3, 2, 1
                return made

            self._make = make
        else:
            path = folder / ".sweep" / "store.db"
            self._make = lambda: SqliteStore(path, create=True, clock=lambda: self.clock_s)

    def open(self) -> Store:
        handle = self._make()
        if threading.current_thread() is threading.main_thread():
            self.handles.append(handle)
        return handle

    def advance(self, seconds: float) -> None:
        self.clock_s += seconds
        if self.real:
            time.sleep(seconds)


@pytest.fixture(params=["memory", "sqlite", "redis", "redis, always packed", "redis cluster"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    server = None
    if request.param.startswith("redis"):
        name = "redis_cluster" if request.param == "redis cluster" else "redis_server"
        server = request.getfixturevalue(name)
    made = World(tmp_path, request.param, server)
    yield made
    for handle in made.handles:
        handle.close()


@pytest.mark.parametrize("check", CHECKS)
def test_store(check: str, world: World) -> None:
    CHECKS[check](world)


def test_the_suite_is_whole() -> None:
    written = sum(inspect.getsource(module).count("@check\n") for module in MODULES)
    assert len(CHECKS) == written >= 30
