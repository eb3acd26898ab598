"""Where artifacts are kept, and how one is found again: see `artifacts`."""

from __future__ import annotations

import json
import os

from sweep.sdk.wandb._errors import CommError
from sweep.sdk.wandb._say import once
from sweep.sdk.wandb._util import make_artifact_name_safe
from sweep.sdk.wandb.artifacts import Artifact, Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sweep.sdk.wandb._record import Record


def log(
    record: Record, run: str, given: Any, name: str | None, type: str | None, aliases: Any, tags: Any
) -> Artifact:
    """Make an artifact (or a file, a folder) a version of its name in the run's folder. What cannot be written is said once."""
    artifact = given if isinstance(given, Artifact) else _of_path(given, name, type, run)
    if artifact.version is not None or not record.records:
        return artifact
    artifact.tags = list(tags or ())
    words = [aliases] if isinstance(aliases, str) else list(aliases or ())
    try:
        artifact._become(os.path.join(record.folder, "artifacts", artifact.name), run, words)
    except OSError as error:
        once("artifact", f"cannot record the artifact {artifact.name}: {error.strerror or error}")
    return artifact


def _of_path(given: Any, name: str | None, type: str | None, run: str) -> Artifact:
    path = os.fspath(given)
    if path.startswith("file://"):
        path = path[7:]
    base = os.path.basename(path.rstrip("/"))
    artifact = Artifact(make_artifact_name_safe(name or f"run-{run}-{base}"), type or "unspecified")
    if os.path.isdir(path):
        artifact.add_dir(path)
    elif os.path.isfile(path):
        artifact.add_file(path)
    elif "://" in path:
        artifact.add_reference(path)
    else:
        raise ValueError(f"there is no file or folder {path!r} to log as an artifact")
    return artifact


def use(record: Record, given: Any) -> Artifact:
    """An artifact by name (`name`, `name:v0`, `name:alias`; what stands before the last `/` is left out). Raises CommError."""
    if isinstance(given, Artifact):
        return given
    name, _, version = str(given).rsplit("/", 1)[-1].partition(":")
    version = version or "latest"
    own = record.folder
    beside = os.path.dirname(own)
    runs = [own, *(os.path.join(beside, run) for run in sorted(os.listdir(beside)) if os.path.isdir(beside))]
    for only_own in (True, False):
        found = [path for run in (runs[:1] if only_own else runs) for path in _versions(run, name, version)]
        if found:
            return _read(max(found, key=_age))
    known = sorted({known for run in runs for known in _listing(os.path.join(run, "artifacts"))})
    raise CommError(
        f"there is no artifact {name}:{version}: no run of this sweep on this machine has logged it. "
        f"There are: {', '.join(known) or 'none'}"
    )


def _versions(run: str, name: str, version: str) -> list[str]:
    """The fact files of one run that fit."""
    folder = os.path.join(run, "artifacts", name)
    files = [os.path.join(folder, file) for file in _listing(folder) if file.endswith(".json")]
    if version == "latest":
        return files
    return [file for file in files if version == _number(file) or version in _facts(file)["aliases"]]


def _number(file: str) -> str:
    return os.path.basename(file)[: -len(".json")]


def _age(file: str) -> tuple[int, int]:
    return os.stat(file).st_mtime_ns, int(_number(file)[1:])


def _facts(file: str) -> dict[str, Any]:
    with open(file, encoding="ascii") as opened:
        return json.load(opened)  # type: ignore[no-any-return]


def _listing(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:
        return []


def _read(file: str) -> Artifact:
    facts = _facts(file)
    artifact = Artifact(facts["name"], facts["type"], facts["description"], facts["metadata"])
    folder = file[: -len(".json")]
    for name, about in facts["files"].items():
        path = None if "ref" in about else os.path.join(folder, *name.split("/"))
        artifact._entries[name] = Entry(
            name, path, about.get("ref"), about.get("size", 0), about.get("sha256", "")
        )
    artifact._folder, artifact.version = folder, facts["version"]
    artifact.name = f"{facts['name']}:{facts['version']}"
    artifact.aliases, artifact.tags, artifact._logged_by = facts["aliases"], facts["tags"], facts["run"]
    return artifact
