"""`checkpoints: store`, piece by piece, over a real store: what is kept, when, what comes back, and what a crafted copy can do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sweep.agents.checkpoints import MARK, QUIET_S, Checkpoints
from sweep.agents.folders import RunFolder
from sweep.provenance import checkpoint as c
from sweep.provenance.tree import TreeError, digest_bytes
from sweep.stores import StoreError
from sweep.stores.pointers import read_pointer
from sweep.stores.sqlite import SqliteStore


class Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str, level: str) -> None:
        self.lines.append(text)


class Failing:
    """A store that fails for the next so many writes of blobs."""

    def __init__(self, inner: SqliteStore) -> None:
        self.inner, self.left = inner, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def put_blob(self, data: bytes) -> str:
        if self.left:
            self.left -= 1
            raise StoreError("the store is away")
        return self.inner.put_blob(data)

    @contextmanager
    def batch(self) -> Iterator[None]:
        with self.inner.batch():
            yield


class Node:
    """A machine with run folders of its own, and a clock."""

    def __init__(self, store: Any, root: Path) -> None:
        self.store, self.root, self.now = store, root, 1000.0
        self.said = Said()
        self.kept = Checkpoints(store, "s", root, self.said, 60.0)  # type: ignore[arg-type]
        self.begun: list[int] = []
        self.ended: list[str] = []

    def folder(self, run: int = 0) -> Path:
        return Path(RunFolder(self.root, "s", run).checkpoint)

    def begin(self, attempt: int, run: int = 0) -> None:
        RunFolder(self.root, "s", run).create({})
        self.kept.begin(run, attempt, lambda: self.begun.append(attempt))
        self.work()

    def end(self, run: int = 0) -> str:
        self.kept.ended(run, self.ended.append)
        self.work()
        return self.ended.pop()

    def work(self, steps: int = 200) -> None:
        """Until nothing more is to be done at this time."""
        for _ in range(steps):
            self.kept.step(self.now)
            if not self.kept._jobs:
                return
            self.now += 1.0 if self.kept._pause_until_s > self.now else 0.0
        raise AssertionError(f"no end: {self.said.lines}")

    def at_rest(self) -> None:
        """As much time goes by as it takes for a change to be kept."""
        for _ in range(4):
            due_s = self.kept.due_s()
            self.now = max(self.now, due_s or 0.0) + 0.01
            self.work()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Failing]:
    found = SqliteStore(tmp_path / "store.db", create=True)
    yield Failing(found)
    found.close()


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_next_node_finds_what_the_last_one_left(store: Failing, tmp_path: Path) -> None:
    one, two = Node(store, tmp_path / "one"), Node(store, tmp_path / "two")
    one.begin(1)
    folder = one.folder()
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "deep" / "er" / "model").write_bytes(os.urandom(c.PIECE_BYTES * 2 + 5))
    (folder / "zero").write_bytes(b"")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "latest").symlink_to("deep/er/model")
    os.utime(folder / "zero", ns=(5, 123_456_789))
    os.mkfifo(folder / "pipe")
    digest = one.end()
    assert digest and store.get_blob(digest) is not None
    two.begin(2)
    assert two.begun == [2] and two.said.lines == []
    there = two.folder()
    (folder / "pipe").unlink()
    assert files(there) == files(folder)
    assert (there / "empty").is_dir() and (there / "latest").readlink() == Path("deep/er/model")
    assert os.access(there / "run.sh", os.X_OK) and not os.access(there / "zero", os.X_OK)
    assert (there / "zero").stat().st_mtime_ns == 123_456_789
    assert there.stat().st_mode & 0o777 == 0o700
    # It goes back to the first node, whose folder holds what is older.
    (there / "zero").write_bytes(b"newer")
    (there / "run.sh").unlink()
    two.end()
    one.begin(3)
    assert files(one.folder()) == files(there)
    assert sorted(path.name for path in one.folder().parent.iterdir()) == ["checkpoint", MARK, "config.json"]


def test_what_is_in_the_folder_already_is_used_where_it_is_newer(store: Failing, tmp_path: Path) -> None:
    node = Node(store, tmp_path / "one")
    node.begin(1)
    (node.folder() / "a").write_text("kept")
    node.end()
    node.begin(2)
    (node.folder() / "a").write_text("not kept: the agent was killed")
    again = Node(store, tmp_path / "one")
    again.begin(3)
    assert (again.folder() / "a").read_text() == "not kept: the agent was killed"


def test_a_folder_is_kept_now_and_then_while_a_run_is_at_work(store: Failing, tmp_path: Path) -> None:
    one, two = Node(store, tmp_path / "one"), Node(store, tmp_path / "two")
    one.begin(1)
    one.at_rest()
    assert read_pointer(store, "s", 0, 1).manifest == "", "nothing was written"
    (one.folder() / "a").write_text("1")
    (one.folder() / "b").write_text("b")
    one.at_rest()
    first = read_pointer(store, "s", 0, 1)
    assert first.manifest and len(first.digests) == 3
    one.at_rest()
    assert read_pointer(store, "s", 0, 1) == first, "nothing has changed"
    (one.folder() / "a").write_text("22")
    one.at_rest()
    second = read_pointer(store, "s", 0, 1)
    assert second.manifest != first.manifest
    assert len(second.digests & first.digests) == 1, "b is not stored twice"
    assert store.blobs().keys() == second.digests, "what is not needed any more is gone"
    # The node vanishes; another one goes on, and takes the place of what it had kept.
    two.begin(2)
    assert files(two.folder()) == {"a": b"22", "b": b"b"}
    (two.folder() / "a").write_text("3")
    two.at_rest()
    assert read_pointer(store, "s", 0, 1).manifest == ""
    assert store.blobs().keys() == read_pointer(store, "s", 0, 2).digests
    # The first one was only frozen: what it writes now harms nobody.
    (one.folder() / "a").write_text("late")
    one.at_rest()
    three = Node(store, tmp_path / "three")
    three.begin(3)
    assert files(three.folder()) == {"a": b"3", "b": b"b"}


def test_what_is_being_written_is_never_kept(store: Failing, tmp_path: Path) -> None:
    one = Node(store, tmp_path / "one")
    one.begin(1)
    target = one.folder() / "model"
    target.write_bytes(b"whole")
    one.at_rest()
    whole = read_pointer(store, "s", 0, 1).manifest
    one.now += 1000.0
    for size in range(1, 20):  # it grows in every look
        target.write_bytes(b"x" * size)
        one.now += QUIET_S + 0.01
        one.work()
    assert read_pointer(store, "s", 0, 1).manifest == whole
    # At rest when the copy began, and changed while it was made.
    data = os.urandom(c.PIECE_BYTES * 3)
    target.write_bytes(data)
    seen = c.look(one.folder())
    copy = c.Copy(one.folder(), "s-0.1", seen, {})
    blobs = copy.blobs()
    next(blobs)
    with target.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!" if data[-1:] != b"!" else b"?")
    os.utime(target, ns=(1, 1))
    with pytest.raises(c.Moving):
        list(blobs)
    assert not copy.manifest
    for change in (target.unlink, lambda: target.write_bytes(b"short")):
        copy = c.Copy(one.folder(), "s-0.1", seen, {})
        change()
        with pytest.raises(c.Moving):
            list(copy.blobs())


def test_too_large_is_said_once_and_nothing_is_kept(
    store: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c, "MAX_BYTES", 1_000_000)
    one = Node(store, tmp_path / "one")
    one.begin(1)
    (one.folder() / "small").write_text("x")
    one.at_rest()
    kept = read_pointer(store, "s", 0, 1).manifest
    (one.folder() / "large").write_bytes(b"x" * 2_000_000)
    one.at_rest()
    one.now += 100.0
    one.at_rest()
    assert one.end() == ""
    [line] = one.said.lines
    assert (
        "s-0: its checkpoint is not kept in the store, because it is too large (2 MB, and at most 1 MB are kept)"
        in line
    )
    assert read_pointer(store, "s", 0, 1).manifest == kept, "the last one that could be kept is still there"
    monkeypatch.setattr(c, "MAX_FILES", 2)
    with pytest.raises(c.TooLarge, match="more than 2 files"):
        for name in ("a", "b"):
            (one.folder() / name).touch()
        c.look(one.folder())


def test_a_store_that_is_away_delays_and_loses_nothing(store: Failing, tmp_path: Path) -> None:
    one, two = Node(store, tmp_path / "one"), Node(store, tmp_path / "two")
    one.begin(1)
    (one.folder() / "a").write_bytes(os.urandom(c.PIECE_BYTES + 1))
    store.left = 3
    assert one.end()
    assert one.said.lines == ["checkpoints: the store is away (trying again every second)"]
    two.begin(2)
    assert files(two.folder()) == files(one.folder())
    assert store.blobs().keys() == read_pointer(store, "s", 0, 1).digests


def test_a_copy_with_a_part_missing_is_not_restored(store: Failing, tmp_path: Path) -> None:
    one = Node(store, tmp_path / "one")
    one.begin(1)
    (one.folder() / "a").write_text("first")
    one.end()
    pointer = read_pointer(store, "s", 0, 1)
    store.delete_blobs(pointer.digests - {pointer.manifest})
    two = Node(store, tmp_path / "two")
    two.begin(2)
    assert two.begun == [2] and files(two.folder()) == {}
    assert "attempt 1 cannot be gone on from: the checkpoint is not whole" in two.said.lines[0]
    assert sorted(path.name for path in two.folder().parent.iterdir()) == ["checkpoint", MARK, "config.json"]


def test_runs_have_their_own_blobs(store: Failing, tmp_path: Path) -> None:
    """So that one may take its own away without a look at the others."""
    one = Node(store, tmp_path / "one")
    for run in (0, 1):
        one.begin(1, run)
        (one.folder(run) / "a").write_text("the same")
        one.end(run)
    pointers = [read_pointer(store, "s", run, 1) for run in (0, 1)]
    assert not pointers[0].digests & pointers[1].digests
    with pytest.raises(TreeError, match="belongs to another run"):
        list(c.write(pointers[0].manifest, "s-1", store.get_blob, tmp_path / "new"))


class Crafted(dict[str, bytes]):
    """A store of blobs that somebody filled by hand."""

    def add(self, content: bytes, owner: str = "s-0.1") -> str:
        blob = f"{owner}\n".encode() + content
        self[digest_bytes(blob)] = blob
        return digest_bytes(blob)

    def manifest(self, *kept: c.Kept, owner: str = "s-0.1") -> str:
        return self.add(msgspec.msgpack.encode(c.Manifest(c.FORMAT, owner, kept)), owner)


def test_a_crafted_copy_writes_nothing_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = Crafted()
    x, outside = blobs.add(b"x"), blobs.add(str(tmp_path / "outside").encode())
    (tmp_path / "outside").mkdir()
    link = c.Kept("d", "120000", len(str(tmp_path / "outside")), 0, (outside,))

    def file(path: str, size: int = 1, mode: str = "100644", pieces: tuple[str, ...] = (x,)) -> c.Kept:
        return c.Kept(path, mode, size, 0, pieces)

    crafted = [
        *([file(path)] for path in ("/etc/x", "../x", "a/../../x", "", "a//b", "a\0b", "a" * 256, ".git/x")),
        *([file(path, mode=c.FOLDER)] for path in ("/etc/x", "../x", "a/../../x", ".git")),
        *([file("a", mode=mode)] for mode in ("hardlink", "020666", "060666", "010666", "140777", "104755")),
        [link, file("d/planted")],
        [link, file("d", mode=c.FOLDER)],
        [link, file("d/sub", mode=c.FOLDER)],
        [file("a"), file("a")],
        [file("a", size=c.MAX_BYTES + 1)],
        [file("a", size=-1)],
        [file("a", size=5)],
        [file("a", size=0)],
        [file("a", size=2, pieces=(x, x, x))],
        [file("a", pieces=(blobs.add(b"x", "other-0.1"),))],
        [file("a", pieces=("0" * 64,))],
    ]
    for number, kept in enumerate(crafted):
        with pytest.raises(TreeError):
            list(c.write(blobs.manifest(*kept), "s-0", blobs.get, tmp_path / f"new{number}"))
    assert list((tmp_path / "outside").iterdir()) == []
    assert not (tmp_path / "x").exists()
    for data in (b"", b"nothing", b"s-0.1\n\xc1", b"s-0.2\n" + blobs[blobs.manifest()].partition(b"\n")[2]):
        with pytest.raises(TreeError, match="damaged"):
            c.parse(data)
    monkeypatch.setattr(c, "MAX_MANIFEST_BYTES", 10)
    with pytest.raises(TreeError, match="too long"):
        c.parse(blobs[blobs.manifest(file("a"))])
    (tmp_path / "fine").mkdir()
    monkeypatch.undo()
    list(c.write(blobs.manifest(file("a"), link), "s-0", blobs.get, tmp_path / "new"))
    assert (tmp_path / "new" / "a").read_bytes() == b"x"


def test_an_agent_killed_in_the_middle_of_keeping_or_restoring(store: Failing, tmp_path: Path) -> None:
    one = Node(store, tmp_path / "one")
    one.begin(1)
    (one.folder() / "model").write_bytes(b"whole")
    one.at_rest()
    whole = read_pointer(store, "s", 0, 1)
    (one.folder() / "model").write_bytes(os.urandom(c.PIECE_BYTES * 12))
    one.kept.ended(0, one.ended.append)
    job = one.kept._jobs[0]
    steps = job.make()
    while len(store.blobs()) < 5:  # some of its parts are in the store; then it is killed
        next(steps)
    steps.close()
    pointer = read_pointer(store, "s", 0, 1)
    assert pointer.manifest == whole.manifest, "what counts is the last whole one"
    assert store.blobs().keys() == pointer.digests, "and no clean-up takes the parts for nobody's"

    two = Node(store, tmp_path / "two")
    RunFolder(two.root, "s", 0).create({})
    (two.folder() / "old").write_text("of some earlier attempt here")
    two.kept.begin(0, 2, lambda: two.begun.append(2))
    restoring = two.kept._jobs[0].make()
    next(restoring)  # killed in the middle of this, too
    assert two.begun == [] and files(two.folder()) == {"old": b"of some earlier attempt here"}
    three = Node(store, tmp_path / "two")
    three.begin(2)
    assert three.begun == [2] and files(three.folder()) == {"model": b"whole"}
    assert three.end()
    assert store.blobs().keys() == read_pointer(store, "s", 0, 2).digests, (
        "what was half-made is gone as well"
    )
