"""The records of a sweep and of a node, with secrets planted wherever one could hide."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sweep import provenance
from sweep.provenance import CodeRecord, blobs_of, record_node, record_sweep, restore, tree_on_disk
from sweep.provenance.tree import digest_bytes, parse_manifest

GITHUB = "ghp_" + "a1B2c3D4e5F6g7H8i9J0" * 2
HUGGING_FACE = "hf_" + "QwErTyUiOpAsDfGhJkLzXcVbNm" * 2


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


@pytest.fixture(autouse=True)
def _no_editable_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests has sweep itself installed in place: its code is not to be read each time."""
    monkeypatch.setattr(provenance.records, "editable_folders", lambda packages: {})


def _plain(record: object) -> str:
    """As JSON; fails for anything that is not plain data."""
    text = json.dumps(record, allow_nan=False)
    assert json.loads(text) == record and msgspec.msgpack.decode(msgspec.msgpack.encode(record)) == record
    return text


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_nothing_secret_is_in_anything_recorded(folder: Path) -> None:
    def git(*arguments: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)

    (folder / "train.py").write_text("print(1)\n")
    (folder / "config.py").write_text("print(2)\n")
    git("init", "-q", "-b", "main")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    git("checkout", "-q", "-b", f"try/{GITHUB}")
    git("remote", "add", "origin", f"https://{GITHUB}@host/code.git")
    git("remote", "add", "other", f"https://me:{HUGGING_FACE}@host/code.git")
    (folder / "sweep.yaml").write_text("method: grid\n")
    (folder / ".env").write_text("X=planted-in-dotenv\n")
    (folder / "credentials.json").write_text('{"x": "planted-in-credentials"}')
    (folder / "notes.txt").write_text(f"my token is {HUGGING_FACE}\n")
    (folder / "config.py").write_text(f"key = '{GITHUB}'\n")
    (folder / "known.py").write_text("key = 'planted-variable'\n")
    (folder / f"{GITHUB}.txt").write_text("x")
    (folder / "link").symlink_to(f"/x/{HUGGING_FACE}")
    environ = {
        "PATH": os.environ["PATH"],
        "SERVICE_API_KEY": "planted-variable",
        "PIP_INDEX_URL": "https://planted-index@host/simple",
        "NCCL_AUTH_TOKEN": "planted-nccl",
        "MY_NOTE": "planted-note",
        "OMP_NUM_THREADS": "2",
    }
    argv = [
        "sweep",
        "create",
        "--token",
        "planted-argument",
        f"--x={GITHUB}",
        "planted-variable",
        "redis://:planted-url@h",
    ]
    blobs: dict[str, bytes] = {}
    record = record_sweep(folder, folder / "sweep.yaml", _putter(blobs), environ, argv)
    node = record_node(_putter(blobs), environ)

    everything = _plain(record).encode() + _plain(node).encode() + b"".join(blobs.values())
    for planted in (b"planted", GITHUB.encode(), HUGGING_FACE.encode(), GITHUB[:20].encode()):
        assert planted not in everything
    # train.py as it was committed, and the new sweep.yaml; config.py has changed and holds a token.
    assert [file.path for file in parse_manifest(blobs[record["code"]["tree"]])] == ["sweep.yaml", "train.py"]
    assert record["code"]["git"]["remote"] == "https://host/code.git"
    assert record["environ"]["values"] == {"OMP_NUM_THREADS": "2", "PIP_INDEX_URL": "https://host/simple"}
    assert record["command"] == [
        *("sweep", "create", "--token", "[redacted]", "--x=[redacted]", "[redacted]", "redis://h"),
    ]
    assert record["spec"] == "sweep.yaml"
    assert len(record["warnings"]) == 1 and "as they may hold secrets" in record["warnings"][0]


