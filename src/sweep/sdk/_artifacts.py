"""Artifacts as the training side keeps them: a folder for each version in the run's folder, and a line that tells the agent of it.

`artifacts/<name>/v<n>/` holds the files of the n-th version that this run has logged, `artifacts/<name>/v<n>.json` what is known about
it. `artifacts-<attempt>.jsonl` has one line for each that was logged or asked for; the agent reads it, hashes, stores and answers. The
wandb stand-in keeps its artifacts by the same functions.
"""

# ruff: noqa: PTH100, PTH102, PTH103, PTH105, PTH110, PTH112, PTH113, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208
# pathlib: importing it costs more than all of this.

from __future__ import annotations

import json
import os
from time import monotonic, sleep, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sweep.sdk._run import Run

FOLDER = "artifacts"
ANSWERS = ".artifact-answers"
GIVEN = "given-artifacts.json"
WAIT_S = 600.0
_POLL_S = 0.02


_turns: dict[str, int] = {}
"""How often each artifact was asked for, in a run that is executed again."""


class ArtifactError(LookupError):
    """There is no such artifact, or it cannot be had here; the message says which."""


class Artifact:
    """A version of an artifact on this machine's disk."""

    def __init__(self, name: str, type: str, path: str, version: str = "", digest: str = "") -> None:
        self.name, self.type, self.path = name, type, path
        self.version, self.digest = version, digest
        """`v3` and the digest of its content (BLAKE3, hex), where the agent has said so; empty before."""

    @property
    def file(self) -> str:
        """The path of its only file. ArtifactError when it has several."""
        files = [os.path.join(at, name) for at, _, names in os.walk(self.path) for name in names]
        if len(files) != 1:
            raise ArtifactError(
                f"artifact {self.name} has {len(files)} files: look into its path, {self.path}"
            )
        return files[0]

    def __fspath__(self) -> str:
        return self.path

    def __repr__(self) -> str:
        return f"<artifact {self.name}{':' if self.version else ''}{self.version} in {self.path}>"


def check_name(name: str) -> str:
    """The same name. ValueError when it could not be one."""
    if (
        not name
        or name in (".", "..")
        or any(c in "/:\\" or not c.isprintable() for c in name)
        or len(name) > 128
    ):
        raise ValueError(f"{name!r} is no name for an artifact: 1 to 128 characters, without / and :")
    return name


def log(run: Run, path: Any, name: str | None, type: str, aliases: Any) -> Artifact:
    """Copy a file or folder into the run's folder and tell the agent. ValueError for what is no name, FileNotFoundError when `path` is
    not there; what cannot be copied is said once."""
    source = os.path.abspath(os.fspath(path))
    if not os.path.exists(source):
        raise FileNotFoundError(f"there is no file or folder {os.fspath(path)!r} to log as an artifact")
    name = check_name(os.path.basename(source) if name is None else name)
    words = [check_name(word) for word in ([aliases] if isinstance(aliases, str) else list(aliases))]
    target = os.path.join(run._folder, FOLDER, name)
    try:
        target = next_folder(target)
        written = _copy_at_rest(source, target)
        if written is None:
            run._say(
                f"{source} was written to while it was copied: what is kept as artifact {name} may be no whole file"
            )
        facts = {"name": name, "type": type, "aliases": words}
        keep(run, target, facts, {"source": source, "written": written})
    except OSError as error:
        run._say(f"cannot keep the artifact {name}: {error.strerror or error}")
    return Artifact(name, type, target)


def next_folder(folder: str) -> str:
    """Make the next free `v<n>` in `folder`. Raises OSError."""
    os.makedirs(folder, exist_ok=True)
    number = 0
    while True:
        target = os.path.join(folder, f"v{number}")
        try:
            os.mkdir(target)
            return target
        except FileExistsError:
            number += 1


def keep(run: Run, folder: str, facts: dict[str, Any], origin: dict[str, Any] | None = None) -> None:
    """A version is whole: write what is known about it beside it, and tell the agent. `origin`: for the agent alone: `source`, where it was
    copied from, and `written`, when that was written last (Unix time; None: while it was copied). Raises OSError."""
    facts = {**facts, "version": os.path.basename(folder), "run": run.id}
    if not os.path.exists(f"{folder}.json"):
        with open(f"{folder}.new", "w", encoding="ascii") as file:
            json.dump({"_type": "artifact", "files": {}, **facts}, file, indent=1)
        os.replace(f"{folder}.new", f"{folder}.json")  # another run may be looking
    tell(run, {"op": "log", "folder": folder, **facts, **(origin or {})})


def tell(run: Run, line: dict[str, Any]) -> None:
    """Append a line for the agent, and have it look. Raises OSError."""
    if run.standalone:
        return
    path = os.path.join(run._folder, f"artifacts-{run.attempt}.jsonl")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode("ascii") + b"\n")
    finally:
        os.close(descriptor)
    run._control('{"op":"artifact"}\n')


