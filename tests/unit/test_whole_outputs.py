"""Whole outputs: written to a folder or behind a URL, by a thread beside the agent's loop, and read back."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from folded import make_spec
from sweep.agents.wholes import WAITS_S, Wholes
from sweep.core.names import whole_output_cache
from sweep.core.outputs import outputs_problem, whole_address
from sweep.stores.whole import WholeError, read_whole, write_whole


@pytest.mark.parametrize("place", ["{folder}/shared", "file://{folder}/shared", "memory://outputs"])
def test_what_is_written_is_read_back(place: str, tmp_path: Path) -> None:
    source, data = tmp_path / "output-1.log", os.urandom(3_000_000)
    source.write_bytes(data)
    address = whole_address(place.format(folder=tmp_path), "s1", 3, 1)
    assert address.endswith("/s1/3/output-1.log")
    write_whole(address, source)
    assert b"".join(read_whole(address)) == data
    source.write_bytes(b"again")
    write_whole(address, source)
    assert b"".join(read_whole(address)) == b"again"


def test_a_folder_has_whole_files_only(tmp_path: Path) -> None:
    source = tmp_path / "output-1.log"
    source.write_bytes(b"x")
    write_whole(f"{tmp_path}/shared/s1/0/output-1.log", source)
    assert [path.name for path in (tmp_path / "shared/s1/0").iterdir()] == ["output-1.log"]


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("{folder}/none/output-1.log", "cannot read {folder}/none/output-1.log: No such file or directory"),
        ("file://{folder}/none/output-1.log", "No such file or directory"),
        ("memory://none/output-1.log", "cannot read memory://none/output-1.log: FileNotFoundError"),
        ("nosuch://x/y", "cannot read nosuch://x/y: ValueError: Protocol not known: nosuch"),
    ],
)
def test_what_cannot_be_read_says_why(address: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(WholeError) as caught:
        list(read_whole(address.format(folder=tmp_path)))
    assert says.format(folder=tmp_path) in str(caught.value)


def test_without_fsspec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(WholeError, match=r"pip install 'sweep\[fsspec\]'"):
        write_whole("memory://x/y", tmp_path / "x")
    write_whole(f"{tmp_path}/y", tmp_path / "x")
    assert list(read_whole(f"{tmp_path}/y")) == [b"x"]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("/mnt/shared", ""),
        ("s3://bucket/outputs", ""),
        ("sftp://ann@host/outputs", ""),
        ("outputs", "neither an absolute path nor a URL"),
        ("sftp://ann:pw@host/outputs", "has a password in it"),
        ("https://host/outputs?sig=abc", "has a `?` or `#`"),
        ("/a\nb", "cannot be printed"),
    ],
)
def test_what_can_be_a_place(place: str, says: str) -> None:
    problem = outputs_problem(place)
    assert says in problem if says else problem == ""
    assert "pw" not in problem and "abc" not in problem


class Said(list[str]):
    def __call__(self, text: str, level: str) -> None:
        self.append(f"{level}: {text}")


def stepped(wholes: Wholes) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    until = time.monotonic() + 30
    while wholes.owes(0.0):
        assert time.monotonic() < until
        wholes.step(kept.__setitem__)
        time.sleep(0.005)
    return kept


def test_a_thread_brings_them_away_one_after_the_other(tmp_path: Path) -> None:
    said = Said()
    wholes = Wholes("s1", said)
    for run in range(20):
        (tmp_path / f"{run}.log").write_bytes(b"%d" % run * 1000)
        wholes.begin(f"{tmp_path}/shared", run, 1, tmp_path / f"{run}.log", 0.0)
    kept = stepped(wholes)
    assert {name: list(read_whole(kept[name].decode())) for name in kept} == {
        whole_output_cache(run, 1): [b"%d" % run * 1000] for run in range(20)
    }
    assert said == []


def test_what_cannot_be_brought_away_is_said_and_not_recorded(tmp_path: Path) -> None:
    said = Said()
    wholes = Wholes("s1", said)
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "a.log").write_bytes(b"x")
    wholes.begin(f"{tmp_path}/file", 3, 1, tmp_path / "a.log", 0.0)
    assert stepped(wholes) == {}
    [line] = said
    assert line.startswith(
        f"warning: the whole output of s1-3 stays on this node, in {tmp_path}/a.log: cannot write "
    )


def test_an_agent_does_not_wait_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "endless")
    wholes = Wholes("s1", Said())
    wholes.begin(f"{tmp_path}/shared", 3, 1, tmp_path / "endless", 100.0)
    assert wholes.owes(100.0 + WAITS_S - 1) and not wholes.owes(100.0 + WAITS_S)
    with (tmp_path / "endless").open("wb"):
        pass
    wholes._until_s = 1.0
    stepped(wholes)


def test_the_spec_keeps_it() -> None:
    assert make_spec(outputs="s3://bucket/x").outputs == "s3://bucket/x"
