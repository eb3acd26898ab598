"""Where a sweep's runs start on this node: in the folder that the sweep was created in, in another checkout of the same code, or in
the recorded code, unpacked.

The rules of this file: the folder that the sweep was created in is used as it is, unless the spec says `code: snapshot`; code that is
executed and is not the recorded one is recorded anew, with the agent; code that people can edit is watched while runs start in it
(`sweep.agents.code`); nothing is ever written into anybody's checkout; what differs is said, with the files.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

from sweep.agents.place import Place, Watched
from sweep.api.changing import CodeChange, CodeThen, code_then, compare
from sweep.core.errors import SweepError
from sweep.core.links import link_problem
from sweep.core.rows import Views
from sweep.core.spec import SweepSpec
from sweep.provenance import TreeError
from sweep.provenance.git import GitError, toplevel
from sweep.provenance.tree import display, parse_manifest
from sweep.provenance.unpacking import unpack
from sweep.provenance.watch import CodeWatch
from sweep.stores import Store

MOST_NAMES = 5
_ALIKE = 0.5
"""A folder that has so many of the recorded paths is a checkout of this code, maybe a changed one."""


class NoPlace(SweepError):
    """Runs cannot start on this node; the message says what to do about it."""


def find_place(
    store: Store,
    views: Views,
    *,
    root: Path,
    cwd: Path,
    environ: Mapping[str, str],
    links: Mapping[str, str] | None = None,
    say: Callable[[str], None],
) -> Place:
    """The folder for runs of the sweep that `views` shows; the recorded code is unpacked below `root` where that is what to run.

    `cwd`: where the agent was started, which may be a checkout; `links`: what the person said of where the spec's `links` are. `say`
    gets what a person should know. Raises NoPlace, StoreError.
    """
    spec, record = views.spec, views.created.record
    given = _given(spec, links or {}, cwd)
    recorded = record.get("workdir")
    if not recorded:
        return Place(cwd, "as it is")
    folder, code = Path(recorded), record.get("code") or {}
    if not code.get("tree"):
        _check_in_place(spec, folder, given)
        return Place(folder, "as it is")
    found = _Finder(store, views, root, cwd, environ, given, say)
    if spec.code != "snapshot" and _is_home(record, folder):
        _check_in_place(spec, folder, given)
        return found.as_it_is(folder)
    return found.find(folder)


def _is_home(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether `folder` is the one that the sweep was created in: on this machine, or shared by both."""
    try:
        inode = folder.stat().st_ino % 2**63
    except OSError:
        return False
    here = record.get("created_by", {}).get("host") == socket.gethostname()
    return folder.is_dir() and (here or 0 != inode == record.get("workdir_inode"))


