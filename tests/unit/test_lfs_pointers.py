"""Files of Git LFS whose content was never fetched: the record says that it holds a pointer, and so does the grade."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sweep.analysis.grading import lacking
from sweep.provenance import CodeRecord, snapshot
from sweep.provenance.tree import digest_bytes

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"


def lacks(record: CodeRecord) -> tuple[str, ...]:
    return lacking({"code": msgspec.to_builtins(record)})


def test_a_pointer_is_said_and_kept(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(POINTER)
    (tmp_path / "train.py").write_text("pass\n")
    record = snapshot(tmp_path, digest_bytes)
    assert (record.files, record.pointers) == (2, ("model.bin",))
    [said] = record.warnings
    assert "1 file of Git LFS is a pointer here" in said and "model.bin" in said and "git lfs pull" in said
    assert lacks(record) == ("the content of files of Git LFS that were pointers: model.bin",)


def test_many_pointers_are_counted(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"{number:02}.bin").write_bytes(POINTER)
    record = snapshot(tmp_path, digest_bytes)
    assert len(record.pointers) == 20
    assert any("30 files of Git LFS are pointers here" in text for text in record.warnings)


def test_what_only_speaks_of_pointers_is_none(tmp_path: Path) -> None:
    (tmp_path / "spec.md").write_bytes(b"A pointer begins so:\n" + POINTER)
    (tmp_path / "long.txt").write_bytes(POINTER * 20)
    (tmp_path / "there").symlink_to(POINTER.decode().split("\n")[0])
    record = snapshot(tmp_path, digest_bytes)
    assert (record.pointers, record.warnings, lacks(record)) == ((), (), ())
