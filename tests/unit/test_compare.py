"""`sweep compare`: runs side by side, what differs between them, and how runs are named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kept import curve, keep, project_store, spec_of
from sweep.analysis.comparing import Line, Side, compare
from sweep.api.choosing import find_one, find_runs
from sweep.api.comparing import compare_runs
from sweep.api.finding import NotFound
from sweep.cli.comparing import compare_command
from sweep.cli.main import UserMistake
from sweep.provenance.tree import FILE, TreeFile, manifest_bytes
from sweep.stores import Store

CONFIGS: list[dict[str, Any]] = [{"lr": 0.1, "model": {"depth": 1}}, {"lr": 0.2, "model": {"depth": 1}}]
ROWS = [curve(0.9, 0.5, 0.6), curve(0.8, 0.2, acc=0.7)]


def tree(store: Store, **files: str) -> dict[str, Any]:
    """The record of a sweep whose code is these files."""
    listed = [TreeFile(name, FILE, len(text), store.put_blob(text.encode())) for name, text in files.items()]
    digest = store.put_blob(manifest_bytes(listed))
    return {
        "code": {
            "tree": digest,
            "files": len(files),
            "complete": True,
            "git": {"commit": "c" * 40, "dirty": True},
        }
    }


def node(store: Store, python: str, **packages: str) -> dict[str, Any]:
    found = [{"name": name, "version": version} for name, version in packages.items()]
    return {
        "python": {"version": python}, "packages": store.put_blob(json.dumps(found).encode()),
        "hardware": {"os": "Linux", "cpu": {"model": "one", "cores_usable": 4}, "gpus": [{"name": "H100"}]},
        "environ": {"values": {"OMP_NUM_THREADS": "2"}},
    }  # fmt: skip


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    found = project_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_STORE", raising=False)
    keep(
        found, CONFIGS, ROWS, sweep="older234", record=tree(found, a="1", b="same"),
        node=node(found, "3.11.1", torch="2.4", numpy="2.0"),
    )  # fmt: skip
    keep(
        found, CONFIGS, ROWS, sweep="newer567", record=tree(found, a="2", b="same", c="new"), spec=spec_of(seed=8),
        node=node(found, "3.12.0", torch="2.5", numpy="2.0", scipy="1"), env={"PYTHONHASHSEED": "40", "SWEEP_SEED": "1"},
    )  # fmt: skip
    yield found
    found.close()


def differing(lines: list[Line]) -> dict[str, dict[str, tuple[Any, ...]]]:
    found: dict[str, dict[str, tuple[Any, ...]]] = {}
    for line in lines:
        if not line.same:
            found.setdefault(line.section, {})[line.name] = line.values
    return found


def test_two_runs_of_one_sweep(store: Store) -> None:
    sides, lines = compare_runs(store, [("older234", 0), ("older234", 1)])
    assert [side.id for side in sides] == ["older234-0", "older234-1"]
    found = differing(lines)
    assert found["config"] == {"lr": (0.1, 0.2)}
    assert found["outcome"]["objective"] == (0.5, 0.2)
    assert found["metrics"] == {
        "loss (last)": (0.6, 0.2), "loss (best)": (0.5, 0.2),
        "acc (last)": (None, 0.7), "acc (lowest)": (None, 0.7), "acc (highest)": (None, 0.7),
    }  # fmt: skip
    assert found["seeds"] == {"seed": (40, 41)}
    assert {"code", "files", "packages", "python", "hardware", "variables"}.isdisjoint(found)
    assert ("packages", "numpy", ("2.0", "2.0"), True) in [
        tuple(getattr(x, f) for f in x.__struct_fields__) for x in lines
    ]


def test_two_runs_of_two_sweeps(store: Store) -> None:
    _, lines = compare_runs(store, [("older234", 0), ("newer567", 0)])
    found = differing(lines)
    assert set(found["files"]) == {"a", "c"} and found["files"]["c"][0] is None
    assert found["packages"] == {"torch": ("2.4", "2.5"), "scipy": (None, "1")}
    assert found["python"] == {"version": ("3.11.1", "3.12.0")}
    assert found["seeds"] == {"sweep's seed": (7, 8), "PYTHONHASHSEED": (None, "40")}
    assert set(found["code"]) == {"tree"}
    assert "config" not in found and "metrics" not in found and "hardware" not in found


def test_what_counts_as_the_same() -> None:
    def same(a: Any, b: Any) -> bool:
        (line,) = compare([Side("x", {"config": {"v": a}}), Side("y", {"config": {"v": b}})])
        return line.same

    assert same(1, 1.0) and same([1], [1]) and same(None, None)
    assert not same(1, True) and not same("1", 1) and not same(0.1, 0.2) and not same(None, "")


def test_records_of_long_ago_or_damaged_ones_are_compared_as_far_as_they_go(tmp_path: Path) -> None:
    found = project_store(tmp_path)
    keep(found, CONFIGS, record={"code": {"tree": "0" * 64}}, node={"packages": "1" * 64})
    _, lines = compare_runs(found, [("abcd2345", 0), ("abcd2345", 1)])
    assert differing(lines)["config"] == {"lr": (0.1, 0.2)}
    found.close()


def test_naming_runs(store: Store) -> None:
    assert find_runs(store, ["older234-1", "0", "best"]) == [
        ("older234", 1),
        ("newer567", 0),
        ("newer567", 1),
    ]
    assert find_runs(store, ["older-best", "latest-best"]) == [("older234", 1), ("newer567", 1)]
    assert find_runs(store, ["old-0..1", "0..1", "old-0"]) == [
        ("older234", 0), ("older234", 1), ("newer567", 0), ("newer567", 1),
    ]  # fmt: skip
    assert find_runs(store, ["older234-0..older234-1"]) == [("older234", 0), ("older234", 1)]
    assert find_one(store, "best") == ("newer567", 1)
    for text, words in [
        ("old-1..0", "from the lower number"),
        ("old-0..9", "has no run 9"),
        ("old-0..newer567-1", "runs of one sweep"),
        ("zzz-best", "there is no sweep"),
    ]:
        with pytest.raises(NotFound, match=words):
            find_runs(store, [text])
    with pytest.raises(NotFound, match="names 2 runs"):
        find_one(store, "old-0..1")
    keep(store, CONFIGS, sweep="third234")
    with pytest.raises(NotFound, match="third234 has no best run"):
        find_runs(store, ["best"])


def compared(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    compare_command.main(list(args), standalone_mode=False)
    return capsys.readouterr().out


def test_the_table(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = compared(capsys, "older234-0", "older234-1")
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["older234-0", "older234-1"]
    assert ["config"] in lines and ["lr", "0.1", "0.2"] in lines
    assert ["acc", "(last)", "-", "0.7"] in lines
    assert "depth" not in text
    assert (
        text.splitlines()[-1]
        == "the same in all of them: code, 2 files, 2 packages, python, hardware, variables"
    )
    assert "depth" in compared(capsys, "older234-0", "older234-1", "--all")


def test_markdown_and_json(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    text = compared(capsys, "old-0..1", "new-1", "--format", "markdown")
    assert text.startswith("| | `older234-0` | `older234-1` | `newer567-1` |\n| --- | --- | --- | --- |\n")
    assert "| **config** | | | |\n| lr | 0.1 | 0.2 | 0.2 |" in text
    for how in (["--json"], ["--format", "json"]):
        found = json.loads(compared(capsys, "old-0", "old-1", *how))
        assert found["runs"] == ["older234-0", "older234-1"]
        assert found["sections"]["config"] == {"lr": {"values": [0.1, 0.2], "same": False}}
        assert found["same"]["packages"] == 2
    every = json.loads(compared(capsys, "old-0", "old-1", "--all", "--json"))
    assert every["sections"]["config"]["model.depth"] == {"values": [1, 1], "same": True}


def test_many_files_are_counted(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    files = {f"f{number}": "x" for number in range(30)}
    keep(store, CONFIGS, sweep="many2345", record=tree(store, **files))
    text = compared(capsys, "older234-0", "many2345-0")
    assert "and 12 more files (--all shows them)" in text, "30 new ones and 2 that are gone, 20 of them shown"
    assert "f29" in compared(capsys, "older234-0", "many2345-0", "--all")


def test_mistakes(store: Store) -> None:
    with pytest.raises(UserMistake, match="at least two different runs; these words name only newer567-1"):
        compare_command.main(["best", "1"], standalone_mode=False)
    with pytest.raises(UserMistake, match="there is no sweep"):
        compare_command.main(["x-1", "1"], standalone_mode=False)
