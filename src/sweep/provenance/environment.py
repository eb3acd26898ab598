"""Python and its packages, of this process or of another interpreter, and the lock files beside the code."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sweep.provenance import _probe
from sweep.provenance.scrub import scrub
from sweep.provenance.urls import strip_user_info

MAX_LOCK_BYTES = 20_000_000
PROBE_TIMEOUT_S = 30.0

_LOCK_FILE = re.compile(
    r"uv\.lock|pylock(\.[^.]+)?\.toml|requirements.*\.(txt|in)|poetry\.lock|pdm\.lock|Pipfile\.lock|pixi\.lock"
    r"|conda-lock\.ya?ml|environment\.ya?ml|pyproject\.toml|\.python-version"
)
_HEADER = re.compile(r"^(Name|Version):[ \t]*(.*?)[ \t\r]*$", re.MULTILINE)
_SEPARATORS = re.compile(r"[-_.]+")


class ProbeError(Exception):
    """An interpreter did not say what it is."""


def python_record() -> dict[str, Any]:
    """The interpreter of this process."""
    return _python(_probe.facts())


def packages_record() -> list[dict[str, Any]]:
    """Every distribution installed for this process, sorted by name: `name` (normalised), `version`, and, where it was
    not installed from an index, `url` (without user info), `commit`, `editable`. Of two with one name the first on
    `sys.path` counts, as it does for imports."""
    return _packages(_probe.facts())


def interpreter_record(
    executable: str, environ: Mapping[str, str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`python_record` and `packages_record` of another interpreter, started once in `environ`. Raises ProbeError."""
    source = Path(_probe.__file__).read_text(encoding="utf-8")
    try:
        done = subprocess.run(
            [executable, "-c", source],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        facts = json.loads(done.stdout)
        return _python(facts), _packages(facts)
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode("utf-8", "replace").strip().split("\n")[-1]
        raise ProbeError(f"{executable} ended with {error.returncode}: {scrub(words)}") from error
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        raise ProbeError(f"{executable} did not say which packages it has: {type(error).__name__}") from error


def editable_folders(packages: Iterable[Mapping[str, Any]]) -> dict[str, Path]:
    """Name -> source folder of the packages that were installed in place, where it exists on this machine."""
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
        if place == root or root not in place.parents:
            break
    return dict(sorted(found.items()))


def _lock_files_in(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if _LOCK_FILE.fullmatch(path.name) and path.is_file()]
    except OSError:
        return []


def _python(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: scrub(value) if isinstance(value, str) else bool(value) for key, value in facts["python"].items()
    }


def _packages(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for metadata, direct_url in facts["packages"]:
        header = dict(reversed(_HEADER.findall(metadata)))
        if header.get("Name"):
            name = _SEPARATORS.sub("-", header["Name"]).lower()
            found.setdefault(
                name, {"name": name, "version": header.get("Version", ""), **_origin(direct_url)}
            )
    return [found[name] for name in sorted(found)]


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
