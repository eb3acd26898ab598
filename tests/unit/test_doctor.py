"""`sweep doctor`: it finds what is broken, says what to do, changes nothing, and never fails itself."""

from __future__ import annotations

import json
import os
import resource
import shlex
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kept import curve, keep, project_store
from sweep.api import checkup_machine, checkup_record, checkup_store
from sweep.api.checkup import Finding, Place, _guarded, check_all, worst
from sweep.provenance import snapshot
from sweep.stores._filesystem import Mount

ALL = {
    "python", "packages", "extras", "machine", "gpus", "processes", "open files", "socket folder", "temporary files", "home",
    "text", "clock", "git", "variables", "store", "folder", "file system", "disk", "import sweep (agent)",
}  # fmt: skip


def doctor(folder: Path, *args: str, before: str = "", **env: str | None) -> tuple[int, dict[str, Any], str]:
    """(exit code, what `--json` says, standard error) of `sweep doctor` in `folder`; `before` are shell commands."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("SWEEP_")}
    variables = {k: v for k, v in {**variables, **env}.items() if v is not None}
    command = shlex.join([sys.executable, "-P", "-m", "sweep", "doctor", "--json", *args])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{before or ':'}\n{command}"],
        cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout), done.stderr


def finding(found: dict[str, Any], name: str) -> dict[str, str]:
    return next(check for check in found["checks"] if check["name"] == name)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    store = project_store(tmp_path)
    keep(store, [{"lr": 0.1}], [curve(0.5)])
    store.close()
    return tmp_path


def store_file(project: Path) -> Path:
    return project / ".sweep" / "store.db"


def place(folder: Path, store: str | None = None, **environ: str) -> Place:
    return Place(folder, store, environ)


def only(found: Finding | list[Finding]) -> Finding:
    (single,) = found if isinstance(found, list) else [found]
    return single


def test_a_project_that_is_well(project: Path) -> None:
    before = sorted(path.name for path in (project / ".sweep").iterdir())
    code, found, said = doctor(project)
    assert (code, said) == (0, "")
    assert {check["name"] for check in found["checks"]} >= ALL
    assert finding(found, "store")["status"] == "ok"
    assert "1 sweep" in finding(found, "store")["found"]
    assert finding(found, "store's content")["found"] == "every page was read, no damage"
    assert found["counts"]["broken"] == 0
    assert all(check["advice"] for check in found["checks"] if check["status"] in ("warning", "broken"))
    assert sorted(path.name for path in (project / ".sweep").iterdir()) == before


def test_a_folder_without_anything(tmp_path: Path) -> None:
    code, found, _ = doctor(
        tmp_path, HOME=None, LANG=None, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PATH="/nowhere"
    )
    assert code == 0
    assert finding(found, "store")["status"] == "note"
    assert finding(found, "git")["status"] == "warning"
    assert finding(found, "text")["status"] == "warning"
    assert finding(found, "home")["status"] == "note"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code, found, _ = doctor(folder, before='rmdir "$PWD"')
    assert code == 4
    assert "current folder does not exist" in finding(found, "store")["found"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"x" * 5000, "no SQLite database"),
        (
            b"SQLite format 3\0" + bytes(44) + (99).to_bytes(4, "big") + bytes(4) + b"SWEP" + bytes(28),
            "has format 99",
        ),
        (b"SQLite format 3\0" + bytes(52) + b"ABCD" + bytes(28), "another program's database"),
        (b"SQLite format 3\0" + bytes(4000), "store.db"),
    ],
)
def test_a_broken_store(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / ".sweep").mkdir()
    store_file(tmp_path).write_bytes(content)
    found = only(checkup_store.store(place(tmp_path)))
    assert found.status == "broken" and words in found.found and found.advice
    assert store_file(tmp_path).read_bytes() == content


def test_a_damaged_page(project: Path) -> None:
    store = project_store(project)
    keep(store, [{"lr": 0.1}] * 200, sweep="large234")
    store.close()
    data = bytearray(store_file(project).read_bytes())
    data[8192:20000] = os.urandom(20000 - 8192)
    store_file(project).write_bytes(data)
    code, found, _ = doctor(project)
    assert code == 4
    assert [
        check
        for check in found["checks"]
        if check["name"].startswith("store") and check["status"] == "broken"
    ]


def test_a_recorded_file_that_is_missing_or_damaged(tmp_path: Path) -> None:
    store = project_store(tmp_path)
    (tmp_path / "train.py").write_text("print(1)\n")
    kept, packages = snapshot(tmp_path, store.put_blob), store.put_blob(b"packages")
    keep(store, [{"lr": 0.1}], record={"code": msgspec.to_builtins(kept), "packages": packages})
    check = checkup_record.recorded_files(store)
    assert (check.status, check.found) == (
        "ok",
        "3 of code, packages, data and artifacts, all there and undamaged",
    )
    store.close()
    code, found, _ = doctor(tmp_path)
    assert code == 0 and finding(found, "store's files")["found"] == check.found
    with closing(sqlite3.connect(store_file(tmp_path), isolation_level=None)) as db:
        db.execute("DELETE FROM blob WHERE digest = ?", (packages,))
    code, found, _ = doctor(tmp_path)
    check = finding(found, "store's files")
    assert (code, check["status"], check["found"]) == (0, "warning", "1 of 3 are missing: sweep abcd2345")
    assert "cannot be restored or reproduced" in check["advice"]
    with closing(sqlite3.connect(store_file(tmp_path), isolation_level=None)) as db:
        db.execute("UPDATE blob SET data = x'00', codec = 0 WHERE digest != ?", (kept.tree,))
    code, found, _ = doctor(tmp_path)
    check = finding(found, "store's files")
    assert (code, check["status"], check["found"]) == (4, "broken", "1 of 2 are damaged: sweep abcd2345")
    with closing(sqlite3.connect(store_file(tmp_path), isolation_level=None)) as db:
        db.execute("UPDATE blob SET data = x'00', codec = 0")
    code, found, _ = doctor(tmp_path)
    assert (code, finding(found, "store's files")["status"]) == (4, "broken")
    assert "is damaged" in finding(found, "store's files")["found"]


def test_the_command_says_what_is_broken_and_to_do(tmp_path: Path) -> None:
    (tmp_path / ".sweep").mkdir()
    store_file(tmp_path).write_bytes(b"x" * 5000)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "sweep", "doctor"],
        cwd=tmp_path, env={k: v for k, v in os.environ.items() if not k.startswith("SWEEP_")},
        capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("broken"))
    assert "no SQLite database" in lines[at] and lines[at + 1].strip().startswith("-> move it away")
    assert lines[-1].startswith("1 broken, ")


def test_a_package_that_cannot_be_imported(project: Path, tmp_path: Path) -> None:
    """Not even the package that everything is encoded with."""
    shadow = tmp_path / "shadow"
    shadow.mkdir()
    (shadow / "msgspec.py").write_text("raise ImportError('this one is broken')")
    code, found, _ = doctor(project, PYTHONPATH=str(shadow))
    assert any("this one is broken" in check["found"] for check in found["checks"])
    assert finding(found, "python")["status"] == "ok"
    assert code in (0, 4)


def test_few_open_files(project: Path) -> None:
    code, found, _ = doctor(project, before="ulimit -n 64")
    assert code == 0
    assert finding(found, "open files")["status"] == "warning"
    assert "64" in finding(found, "open files")["found"]


def test_a_script_of_the_same_name_is_named_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "sweep.py").write_text("open('ran', 'w')")
    found = only(checkup_machine.sdk(place(tmp_path, PATH=os.environ["PATH"])))
    assert found.status == "warning" and "sweep.py" in found.found and "rename" in found.advice
    assert not (tmp_path / "ran").exists()


def test_another_python(tmp_path: Path) -> None:
    """One without sweep is lent it; another package called sweep would hide that; one that does not work is no use."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = folder / "python"
    (tmp_path / "other" / "sweep").mkdir(parents=True)
    (tmp_path / "other" / "sweep" / "__init__.py").write_text("__version__ = '1.0.0'\n")
    found = []
    for script in (
        f'exec {sys.executable} -S -I "$@"',
        f'PYTHONPATH={tmp_path}/other exec {sys.executable} -S "$@"',
        "echo 'no such thing' >&2; exit 1",
    ):
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        agent, other = checkup_machine.sdk(place(tmp_path, PATH=f"{folder}:/bin:/usr/bin"))
        assert agent.status == "ok"
        found.append(other)
    without, another, useless = found
    assert (without.status, without.advice) == ("note", "") and "get the agent's" in without.found
    assert another.status == "warning" and "pip uninstall sweep" in another.advice
    assert useless.status == "warning" and "no such thing" in useless.found
    assert not any("pip install sweep" in finding.advice for finding in found), (
        "that is somebody else's project"
    )


