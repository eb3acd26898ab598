"""An environment that is built again from a record, from package indexes that are folders of this machine."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from sweep.api import rebuilding
from sweep.api.rebuilding import CannotRebuild, rebuild

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("uv") is None, reason="uv is not installed (pip install 'sweep[reproduce]')"
)


def wheel(index: Path, name: str, version: str) -> None:
    """A package whose `where` is the name of the index, in a simple index (PEP 503)."""
    files = {
        f"{name}.py": f"where = {index.name!r}\nversion = {version!r}\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text)}\n")
    record = f"{name}-{version}.dist-info/RECORD"
    (index / name).mkdir(parents=True, exist_ok=True)
    file = index / name / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
        archive.writestr(record, "".join(rows) + f"{record},,\n")
    (index / name / "index.html").write_text(f'<a href="{file.name.replace("+", "%2B")}">{file.name}</a>')


@pytest.fixture
def indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`pypi` has one package, `cpu` has another one and an older build of the first."""
    wheel(tmp_path / "pypi", "ordinary", "1.0")
    wheel(tmp_path / "whl" / "cpu", "torchlike", "2.0+cpu")
    wheel(tmp_path / "whl" / "cpu", "ordinary", "0.9")
    for name in ("UV_INDEX", "UV_FIND_LINKS", "UV_EXTRA_INDEX_URL", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    monkeypatch.setenv("UV_DEFAULT_INDEX", (tmp_path / "pypi").as_uri())
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(rebuilding, "PYTORCH", (tmp_path / "whl").as_uri() + "/{label}")
    return tmp_path


def built(root: Path, **versions: str) -> dict[str, list[str]]:
    """Name -> (the index it is from, its version) in an environment with these packages."""
    import platform

    packages: list[dict[str, Any]] = [
        {"name": name, "version": version} for name, version in versions.items()
    ]
    python = rebuild({"version": platform.python_version()}, packages, {}, root, lambda _: None)
    code = "import sys, importlib\nfor n in sys.argv[1:]: m = importlib.import_module(n); print(n, m.where, m.version)"
    said = subprocess.run([python, "-c", code, *versions], capture_output=True, text=True, check=True).stdout
    return {line.split()[0]: line.split()[1:] for line in said.splitlines()}


def test_builds_for_a_device_come_from_their_own_index(indexes: Path) -> None:
    found = built(indexes, ordinary="1.0", torchlike="2.0+cpu")
    assert found == {"ordinary": ["pypi", "1.0"], "torchlike": ["cpu", "2.0+cpu"]}
    (indexes / "whl").rename(indexes / "gone")
    assert built(indexes, ordinary="1.0", torchlike="2.0+cpu") == found  # it was kept


def test_a_place_that_has_them_may_be_named(indexes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (indexes / "whl").rename(indexes / "mirror")
    monkeypatch.setenv("UV_FIND_LINKS", str(indexes / "mirror" / "cpu" / "torchlike"))
    assert built(indexes, torchlike="2.0+cpu") == {"torchlike": ["cpu", "2.0+cpu"]}


def test_what_nobody_has_is_named(indexes: Path) -> None:
    with pytest.raises(CannotRebuild, match=r"torchlike==2\.1") as raised:
        built(indexes, torchlike="2.1+cpu")
    assert "UV_INDEX or UV_FIND_LINKS" in str(raised.value)
    with pytest.raises(CannotRebuild, match=r"ordinary==1\.1") as raised:
        built(indexes, ordinary="1.1")
    assert "UV_FIND_LINKS" not in str(raised.value)
    with pytest.raises(CannotRebuild, match=r"ordinary==1\.1"):
        built(indexes, ordinary="1.1", torchlike="2.0+cpu")
    assert not list((indexes / "environments").iterdir())
