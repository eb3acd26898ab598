"""`wandb.Artifact`: named, versioned files of a run.

`artifacts/<name>/v<n>/` in the run's folder holds the files of version n, counted per run, `artifacts/<name>/v<n>.json` what is
known about them (`sweep.sdk._artifacts`, as for `run.log_artifact`). A run finds its own artifacts here, and those of other runs through
its agent.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager

from sweep.sdk._artifacts import next_folder
from sweep.sdk.wandb._errors import UsageError
from sweep.sdk.wandb._media import WBValue, write
from sweep.sdk.wandb._say import nothing, once
from sweep.sdk.wandb._util import generate_id
from sweep.sdk.wandb._values import friendly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO, Any


class ArtifactTTL:
    """Accepted: nothing is deleted by itself."""

    INHERIT = "inherit"


class Entry:
    """One file, or a reference to something elsewhere."""

    def __init__(self, path: str, file: str | None, ref: str | None, size: int, digest: str) -> None:
        self.path, self.ref, self.size, self.digest = path, ref, size, digest
        self._file = file

    def ref_target(self) -> str:
        """Where a reference points. ValueError for a file."""
        if self.ref is None:
            raise ValueError("Only reference entries support ref_target().")
        return self.ref

    def download(self, root: Any = None, skip_cache: bool | None = None) -> str:
        """The path of the file; of a copy below `root`, when that is given."""
        if self._file is None:
            raise ValueError(f"{self.path} is a reference to {self.ref}: sweep does not fetch it")
        if root is None:
            return self._file
        target = os.path.join(os.fspath(root), self.path)
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        shutil.copy2(self._file, target)
        return target


class Artifact:
    """Files under a name. They are copied when they are added; `log_artifact` makes them a version."""

    def __init__(
        self,
        name: str,
        type: str = "unspecified",
        description: str | None = None,
        metadata: dict[str, Any] | None = None,
        incremental: bool = False,
        use_as: str | None = None,
        storage_region: str | None = None,
        digest_algorithm: str = "MD5",
    ) -> None:
        """ValueError for a name with `/` or a version in it."""
        if any(c in name for c in "/:\0") or name in ("", ".", ".."):
            raise ValueError(
                f"Artifact names may only contain alphanumeric characters, dashes, underscores, and dots: {name!r}"
            )
        self.name, self.type, self.description = name, type, description
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.aliases: list[str] = []
        self.tags: list[str] = []
        self.use_as, self.ttl = use_as, None
        self.entity = self.project = ""
        self.version: str | None = None
        self.id: str | None = None
        self._entries: dict[str, Entry] = {}
        self._objects: dict[str, Any] = {}
        self._folder: str | None = None
        self._logged_by: str | None = None

    # --- adding

    def add_file(
        self,
        local_path: Any,
        name: str | None = None,
        is_tmp: bool | None = False,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        overwrite: bool = False,
    ) -> Entry:
        """Copy a file in. ValueError when it is not there."""
        if not os.path.isfile(local_path):
            raise ValueError(f"Path is not a file: {local_path}")
        return self._add(name or os.path.basename(os.fspath(local_path)), None, os.fspath(local_path))

    def add_dir(
        self,
        local_path: Any,
        name: str | None = None,
        skip_cache: bool | None = False,
        policy: str | None = "mutable",
        merge: bool = False,
    ) -> None:
        """Copy a folder's files in. ValueError when it is not there."""
        if not os.path.isdir(local_path):
            raise ValueError(f"Path is not a directory: {local_path}")
        root = os.fspath(local_path)
        for folder, _, files in os.walk(root):
            for file in sorted(files):
                path = os.path.join(folder, file)
                inside = os.path.relpath(path, root).replace(os.sep, "/")
                self._add(f"{name}/{inside}" if name else inside, None, path)

    def add_reference(
        self, uri: Any, name: Any = None, checksum: bool = True, max_objects: int | None = None
    ) -> list[Entry]:
        """Note where something is. It is not fetched; what `file://` names is not copied either."""
        target = uri.ref or uri.path if isinstance(uri, Entry) else str(uri)
        path = str(name) if name else target.rstrip("/").rsplit("/", 1)[-1]
        self._open()
        entry = self._entries[path] = Entry(path, None, target, 0, "")
        return [entry]

    def add(self, obj: Any, name: Any, overwrite: bool = False) -> Entry:
        """Put a table, an image or another value of wandb in, under a name."""
        if not isinstance(obj, WBValue):
            raise ValueError(
                f"Artifact.add takes wandb.Table, wandb.Image and the like; got {type(obj).__name__}"
            )
        path = str(name)
        place = _Inside(self, path)
        reference = obj._stored(place, path, 0)  # type: ignore[arg-type]
        self._objects[path] = obj
        if "path" in reference:
            return self._entries[reference["path"]]
        return self._add(path + ".json", json.dumps(reference).encode(), None)

    @contextmanager
    def new_file(
        self, name: str, mode: str = "x", encoding: str | None = None, policy: str = "mutable"
    ) -> Iterator[IO[Any]]:
        """A new file of the artifact, open for writing."""
        self._open()
        path = os.path.join(self._staged(), *name.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, mode.replace("x", "w"), encoding=encoding) as file:
            yield file
        self._note(name, path)

    def remove(self, item: Any) -> None:
        """Take a file out again. FileNotFoundError when it is not there."""
        self._open()
        path = item.path if isinstance(item, Entry) else os.fspath(item)
        found = [name for name in self._entries if name == path or name.startswith(path.rstrip("/") + "/")]
        if not found:
            raise FileNotFoundError(f"No such file or directory: {path}")
        for name in found:
            file = self._entries.pop(name)._file
            if file is not None:
                os.unlink(file)

    def __setitem__(self, name: str, item: Any) -> None:
        self.add(item, name)

    def __getitem__(self, name: str) -> Any:
        return self.get(name)

    def _add(self, name: str, content: bytes | None, source: str | None) -> Entry:
        self._open()
        parts = [part for part in name.replace(os.sep, "/").split("/") if part not in ("", ".")]
        if not parts or ".." in parts:
            raise ValueError(f"{name!r} is no name within an artifact")
        inside = "/".join(parts)
        try:
            path = os.path.join(self._staged(), *parts)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write(path, content, source)
            return self._note(inside, path)
        except OSError as error:
            once(
                "artifact file", f"cannot add {inside} to the artifact {self.name}: {error.strerror or error}"
            )
            return Entry(inside, None, None, 0, "")

    def _note(self, name: str, path: str) -> Entry:
        entry = self._entries[name] = Entry(name, path, None, os.stat(path).st_size, _digest(path))
        return entry

    def _open(self) -> None:
        if self.version is not None:
            raise UsageError("Can't add to an artifact that was logged: make one with artifact.new_draft()")

    def _staged(self) -> str:
        """The folder that files are in until the artifact is logged."""
        if self._folder is None:
            import tempfile

            root = os.environ.get("SWEEP_RUN_DIR")
            parent = os.path.join(root, "artifacts") if root else None
            if parent is not None:
                os.makedirs(parent, exist_ok=True)
            self._folder = tempfile.mkdtemp(prefix=".new-", dir=parent)
            import weakref

            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    # --- reading

    def download(
        self,
        root: Any = None,
        allow_missing_references: bool = False,
        skip_cache: bool | None = None,
        path_prefix: Any = None,
        multipart: bool | None = None,
    ) -> str:
        """The folder of the files; of copies, when `root` is given."""
        folder = self._folder or self._staged()
        if root is None:
            return folder
        for entry in self._entries.values():
            if entry._file is not None and entry.path.startswith(str(path_prefix or "")):
                entry.download(root)
        return os.fspath(root)  # type: ignore[no-any-return]

    checkout = download

    def file(self, root: str | None = None) -> str:
        """The path of the only file. ValueError when there are more."""
        if len(self._entries) != 1:
            raise ValueError(
                f"This artifact has {len(self._entries)} files: call .download() or .get_entry(name)"
            )
        return next(iter(self._entries.values())).download(root)

    def files(
        self, names: list[str] | None = None, per_page: int = 50, start: str | None = None
    ) -> list[Entry]:
        """The files, or those of these names."""
        return [entry for name, entry in self._entries.items() if names is None or name in names]

    def get_entry(self, name: Any) -> Entry:
        """A file by name. KeyError when there is none."""
        path = os.fspath(name)
        if path not in self._entries:
            raise KeyError(f"Path not contained in artifact: {path}")
        return self._entries[path]

    get_path = get_entry

    def get(self, name: str) -> Any:
        """A value that was put in with `add`; None when there is none. Of a logged artifact tables are read again."""
        if name in self._objects:
            return self._objects[name]
        entry = self._entries.get(f"{name}.table.json")
        if entry is None or entry._file is None:
            return None
        from sweep.sdk.wandb.tables import Table

        with open(entry._file, encoding="utf-8") as file:
            values = json.load(file)
        return Table(columns=values["columns"], data=values["data"])

    def get_added_local_path_name(self, local_path: str) -> str | None:
        """The name of a file that was added."""
        name = os.path.basename(local_path)
        return name if name in self._entries else None

    def _single_path(self) -> str:
        return self.file() if len(self._entries) == 1 else self.download()

    @property
    def manifest(self) -> Any:
        """An object whose `entries` are the files by name."""
        from sweep.sdk.wandb._settings import Settings

        return Settings(entries=dict(self._entries))

    @property
    def digest(self) -> str:
        """SHA-256 over names and contents."""
        from hashlib import sha256

        lines = [f"{name} {entry.digest or entry.ref}" for name, entry in sorted(self._entries.items())]
        return sha256("\n".join(lines).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self._entries.values())

    @property
    def file_count(self) -> int:
        """How many files there are."""
        return len(self._entries)

    @property
    def state(self) -> str:
        """`PENDING` until it is logged, then `COMMITTED`."""
        return "PENDING" if self.version is None else "COMMITTED"

    @property
    def qualified_name(self) -> str:
        """`name:version`."""
        return f"{self.name.partition(':')[0]}:{self.version or 'draft'}"

    source_name = source_qualified_name = qualified_name

    @property
    def url(self) -> str | None:
        """The folder as a `file:` URL."""
        return None if self._folder is None else "file://" + self._folder

    def is_draft(self) -> bool:
        """Whether it is not logged yet."""
        return self.version is None

    def new_draft(self) -> Artifact:
        """An artifact of the same name with the same files, to add to."""
        draft = Artifact(self.name.partition(":")[0], self.type, self.description, self.metadata)
        for name, entry in self._entries.items():
            if entry._file is not None:
                draft._add(name, None, entry._file)
            else:
                draft._entries[name] = entry
        return draft

    def verify(self, root: str | None = None) -> None:
        """ValueError when a file has changed since it was added."""
        for name, entry in self._entries.items():
            if entry._file is not None and _digest(entry._file) != entry.digest:
                raise ValueError(f"Digest mismatch for file: {name}")

    def wait(self, timeout: int | None = None) -> Artifact:
        """Itself: logging is over when `log_artifact` returns."""
        return self

    def logged_by(self) -> str | None:
        """The ID of the run that logged it."""
        return self._logged_by

    def save(self, project: str | None = None, settings: Any = None) -> None:
        """Log it in the current run. Changes of metadata after that are written as well."""
        from sweep.sdk.wandb._init import attach

        if self.version is None:
            attach().log_artifact(self)
        elif self._folder is not None:
            self._write_facts()

    def finalize(self) -> None:
        """Accepted."""

    def link(self, target_path: str, aliases: Any = None) -> Artifact:
        """Nothing: there is no registry."""
        nothing("artifact.link", "there is no registry")
        return self

    def unlink(self) -> None:
        """Nothing: there is no registry."""

    def delete(self, delete_aliases: bool = False) -> None:
        """Nothing: what is recorded stays. `sweep gc` frees space."""
        nothing("artifact.delete", "what is recorded stays")

    def used_by(self) -> list[Any]:
        """Nothing is known about that."""
        return []

    def json_encode(self) -> dict[str, Any]:
        """What is known, as JSON values."""
        files = {
            name: {"ref": entry.ref} if entry._file is None else {"sha256": entry.digest, "size": entry.size}
            for name, entry in self._entries.items()
        }
        return {
            "_type": "artifact",
            "name": self.name.partition(":")[0],
            "version": self.version,
            "type": self.type,
            "description": self.description,
            "metadata": friendly(self.metadata),
            "aliases": list(self.aliases),
            "tags": list(self.tags),
            "run": self._logged_by,
            "files": files,
        }

    def __repr__(self) -> str:
        return f"<wandb artifact {self.qualified_name}>"

    # --- becoming a version

    def _become(self, folder: str, run: str, aliases: list[str]) -> None:
        """Move to the next free `v<n>` in `folder`."""
        staged = self._staged()
        target = next_folder(folder)
        for name in os.listdir(staged):
            shutil.move(os.path.join(staged, name), os.path.join(target, name))
        for entry in self._entries.values():
            if entry._file is not None:
                entry._file = os.path.join(target, *entry.path.split("/"))
        self._folder, self.version, self.id = target, os.path.basename(target), generate_id()
        self.aliases = list(dict.fromkeys(["latest", *aliases]))
        self._logged_by = run
        self.name = f"{self.name}:{self.version}"
        self._write_facts()

    def _write_facts(self) -> None:
        with open(f"{self._folder}.json", "w", encoding="ascii") as file:
            json.dump(self.json_encode(), file, indent=1)


class _Inside:
    """Where a value that is put into an artifact writes its files."""

    def __init__(self, artifact: Artifact, name: str) -> None:
        self._artifact, self._name, self._number = artifact, name, 0

    def free_path(self, key: str, step: int, suffix: str) -> tuple[str, str]:
        """Where the next file goes: the value's name first, then files within it."""
        inside = f"{self._name}{suffix}"
        while inside in self._artifact._entries:
            self._number += 1
            inside = f"media/{self._name}_{self._number}{suffix}"
        path = os.path.join(self._artifact._staged(), *inside.split("/"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._artifact._entries[inside] = _Late(inside, path)
        return path, inside


class _Late(Entry):
    """A file that is written after it got its name."""

    def __init__(self, path: str, file: str) -> None:
        self.path, self.ref, self._file = path, None, file

    @property
    def size(self) -> int:  # type: ignore[override]
        """Bytes."""
        return os.stat(self._file or "").st_size

    @property
    def digest(self) -> str:  # type: ignore[override]
        """SHA-256."""
        return _digest(self._file or "")


def _digest(path: str) -> str:
    from hashlib import sha256

    digest = sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()
