"""Python and its packages, as they are in this process, and the lock files beside the code."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sweep.provenance.scrub import scrub
from sweep.provenance.urls import strip_user_info

MAX_LOCK_BYTES = 20_000_000

_LOCK_FILE = re.compile(
    r"uv\.lock|pylock(\.[^.]+)?\.toml|requirements.*\.(txt|in)|poetry\.lock|pdm\.lock|Pipfile\.lock|pixi\.lock"
    r"|conda-lock\.ya?ml|environment\.ya?ml|pyproject\.toml|\.python-version"
)
_HEADER = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_SEPARATORS = re.compile(r"[-_.]+")


def python_record() -> dict[str, Any]:
    """The interpreter of this process."""
    in_venv = sys.prefix != sys.base_prefix
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "executable": scrub(sys.executable or ""),
        "prefix": scrub(sys.prefix),
        "base_prefix": scrub(sys.base_prefix),
        "venv": in_venv,
        "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),  # noqa: PTH112, PTH118
        "gil": bool(getattr(sys, "_is_gil_enabled", lambda: True)()),
    }


def packages_record() -> list[dict[str, Any]]:
    """Every installed distribution, sorted by name: `name` (normalised), `version`, and, where it was not installed from
    an index, `url` (without user info), `commit`, `editable`. Of two with one name the first on `sys.path` counts,
    as it does for imports."""
    found: dict[str, dict[str, Any]] = {}
    for distribution in importlib.metadata.distributions():
        record = _package(distribution)
        if record is not None:
            found.setdefault(record["name"], record)
    return [found[name] for name in sorted(found)]


def editable_folders(packages: list[dict[str, Any]]) -> dict[str, Path]:
    """Name -> source folder of the packages that were installed in place, where it still exists."""
    folders: dict[str, Path] = {}
    for package in packages:
        url = urlsplit(package.get("url", ""))
        if package.get("editable") and url.scheme == "file":
            folder = Path(unquote(url.path))
            if folder.is_dir():
                folders[package["name"]] = folder
    return folders


def lock_files(folder: Path, root: Path) -> dict[str, str]:
    """Path relative to `root` -> digest of the files that say which packages the code wants, in `folder` and in every
    folder above it up to `root`. Their content goes with the tree."""
    found: dict[str, str] = {}
    folder, root = folder.resolve(), root.resolve()
    for place in (folder, *folder.parents):
        for path in _lock_files_in(place):
            try:
                if path.stat().st_size <= MAX_LOCK_BYTES:
                    name = scrub(os.path.relpath(path, root))
                    found[name] = hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()
            except OSError:
                continue
        if place == root:
            break
    return dict(sorted(found.items()))


def _lock_files_in(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _LOCK_FILE.fullmatch(path.name) and path.is_file()]
    except OSError:
        return []


def _package(distribution: importlib.metadata.Distribution) -> dict[str, Any] | None:
    # Read by hand: the full parser of `distribution.metadata` takes most of the time.
    text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
    header = dict(reversed(_HEADER.findall(text.partition("\n\n")[0])))
    if not header.get("Name"):
        return None
    record = {"name": _SEPARATORS.sub("-", header["Name"]).lower(), "version": header.get("Version", "")}
    return {**record, **_origin(distribution.read_text("direct_url.json"))}


def _origin(text: str | None) -> dict[str, Any]:
    """What `direct_url.json` (PEP 610) says; empty for a package from an index."""
    try:
        content = json.loads(text) if text else {}
        vcs, folder = content.get("vcs_info", {}), content.get("dir_info", {})
        origin: dict[str, Any] = {"url": scrub(strip_user_info(content["url"]))} if content.get("url") else {}
        if vcs.get("commit_id"):
            origin["commit"] = scrub(str(vcs["commit_id"]))
        if folder.get("editable"):
            origin["editable"] = True
        return origin
    except (ValueError, AttributeError, TypeError):
        return {}
