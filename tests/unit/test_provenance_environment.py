"""Python, packages and lock files."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import pytest

from sweep.provenance import interpreter_record, packages_record, python_record
from sweep.provenance.environment import ProbeError, editable_folders, lock_files
from sweep.provenance.tree import digest_bytes


def _install(
    site: Path,
    name: str,
    version: str,
    direct_url: object = None,
    folder: str | None = None,
    kind: str = "dist-info",
) -> None:
    info = site / f"{folder or name}-{version}.{kind}"
    info.mkdir(parents=True)
    file = "METADATA" if kind == "dist-info" else "PKG-INFO"
    (info / file).write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(
            direct_url if isinstance(direct_url, str) else json.dumps(direct_url)
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of sys.path."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), str(tmp_path / "later")])
    return tmp_path / "site"


def test_python_is_this_one() -> None:
    record = python_record()
    assert record["version"] == platform.python_version() and record["executable"] == sys.executable
    assert record["venv"] == (sys.prefix != sys.base_prefix)
    assert json.loads(json.dumps(record)) == record


def test_packages_are_sorted_normalised_and_the_first_on_the_path_counts(site: Path) -> None:
    _install(site, "Zeta_Lib", "2.0")
    _install(site, "alpha", "1.5")
    _install(site.parent / "later", "zeta.lib", "1.0")
    _install(site, "old", "0.1", kind="egg-info")
    assert packages_record() == [
        {"name": "alpha", "version": "1.5"},
        {"name": "old", "version": "0.1"},
        {"name": "zeta-lib", "version": "2.0"},
    ]


def test_origins_are_recorded_without_user_info(site: Path) -> None:
    _install(site, "a", "1", {"url": "file:///srv/my%20code", "dir_info": {"editable": True}})
    _install(
        site, "b", "1", {"url": "https://planted@host/b", "vcs_info": {"vcs": "git", "commit_id": "c" * 40}}
    )
    _install(site, "c", "1", {"url": "https://me:planted@host/c.whl?token=planted", "archive_info": {}})
    _install(site, "d", "1", "not json")
    _install(site, "e", "1", '["not a dict"]')
    assert packages_record() == [
        {"name": "a", "version": "1", "url": "file:///srv/my%20code", "editable": True},
        {"name": "b", "version": "1", "url": "https://host/b", "commit": "c" * 40},
        {"name": "c", "version": "1", "url": "https://host/c.whl"},
        {"name": "d", "version": "1"},
        {"name": "e", "version": "1"},
    ]


def test_a_distribution_without_metadata_is_no_package(site: Path) -> None:
    (site / "broken-1.dist-info").mkdir(parents=True)
    assert packages_record() == []


def test_editable_packages_are_found_where_their_code_exists(tmp_path: Path) -> None:
    code = tmp_path / "my code"
    code.mkdir()
    packages = [
        {"name": "here", "version": "1", "url": code.as_uri(), "editable": True},
        {"name": "gone", "version": "1", "url": "file:///not/here", "editable": True},
        {"name": "built", "version": "1", "url": code.as_uri()},
        {"name": "index", "version": "1"},
    ]
    assert editable_folders(packages) == {"here": code}


def test_another_interpreter_is_asked(site: Path) -> None:
    _install(site, "only-here", "3.1")
    python, packages = interpreter_record(sys.executable, {**os.environ, "PYTHONPATH": str(site)})
    assert python["version"] == platform.python_version()
    assert {"name": "only-here", "version": "3.1"} in packages


def test_a_program_that_is_no_python_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="did not say which packages it has: FileNotFoundError"):
        interpreter_record(str(tmp_path / "python"), os.environ)
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\necho 'cannot start' >&2\nexit 3\n")
    failing.chmod(0o755)
    with pytest.raises(ProbeError, match="ended with 3: cannot start"):
        interpreter_record(str(failing), os.environ)
    failing.write_text("#!/bin/sh\necho '{}'\n")
    with pytest.raises(ProbeError, match="did not say"):
        interpreter_record(str(failing), os.environ)


def test_lock_files_are_found_up_to_the_root(tmp_path: Path) -> None:
    inner = tmp_path / "root" / "experiments"
    inner.mkdir(parents=True)
    (tmp_path / "uv.lock").write_text("above the root")
    (tmp_path / "root" / "uv.lock").write_text("a")
    (inner / "requirements-dev.txt").write_text("b")
    (inner / "pylock.gpu.toml").write_text("c")
    (inner / "notes.txt").write_text("d")
    assert lock_files(inner, tmp_path / "root") == {
        "experiments/pylock.gpu.toml": digest_bytes(b"c"),
        "experiments/requirements-dev.txt": digest_bytes(b"b"),
        "uv.lock": digest_bytes(b"a"),
    }
