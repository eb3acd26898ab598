"""Bundles: everything about a sweep in one archive, for people to read and for `sweep import` to open elsewhere.

    sweep-<ID>/README.md               what this is, and how to run it
    sweep-<ID>/sweep.jsonl             the export: journal, history, code, packages, artifacts that the store keeps
    sweep-<ID>/sweep.yaml, report.html, report.md, requirements.txt, code/…    the same for reading
    sweep-<ID>/artifacts/<xx>/<digest>                    contents of artifacts that the store does not keep

The rules of this file: an import reads `sweep.jsonl` and contents by their digests, and writes under names of its own: nothing that an
archive names is ever a path here. What does not have the digest that it is named by is refused.
"""

from __future__ import annotations

import gzip
import io
import re
import secrets
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, Literal

import msgspec

from sweep.analysis.report import report
from sweep.analysis.report.environment import package_line
from sweep.analysis.report.facts import Facts
from sweep.analysis.report.markdown import to_markdown
from sweep.analysis.report.page import to_html
from sweep.api.artifacts import find_version, load_artifacts, source_of
from sweep.api.places import store_folder
from sweep.api.reading import load_views
from sweep.api.reporting import gather
from sweep.api.transfer import BadExport, export_lines, import_lines
from sweep.core.views import UseView, VersionView
from sweep.provenance import artifact as a
from sweep.provenance.tree import LINK, TreeError, parse_manifest
from sweep.stores import Store
from sweep.stores.base import sound_blob

Which = Literal["none", "kept", "all", "named"]
LINES = "sweep.jsonl"
_CONTENT = re.compile(r"[^/]+/artifacts/([0-9a-f]{2})/([0-9a-f]{64})")
_GZIP = b"\x1f\x8b"


class Bundled(msgspec.Struct, frozen=True):
    """What went into an archive."""

    size: int
    artifacts: int
    left_out: tuple[str, ...]
    """Artifacts whose content is not in it, in words."""