def test_the_code_of_a_record_is_written_back(folder: Path, tmp_path: Path) -> None:
    (folder / "sweep.yaml").write_text("method: grid\n")
    (folder / "uv.lock").write_text("locked")
    blobs: dict[str, bytes] = {}
    record = record_sweep(folder, folder / "sweep.yaml", _putter(blobs), {}, ["sweep"])
    code = msgspec.convert(json.loads(_plain(record))["code"], CodeRecord)
    restore(code, blobs.get, tmp_path / "restored")
    assert tree_on_disk(tmp_path / "restored") == tree_on_disk(folder)
    assert record["lock_files"] == {"uv.lock": digest_bytes(b"locked")}
    assert record["warnings"] == [] and record["created_by"]["user"]
    assert "pytest" in {package["name"] for package in json.loads(blobs[record["packages"]])}


def test_code_of_packages_installed_in_place_is_recorded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "lib.py").write_text("x")
    (library / "lib.key").write_text("y")
    (folder / "inside").mkdir()
    places = {"lib": library, "own": folder / "inside"}
    monkeypatch.setattr(provenance.records, "editable_folders", lambda packages: places)
    record = record_sweep(folder, None, digest_bytes, {}, [])
    assert list(record["editable"]) == ["lib"] and record["editable"]["lib"]["files"] == 1
    assert record["warnings"] == [
        "lib (installed in place): 1 file is left out of the record, as it may hold secrets: lib.key (by its name)"
    ]


def test_more_packages_installed_in_place_than_are_kept_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {f"lib{number}": tmp_path / "library" for number in range(10)}
    (tmp_path / "library").mkdir()
    monkeypatch.setattr(provenance.records, "editable_folders", lambda packages: places)
    record = record_sweep(folder, None, digest_bytes, {}, [])
    assert len(record["editable"]) == 8
    assert record["warnings"] == ["installed in place, but their code is not recorded: lib8, lib9"]


def test_a_node_with_another_interpreter(tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    # The same program under another name is still another interpreter, with an environment of its own.
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    node = record_node(_putter(blobs), os.environ, interpreter=str(link))
    assert node["python"]["version"] == record_node(_putter(blobs), os.environ)["python"]["version"]
    assert node["warnings"] == [] and _plain(node)


def test_a_node_whose_interpreter_is_missing_says_so(tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    node = record_node(_putter(blobs), os.environ, interpreter=str(tmp_path / "python"))
    assert json.loads(blobs[node["packages"]]) == []
    assert "Python and packages of the runs are not recorded" in node["warnings"][0]


def test_the_blobs_of_a_record_are_exactly_those_that_it_stored(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "lib.py").write_text("x")
    (folder / "train.py").write_text("y")
    (folder / ".env").write_text("z")
    monkeypatch.setattr(provenance.records, "editable_folders", lambda packages: {"lib": library})
    blobs: dict[str, bytes] = {}
    record = json.loads(_plain(record_sweep(folder, None, _putter(blobs), {}, [])))
    found = blobs_of(record, blobs.get)
    assert set(found) == set(blobs) and len(found) == len(blobs) == 6


def test_the_blobs_of_a_damaged_or_empty_record() -> None:
    assert blobs_of({}, {}.get) == []
    code = {"tree": "t", "left_out_blob": ""}
    assert blobs_of({"code": code}, {}.get) == ["t"]
    assert blobs_of({"code": code, "packages": "p"}, {"t": b"rubbish"}.get) == ["t", "p"]


def test_a_node_without_a_place_for_blobs_names_its_packages_itself() -> None:
    node = record_node(environ={"LANG": "C"})
    assert "pytest" in {package["name"] for package in node["packages"]}
    assert node["environ"] == {"values": {"LANG": "C"}, "names": []}
    assert blobs_of(node, {}.get) == [] and _plain(node)


def _putter(blobs: dict[str, bytes]) -> provenance.records.PutBlob:
    def put(data: bytes) -> str:
        blobs[digest_bytes(data)] = data
        return digest_bytes(data)

    return put