def test_variables(tmp_path: Path) -> None:
    assert only(checkup_machine.variables(place(tmp_path, SWEEP_LEASE_S="soon"))).status == "broken"
    inside = only(checkup_machine.variables(place(tmp_path, SWEEP_RUN_ID="a-1")))
    assert (inside.status, inside.found) == ("note", "this shell is inside run a-1")
    shown = only(checkup_machine.variables(place(tmp_path, SWEEP_STORE="redis://me:secret@host/1"))).found
    assert shown == "SWEEP_STORE=redis://host/1"


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = {"name": "H100", "uuid": "GPU-1", "memory_bytes": 80 * 2**30}
    record: dict[str, Any] = {
        "gpus": [gpu],
        "gpu_driver": "550.1",
        "cuda_version": "12.4",
        "not_measured": {},
    }
    monkeypatch.setattr("sweep.provenance.hardware.hardware_record", lambda: record)
    usable: list[Any] = [object()]
    monkeypatch.setattr("sweep.agents.gpus.discover", lambda _: usable)
    found = only(checkup_machine.gpus(place(tmp_path)))
    assert (found.status, found.found) == ("ok", "H100 (80 GiB); driver 550.1, CUDA up to 12.4; agents use 1")
    usable.clear()
    assert only(checkup_machine.gpus(place(tmp_path, CUDA_VISIBLE_DEVICES=""))).status == "warning"
    record["not_measured"] = {"gpus": "not measured: NVMLError: Driver/library version mismatch"}
    broken = only(checkup_machine.gpus(place(tmp_path)))
    assert broken.status == "broken" and "mismatch" in broken.found and "restarted" in broken.advice


