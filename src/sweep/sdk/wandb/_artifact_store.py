"""Where artifacts are kept, and how one is found again: see `artifacts`."""

from __future__ import annotations

import os

from sweep.sdk._artifacts import FOLDER, ask, find_local, given_then, keep, known_local, read_facts
from sweep.sdk.wandb._errors import CommError
from sweep.sdk.wandb._say import once
from sweep.sdk.wandb._util import make_artifact_name_safe
from sweep.sdk.wandb.artifacts import Artifact, Entry, _digest

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
        artifact._become(os.path.join(record.folder, FOLDER, artifact.name), run, words)
        facts = artifact.json_encode()
        keep(
            record.run,
            artifact.download(),
            {**{key: facts[key] for key in _TOLD}, "refs": _references(facts)},
        )
    except OSError as error:
        once("artifact", f"cannot record the artifact {artifact.name}: {error.strerror or error}")
    return artifact


_TOLD = ("name", "type", "description", "metadata", "aliases")


def _references(facts: dict[str, Any]) -> dict[str, str]:
    return {name: about["ref"] for name, about in facts["files"].items() if "ref" in about}


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
    word = str(given).rsplit("/", 1)[-1]
    name, _, version = word.partition(":")
    found = find_local(record.folder, name, version or "latest", beside=False)
    if found is None and record.records:
        answer = given_then(record.run, word) if record.standalone else ask(record.run, word)
        if answer is not None and "path" in answer:
            return _fetched(answer)
        if answer is not None and not answer.get("missing"):
            raise CommError(answer["error"])
    found = found or find_local(record.folder, name, version or "latest")
    if found is not None:
        return _read(found)
    raise CommError(
        f"there is no artifact {name}:{version or 'latest'}: no run of this sweep has logged it. "
        f"Here there are: {', '.join(known_local(record.folder)) or 'none'}"
    )


def _fetched(answer: dict[str, Any]) -> Artifact:
    """An artifact that the agent has brought here."""
    artifact = Artifact(answer["name"], answer["type"], answer.get("description"), answer.get("metadata"))
    for name, about in answer["files"].items():
        path = None if "ref" in about else os.path.join(answer["path"], *name.split("/"))
        digest = "" if path is None else _digest(path)
        artifact._entries[name] = Entry(name, path, about.get("ref"), about.get("size", 0), digest)
    artifact._folder, artifact.version = answer["path"], answer["version"]
    artifact.name = f"{answer['name']}:{answer['version']}"
    artifact.aliases, artifact._logged_by = answer.get("aliases", []), answer.get("run")
    return artifact


def _read(file: str) -> Artifact:
    facts = read_facts(file)
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
