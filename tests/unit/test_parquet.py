"""`sweep runs` into files: Parquet, CSV, JSON; runs, or every row that they logged."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kept import curve, keep, project_store
from sweep.analysis.columns import columns
from sweep.analysis.tabular import write_parquet
from sweep.cli.main import UserMistake
from sweep.cli.runs import runs_command

CONFIGS: list[dict[str, Any]] = [
    {"lr": 0.1, "batch": 16},
    {"lr": 0.2, "batch": "auto"},
    {"lr": 0.3, "batch": [1, 2]},
]
ROWS = [curve(0.9, 0.5), [{"loss": 0.8}, {"loss": float("nan"), "acc": 1}], []]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    store = project_store(tmp_path)
    keep(store, CONFIGS, ROWS)
    store.close()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_STORE", raising=False)
    yield tmp_path


def runs(*args: str) -> None:
    runs_command.main(["latest", *args], standalone_mode=False)


def test_runs(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs("-o", "runs.parquet", "--sort", "-config.lr")
    table = pq.read_table(project / "runs.parquet").to_pylist()
    assert [row["config.lr"] for row in table] == [0.3, 0.2, 0.1]
    assert [row["config.batch"] for row in table] == ["[1, 2]", "auto", "16"]
    assert table[2]["objective"] == 0.5
    assert table[0]["command"] == ["python", "train.py"]
    assert table[0]["started"].tzinfo is not None
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", "runs.parquet: 3 runs as parquet\n")


def test_history(project: Path) -> None:
    runs("--history", "--format", "parquet", "-o", "rows", "--filter", "lr < 0.25")
    table = pq.read_table(project / "rows").to_pydict()
    assert table["id"] == ["abcd2345-0"] * 2 + ["abcd2345-1"] * 2
    assert table["loss"][:3] == [0.9, 0.5, 0.8] and table["loss"][3] != table["loss"][3]
    assert table["acc"] == [None, None, None, 1.0]
    assert sorted(path.name for path in project.iterdir()) == [".sweep", "rows"], (
        "nothing half-written is left"
    )


def test_standard_output(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    runs("--format", "parquet")
    data = capfdbinary.readouterr().out
    assert pq.read_table(io.BytesIO(data)).num_rows == 3


def test_history_in_the_other_formats(capfd: pytest.CaptureFixture[str], project: Path) -> None:
    runs("--history", "--format", "csv")
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == "id,run,trial,replicate,step,seconds,loss,acc"
    assert lines[1] == "abcd2345-0,0,0,0,0.0,0.0,0.9,"
    assert lines[4] == "abcd2345-1,1,1,0,1.0,0.5,nan,1.0"
    runs("--history", "--json")
    found = json.loads(capfd.readouterr().out)
    assert [row.get("loss") for row in found] == [0.9, 0.5, 0.8, "nan"]
    runs("--history")
    assert capfd.readouterr().out.splitlines()[1].split() == ["abcd2345-0", "0", "0", "0", "0", "0", "0.9"]
    runs("-o", "runs.csv")
    assert (project / "runs.csv").read_text().startswith("id,sweep,run,")


def test_mistakes(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserMistake, match="which format"):
        runs("-o", "runs.xls")
    with pytest.raises(UserMistake, match=r"cannot write missing/runs.csv: No such file or directory"):
        runs("-o", "missing/runs.csv")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(UserMistake, match="not for terminals"):
        runs("--format", "parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserMistake, match="pip install pyarrow"):
        runs("-o", "runs.parquet")
    assert not (project / "runs.parquet").exists()


def test_any_columns_can_be_written() -> None:
    rows = [{"a": 1, "b": None, "i": ["x"], "j": "\ud800"}, {"a": "x", "b": None, "i": None, "j": 2**80}]
    buffer = io.BytesIO()
    write_parquet(columns(rows), buffer)
    assert pq.read_table(buffer).to_pydict() == {
        "a": ["1", "x"], "b": [None, None], "i": [["x"], None], "j": ["\\ud800", str(2**80)],
    }  # fmt: skip
    empty = io.BytesIO()
    write_parquet([], empty)
    assert pq.read_table(empty).num_columns == 0
