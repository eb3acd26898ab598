"""`sweep diff`: facts, code line by line, metrics to the last bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kept import curve, keep, project_store, spec_of
from sweep.analysis.differing import MOST_BYTES, changes
from sweep.cli.differing import diff_command
from sweep.cli.main import UserMistake
from sweep.provenance.tree import FILE, TreeFile, manifest_bytes
from sweep.stores import Store

CONFIGS: list[dict[str, Any]] = [{"lr": 0.1}, {"lr": 0.2}]
OLD = "import os\nlr = 1\nprint(lr)\n"
NEW = "import os\nlr = 2\nprint(lr)\nprint('done')\n"


def tree(store: Store, **files: bytes) -> dict[str, Any]:
    listed = [TreeFile(name, FILE, len(data), store.put_blob(data)) for name, data in files.items()]
    return {"code": {"tree": store.put_blob(manifest_bytes(listed)), "files": len(files)}}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    found = project_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_STORE", raising=False)
    keep(
        found, CONFIGS, [curve(0.9, 0.5, 0.3), curve(0.9, 0.4, 0.3)], sweep="older234",
        record=tree(found, train=OLD.encode(), table=b"\0\1", same=b"x", gone=b"bye\n"),
    )  # fmt: skip
    keep(
        found, CONFIGS, [curve(0.9, 0.5, 0.3), curve(0.9)], sweep="newer567", spec=spec_of(seed=8),
        record=tree(found, train=NEW.encode(), table=b"\0\2", same=b"x", fresh=b"hi\n"),
    )  # fmt: skip
    return found


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    diff_command.main(list(words), standalone_mode=False)
    return capsys.readouterr().out


def test_runs_of_two_sweeps(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "older234-0", "newer567-0").splitlines()
    assert [line.split() for line in lines if line.startswith(("train ", "table ", "gone ", "fresh "))] == [
        ["fresh", "added", "+1", "-0", "lines"],
        ["gone", "deleted", "+0", "-1", "lines"],
        ["table", "changed", "binary"],
        ["train", "changed", "+2", "-1", "lines"],
    ]
    at = lines.index("--- a/train")
    assert lines[at : at + 8] == [
        "--- a/train", "+++ b/train", "@@ -1,3 +1,4 @@", " import os", "-lr = 1", "+lr = 2", " print(lr)", "+print('done')",
    ]  # fmt: skip
    assert "sweep's seed" in " ".join(lines)
    assert lines[-1].startswith("the same: 1 file, config, ") and lines[-1].endswith(", 1 of 1 metrics")
    assert "--- a/train" not in said(capsys, "older234-0", "newer567-0", "--no-code")


def test_the_first_value_that_differs(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "older234-0", "older234-1", "--json"))
    assert found["sections"]["config"] == {"lr": [0.1, 0.2]}
    assert found["files"] == [] and found["same_files"] == 4
    (metric,) = found["metrics"].values()
    assert (metric["in_both"], metric["identical"], metric["only_second"]) == (3, 2, 0)
    assert metric["first_difference"] == {"step": 1, "values": [0.5, 0.4]}
    shorter = json.loads(said(capsys, "older234-0", "newer567-1", "--json"))
    assert [m["only_first"] for m in shorter["metrics"].values()] == [2]


def test_files_that_cannot_be_compared_by_lines() -> None:
    kept = {"a": b"a" * (MOST_BYTES + 1), "b": b"b", "c": b"\xff\xfe", "d": b"text"}
    found = changes(
        {"x": "a", "y": "missing", "z": "c", "w": "d"}, {"x": "b", "y": "b", "z": "b", "w": "d"}, kept.get
    )
    assert [(change.path, change.why) for change in found] == [
        ("x", "too long"), ("y", "content not kept"), ("z", "binary"),
    ]  # fmt: skip


def test_mistakes(store: Store) -> None:
    for words in (["older234-0"], ["older234-0", "older234-0"], ["older234-0", "older234-1", "newer567-0"]):
        with pytest.raises(UserMistake, match="name two different runs"):
            diff_command.main(words, standalone_mode=False)