def write_bundle(
    store: Store, sweep: str, out: Path, which: Which = "kept", names: Sequence[str] = (), by: str = ""
) -> Bundled:
    """Write the archive `out`: whole, or not at all. `which` artifacts: none; those that the store keeps; all that can be had; or those
    called `names`, and what runs have used. `by`: who sees its report. Raises NotFound, ArtifactError, OSError."""
    facts = gather(store, sweep, command="bundle", by=by)
    chosen, left_out = _choose(store, sweep, which, names)
    making = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with (
            making.open("xb") as file,
            gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            _Writer(store, facts, tar).write(chosen)
        making.replace(out)
    finally:
        making.unlink(missing_ok=True)
    return Bundled(out.stat().st_size, len(chosen), tuple(left_out))


def _choose(
    store: Store, sweep: str, which: Which, names: Sequence[str]
) -> tuple[dict[str, VersionView | UseView], list[str]]:
    """Manifest -> the version, of those that go along, and those that don't, in words."""
    views = load_views(store, sweep)
    used: dict[str, VersionView | UseView] = {use.manifest: use for run in views.runs for use in run.used}
    labels = {use.manifest: f"{use.name}:v{use.version}" for run in views.runs for use in run.used}
    logged: dict[str, VersionView | UseView] = {}
    for view in load_artifacts(store, sweep).values():
        for version in view.versions:
            logged[version.manifest] = version
            labels[version.manifest] = f"{view.name}:v{version.version}"
    chosen: dict[str, VersionView | UseView] = dict(used)
    if which == "none":
        chosen = {}
    elif which == "named":
        for name in names:
            version = find_version(store, sweep, name)[1]
            chosen[version.manifest] = version
    else:
        chosen |= logged
    left_out = [label for manifest, label in labels.items() if manifest not in chosen]
    if which == "kept":
        for manifest in list(chosen):
            if not _kept(store, manifest):
                del chosen[manifest]
                left_out.append(f"{labels[manifest]} (not in the store: --artifacts all takes it along)")
    return chosen, left_out


def _kept(store: Store, manifest: str) -> bool:
    try:
        return a.parse(sound_blob(store, manifest)).whole
    except a.ArtifactError:
        return False


class _Writer:
    def __init__(self, store: Store, facts: Facts, tar: tarfile.TarFile) -> None:
        self._store, self._facts, self._tar = store, facts, tar
        self._root = f"sweep-{facts.sweep}"
        self._at_s = int(facts.table.sweep.created_s)

    def write(self, chosen: dict[str, VersionView | UseView]) -> None:
        facts = self._facts
        self._add("README.md", _readme(facts).encode())
        self._lines(set(chosen))
        if facts.source:
            self._add("sweep.yaml", facts.source.encode("utf-8", "replace"))
        document = report(facts)
        self._add("report.html", to_html(document).encode("utf-8", "replace"))
        self._add("report.md", to_markdown(document).encode("utf-8", "replace"))
        for name, text in _requirements(facts).items():
            self._add(name, text.encode("utf-8", "replace"))
        self._code()
        done: set[str] = set()
        for manifest, version in chosen.items():
            self._contents(manifest, version, done)

    def _lines(self, manifests: set[str]) -> None:
        """The export goes first, so that an import need not read further than it must."""
        with tempfile.TemporaryFile() as file:
            for line in export_lines(self._store, self._facts.sweep, manifests.__contains__):
                file.write(line.encode("utf-8", "surrogateescape") + b"\n")
            size = file.tell()
            file.seek(0)
            self._tar.addfile(self._info(LINES, size), file)

    def _code(self) -> None:
        record = self._facts.record.get("code") or {}
        data = self._store.get_blob(record["tree"]) if record.get("tree") else None
        try:
            files = parse_manifest(data) if data is not None else ()
        except TreeError:
            files = ()
        for file in files:
            content = self._store.get_blob(file.digest)
            if content is None:
                continue
            if file.mode == LINK:  # for reading: what it points to stands in it
                self._add(f"code/{file.path}.link", content)
            else:
                self._add(f"code/{file.path}", content)

    def _contents(self, manifest: str, version: VersionView | UseView, done: set[str]) -> None:
        """The files of an artifact that the store does not keep, each once."""
        listed = a.parse(sound_blob(self._store, manifest))
        source = source_of(self._store, version)
        for file in listed.files:
            if file.pieces or not file.size or file.digest in done:
                continue
            done.add(file.digest)
            with tempfile.TemporaryFile() as copy:
                for part in a.checked(file, source):
                    copy.write(part)
                copy.seek(0)
                self._tar.addfile(self._info(f"artifacts/{file.digest[:2]}/{file.digest}", file.size), copy)

    def _add(self, name: str, data: bytes) -> None:
        self._tar.addfile(self._info(name, len(data)), io.BytesIO(data))

    def _info(self, name: str, size: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(f"{self._root}/{name}")
        info.size, info.mtime, info.mode = size, self._at_s, 0o644
        return info


def _readme(facts: Facts) -> str:
    best = facts.table.best
    run = best.runs[0].id if best is not None else f"{facts.sweep}-0"
    return (
        f"# Sweep {facts.sweep}\n\n"
        "Everything that is recorded about a hyperparameter sweep: `report.html` (or `report.md`) is for reading, `code/` has the code,\n"
        "`requirements.txt` the packages, `sweep.jsonl` all of it in the form that `sweep import` reads.\n\n"
        "To execute a run again and compare every value, in an empty folder:\n\n"
        f"    pip install sweep\n    sweep import sweep-{facts.sweep}.tar.gz     # this archive\n    sweep reproduce {run} --env rebuild\n"
    )


def _requirements(facts: Facts) -> dict[str, str]:
    """`requirements.txt`, and further ones where nodes had other packages."""
    found: dict[str, str] = {}
    texts: dict[str, None] = {}
    for agent in facts.agents:
        if packages := facts.packages.get(agent.agent):
            texts["\n".join(package_line(package) for package in packages) + "\n"] = None
    for number, text in enumerate(texts, 1):
        found["requirements.txt" if number == 1 else f"requirements-{number}.txt"] = text
    return found


# --- opening ---------------------------------------------------------------------------------------------------


def is_bundle(path: Path) -> bool:
    """Whether this file is an archive, rather than an export. Raises OSError."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def import_bundle(store: Store, path: Path) -> str:
    """Record the sweep of a bundle in `store`, and put its artifacts' contents beside it. Gives its ID. Raises BadExport, OSError."""
    folder = store_folder(store)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=".bundle-", dir=folder))
    try:
        with _opened(path) as tar:
            digests = _stage(tar, staged)
        with _opened(path) as tar:
            sweep = import_lines(store, _read_lines(tar))
        for digest in digests:
            target = Path(a.address_of(str(folder), a.File("", 0, digest)))
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (staged / digest).replace(target)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return sweep


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with closing(tarfile.open(path, "r:gz")) as tar:
            yield tar
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError) as error:
        if isinstance(error, BadExport):
            raise
        raise BadExport(f"this archive is damaged: {error}") from None


def _stage(tar: tarfile.TarFile, folder: Path) -> list[str]:
    """Write contents of artifacts into `folder`, each under its digest, and check that it has it."""
    from blake3 import blake3

    found: list[str] = []
    for member in tar:
        match = _CONTENT.fullmatch(member.name)
        if match is None or not member.isfile() or match[2] in found:
            continue
        hasher = blake3()
        with (folder / match[2]).open("xb") as file:
            for part in _parts(tar.extractfile(member)):
                hasher.update(part)
                file.write(part)
        if hasher.hexdigest() != match[2]:
            raise BadExport(
                f"the archive is damaged: {member.name} is not what its name says; nothing was imported"
            )
        found.append(match[2])
    return found


def _read_lines(tar: tarfile.TarFile) -> Iterator[str]:
    for member in tar:
        if member.isfile() and member.name.count("/") == 1 and member.name.endswith(f"/{LINES}"):
            stream = tar.extractfile(member)
            assert stream is not None
            with io.TextIOWrapper(stream, encoding="utf-8") as text:
                yield from text
            return
    raise BadExport(f"this archive is no bundle of a sweep: it has no {LINES}")


def _parts(stream: IO[bytes] | None) -> Iterator[bytes]:
    read: Callable[[int], bytes] = stream.read if stream is not None else lambda _: b""
    while data := read(1 << 20):
        yield data


def describe(found: Bundled) -> dict[str, Any]:
    """For programs."""
    return {"size_bytes": found.size, "artifacts": found.artifacts, "left_out": list(found.left_out)}


def default_name(sweep: str) -> str:
    """The file that a bundle goes to."""
    return f"sweep-{sweep}.tar.gz"
