"""From a URL to a store: every form, the project folder, and what is refused in which words."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sweep.core import entries as e
from sweep.stores import Store, StoreError, open_store
from sweep.stores import _place as placing
from sweep.stores._open import default_path


def write(store: Store) -> None:
    store.append("s", [e.PauseRequested()], writer="w", first_seq=1)
    store.close()


def made(folder: Path) -> Path:
    """A project folder that has a store."""
    folder.mkdir(parents=True, exist_ok=True)
    write(open_store(f"{folder}/.sweep/store.db", folder, create=True))
    return folder / ".sweep" / "store.db"


@pytest.mark.parametrize(
    ("url", "file"),
    [
        (None, "here/.sweep/store.db"),
        ("sqlite:///sub/x.db", "here/sub/x.db"),
        ("sqlite:///../x.db", "x.db"),
        ("sqlite:///{root}/abs.db", "abs.db"),
        ("sub/plain.db", "here/sub/plain.db"),
        ("./a:b.db", "here/a:b.db"),
        ("{root}/odd name?#%20.db", "odd name?#%20.db"),
    ],
)
def test_forms_of_urls(url: str | None, file: str, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    given = url and url.format(root=tmp_path)
    write(open_store(given, here, create=True))
    assert (tmp_path / file).is_file()
    store = open_store(given, here)
    assert store.sweeps() == ["s"]
    assert store.url == f"sqlite:///{(tmp_path / file).resolve()}"
    store.close()
    again = open_store(store.url, tmp_path)
    assert again.sweeps() == ["s"]
    again.close()


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(open_store("~/mine.db", tmp_path / "elsewhere", create=True))
    assert (tmp_path / "mine.db").is_file()


def test_memory_is_new_each_time(tmp_path: Path) -> None:
    write(open_store("memory:", tmp_path))
    assert open_store("memory:", tmp_path).sweeps() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://127.0.0.1:1/0", "no Redis server is running at redis://127.0.0.1:1/0; start one"),
        ("unix:///nowhere/s", "no Redis server is running at unix:///nowhere/s"),
        ("postgres://host/db", r"this is no store; use sqlite:///"),
        ("sqlite:x.db", r"this is no store; use sqlite:///"),
        ("sqlite://x.db", r"this is no store; use sqlite:///"),
        ("sqlite:///", "names no file"),
        ("", "names no file"),
        ("a\0b", "names no file"),
        (".", r"is a folder; name the file in it: .*/store\.db"),
    ],
)
def test_what_is_no_store(url: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=words):
        open_store(url, tmp_path, create=True)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_store_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path.resolve() / ".sweep" / "store.db"
    words = f"no sweep has been recorded here ({file} does not exist); run `sweep create FILE` first"
    with pytest.raises(StoreError, match=re.escape(words)):
        open_store(None, tmp_path)
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"
    (tmp_path / ".sweep").mkdir()
    file.touch()
    with pytest.raises(StoreError, match="no sweep has been recorded here"):
        open_store(None, tmp_path)


def test_found_from_any_folder_below(tmp_path: Path) -> None:
    file = made(tmp_path)
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "a" / ".git").mkdir()
    (deep / ".sweep").mkdir()  # a folder of that name alone is no store
    for create in (False, True):
        store = open_store(None, deep, create=create)
        assert (store.url, store.sweeps()) == (f"sqlite:///{file.resolve()}", ["s"])
        store.close()
    nearer = made(tmp_path / "a")
    assert default_path(deep) == nearer.resolve()


def test_made_at_the_top_of_the_git_work_tree(tmp_path: Path) -> None:
    deep = tmp_path / "repository" / "experiments" / "mnist"
    deep.mkdir(parents=True)
    assert default_path(deep) == deep.resolve() / ".sweep" / "store.db"
    (tmp_path / "repository" / ".git").write_text("gitdir: elsewhere\n")  # a worktree has a file there
    write(open_store(None, deep, create=True))
    assert (tmp_path / "repository" / ".sweep" / "store.db").is_file()


def test_reached_through_a_link(tmp_path: Path) -> None:
    file = made(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert default_path(tmp_path / "link") == file.resolve()


def test_a_strangers_store_above_is_passed_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = made(tmp_path).resolve()
    mine = tmp_path / "mine"
    mine.mkdir()
    assert default_path(mine) == file
    stranger = os.getuid() + 1
    monkeypatch.setattr(placing, "_owner", lambda path: stranger if path == file else os.getuid())
    assert default_path(mine) == mine.resolve() / ".sweep" / "store.db"
    monkeypatch.setattr(placing, "_owner", lambda path: stranger)
    assert default_path(mine) == file, "whoever works in a stranger's folder uses that stranger's store"


def test_only_its_owner_may_look(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write(open_store(None, tmp_path, create=True))
        store = open_store(None, tmp_path)
        folder = tmp_path / ".sweep"
        assert folder.stat().st_mode & 0o777 == 0o700
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.glob("store.db*")}
        store.close()
    finally:
        os.umask(before)
    assert modes.keys() >= {"store.db"}
    assert set(modes.values()) == {0o600}
    assert (folder / ".gitignore").read_text() == "*\n"


def test_a_file_of_ones_own_gets_no_gitignore(tmp_path: Path) -> None:
    write(open_store("x/y.db", tmp_path, create=True))
    assert not (tmp_path / "x" / ".gitignore").exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url in ("file/store.db", "file/deep/store.db"):
        with pytest.raises(StoreError, match=r"cannot be made or opened: .*; name another with --store"):
            open_store(url, tmp_path, create=True)
        with pytest.raises(StoreError):
            open_store(url, tmp_path)
