"""The files in docker/: no engine is at hand to build or start them, so they are parsed and checked for what can be told without."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from sweep.cli.main import cli
from sweep.stores import StoreError, open_store
from tests.redis_server import find_server, free_port

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
INSTRUCTIONS = set(
    "ARG FROM RUN CMD LABEL EXPOSE ENV ADD COPY ENTRYPOINT VOLUME USER WORKDIR ONBUILD STOPSIGNAL HEALTHCHECK SHELL".split()
)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, their continued lines put together."""
    text = re.sub(r"^\s*#.*\n", "", (FOLDER / "Dockerfile").read_text("utf-8"), flags=re.M)
    joined = re.sub(r"\\\n\s*", "", text)
    return [
        (line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()
    ]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    return found


def test_the_dockerfile_is_one() -> None:
    found = instructions()
    names = [name for name, _ in found]
    assert set(names) <= INSTRUCTIONS
    assert names[: names.index("FROM")] in ([], ["ARG"])
    for name, rest in found:
        if name in ("CMD", "ENTRYPOINT"):
            assert all(isinstance(word, str) for word in json.loads(rest))
        elif name == "COPY":
            *sources, _ = shlex.split(rest)
            assert [source for source in sources if not (ROOT / source).exists()] == []
        elif name == "RUN":
            assert rest.count("(") == rest.count(")")
            assert not rest.rstrip().endswith("&&")
    users = [rest for name, rest in found if name == "USER"]
    assert users and users[-1] not in ("root", "0")


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")
    }
    copied = {source for name, rest in instructions() if name == "COPY" for source in shlex.split(rest)[:-1]}
    assert copied == kept


def test_the_services_fit_together() -> None:
    found = compose()
    services = found["services"]
    assert set(services) == {"redis", "ray-head", "ray-worker", "digits"}
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"} and "healthcheck" in services[other]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source in found["volumes"] or (FOLDER / source).resolve() == ROOT
        assert "ports" not in service  # nothing for others to reach
        if "build" in service:
            context = (FOLDER / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).is_file()
    assert services["ray-worker"]["deploy"]["replicas"] == 2


def test_no_password_stands_in_the_files_or_on_a_command_line() -> None:
    text = (FOLDER / "compose.yaml").read_text("utf-8")
    services = compose()["services"]
    assert set(re.findall(r"\$\{(\w+):\?", text)) == {"SWEEP_REDIS_PASSWORD", "RAY_AUTH_TOKEN"}
    for service in services.values():
        for key in ("command", "entrypoint"):
            assert "${" not in json.dumps(service.get(key, ""))
    [redis] = [word for word in services["redis"]["command"] if "requirepass" in word]
    assert "appendonly yes" in redis and "noeviction" in redis
    assert '"$$PASSWORD" |' in redis  # to standard input


def test_its_redis_is_one_that_sweep_takes(tmp_path: Path) -> None:
    """The command of the compose file, as it stands there but for its folder and port, on a real server."""
    program, port = Path(find_server()), free_port()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(program)
    words = [word.replace("$$", "$") for word in compose()["services"]["redis"]["command"]]
    there = rf"dir {tmp_path}\nport {port}\nbind 127.0.0.1\n"
    words = [word.replace(r"dir /data\n", there) for word in words]
    assert there in words[-1]
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PASSWORD": "planted-pa55word"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(words, env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        until_s = time.monotonic() + 60
        while b"Ready to accept" not in (tmp_path / "log").read_bytes():
            assert process.poll() is None and time.monotonic() < until_s, (tmp_path / "log").read_text()
            time.sleep(0.02)
        with closing(open_store(f"redis://:planted-pa55word@127.0.0.1:{port}/0", tmp_path)) as store:
            about = store.describe()
        assert (about["appendfsync"], about["eviction"]) == ("always", "noeviction")
        with pytest.raises(StoreError, match="wants a password"):
            open_store(f"redis://127.0.0.1:{port}/0", tmp_path)
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # the shell and the server that it feeds
        process.wait(30)


def test_its_commands_are_ours() -> None:
    words = compose()["services"]["digits"]["command"]
    comments = re.findall(r"--rm digits (sweep .+)$", (FOLDER / "compose.yaml").read_text("utf-8"), re.M)
    for line in [words, *map(shlex.split, comments)]:
        command = cli.get_command(click.Context(cli), line[1])
        assert command is not None
        command.make_context(line[1], list(line[2:]))
    assert (ROOT / words[2]).is_file()


def test_the_ray_cluster_is_what_ray_takes() -> None:
    ray = importlib.util.find_spec("ray")
    if ray is None or ray.origin is None:
        pytest.skip("Ray is not installed (pip install 'sweep[ray]')")
    schema = json.loads((Path(ray.origin).parent / "autoscaler" / "ray-schema.json").read_text("utf-8"))
    cluster = yaml.safe_load((FOLDER / "ray-cluster.yaml").read_text("utf-8"))
    jsonschema.validate(cluster, schema)
    types = cluster["available_node_types"]
    assert cluster["head_node_type"] in types
    assert types["gpu"]["min_workers"] == 0  # it shrinks to nothing after the sweep
    assert "redis://" not in json.dumps(cluster)