def use_data(run: Run, path: Any) -> Any:
    """Tell the agent that the run reads what is at `path`. Raises FileNotFoundError when nothing is."""
    place = os.path.abspath(os.fspath(path))
    found = os.stat(place)
    stamp = [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    try:
        tell(run, {"op": "data", "path": os.fsdecode(place), "at": time(), "stamp": stamp})
    except OSError as error:
        run._say(f"cannot say that {path} is read: {error.strerror or error}")
    return path


def use(run: Run, name: str, wait_s: float = WAIT_S) -> Artifact:
    """An artifact by name: `name`, `name:v3`, `name:alias`, `SWEEP/name:alias`. Waits for the agent. Raises ArtifactError."""
    answer = given_then(run, name) if run.standalone else ask(run, name, wait_s)
    if answer is None:
        return _use_local(run, name)
    if "error" in answer:
        raise ArtifactError(answer["error"])
    return Artifact(answer["name"], answer["type"], answer["path"], answer["version"], answer["digest"])


def ask(run: Run, name: str, wait_s: float = WAIT_S) -> dict[str, Any]:
    """What the agent answers: `name`, `type`, `version`, `digest`, `path`, …, or `error`."""
    key = os.urandom(8).hex()
    path = os.path.join(run._folder, ANSWERS, f"{key}.json")
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        tell(run, {"op": "use", "id": key, "name": str(name)})
    except OSError as error:
        return {"error": f"cannot ask for artifact {name}: {error.strerror or error}"}
    until = monotonic() + wait_s
    while monotonic() < until:
        try:
            with open(path, encoding="utf-8") as file:
                answer: dict[str, Any] = json.load(file)
            return answer
        except FileNotFoundError:
            sleep(_POLL_S)
    return {"error": f"the agent has not answered within {wait_s:g} seconds where artifact {name} is"}


# --- without an agent ------------------------------------------------------------------------------------------


def given_then(run: Run, name: str) -> dict[str, Any] | None:
    """What was put there for a run that is executed again, by the names under which it asked then: the n-th time the n-th."""
    try:
        found = read_facts(os.path.join(run._folder, GIVEN)).get(name)
    except (OSError, ValueError):
        return None
    if not found:
        return None
    turn = _turns[name] = _turns.get(name, -1) + 1
    answer: dict[str, Any] = found[min(turn, len(found) - 1)]
    return answer


def _use_local(run: Run, name: str) -> Artifact:
    """What this run, or another one that was started by hand beside it, has logged."""
    word, _, version = name.rpartition("/")[2].partition(":")
    found = find_local(run._folder, word, version or "latest")
    if found is None:
        raise ArtifactError(
            f"there is no artifact {name} here: no run that was started by hand in this folder has logged it"
        )
    facts = read_facts(found)
    return Artifact(facts["name"], facts["type"], found[: -len(".json")], facts["version"])


def find_local(own: str, name: str, version: str, beside: bool = True) -> str | None:
    """The fact file of the newest version that fits, of the run in folder `own` or else, with `beside`, of those beside it."""
    around = os.path.dirname(own)
    others = [os.path.join(around, run) for run in sorted(listing(around))] if beside else []
    for runs in ([own], others):
        found = [path for run in runs for path in _versions(run, name, version)]
        if found:
            return max(found, key=_age)
    return None


def known_local(own: str) -> list[str]:
    """The names of all artifacts there."""
    runs = [own, *(os.path.join(os.path.dirname(own), run) for run in listing(os.path.dirname(own)))]
    return sorted({name for run in runs for name in listing(os.path.join(run, FOLDER))})


def read_facts(file: str) -> dict[str, Any]:
    """What stands in a fact file."""
    with open(file, encoding="ascii") as opened:
        return json.load(opened)  # type: ignore[no-any-return]


def listing(folder: str) -> list[str]:
    """What is in a folder, but for hidden files; nothing when it is not there."""
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]
    except OSError:
        return []


def _versions(run: str, name: str, version: str) -> list[str]:
    """The fact files of one run that fit."""
    folder = os.path.join(run, FOLDER, name)
    files = [os.path.join(folder, file) for file in listing(folder) if file.endswith(".json")]
    if version == "latest":
        return files
    return [file for file in files if version == _number(file) or version in read_facts(file)["aliases"]]


def _number(file: str) -> str:
    return os.path.basename(file)[: -len(".json")]


def _age(file: str) -> tuple[int, int]:
    return os.stat(file).st_mtime_ns, int(_number(file)[1:])


def _copy_at_rest(source: str, target: str) -> float | None:
    """Copy, again when somebody has written to the source meanwhile; when it was written last (Unix time), None where it is not at rest.
    Raises OSError."""
    for pause_s in (0.1, 0.5, None):
        before = _stamps(source)
        try:
            _copy(source, target)
            if _stamps(source) == before:
                return max((stamp[1] for stamp in before), default=0) / 1e9
        except FileNotFoundError:  # gone between two looks: written anew, or removed
            if pause_s is None:
                raise
        if pause_s is not None:
            sleep(pause_s)
            _empty(target)
    return None


def _stamps(source: str) -> list[tuple[str, int, int, int]]:
    """Name, time of change, size and inode of each file. Raises OSError."""
    names = [source]
    if os.path.isdir(source):
        names = sorted(os.path.join(at, file) for at, _, files in os.walk(source) for file in files)
    found = []
    for name in names:
        if os.path.isfile(name):
            stat = os.stat(name)
            found.append((name, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found


def _empty(folder: str) -> None:
    import shutil

    shutil.rmtree(folder)
    os.mkdir(folder)


def _copy(source: str, target: str) -> None:
    """A file, or what is in a folder (without links that lead nowhere), into the folder `target`. Raises OSError."""
    import shutil

    if os.path.isfile(source):
        shutil.copy2(source, os.path.join(target, os.path.basename(source)))
        return
    for at, folders, files in os.walk(source):
        folders.sort()
        inside = os.path.join(target, os.path.relpath(at, source))
        os.makedirs(inside, exist_ok=True)
        for file in files:
            if os.path.isfile(os.path.join(at, file)):
                shutil.copy2(os.path.join(at, file), os.path.join(inside, file))
