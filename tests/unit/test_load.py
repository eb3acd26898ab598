"""`sweep.load`: runs, trials and history as DataFrames, and what remains without pandas."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweep
from kept import curve, keep, project_store, spec_of
from sweep.analysis.columns import columns, history_columns, rows_of
from sweep.analysis.history import History
from sweep.analysis.tabular import MissingExtra
from sweep.api.finding import NotFound
from sweep.stores import Store, StoreError

CONFIGS = [
    {"lr": 0.1, "model": {"depth": 1}},
    {"lr": 0.2, "model": {"depth": 2}},
    {"lr": 0.3, "model": {"depth": "auto"}},
]
ROWS = [curve(0.9, 0.5), curve(0.8, 0.2, acc=0.5), []]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    found = project_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_STORE", raising=False)
    keep(found, CONFIGS, ROWS, spec=spec_of(name="first"), summary={"note": "fine"})
    yield found
    found.close()


def test_a_row_per_run(store: Store) -> None:
    runs = sweep.load().runs
    assert list(runs["id"]) == ["abcd2345-0", "abcd2345-1", "abcd2345-2"]
    assert list(runs["config.lr"]) == [0.1, 0.2, 0.3]
    assert list(runs["config.model.depth"]) == [1, 2, "auto"], "values of several types stay as they are"
    assert runs["objective"].tolist()[:2] == [0.5, 0.2]
    assert runs["objective"].isna().tolist() == [False, False, True]
    assert {name: str(runs[name].dtype) for name in ("seed", "objective", "exit_code", "config.lr")} == {
        "seed": "int64", "objective": "float64", "exit_code": "int64", "config.lr": "float64",
    }  # fmt: skip
    assert str(runs["started"].dtype).startswith("datetime64") and runs["started"].notna().all()
    assert runs[runs.state == "completed"].sort_values("objective").iloc[0]["id"] == "abcd2345-1"


def test_a_row_per_trial(store: Store) -> None:
    trials = sweep.load("abc").trials
    assert list(trials["trial"]) == [0, 1, 2]
    assert trials["score"].tolist()[:2] == [0.5, 0.2]
    assert list(trials["runs"]) == [1, 1, 1]
    assert "config.lr" in trials


def test_every_row_that_counts(store: Store) -> None:
    loaded = sweep.load("latest", store=store)
    history = loaded.history()
    assert list(history.columns) == ["id", "run", "trial", "replicate", "step", "seconds", "loss", "acc"]
    assert history["loss"].tolist() == [0.9, 0.5, 0.8, 0.2]
    assert history["step"].tolist() == [0, 1, 0, 1], "rows without a step count from 0"
    assert history["acc"].isna().tolist() == [True, True, False, False]
    assert history[history.run == 1]["seconds"].tolist() == [0.0, 0.5]
    for which in (1, "1", "abcd2345-1"):
        assert loaded.history(which)["loss"].tolist() == [0.8, 0.2]
    assert len(loaded.history(2)) == 0
    for which in (3, "x", "abcd2345-9"):
        with pytest.raises(NotFound, match="has 3 runs"):
            loaded.history(which)


def test_without_pandas(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    loaded = sweep.load()
    assert repr(loaded) == "<sweep abcd2345 (first), ended: 3 completed, best loss 0.2 in abcd2345-1>"
    assert (loaded.id, loaded.name, loaded.state, len(loaded)) == ("abcd2345", "first", "ended", 3)
    assert loaded.reason
    assert loaded.spec.program == "train.py"
    assert loaded.best is not None and loaded.best["config"] == CONFIGS[1]
    assert [row["config"] for row in loaded.rows()] == CONFIGS
    assert loaded.rows()[0]["summary"] == {"loss": 0.5, "note": "fine"}
    for ask in (lambda: loaded.runs, lambda: loaded.trials, loaded.history):
        with pytest.raises(MissingExtra, match="pip install pandas"):
            ask()


def test_which_sweep_and_which_store(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="there is no sweep 'zzz'"):
        sweep.load("zzz")
    file = tmp_path / ".sweep" / "store.db"
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    assert sweep.load().id == "abcd2345", "found in the folder above"
    assert sweep.load(store=file).id == sweep.load(store=f"sqlite:///{file}").id == "abcd2345"
    monkeypatch.setenv("SWEEP_STORE", str(other / "none.db"))
    with pytest.raises(StoreError, match="no sweep has been recorded here"):
        sweep.load()


def test_it_stays_as_it_was_until_it_is_read_again(store: Store, tmp_path: Path) -> None:
    loaded = sweep.load()
    before = loaded.runs
    keep(store, CONFIGS[:1], sweep="later234")
    assert loaded.id == "abcd2345" and loaded.runs is before
    assert loaded.refresh() is loaded
    assert loaded.runs is not before and loaded.runs.equals(before)
    assert sweep.load().id == "later234"


def test_a_sweep_without_runs(tmp_path: Path) -> None:
    found = project_store(tmp_path)
    keep(found, [])
    loaded = sweep.load(store=found)
    assert repr(loaded) == "<sweep abcd2345, ended: no runs yet>"
    assert loaded.best is None
    assert len(loaded.runs) == len(loaded.trials) == len(loaded.history()) == 0
    found.close()


def test_columns_have_one_type_whatever_was_recorded() -> None:
    rows = [
        {
            "a": 1,
            "b": 1,
            "c": True,
            "d": "x",
            "e": 1,
            "f": [1, {"x": 2}],
            "g": 2**70,
            "summary.h": "nan",
            "i": ["p"],
        },
        {"a": None, "b": 2.5, "c": 1, "d": "inf", "e": "inf", "f": None, "g": 1, "summary.h": None, "i": []},
        {"j": "\ud800"},
    ]
    found = {column.name: (column.kind, column.values) for column in columns(rows)}
    assert found["a"] == ("int", [1, None, None])
    assert found["b"] == ("float", [1.0, 2.5, None])
    assert found["c"] == ("text", ["true", "1", None])
    assert found["d"] == ("text", ["x", "inf", None]), "among text, inf is text"
    assert found["e"] == ("float", [1.0, float("inf"), None]), "among numbers it is a number"
    assert found["f"] == ("text", ['[1, {"x": 2}]', None, None])
    assert found["g"] == ("text", [str(2**70), "1", None])
    assert found["summary.h"][0] == "float" and found["summary.h"][1][0] != found["summary.h"][1][0]
    assert found["i"] == ("texts", [["p"], [], None])
    assert found["j"] == ("text", [None, None, "\\ud800"])
    assert list(found)[-1] == "summary.h", "groups come last"


def test_metrics_with_the_names_of_other_columns(tmp_path: Path) -> None:
    found = project_store(tmp_path)
    keep(found, CONFIGS[:1], [[{"loss": 1.0, "step": 5.0, "run": 7.0}]])
    loaded = sweep.load(store=found)
    assert list(rows_of(history_columns([]))) == []
    history = loaded.history()
    assert history["metric.step"].tolist() == [5.0] and history["step"].tolist() == [0.0]
    assert history["metric.run"].tolist() == [7.0] and history["run"].tolist() == [0]
    found.close()


def test_rows_without_a_step_are_counted_per_attempt() -> None:
    from analysed import Chunk

    first = b'{"i":0,"m":{"loss":3}}\n{"i":1,"m":{"loss":2}}'
    history = History.from_chunks(
        [
            Chunk(1, 0, 2, first),
            Chunk(1, 2, 1, b'{"i":2,"m":{"loss":1}}'),
            Chunk(2, 0, 1, b'{"i":0,"s":2,"m":{"loss":0}}'),
        ]
    )
    assert list(history.series("loss").steps) == [0, 1, 2]
    assert list(history.series("loss").values) == [3, 2, 0]
    assert history.aligned("loss") == [3.0, 2.0, 0.0]
    assert history.aligned("none") == [None, None, None]
