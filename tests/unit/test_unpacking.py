"""Unpacking recorded code: whole or not at all, never outside of its folder, whatever a crafted manifest says."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from sweep.core.links import link_problem
from sweep.provenance import TreeError
from sweep.provenance.tree import MAX_TREE_BYTES, MAX_TREE_FILES, TreeFile, digest_bytes, parse_manifest
from sweep.provenance.unpacking import CODE, unpack

TREE = "1" * 64


class Blobs(dict[str, bytes]):
    def file(
        self, path: str, content: bytes = b"x", mode: str = "100644", size: int | None = None
    ) -> TreeFile:
        self[digest_bytes(content)] = content
        return TreeFile(path, mode, len(content) if size is None else size, digest_bytes(content))


def made(root: Path, blobs: Blobs, files: list[TreeFile], folder: str = "", **links: Path) -> Path:
    return unpack(TREE, files, blobs.get, root, folder, links, print)


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "path",
    [
        "/planted",
        "../planted",
        "../../planted",
        "a/../../planted",
        "./planted",
        "a//planted",
        ".git/config",
        "a\0b",
        "",
    ],
)
def test_no_path_leads_out(path: str, tmp_path: Path) -> None:
    blobs = Blobs()
    with pytest.raises(TreeError):
        made(tmp_path / "root", blobs, [blobs.file("first"), blobs.file(path)])
    assert everything(tmp_path) == {"root", "root/code"}


@pytest.mark.parametrize("target", ["/etc", "../../..", "."])
@pytest.mark.parametrize("first", [True, False])
def test_nothing_is_written_through_a_link_of_the_archive(target: str, first: bool, tmp_path: Path) -> None:
    blobs = Blobs()
    files = [blobs.file("d", target.encode(), "120000"), blobs.file("d/planted")]
    with pytest.raises(TreeError, match="below a path that is itself a file or a link"):
        made(tmp_path / "root", blobs, files if first else files[::-1])
    assert everything(tmp_path) == {"root", "root/code"}


@pytest.mark.parametrize(
    "mode", ["hardlink", "100666", "020644", "060644", "010644", "140777", "040755", "160000", "104755"]
)
def test_what_is_neither_file_nor_link_is_refused(mode: str, tmp_path: Path) -> None:
    blobs = Blobs()
    with pytest.raises(TreeError, match="has mode"):
        made(tmp_path, blobs, [blobs.file("first"), blobs.file("a", b"/etc/passwd", mode)])
    assert everything(tmp_path) == {"code"}


def test_names_that_no_disk_takes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    blobs = Blobs()
    for path in ("a" * 256, "/".join(["ab"] * 2000), "\ud800"):
        with pytest.raises(TreeError, match=r"too long|cannot be the name"):
            made(tmp_path, blobs, [blobs.file("first"), blobs.file(path)])
    assert everything(tmp_path) == {"code"}
    place = made(tmp_path, blobs, [blobs.file("a" * 255), blobs.file("\udcff")])
    assert len(list(place.iterdir())) == 2


def test_what_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    blobs = Blobs()
    with pytest.raises(TreeError, match="names more than"):
        made(tmp_path, blobs, [blobs.file("a", size=MAX_TREE_BYTES), blobs.file("b")])
    with pytest.raises(TreeError, match="names more than"):
        made(tmp_path, blobs, [blobs.file(str(n)) for n in range(MAX_TREE_FILES + 1)])
    with pytest.raises(TreeError, match="has -1 bytes"):
        made(tmp_path, blobs, [blobs.file("a", size=-1)])
    # A small size that stands for a large content: the sum of sizes is what was checked.
    with pytest.raises(TreeError, match="larger than the manifest says"):
        made(tmp_path, blobs, [blobs.file("a", b"0" * 100_000, size=10)])
    assert everything(tmp_path) == {"code"}


def test_a_manifest_that_is_too_large_or_too_deep_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TreeError, match="damaged"):
        parse_manifest(b'{"format":1,"files":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    monkeypatch.setattr("sweep.provenance.tree.MAX_MANIFEST_BYTES", 10)
    with pytest.raises(TreeError, match="larger than 10 bytes"):
        parse_manifest(json.dumps({"format": 1, "files": []}).encode())


def test_bits_and_links_are_kept_and_the_folder_is_the_owners(tmp_path: Path) -> None:
    blobs = Blobs()
    files = [
        blobs.file("bin/run", b"#!/bin/sh\n", "100755"),
        blobs.file("a"),
        blobs.file("in", b"bin/run", "120000"),
        blobs.file("out", b"/somewhere/else", "120000"),
    ]
    place = made(tmp_path / "root", blobs, files)
    assert os.access(place / "in", os.X_OK) and not os.access(place / "a", os.X_OK)
    assert (place / "out").readlink() == Path("/somewhere/else")
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    assert made(tmp_path / "root", blobs, files, "bin") == place / "bin", "used again"
    assert [path.name for path in (tmp_path / "root" / CODE).iterdir()] == [TREE[:20]]


def test_a_copy_that_was_changed_is_left_alone_and_another_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blobs = Blobs()
    files = [blobs.file("a"), blobs.file("b", b"y")]
    first = made(tmp_path, blobs, files)
    (first / "new").write_text("what runs leave behind does not count")
    assert made(tmp_path, blobs, files) == first
    (first / "b").unlink()
    os.mkfifo(first / "b")  # nobody must wait for it
    second = made(tmp_path, blobs, files)
    assert second.name == f"{first.name}-2"
    assert "was changed since it was unpacked (b)" in capsys.readouterr().out
    assert everything(second) == {"a", "b"} and "new" in everything(first)


def test_a_blob_that_is_missing_leaves_nothing_behind(tmp_path: Path) -> None:
    blobs = Blobs()
    files = [blobs.file("a"), blobs.file("b", b"y")]
    del blobs[files[1].digest]
    with pytest.raises(TreeError, match="b is missing"):
        made(tmp_path, blobs, files)
    assert everything(tmp_path) == {"code"}


def test_the_folder_that_runs_start_in_is_a_real_one_within(tmp_path: Path) -> None:
    blobs = Blobs()
    files = [blobs.file("a/b"), blobs.file("l", b"/etc", "120000")]
    for folder in ("l", "l/x", "..", "a/../..", "/etc", "a/b"):
        with pytest.raises(TreeError, match=r"in the recorded code"):
            made(tmp_path, blobs, files, folder)
    assert everything(tmp_path) == {"code"}
    assert made(tmp_path, blobs, files, "was/empty").is_dir()
    assert made(tmp_path, blobs, files, "a").name == "a"


def test_links_of_a_node_are_made_and_never_through_the_archives_own(tmp_path: Path) -> None:
    blobs = Blobs()
    data, outside = tmp_path / "data", tmp_path / "outside"
    data.mkdir()
    outside.mkdir()
    files = [blobs.file("a/b"), blobs.file("d", str(outside).encode(), "120000")]
    for name, words in (
        ("d/x", "d in the recorded code is no folder"),
        ("a/b/x", "a/b in the recorded code is no folder"),
        ("a", "has files there"),
        ("d", "has files there"),
        ("../x", "not a path below"),
        ("/x", "not a path below"),
    ):
        with pytest.raises(TreeError, match=words):
            made(tmp_path / "root", blobs, files, **{name: data})
    assert list(outside.iterdir()) == []
    one, two = (made(tmp_path / "root", blobs, files, **{"a/new/data": where}) for where in (data, outside))
    assert one != two, "each choice has a folder of its own"
    assert ((one / "a/new/data").readlink(), (two / "a/new/data").readlink()) == (data, outside)
    (one / "a/new/data").unlink()
    assert made(tmp_path / "root", blobs, files, **{"a/new/data": data}).name == f"{one.name}-2"


def test_names_of_links() -> None:
    assert [link_problem(name) for name in ("data", "a/b", "ü/data set")] == ["", "", ""]
    for name in ("", "/a", "~/a", "..", "a/../b", ".", "a//b", "a/", ".git/x", "a/.sweep", "a=b", "a\nb"):
        assert link_problem(name), name
    assert "within each other" in link_problem("a/b", ["x", "a"])
    assert "within each other" in link_problem("a", ["a/b"])
    assert "twice" in link_problem("a", ["a"]) and not link_problem("ab", ["a"])


def test_agents_that_unpack_at_once_share_one_copy(tmp_path: Path) -> None:
    blobs = Blobs()
    files = [blobs.file(f"f{n}", str(n).encode()) for n in range(200)]
    ready = threading.Barrier(4)
    found: list[Path] = []

    def one() -> None:
        ready.wait(30)
        found.append(made(tmp_path, blobs, files))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {tmp_path / CODE / TREE[:20]} and len(found) == 4
    assert [path.name for path in (tmp_path / CODE).iterdir()] == [TREE[:20]]
