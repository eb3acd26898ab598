"""`sweep doctor` on a store on a Redis server."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from sweep.api import checkup_store
from sweep.api.checkup import Finding, Place
from sweep.core import entries as e
from sweep.stores import open_store
from tests.redis_server import RedisServer


def place(folder: Path, url: str) -> Place:
    return Place(folder, url, {})


def only(found: Finding | list[Finding]) -> Finding:
    assert isinstance(found, list) and len(found) == 1
    return found[0]


def test_a_redis_server(redis_server: RedisServer, tmp_path: Path) -> None:
    with closing(open_store(redis_server.url, tmp_path)) as store:
        store.append("s", [e.PauseRequested()], writer="w", first_seq=1)
    found = {finding.name: finding for finding in checkup_store.store(place(tmp_path, redis_server.url))}
    assert found["store"].status == "ok" and "format 1, 1 sweep" in found["store"].found
    assert found["store's durability"].status == "warning", "this one has no append-only file"
    assert (
        found["store's memory"].status == "ok" and "nothing is thrown away" in found["store's memory"].found
    )
    assert found["store's files"].found == "none"
    assert re.search(r"\d ms", found["store's round trip"].found)
    for check in (checkup_store.folder, checkup_store.file_system, checkup_store.disk):
        assert check(place(tmp_path, redis_server.url)) == []


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        ({"appendonly": "yes", "appendfsync": "always"}, "ok", "survives a crash and a power cut"),
        (
            {"appendonly": "yes", "appendfsync": "everysec"},
            "note",
            "survives when the Redis process is killed; when its machine loses power, up to two seconds",
        ),
        ({"appendonly": "no"}, "warning", "snapshots"),
    ],
)
def test_what_a_redis_server_guarantees(
    options: dict[str, str], status: str, words: str, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("r"), **options).start()
    try:
        findings = {finding.name: finding for finding in checkup_store.store(place(tmp_path, server.url))}
        assert findings["store's durability"].status == status
        assert words in findings["store's durability"].found
    finally:
        server.kill()


def test_a_replica_is_no_place_for_agents(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, redis_server: RedisServer
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("r")).start()
    try:
        with closing(server.client()) as client:
            client.execute_command("REPLICAOF", "127.0.0.1", str(redis_server.port))
        found = {finding.name: finding for finding in checkup_store.store(place(tmp_path, server.url))}
        assert found["store"].status == "broken" and "it is a read-only replica" in found["store"].found
        assert "primary" in found["store"].advice
    finally:
        server.kill()


def test_a_redis_server_that_throws_keys_away(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("r"), maxmemory_policy="allkeys-lru").start()
    try:
        memory = {f.name: f for f in checkup_store.store(place(tmp_path, server.url))}["store's memory"]
        assert memory.status == "warning" and "noeviction" in memory.advice, "as soon as it has a maxmemory"
        with closing(server.client()) as client:
            client.config_set("maxmemory", "100mb")
        broken = only(checkup_store.store(place(tmp_path, server.url)))
        assert broken.status == "broken" and "throws keys away" in broken.found
    finally:
        server.kill()
