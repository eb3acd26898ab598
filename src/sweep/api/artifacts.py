"""Artifacts of recorded sweeps: found, written into a folder, checked, and how they came of each other."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sweep.analysis.text import plural
from sweep.api.finding import NotFound
from sweep.api.places import store_folder
from sweep.api.preflight import Check
from sweep.api.reading import load_rows, load_views
from sweep.core.names import run_id
from sweep.core.rows import ARTIFACT_PREFIX, decode_artifacts
from sweep.core.views import ArtifactView, RunView, UseView, VersionView
from sweep.provenance import artifact as a
from sweep.sdk._artifacts import GIVEN
from sweep.stores import Store
from sweep.stores.base import sound_blob
from sweep.stores.whole import read_whole

USED = "used"


def load_artifacts(store: Store, sweep: str) -> dict[str, ArtifactView]:
    """All artifacts of a sweep, by name. Raises NotFound for an unknown sweep."""
    return decode_artifacts(load_rows(store, sweep, ARTIFACT_PREFIX)[1])


def find_version(store: Store, sweep: str, text: str) -> tuple[ArtifactView, VersionView]:
    """What `name`, `name:v3` or `name:alias` means in a sweep. Raises NotFound, ArtifactError."""
    other, name, alias = a.named(text)
    if other and other != sweep:
        raise NotFound(f"{text} names sweep {other}, and {sweep} was asked for")
    known = load_artifacts(store, sweep)
    view = known.get(name)
    if view is None:
        raise NotFound(f"sweep {sweep} has no artifact {name!r}; it has {', '.join(known) or 'none'}")
    number = a.version_of(view, alias)
    if number is None:
        words = [f"v{version.version}" for version in view.versions] + list(view.aliases)
        raise NotFound(f"artifact {name} of sweep {sweep} has no {alias!r}; it has {', '.join(words)}")
    return view, view.versions[number]


def fetch(store: Store, version: VersionView | UseView, target: Path) -> a.Listed:
    """Write an artifact into `target`, a new or empty folder: all of it, checked, or nothing. Raises ArtifactError, OSError."""
    listed = a.parse(sound_blob(store, version.manifest))
    if listed.digest != version.digest:
        raise a.ArtifactError("its list of files is that of another artifact")
    target = target.absolute()
    making = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        for _ in a.write(listed, source_of(store, version), making):
            pass
        making.rename(target)  # also onto an empty folder
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return listed


class Verdict(msgspec.Struct, frozen=True):
    """What became of one version since it was logged."""

    name: str
    version: int
    digest: str
    files: int
    size: int
    problems: tuple[str, ...]


def verify(store: Store, sweep: str, texts: Sequence[str] = ()) -> Iterator[Verdict]:
    """Read every byte of these versions (none named: of all) and compare its digest. Raises NotFound."""
    if texts:
        chosen = [find_version(store, sweep, text) for text in texts]
    else:
        chosen = [
            (view, version) for view in load_artifacts(store, sweep).values() for version in view.versions
        ]
    for view, version in chosen:
        problems = tuple(_problems(store, version))
        yield Verdict(view.name, version.version, version.digest, version.files, version.size, problems)


def _problems(store: Store, version: VersionView | UseView) -> Iterator[str]:
    try:
        listed = a.parse(sound_blob(store, version.manifest))
    except a.ArtifactError as error:
        yield str(error)
        return
    if listed.digest != version.digest:
        yield "its list of files is that of another artifact"
        return
    yield from a.check(listed, source_of(store, version))


def source_of(store: Store, version: VersionView | UseView) -> a.Source:
    """Where the content of an artifact may be."""
    beside = "" if store.url.startswith("memory:") else str(store_folder(store))
    return a.Source(partial(sound_blob, store), read_whole, version.place, version.folder, beside)


# --- for a run that is executed again --------------------------------------------------------------------------


def check_used(store: Store, run: RunView) -> list[Check]:
    """Whether the artifacts that a run had used can be had, as they were."""
    checks = []
    for used in {use.digest: use for use in run.used}.values():
        problem = next(_problems(store, used), "")
        what = f"artifact {used.name}:v{used.version}"
        here = problem or "the same, its digest recomputed"
        checks.append(Check(what, used.digest[:16], here, "missing" if problem else "same"))
    return checks


def give_used(store: Store, run: RunView, folder: Path) -> None:
    """Put the artifacts that a run had used into `folder`, where it is executed again: each name gets the version that it got then.
    Raises ArtifactError, OSError."""
    if not run.used:
        return
    given: dict[str, list[dict[str, Any]]] = {}
    for used in run.used:
        target = folder / USED / a.folder_name(used.name, used.version, used.digest)
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            fetch(store, used, target)
        listed = a.parse(sound_blob(store, used.manifest))
        answer = a.answer_of(used.name, used.type, used.version, used.digest, str(target), listed)
        answer |= _described(store, used)
        given.setdefault(used.asked, []).append(answer)
    (folder / GIVEN).write_text(json.dumps(given), "ascii")


def _described(store: Store, used: UseView) -> dict[str, Any]:
    """What was said about a version when it was logged; nothing where its sweep is not in this store."""
    try:
        view = load_artifacts(store, used.sweep)[used.name]
    except (NotFound, KeyError):
        return {}
    version = view.versions[used.version]
    return {
        "description": version.description,
        "metadata": version.metadata,
        "aliases": [alias for alias, number in view.aliases.items() if number == used.version],
        "run": run_id(used.sweep, version.runs[0]),
    }


# --- lineage ---------------------------------------------------------------------------------------------------


class Node(msgspec.Struct, frozen=True):
    key: str
    kind: str
    """`artifact`, `run` or `data`."""
    label: str
    detail: str
    digest: str = ""


class Lineage(msgspec.Struct, frozen=True):
    """Which artifact came of which run, and which run used which artifact and read which data. Edges go the way that data goes."""

    sweep: str
    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]


def lineage(store: Store, sweep: str, texts: Sequence[str] = ()) -> Lineage:
    """All of it, or with names only what these versions came from and what came of them. Raises NotFound."""
    views, known = load_views(store, sweep), load_artifacts(store, sweep)
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str], None] = {}
    first: set[tuple[str, str]] = set()
    for view in known.values():
        for version in view.versions:
            nodes |= [_artifact_node(sweep, view.name, view.type, version)]
            first.add((run_id(sweep, version.runs[0]), _key(sweep, view.name, version.version)))
            for run in version.runs:
                edges[run_id(sweep, run), _key(sweep, view.name, version.version)] = None
    for found in views.runs:
        for used in found.used:
            key = _key(used.sweep, used.name, used.version)
            nodes.setdefault(
                key, Node(key, "artifact", f"{used.name}:v{used.version}", _other(used, sweep), used.digest)
            )
            edges[key, found.id] = None
        for read in found.data:
            if read.digest:
                key = f"{read.path}@{read.digest[:12]}"
                detail = f"{plural(read.files or 1, 'file')}, {read.digest[:12]}"
                nodes.setdefault(key, Node(key, "data", read.path, detail, read.digest))
                edges[key, found.id] = None
    at_work = {key for edge in edges for key in edge}
    metric = views.spec.metric.name if views.spec.metric is not None else ""
    for found in views.runs:
        if found.id in at_work:
            score = f", {metric} {found.objective:.5g}" if found.objective is not None and metric else ""
            nodes[found.id] = Node(found.id, "run", f"run {found.run}", f"{found.state}{score}")
    kept = [edge for edge in edges if not _leads_back(edge, edges, first)]
    if texts:
        start = [_key(sweep, *_name(store, sweep, text)) for text in texts]
        near = _reached(start, kept) | _reached(start, [(b, a) for a, b in kept])
        nodes = {key: node for key, node in nodes.items() if key in near}
        kept = [edge for edge in kept if edge[0] in near and edge[1] in near]
    return Lineage(sweep, tuple(nodes.values()), tuple(kept))


def _leads_back(
    edge: tuple[str, str], edges: Container[tuple[str, str]], first: Container[tuple[str, str]]
) -> bool:
    """Whether this edge would lead round in a circle, as a run has logged what it has also used. The first to log it has made it;
    any other has used what was there."""
    back = (edge[1], edge[0])
    if back not in edges:
        return False
    return back in first or (edge not in first and "/" in edge[1])


def _artifact_node(sweep: str, name: str, kind: str, version: VersionView) -> tuple[str, Node]:
    key = _key(sweep, name, version.version)
    return key, Node(key, "artifact", f"{name}:v{version.version}", kind, version.digest)


def _name(store: Store, sweep: str, text: str) -> tuple[str, int]:
    view, version = find_version(store, sweep, text)
    return view.name, version.version


def _key(sweep: str, name: str, version: int) -> str:
    return f"{sweep}/{name}:v{version}"


def _other(used: UseView, sweep: str) -> str:
    return used.type if used.sweep == sweep else f"{used.type}, of sweep {used.sweep}".lstrip(", ")


def _reached(start: Iterable[str], edges: Sequence[tuple[str, str]]) -> set[str]:
    after: dict[str, list[str]] = {}
    for one, other in edges:
        after.setdefault(one, []).append(other)
    found, waiting = set(start), list(start)
    while waiting:
        for key in after.get(waiting.pop(), ()):
            if key not in found:
                found.add(key)
                waiting.append(key)
    return found


def as_json(graph: Lineage) -> dict[str, Any]:
    """For programs."""
    return {
        "sweep": graph.sweep,
        "nodes": [msgspec.to_builtins(node) for node in graph.nodes],
        "edges": [list(edge) for edge in graph.edges],
    }
