"""`sweep store serve`: a server of one's own, stopped and started again with all it had."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sweep.api.serving import look
from sweep.stores import StoreError, open_store
from tests.integration.conftest import PYTHON, Project
from tests.redis_server import find_server, free_port

SPEC = """
program: train.py
method: grid
metric: {name: loss, goal: minimize}
parameters:
  x: {values: [1, 2]}
"""
TRAIN = "import sweep\nrun = sweep.init()\nrun.log({'loss': run.config['x']})\n"


@pytest.fixture
def serving(project: Project) -> Iterator[Project]:
    find_server()
    yield project
    for folder in (project.folder / ".sweep/redis", project.folder / "other"):
        found = look(folder)
        if found is not None and found.pid is not None:
            subprocess.run(["kill", "-9", str(found.pid)], check=False)


def serve(project: Project, *options: str) -> str:
    """The address that a server in the background says the others need."""
    said = project.sweep("store", "serve", "--bind", "127.0.0.1", "--detach", *options)
    line = said.splitlines()[-1]
    assert line.startswith("export SWEEP_STORE='redis://127.0.0.1:")
    return line.removeprefix("export SWEEP_STORE='").removesuffix("'")


def test_stopped_and_started_again_without_losing_a_sweep(serving: Project) -> None:
    port = str(free_port())
    url = serve(serving, "--port", port)
    folder = serving.folder / ".sweep/redis"
    password = (folder / "password").read_text().strip()
    assert len(password) >= 32
    serving.env["SWEEP_STORE"] = url
    runs = serving.work_off(SPEC, TRAIN)
    assert [run["state"] for run in runs] == ["completed"] * 2
    assert "appendfsync always" in serving.sweep("doctor")

    assert "a server" in serving.mistake("store", "serve", "--port", port)
    assert serving.json("store", "status")["running"] is True
    serving.sweep("store", "stop")
    assert serving.json("store", "status")["running"] is False
    assert "no Redis server is running" in serving.mistake("ls")
    assert serve(serving) == url, "it remembers its port and its password"
    assert serving.runs() == runs

    found = look(folder)
    assert found is not None and found.pid is not None
    subprocess.run(["kill", "-9", str(found.pid)], check=True)
    serving.wait_for(lambda: not serving.json("store", "status")["running"])
    assert serve(serving, "--appendfsync", "everysec") == url
    assert serving.runs() == runs
    assert "appendfsync everysec" in serving.sweep("doctor")


def test_its_password_is_nowhere_but_in_its_folder(serving: Project) -> None:
    said = serve(serving, "--port", str(free_port()), "--dir", "other")
    folder = serving.folder / "other"
    password = (folder / "password").read_text().strip()
    said += serving.sweep("store", "status", "--dir", "other") + serving.sweep("doctor", SWEEP_STORE=said)
    assert password not in said
    for name in ("password", "redis.conf", "serve.json", "lock"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name
    assert folder.stat().st_mode & 0o077 == 0
    found = look(folder)
    assert found is not None
    for cmdline in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert password.encode() not in cmdline.read_bytes()
        except OSError:
            continue
    with pytest.raises(StoreError, match="wants a password"):
        open_store(f"redis://127.0.0.1:{found.settings.port}", serving.folder)
    assert password not in (folder / "redis.log").read_text()


def test_in_the_foreground_until_ctrl_c(serving: Project) -> None:
    command = [*PYTHON, "store", "serve", "--bind", "127.0.0.1", "--port", str(free_port())]
    process = subprocess.Popen(
        command,
        cwd=serving.folder,
        env=serving.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        url = process.stdout.readline().split("'")[1]
        with closing(open_store(url, serving.folder)) as store:
            digest = store.put_blob(b"kept")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    assert not serving.json("store", "status")["running"]
    with closing(open_store(serve(serving), serving.folder)) as store:
        assert store.get_blob(digest) == b"kept"


def test_mistakes(serving: Project) -> None:
    assert "nothing has been served" in serving.mistake("store", "stop")
    assert "nothing has been served" in serving.mistake("store", "status")
    assert "port 9 cannot be used" in serving.mistake("store", "serve", "--bind", "192.0.2.1", "--port", "9")
    assert look(serving.folder / ".sweep/redis") is None, "nothing is remembered of what failed"
    first = serve(serving, "--port", str(free_port()))
    serving.sweep("store", "stop")
    said = serving.run("store", "serve", "--detach").stderr
    assert "it listens on 127.0.0.1, where no other machine reaches it" in said
    port = first.rpartition(":")[2].partition("/")[0]
    taken = serving.mistake("store", "serve", "--port", port, "--bind", "127.0.0.1", "--dir", "other")
    assert f"port {port} cannot be used here (Address already in use)" in taken
    serving.sweep("store", "stop")
    assert "no server is running" in serving.run("store", "stop").stderr