class _Finder:
    """Looks at what is here, one place after the other."""

    def __init__(
        self,
        store: Store,
        views: Views,
        root: Path,
        cwd: Path,
        environ: Mapping[str, str],
        given: Mapping[str, Path],
        say: Callable[[str], None],
    ) -> None:
        self.store, self.spec, self.record = store, views.spec, views.created.record
        self.sweep, self.root, self.cwd, self.environ, self.given, self.say = (
            views.sweep.sweep,
            root,
            cwd,
            environ,
            given,
            say,
        )
        self.code: dict[str, Any] = self.record["code"]
        self.then: CodeThen = code_then(store, self.code)

    def as_it_is(self, folder: Path) -> Place:
        """The folder that the sweep was created in. What has been edited since is executed, so it is what is recorded of these runs."""
        if not folder.is_dir():
            return Place(folder, "as it is")
        watch = self._watch(folder)
        return self._edited(folder, watch, self._change(folder))

    def find(self, folder: Path) -> Place:
        """The same where the node may have another folder, or none."""
        candidates = [path for path in dict.fromkeys([folder, self._around()]) if path and path.is_dir()]
        differing: list[tuple[Path, CodeWatch, CodeChange]] = []
        for path in candidates:
            if not self._is_checkout(path):
                continue
            watch = self._watch(path)
            change = self._change(path)
            if not change and self._serves(path):
                return self._watched(Place(path, "same"), watch, change)
            if change:
                differing.append((path, watch, change))
        if self.spec.code == "local":
            return self._local(differing)
        for path, _, change in differing:
            self._say_recorded(path, change)
        return Place(self._unpacked(), "unpacked")

    # --- code that people can edit

    def _watch(self, folder: Path) -> CodeWatch:
        """To be made before the code is compared: what is changed meanwhile is seen afterwards."""
        root = self.then.root(folder)
        links = [os.path.relpath(folder.resolve() / name, root) for name in self.spec.links]
        return CodeWatch(str(root), self.then.files, [*links, str(self.record.get("spec") or "")])

    def _change(self, folder: Path) -> CodeChange:
        """How the code there differs from the recorded one."""
        return compare(self.then, folder, self.environ, [folder / name for name in self.spec.links])

    def _watched(self, place: Place, watch: CodeWatch, change: CodeChange) -> Place:
        def again() -> Callable[[Callable[[str], None]], Place]:
            now = self._change(place.workdir)
            return lambda say: self._moved_on(place, watch, now, say)

        return replace(place, watched=Watched(watch, frozenset(change.paths), again))

    def _moved_on(
        self, place: Place, watch: CodeWatch, change: CodeChange, say: Callable[[str], None]
    ) -> Place:
        """The code in a place was edited, maybe: where runs start from now on."""
        self.say = say
        if place.code != "same" or self.spec.code == "local":
            code: Literal["as it is", "local"] = "as it is" if place.code == "as it is" else "local"
            if not change and place.now is not None:
                say(f"the code in {place.workdir} is again as it was recorded")
            if change.now is not None and place.now is not None and change.now["tree"] == place.now["tree"]:
                return self._recorded_anew(place.workdir, watch, change, code)
            return self._edited(place.workdir, watch, change, code)
        if not change:
            return self._watched(Place(place.workdir, "same"), watch, change)
        self._say_recorded(place.workdir, change)
        there = {name: place.workdir / name for name in self.spec.links}
        self.given = {**there, **self.given}
        try:
            return Place(self._unpacked(), "unpacked")
        except NoPlace as error:
            say(f"{error}; so runs use the code as it is now, and it is recorded with them")
            return self._recorded_anew(place.workdir, watch, change, "local")

    def _edited(
        self,
        folder: Path,
        watch: CodeWatch,
        change: CodeChange,
        code: Literal["as it is", "local"] = "as it is",
    ) -> Place:
        if not change:
            return self._watched(Place(folder, code), watch, change)
        self.say(
            f"the code in {folder} has changed since the sweep was created ({change_words(change)}); runs use it as it is now, and it is "
            "recorded with them"
        )
        return self._recorded_anew(folder, watch, change, code)

    def _recorded_anew(
        self, folder: Path, watch: CodeWatch, change: CodeChange, code: Literal["as it is", "local"]
    ) -> Place:
        place = Place(folder, code, change.paths[:MOST_NAMES], change.now, change.blobs)
        return self._watched(place, watch, change)

    def _say_recorded(self, path: Path, change: CodeChange) -> None:
        self.say(
            f"the code in {path} is not the recorded one ({change_words(change)}); runs use the recorded code"
        )

    # --- other places

    def _around(self) -> Path | None:
        """The folder that runs would start in, if the agent was started in a checkout."""
        top = self.cwd
        if self.code.get("git"):
            try:
                top = toplevel(self.cwd)
            except (GitError, OSError):
                top = self.cwd
        return top / self.code["folder"] if self.code["folder"] else top

    def _is_checkout(self, path: Path) -> bool:
        """Whether it is one of this code at all, maybe a changed one."""
        known, top = (
            self.then.files,
            path.parents[self.code["folder"].count("/")] if self.code["folder"] else path,
        )
        there = sum(os.path.lexists(f"{top}/{name}") for name in known)
        return bool(known) and there >= _ALIKE * len(known)

    def _serves(self, path: Path) -> bool:
        """Whether a checkout of the same code has all links as well, where they should lead."""
        return all((path / name).exists() for name in self.spec.links) and all(
            _same(path / name, target) for name, target in self.given.items()
        )

    def _local(self, differing: Sequence[tuple[Path, CodeWatch, CodeChange]]) -> Place:
        if not differing:
            raise NoPlace(
                f"the spec says `code: local`, and there is no checkout of the code of sweep {self.sweep} here: start the agent "
                f"in one, or let it use the recorded code (`sweep edit {self.sweep}`: `code: snapshot`)"
            )
        path, watch, change = differing[0]
        _check_in_place(self.spec, path, self.given)
        self.say(f"the code in {path} is not the recorded one ({change_words(change)}); runs use it as it is")
        return self._recorded_anew(path, watch, change, "local")

    def _unpacked(self) -> Path:
        missing = [name for name in self.spec.links if name not in self.given]
        if missing:
            options = " ".join(f"--link {name}=/where/it/is" for name in missing)
            raise NoPlace(
                f"the spec's links name {', '.join(missing)}, which the recorded code leaves out and this node must provide: "
                f"`sweep agent {self.sweep} {options}`"
            )
        self._tell_left_out()
        try:
            manifest = self.store.get_blob(self.code["tree"])
            if manifest is None:
                raise TreeError(f"the store has no blob {self.code['tree']}")
            place = unpack(
                self.code["tree"],
                parse_manifest(manifest),
                self.store.get_blob,
                self.root,
                self.code["folder"],
                self.given,
                self.say,
            )
        except TreeError as error:
            raise NoPlace(f"the code of sweep {self.sweep} cannot be unpacked: {error}") from None
        folder = self.record["workdir"]
        why = "" if Path(folder).is_dir() else f"the folder {folder}, where runs start, is not here: "
        self.say(f"{why}runs use the recorded code, unpacked in {place}")
        return place

    def _tell_left_out(self) -> None:
        left_out = [item for item in self.code.get("left_out", ()) if not item["reason"].startswith("secret")]
        count = self.code.get("left_out_count", 0) - (len(self.code.get("left_out", ())) - len(left_out))
        if count > 0:
            names = _names([item["path"] for item in left_out], count)
            self.say(
                f"the recorded code lacks {names}: too large, or not to be read; runs that need them will fail here (name their "
                "folder in the spec's `links`, and each node provides it)"
            )


