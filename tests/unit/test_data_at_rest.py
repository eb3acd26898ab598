"""The cheap look at a folder of data: it never says that something is as it was where a look in full would not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sweep.provenance import at_rest, data
from sweep.provenance.data import Digests

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no statx")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """300 files and more, which count as having been left alone for long."""
    monkeypatch.setattr("sweep.provenance.data.FRESH_S", -1.0)
    root = tmp_path / "data"
    (root / "in" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    for number in range(300):
        (root / "in" / f"{number}").write_text(str(number))
    os.utime(root / "in" / "7", ns=(0, -1_500_000_000))  # before 1970
    (root / "in" / "deep" / "x").write_text("x")
    (tmp_path / "elsewhere").write_text("linked")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    Path(os.fsdecode(os.fsencode(root) + b"/in/\xff")).write_text("no text")
    Path(os.fsdecode(os.fsencode(root) + b"/\xfe")).mkdir()
    return root


def known(digests: Digests, folder: Path) -> at_rest.Rest:
    digests.of(str(folder))
    rest = digests._folders[str(folder)].rest
    if rest is None:
        pytest.skip("temporary files lie on a file system whose folders' times tell nothing")
    return rest


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_files", lambda folder: pytest.fail("it was looked at in full"))


def test_what_is_at_rest_is_not_listed_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Digests()) as digests:
        known(digests, folder)
        first = digests.of(str(folder))
        forbid(monkeypatch)
        assert digests.of(str(folder)) is first


def test_nor_by_the_next_agent(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Digests(tmp_path / "digests.db")) as digests:
        known(digests, folder)
        first = digests.of(str(folder))
    forbid(monkeypatch)
    with closing(Digests(tmp_path / "digests.db")) as digests:
        assert digests.of(str(folder)) == first


def rewrite(folder: Path) -> None:
    """As long as before, and with the time of change set back."""
    path = folder / "in" / "299"
    before = path.stat()
    path.write_text("abc")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(folder: Path) -> None:
    (folder / "new").write_text("1")
    (folder / "new").replace(folder / "in" / "1")


def put_back(folder: Path) -> None:
    """A file comes, and its folder's time of change is set back."""
    before = (folder / "empty").stat()
    (folder / "empty" / "new").write_text("new")
    os.utime(folder / "empty", ns=(before.st_atime_ns, before.st_mtime_ns))


def link_elsewhere(folder: Path) -> None:
    (folder.parent / "elsewhere").write_text("other")


def another_folder(folder: Path) -> None:
    (folder / "in").rename(folder.parent / "gone")
    (folder / "in").symlink_to(folder.parent / "gone")


CHANGES: list[Callable[[Path], object]] = [
    *(rewrite, replace, put_back, link_elsewhere, another_folder),
    lambda folder: (folder / "in" / "deep" / "x").write_text("y"),
    lambda folder: (folder / "in" / "0").unlink(),
    lambda folder: (folder / "in" / "0").rename(folder / "in" / "zero"),
    lambda folder: (folder / "new").mkdir(),
    lambda folder: (folder / "in" / "2").chmod(0o600),
    lambda folder: os.truncate(folder / "in" / "3", 0),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(folder: Path, change: Callable[[Path], object]) -> None:
    with closing(Digests()) as digests:
        looker, rest = at_rest.Looker(), known(digests, folder)
        assert looker.is_at(str(folder), rest)
        time.sleep(0.05)  # more than the grain of the file system's clock
        change(folder)
        assert not looker.is_at(str(folder), rest)
        assert digests.of(str(folder)) == Digests().of(str(folder))


def test_a_folder_that_was_changed_just_now_is_listed_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweep.provenance.data._newest_s", lambda key: 0.0)  # the files are old
    monkeypatch.setattr("sweep.provenance.data.FRESH_S", 3600.0)
    with closing(Digests()) as digests:
        digests.of(str(folder))
        assert digests._folders[str(folder)].rest is None


def test_a_link_to_a_folder_may_lead_to_a_file_later(folder: Path) -> None:
    (folder.parent / "there").mkdir()
    (folder / "there").symlink_to(folder.parent / "there")
    with closing(Digests()) as digests:
        before = digests.of(str(folder))
        assert digests._folders[str(folder)].rest is None
        (folder.parent / "there").rmdir()
        (folder.parent / "there").write_text("a file now")
        assert digests.of(str(folder)).files == before.files + 1


def test_where_folders_keep_no_times_there_is_no_cheap_look(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_rest, "_KEPT_BY", {0x6969})  # NFS
    with closing(Digests()) as digests:
        digests.of(str(folder))
        assert digests._folders[str(folder)].rest is None
        (folder / "new").write_text("new")
        assert digests.of(str(folder)) == Digests().of(str(folder))
