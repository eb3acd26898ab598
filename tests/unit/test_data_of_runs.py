"""What an agent records of a folder that its runs read: never a content that a run did not read."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sweep.agents.data import Data
from sweep.core import entries as e
from sweep.provenance import at_rest
from sweep.provenance.data import Digests

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="there is no statx")
OLD_S = 3600.0


class Taken:
    """What an agent's session is given."""

    def __init__(self) -> None:
        self.entries: list[e.DataUsed | e.DataChecked] = []
        self.blobs: list[bytes] = []
        self.add = self.entries.append


class Agent:
    """Runs that read a folder, one after the other."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.taken, self.number = folder, Taken(), 0
        self.data = Data(cache, cast(Any, self.taken))

    def run(self, during: Callable[[], object] = lambda: None, since_s: float = 0.0) -> list[Any]:
        """What is recorded of one; it begins `since_s` from now."""
        self.taken.entries.clear()
        self.data.begin(self.number, 1, self.folder.parent, ["data"], time.time() + since_s)
        self._wait()
        during()
        self.data.ended(self.number, 1)
        self._wait()
        self.number += 1
        return list(self.taken.entries)

    def _wait(self) -> None:
        until_s = time.monotonic() + 60
        while self.data.owes(0.0):
            assert time.monotonic() < until_s
            self.data.step()
            time.sleep(0.001)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as having been left alone for long."""
    monkeypatch.setattr("sweep.provenance.data.FRESH_S", -OLD_S)
    root = tmp_path / "data"
    (root / "in").mkdir(parents=True)
    for name in ("a", "in/b", "in/c"):
        (root / name).write_text(name)
    return root


@pytest.fixture
def agent(folder: Path, tmp_path: Path) -> Agent:
    """It has had one run, and the folder can be looked at cheaply."""
    found = Agent(folder, tmp_path / "cache")
    used, checked = found.run()
    assert used.digest == digest(folder) and checked.changed == ()
    if found.data._digests.known(str(folder)) is None:
        pytest.skip("temporary files lie on a file system whose folders' times tell nothing")
    return found


def digest(folder: Path) -> str:
    return Digests().of(str(folder)).digest


def write_again(path: Path) -> None:
    """Longer than the grain of the file system's clock after whatever was before."""
    time.sleep(0.05)
    path.write_text("another")
    time.sleep(0.15)


def count_looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    looks: list[str] = []
    look = at_rest.Looker.is_at
    monkeypatch.setattr(
        at_rest.Looker, "is_at", lambda self, *given: looks.append(given[0]) or look(self, *given)
    )
    return looks


def test_a_run_costs_one_look(agent: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = count_looks(monkeypatch)
    used, checked = agent.run()
    assert (used.digest, checked.changed, len(looks)) == (digest(folder), (), 1)


def test_and_so_does_the_first_of_the_next_agent(
    agent: Agent, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = count_looks(monkeypatch)
    used, checked = Agent(folder, tmp_path / "cache").run()
    assert (used.digest, checked.changed, len(looks)) == (digest(folder), (), 1)


def test_what_was_written_to_before_a_run_is_what_it_read(
    agent: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest(folder)
    write_again(folder / "in" / "b")
    thought, used, checked = agent.run()
    assert thought.digest == before and checked.changed == ()
    assert used.digest == digest(folder) != before == used.instead
    assert (used.run, used.attempt, used.path) == (thought.run, thought.attempt, thought.path)
    used, checked = agent.run()  # from now on it is known
    assert used.digest == digest(folder) and checked.changed == ()


@pytest.mark.parametrize("name", ["in/new", "a"])
def test_where_files_come_and_go_before_a_run_it_is_looked_at(agent: Agent, folder: Path, name: str) -> None:
    before = digest(folder)
    (folder / "x").write_text("another")
    (folder / "x").replace(folder / name)
    used, checked = agent.run()
    assert used.digest == digest(folder) != before and checked.changed == ()


CHANGES: list[Callable[[Path], object]] = [
    lambda folder: write_again(folder / "in" / "b"),
    lambda folder: (folder / "in" / "new").write_text("new"),
    lambda folder: (folder / "in" / "b").unlink(),
    lambda folder: (folder / "a").replace(folder / "in" / "b"),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("written", [False, True], ids=["", "written before, too"])
def test_what_changes_during_a_run_taints_it(
    agent: Agent,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], object],
    written: bool,
) -> None:
    if written:
        write_again(folder / "in" / "c")
    time.sleep(0.15)
    *_, checked = agent.run(lambda: change(folder))
    assert checked.changed == ("data",)


def test_what_was_written_just_before_a_run_may_have_been_written_in_it(agent: Agent, folder: Path) -> None:
    write_again(folder / "in" / "b")
    written_s = (folder / "in" / "b").stat().st_ctime
    *_, checked = agent.run(since_s=written_s + 0.05 - time.time())
    assert checked.changed == ("data",)


def test_a_clock_that_was_set_tells_nothing(
    agent: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_again(folder / "in" / "b")
    clock = time.time
    *_, checked = agent.run(lambda: monkeypatch.setattr(time, "time", lambda: clock() + 7200))
    assert checked.changed == ("data",)


def test_what_a_link_leads_to_may_be_another_old_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "now").symlink_to("one")
    (folder / "link").symlink_to(tmp_path / "now" / "file")
    agent = Agent(folder, tmp_path / "cache")
    agent.run()

    def exchange() -> None:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").replace(tmp_path / "now")

    time.sleep(0.15)
    *_, checked = agent.run(exchange)
    assert checked.changed == ("data",)


def test_a_folder_that_is_another_one_by_then(
    agent: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has been there all the time, under another name."""
    other = folder.with_name("other")
    (other / "in").mkdir(parents=True)
    for name in ("a", "in/b", "in/c"):
        (other / name).write_text(name.upper())
    time.sleep(0.15)

    def exchange() -> None:
        folder.rename(folder.with_name("gone"))
        other.rename(folder)

    *_, checked = agent.run(exchange)
    assert checked.changed == ("data",)


def test_a_folder_that_cannot_be_read_any_more(agent: Agent, folder: Path) -> None:
    *_, checked = agent.run(lambda: folder.rename(folder.with_name("gone")))
    assert checked.changed == ("data",)
    used, _ = agent.run()
    assert "No such file" in used.problem
    assert os.fspath(folder) in used.problem