def _given(spec: SweepSpec, links: Mapping[str, str], cwd: Path) -> dict[str, Path]:
    """Name -> path of what the person said, made absolute. Raises NoPlace."""
    found: dict[str, Path] = {}
    for name in spec.links:
        if problem := link_problem(name):
            raise NoPlace(f"links: {problem}")
    for name, text in links.items():
        if name not in spec.links:
            known = f"its links are {', '.join(spec.links)}" if spec.links else "it has none"
            raise NoPlace(f"--link {name}=…: the spec names no such link ({known})")
        path = Path(os.path.abspath(cwd / Path(text).expanduser()))  # noqa: PTH100  # links in it stay as they are
        if not path.exists():
            raise NoPlace(f"--link {name}={text}: there is no {path} on this node")
        found[name] = path
    return found


def _check_in_place(spec: SweepSpec, folder: Path, given: Mapping[str, Path]) -> None:
    """In a folder that is used as it is, links must be there already: nothing is put into it. Raises NoPlace."""
    for name in spec.links:
        there = folder / name
        target = given.get(name)
        if folder.is_dir() and not there.exists():
            raise NoPlace(
                f"the spec's links name {name}, and it is not in {folder}, where runs start; nothing is put there for you: "
                f"`ln -s {target or '/where/it/is'} {there}`"
            )
        if target is not None and not _same(there, target):
            raise NoPlace(
                f"--link {name}={target}: runs start in {folder}, where {name} is something else; leave --link out, or "
                "write `code: snapshot` into the spec, so that runs start in a folder of their own"
            )


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False


def change_words(change: CodeChange) -> str:
    """`changed: a.py, b.py and 3 more; new: c.py`."""
    parts = [("changed", change.changed), ("new", change.added), ("gone", change.removed)]
    return "; ".join(f"{what}: {_names(paths, len(paths))}" for what, paths in parts if paths)


def _names(paths: Sequence[str], count: int) -> str:
    shown = [display(path) for path in paths[:MOST_NAMES]]
    rest = count - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
