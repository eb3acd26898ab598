"""The identity of data: what a file or a folder is, and when it is read again."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from blake3 import blake3

from sweep.provenance import artifact, data
from sweep.provenance.at_rest import Looker
from sweep.provenance.data import FRESH_S, DataError, Digests, what_changed


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


def listed(rows: list[tuple[str, int, str]]) -> bytes:
    return msgspec.json.encode(rows)


def test_what_changed_in_a_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("a", "b", "in/c"):
        write(folder / name, name.encode())
    before = Digests().of(str(folder)).listing
    assert what_changed(before, before) == ""
    write(folder / "b", b"other")
    (folder / "a").unlink()
    write(folder / "in" / "d", b"")
    now = Digests().of(str(folder)).listing
    assert what_changed(before, now) == "b is another one, in/d is new, a is gone"
    many = listed([(f"{number}", 1, "") for number in range(9)])
    assert what_changed(listed([]), many) == "0 is new, 1 is new, 2 is new and 6 more"


@pytest.fixture
def at_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files count as having been left alone for long."""
    monkeypatch.setattr("sweep.provenance.data.FRESH_S", -1.0)
    for number in range(2_500):
        write(tmp_path / "data" / f"{number % 3}" / f"{number}", f"{number % 7}".encode())
    return tmp_path / "data"


def test_only_what_is_not_remembered_is_opened(at_rest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = at_rest.parent / "digests.db"
    first = Digests(cache).of(str(at_rest))
    opened: list[str] = []
    real = data._read
    monkeypatch.setattr(data, "_read", lambda path: (opened.append(path), real(path))[1])
    later = Digests(cache)
    assert later.of(str(at_rest)) == first and opened == []
    changed = write(at_rest / "1" / "1", b"other")
    write(at_rest / "2" / "new", b"")
    second = later.of(str(at_rest))
    assert opened == [str(changed), str(at_rest / "2" / "new")]
    assert what_changed(first.listing, second.listing) == "1/1 is another one, 2/new is new"
    assert second == Digests().of(str(at_rest))
    later.close()


def test_a_second_look_sees_what_a_first_one_did_not(at_rest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Looker, "rest", lambda *_: None)  # as on a file system whose times tell nothing
    digests = Digests(at_rest.parent / "digests.db")
    first = digests.of(str(at_rest))
    assert digests.of(str(at_rest)) is first
    (at_rest / "0" / "0").rename(at_rest / "0" / "renamed")
    assert digests.of(str(at_rest), slack_s=3600) is first
    second = digests.of(str(at_rest))
    assert what_changed(first.listing, second.listing) == "0/renamed is new, 0/0 is gone"
    digests.close()


def test_a_folder_that_was_written_to_just_now_is_read_again(tmp_path: Path) -> None:
    folder, digests = tmp_path / "data", Digests(tmp_path / "digests.db")
    path = write(folder / "x", b"first")
    stat = path.stat()
    first = digests.of(str(folder))
    path.write_bytes(b"other")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert what_changed(first.listing, digests.of(str(folder)).listing) == "x is another one"
    digests.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    closed = tmp_path / "data" / "closed"
    write(closed / "x", b"").parent.chmod(0)
    try:
        with pytest.raises(DataError, match="closed: Permission denied"):
            Digests().of(str(tmp_path / "data"))
    finally:
        closed.chmod(0o700)


def test_a_folder_is_remembered_as_a_whole_for_the_next_agent(at_rest: Path, tmp_path: Path) -> None:
    cache = tmp_path / "digests.db"
    with closing(Digests(cache)) as digests:
        first = digests.of(str(at_rest))
    with closing(sqlite3.connect(cache)) as db:  # were its files looked up one by one, none would be known
        told = msgspec.structs.replace(first, digest="as remembered")
        db.execute("update folders set seen = ?", (msgspec.msgpack.encode(told),))
        db.commit()
    with closing(Digests(cache)) as digests:
        assert digests.of(str(at_rest)).digest == "as remembered"
    write(at_rest / "new", b"x")
    with closing(Digests(cache)) as digests:
        found = digests.of(str(at_rest))
        assert (found.files, found.digest) == (first.files + 1, artifact.pack(at_rest, {}).listed.digest)


def test_the_cache_keeps_the_latest_folders(
    at_rest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "MAX_FOLDERS", 2)
    folders = [tmp_path / f"link-{number}" for number in range(3)]
    with closing(Digests(tmp_path / "digests.db")) as digests:
        for folder in folders:
            folder.symlink_to(at_rest)
            digests.of(str(folder))
    with closing(sqlite3.connect(tmp_path / "digests.db")) as db:
        assert db.execute("select path from folders order by number").fetchall() == [
            (str(folder),) for folder in folders[1:]
        ]


def test_a_folder_whose_name_is_no_text_is_remembered(at_rest: Path, tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(folder).symlink_to(at_rest)
    with closing(Digests(tmp_path / "digests.db")) as digests:
        first = digests.of(folder)
    with closing(Digests(tmp_path / "digests.db")) as digests:
        assert digests.of(folder) == first
