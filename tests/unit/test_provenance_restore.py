"""Writing a recorded tree back: never outside the target, never through a link, never something damaged."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from sweep.provenance import CodeRecord, TreeError, restore, snapshot
from sweep.provenance.tree import TreeFile, digest_bytes, parse_manifest

X = digest_bytes(b"x")


def _record(rows: list[list[object]], blobs: dict[str, bytes]) -> CodeRecord:
    manifest = json.dumps({"format": 1, "files": rows}).encode()
    blobs[digest_bytes(manifest)] = manifest
    blobs[X] = b"x"
    return CodeRecord(tree=digest_bytes(manifest), root="/", folder="", files=0, bytes=0, complete=True)


@pytest.mark.parametrize(
    "path",
    [
        "/etc/planted",
        "../planted",
        "a/../../planted",
        "a//b",
        "./a",
        "",
        "a/",
        ".git/hooks/post-checkout",
        "sub/.GIT/config",
        "a\0b",
    ],
)
def test_a_path_that_leads_out_is_refused_before_anything_is_written(path: str, tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    record = _record([["first", "100644", 1, X], [path, "100644", 1, X]], blobs)
    with pytest.raises(TreeError, match="must not be written"):
        restore(record, blobs.get, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    blobs = {digest_bytes(str(outside).encode()): str(outside).encode()}
    link = digest_bytes(str(outside).encode())
    record = _record([["d", "120000", 1, link], ["d/planted", "100644", 1, X]], blobs)
    with pytest.raises(TreeError, match="below a path that is itself a file or a link"):
        restore(record, blobs.get, tmp_path / "target")
    assert list(outside.iterdir()) == []


def test_a_path_named_twice_is_refused(tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    record = _record([["a", "100644", 1, X], ["a", "100644", 1, X]], blobs)
    with pytest.raises(TreeError, match="names a path twice"):
        restore(record, blobs.get, tmp_path / "target")


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    record = _record([["a", "100644", 1, X]], blobs)
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(TreeError, match="is not empty"):
        restore(record, blobs.get, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_missing_and_a_damaged_blob_are_named(tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    record = _record([["a", "100644", 1, X]], blobs)
    with pytest.raises(TreeError, match=f"a is damaged: its blob is not what {X} names"):
        restore(record, {**blobs, X: b"y"}.get, tmp_path / "one")
    del blobs[X]
    with pytest.raises(TreeError, match=f"a is missing: the store has no blob {X}"):
        restore(record, blobs.get, tmp_path / "two")


def test_a_missing_and_a_damaged_manifest_are_named(tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    record = _record([], blobs)
    with pytest.raises(TreeError, match="the code is missing"):
        restore(record, {}.get, tmp_path / "target")
    with pytest.raises(TreeError, match="the code is damaged"):
        restore(record, {record.tree: b"other"}.get, tmp_path / "target")


@pytest.mark.parametrize("size", [5])
def test_a_tree_that_differs_after_writing_is_refused(size: int, tmp_path: Path) -> None:
    blobs: dict[str, bytes] = {}
    record = _record([["a", "100644", size, X]], blobs)
    with pytest.raises(TreeError, match="differs from the record after writing it"):
        restore(record, blobs.get, tmp_path / "target")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"not json", "the manifest is damaged"),
        (b'{"files": []}', "the manifest is damaged"),
        (b'{"format": 1, "files": [["a"]]}', "the manifest is damaged"),
        (b'{"format": 1, "files": [[1, "100644", 1, "d"]]}', "the manifest is damaged"),
        (b'{"format": 9, "files": []}', "has format 9"),
        (b'{"format": 1, "files": [["a", "104755", 1, "d"]]}', "mode '104755'"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(TreeError, match=words):
        parse_manifest(data)


def test_a_manifest_is_read_back() -> None:
    data = b'{"format": 1, "files": [["a", "100644", 1, "d"]]}'
    assert parse_manifest(data) == (TreeFile("a", "100644", 1, "d"),)


def test_a_record_goes_through_plain_data_and_back(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "big").write_bytes(b"x" * 100)
    record = snapshot(tmp_path / "project", digest_bytes, max_file_bytes=10)
    plain = json.loads(json.dumps(msgspec.to_builtins(record)))
    assert record.left_out and msgspec.convert(plain, CodeRecord) == record


def test_a_store_that_names_blobs_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TreeError, match="does not use blake2b-256"):
        snapshot(tmp_path, lambda _: "else")