def test_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from importlib import metadata

    wanted = ["click>=8.1", "numpy>=999", "no-such-package>=1", "other; extra == 'dev'"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    found = only(checkup_machine.packages(place(tmp_path)))
    assert found.status == "broken"
    assert "missing: no-such-package" in found.found and "numpy" in found.found and "other" not in found.found
    wanted[:] = ["click>=8.1"]
    assert only(checkup_machine.packages(place(tmp_path))).status == "ok"


def test_file_systems_and_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.stores._filesystem.read_mounts", lambda: [Mount("/", "nfs4", "server:/home")])
    network = only(checkup_store.file_system(place(tmp_path)))
    assert network.status == "broken" and "nfs4" in network.found
    real = os.statvfs(tmp_path)
    for free, files, status in [
        (10**12, 10**6, "ok"),
        (10**8, 10**6, "warning"),
        (10**6, 10**6, "broken"),
        (10**12, 3, "broken"),
    ]:
        fields = list(real)
        fields[1], fields[4], fields[5], fields[7] = 1, free, 10**6, files
        monkeypatch.setattr(os, "statvfs", lambda _, fields=fields: os.statvfs_result(fields))
        assert only(checkup_store.disk(place(tmp_path))).status == status


def test_a_store_from_the_future_and_one_that_all_may_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_file(project).chmod(0o644)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    found = {item.name: item for item in checkup_store.store(place(project))}
    assert found["store's times"].status == "warning" and "ahead" in found["store's times"].found
    assert found["store's rights"].status == "warning" and "chmod 600" in found["store's rights"].advice


def test_a_store_in_use_is_only_read(project: Path) -> None:
    db = sqlite3.connect(store_file(project), isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    try:
        found = {item.name: item.status for item in checkup_store.store(place(project))}
    finally:
        db.close()
    assert found["store"] == "ok" and "broken" not in found.values()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(project: Path) -> None:
    (project / ".sweep").chmod(0o500)
    try:
        assert only(checkup_store.folder(place(project))).status == "broken"
    finally:
        (project / ".sweep").chmod(0o700)


def test_stores_that_are_no_file(tmp_path: Path) -> None:
    assert only(checkup_store.store(place(tmp_path, "memory:"))).status == "note"
    assert checkup_store.disk(place(tmp_path, "memory:")) == []
    broken = only(checkup_store.store(place(tmp_path, "redis://me:planted@127.0.0.1:1")))
    assert (
        broken.status == "broken" and "no Redis server is running at redis://me@127.0.0.1:1" in broken.found
    )
    assert checkup_store.disk(place(tmp_path, "redis://127.0.0.1:1")) == []


def test_whatever_a_check_runs_into_is_its_finding(tmp_path: Path) -> None:
    def odd_thing(_: Place) -> Finding:
        raise RuntimeError("of a kind\nthat nobody expects")

    assert _guarded(odd_thing, place(tmp_path)) == [
        Finding("odd thing", "warning", "could not be checked: RuntimeError: of a kind that nobody expects",
                "see whether what it says can be mended")
    ]  # fmt: skip
    assert worst([]) == "ok"


def test_no_check_fails_for_want_of_files(tmp_path: Path) -> None:
    """As many files are open as may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    list(
        check_all(place(tmp_path, PATH=os.environ["PATH"]))
    )  # what it imports is loaded before there is no room
    highest = max(int(path.name) for path in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    try:
        found = list(check_all(place(tmp_path, PATH=os.environ["PATH"])))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert any(item.status in ("warning", "broken") for item in found)
