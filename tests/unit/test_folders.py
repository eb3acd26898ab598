"""Run folders, and the end of an output file that may hold anything."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from sweep.agents.folders import RunFolder, tail, write_atomically


def test_layout_and_modes(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc12", 7)
    path, config = Path(folder.path), Path(folder.config_file)
    assert not path.exists()
    folder.create({"lr": 0.1, "name": "é", "deep": {"n": None}})
    assert path == tmp_path / "runs" / "abc12" / "7"
    assert json.loads(config.read_bytes()) == {"lr": 0.1, "name": "é", "deep": {"n": None}}
    assert Path(folder.checkpoint) == path / "checkpoint" and Path(folder.checkpoint).is_dir()
    assert Path(folder.output(2)) == path / "output-2.log"
    assert Path(folder.unsent(2)) == path / "unsent-2.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(folder.checkpoint).stat().st_mode) == 0o700
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert sorted(found.name for found in path.iterdir()) == ["checkpoint", "config.json"]


def test_checkpoints_and_a_whole_config_are_there_for_the_next_attempt(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc12", 0)
    folder.create({"a": 1})
    (Path(folder.checkpoint) / "model").write_text("state")
    Path(folder.config_file).write_text('{"a"')  # the disk was full, or the agent died
    folder.create({"a": 1})
    assert (Path(folder.checkpoint) / "model").read_text() == "state"
    assert json.loads(Path(folder.config_file).read_text()) == {"a": 1}


@pytest.mark.parametrize(
    ("sweep", "run"), [("../x", 1), ("", 1), (".", 1), ("a/b", 1), ("a" * 101, 1), ("a", -1)]
)
def test_ids_cannot_lead_elsewhere(tmp_path: Path, sweep: str, run: int) -> None:
    with pytest.raises(ValueError, match="not an ID of a sweep"):
        RunFolder(tmp_path, sweep, run)


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert RunFolder(Path(".sweep"), "a", 1).path == str(tmp_path / ".sweep" / "runs" / "a" / "1")


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("data", "lines", "expected"),
    [
        (b"one\ntwo\nthree\n", 2, "two\nthree"),
        (b"one\ntwo", 5, "one\ntwo"),
        (b"one\n\n \n\n", 5, "one"),
        (b"", 5, ""),
        (b"one\n", 0, ""),
        (b"a\n\nb\n", 3, "a\n\nb"),
        (b"caf\xc3\xa9 \xff\xfe!\n", 1, "café \ufffd\ufffd!"),
        (b"\x1b[31;1mred\x1b[0m plain\x1b[K\n", 1, "red plain"),
        (b"\x1b]0;title\x07x\x1b]8;;http://e\x1b\\link\x1b]8;;\x1b\\\n", 1, "xlink"),
        (b"\x1b(Bx\x1b=y\x1b\n", 1, "xy"),
        (b" 1%|   |\r 50%|=  |\r100%|===|\n", 1, "100%|===|"),
        (b" 1%\r 2%\r", 1, " 2%"),
        (b"windows\r\nlines\r\n", 2, "windows\nlines"),
        (b"bell\x07 back\x08 nul\x00 del\x7f c1\xc2\x9b tab\tend\n", 1, "bell back nul del c1 tab\tend"),
        ("right\u202eleft\u2066x\n".encode(), 1, "rightleftx"),
    ],
)
def test_tail(tmp_path: Path, data: bytes, lines: int, expected: str) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(data)
    assert tail(path, lines) == expected


def test_tail_reads_the_end_only_and_starts_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"x" * 1000 + b"\n" + b"".join(b"line %d\n" % i for i in range(100)))
    assert tail(path, 1000, max_bytes=40) == "line 96\nline 97\nline 98\nline 99"
    assert tail(path, 2) == "line 98\nline 99"


def test_tail_of_one_endless_line(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(b"y" * 50_000)
    found = tail(path, 10)
    assert found.startswith("yyy") and found.endswith(" …") and len(found) < 3000


def test_tail_of_random_bytes_is_printable(tmp_path: Path) -> None:
    path = tmp_path / "output.log"
    path.write_bytes(bytes(range(256)) * 100)
    found = tail(path, 50)
    assert all(c in "\t\n" or c.isprintable() or c in "\ufffd\xa0\xad" for c in found)


def test_tail_without_a_file(tmp_path: Path) -> None:
    assert tail(tmp_path / "none", 5) == ""
    assert tail(tmp_path, 5) == ""
