"""The identity of data: what a file or a folder is, and when it is read again."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from blake3 import blake3

from sweep.provenance import artifact
from sweep.provenance.data import FRESH_S, DataError, Digests


def write(path: Path, data: bytes, age_s: float = 60) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    then = time.time() - age_s
    os.utime(path, (then, then))
    return path


def test_a_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    found = Digests().of(str(write(tmp_path / "data.bin", data)))
    assert (found.digest, found.size, found.files, found.listing) == (
        blake3(data).hexdigest(),
        len(data),
        1,
        b"",
    )


def test_a_folder_has_the_digest_of_an_artifact_with_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write(folder / "b.txt", b"two")
    write(folder / "in" / "a.txt", b"one")
    found = Digests().of(str(folder))
    assert found.digest == artifact.pack(folder, {}).listed.digest
    assert (found.size, found.files) == (6, 2)
    write(folder / "in" / "c.txt", b"")
    assert Digests().of(str(folder)).digest != found.digest


def test_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path / "there" / "x", b"content")
    (tmp_path / "here").symlink_to(tmp_path / "there")
    assert Digests().of(str(tmp_path / "here")) == Digests().of(str(tmp_path / "there"))


def test_what_stays_as_it_is_is_read_once_and_what_changed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.provenance.data.FRESH_S", -1.0)  # the inode of a new file has changed just now
    path, cache = write(tmp_path / "data.bin", b"first"), tmp_path / "digests.db"
    first = Digests(cache).of(str(path))
    later = Digests(cache)
    monkeypatch.setattr("blake3.blake3", lambda: pytest.fail("it was read again"))
    assert later.of(str(path)) == first
    monkeypatch.undo()
    time.sleep(0.02)  # more than the grain of the file system's clock
    path.write_bytes(b"other")
    os.utime(path, (1, 1))
    assert later.of(str(path)).digest == blake3(b"other").hexdigest()
    later.close()


def test_what_was_written_just_now_is_not_remembered(tmp_path: Path) -> None:
    assert FRESH_S > 0
    path, digests = write(tmp_path / "data.bin", b"first"), Digests(tmp_path / "digests.db")
    stat = path.stat()
    digests.of(str(path))
    path.write_bytes(b"other")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digests.of(str(path)).digest == blake3(b"other").hexdigest()
    digests.close()


def test_a_cache_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    cache = write(tmp_path / "digests.db", b"no database " * 100)
    path = write(tmp_path / "data.bin", b"data")
    assert Digests(cache).of(str(path)).digest == blake3(b"data").hexdigest()


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.csv: No such file"):
        Digests().of(str(tmp_path / "no.csv"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "broken").symlink_to("nowhere")
    with pytest.raises(DataError, match="broken: No such file"):
        Digests().of(str(tmp_path / "folder"))
