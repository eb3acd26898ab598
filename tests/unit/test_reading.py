"""Listings read only what they show, and the same whether the index is current or lags behind."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from folded import make_spec
from led import SWEEP, Led
from sweep.api import load_best, load_run, load_sweep_view, load_views
from sweep.api.finding import NotFound, find_run
from sweep.api.reading import count_runs, load_rows
from sweep.cli.common import json_text
from sweep.cli.main import cli
from sweep.core import entries as e
from sweep.core.rows import run_key
from sweep.stores import Index
from sweep.stores.memory import MemoryStore
from sweep.stores.sqlite import SqliteStore

RUNS = 30


class Counting:
    """A store that notes which index rows and how many entries were read."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self.rows: list[str] = []
        self.entries = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def read_index(self, sweep: str, prefix: str = "") -> Index:
        index = self._inner.read_index(sweep, prefix)
        self.rows += index.rows
        return index

    def read(self, *args: Any, **more: Any) -> list[e.Recorded]:
        found = self._inner.read(*args, **more)
        self.entries += len(found)
        return found

    def runs_read(self) -> int:
        return sum(key.startswith("run/") for key in self.rows)


@pytest.fixture
def led() -> Led:
    """A sweep whose run 7 is the best."""
    led = Led(make_spec(run_cap=RUNS), store=Counting)
    led.join()
    led.step()
    for number in range(RUNS):
        led.outside(
            e.RunStarted(number, 1, "a", 5, "h", 0),
            e.AttemptEnded(number, 1, "a", "completed", score=abs(number - 7) / 10),
            e.SlotOffered("a", 0, number + 2),
            writer="a",
        )
        led.step()
    led.store.rows.clear()
    led.store.entries = 0
    return led


def test_one_run_is_read_alone(led: Led) -> None:
    assert (load_run(led.store, SWEEP, 12).run, led.store.runs_read(), led.store.entries) == (12, 1, 0)


def test_a_run_with_its_sweep_reads_no_other_run(led: Led) -> None:
    views = load_views(led.store, SWEEP, (3,))
    assert ([run.run for run in views.runs], views.sweep.state, len(views.agents)) == ([3], "ended", 1)
    assert (led.store.runs_read(), led.store.entries) == (1, 0)


def test_a_sweep_without_its_runs(led: Led) -> None:
    assert load_views(led.store, SWEEP, ()).runs == []
    assert load_sweep_view(led.store, SWEEP).best_run == 7
    assert count_runs(led.store, SWEEP) == RUNS
    assert find_run(led.store, "12") == (SWEEP, 12)
    assert find_run(led.store, f"{SWEEP}-{RUNS - 1}") == (SWEEP, RUNS - 1)
    assert (led.store.runs_read(), led.store.entries) == (0, 0)


def test_the_best_run_is_read_alone(led: Led) -> None:
    views = load_best(led.store, SWEEP)
    assert [(run.run, run.objective) for run in views.runs] == [(7, 0.0)]
    assert (led.store.runs_read(), led.store.entries) == (1, 0)


def test_all_runs_are_read_when_they_are_asked_for(led: Led) -> None:
    assert [run.run for run in load_views(led.store, SWEEP).runs] == list(range(RUNS))
    assert led.store.runs_read() == RUNS


def test_unknown_runs_and_sweeps(led: Led) -> None:
    with pytest.raises(
        NotFound, match=f"sweep {SWEEP} has no run {RUNS}; the last one is {SWEEP}-{RUNS - 1}"
    ):
        find_run(led.store, str(RUNS))
    with pytest.raises(NotFound, match=f"has no run {RUNS}"):
        load_run(led.store, SWEEP, RUNS)
    with pytest.raises(NotFound, match="there is no sweep s9"):
        load_rows(led.store, "s9")


def test_an_index_that_lags_is_followed_to_the_end_of_the_journal(led: Led) -> None:
    led.outside(e.Annotated(7, ("good",), (), "look"), e.Annotated(-1, ("old",)))
    lagging = led.memory.read_index(SWEEP)
    assert lagging.upto < led.memory.position(SWEEP)
    run, sweep = load_run(led.store, SWEEP, 7), load_sweep_view(led.store, SWEEP)
    assert (run.tags, run.note, sweep.tags) == (("good",), "look", ("old",))
    assert [view.tags for view in load_views(led.store, SWEEP, (7, 8)).runs] == [("good",), ()]
    upto, rows = load_rows(led.store, SWEEP)
    led.step()  # now the controller has brought it up to date itself
    assert (upto, rows) == (led.memory.position(SWEEP), led.memory.read_index(SWEEP).rows)
    assert set(load_rows(led.store, SWEEP, run_key(7))[1]) == {run_key(7)}


def test_a_lagging_index_costs_a_snapshot_and_the_rest_only(led: Led) -> None:
    led.driver._keeper.worthwhile = 1
    led.driver.close()
    led.outside(e.Annotated(7, ("good",)))
    led.store.entries = 0
    assert load_run(led.store, SWEEP, 7).tags == ("good",)
    assert led.store.entries == 2, "the entry that marks the snapshot, and the new one"


def test_json_is_what_json_writes() -> None:
    value = {"a": [], "b": {}, "c": [1, 2.5e-8, None, True, "é\n"], "d": 10**30}
    for ascii_only in (True, False):
        expected = json.dumps(value, indent=2, ensure_ascii=ascii_only)
        assert json_text(value, ascii_only=ascii_only) == expected
        quick = json_text(value, ascii_only=ascii_only, finite=True)
        assert (json.loads(quick), quick.replace("e-8", "e-08")) == (value, expected)


def test_json_of_what_json_cannot_say() -> None:
    value = {"a": float("nan"), "b": [float("inf"), -float("inf")], "c": "\udcff"}
    expected = {"a": "nan", "b": ["inf", "-inf"], "c": "\udcff"}
    assert json_text(value, ascii_only=True) == json.dumps(expected, indent=2)
    assert json.loads(json_text({"a": float("nan")}, ascii_only=False)) == {"a": "nan"}


def test_a_store_from_before_there_were_caches_is_used(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path, create=True)
    assert store.get_cache("s", "state") is None
    tables = sqlite3.connect(path)
    assert not list(tables.execute("SELECT 1 FROM sqlite_master WHERE name = 'cache'")), (
        "made when first needed"
    )
    tables.close()
    store.put_cache("s", "state", b"x")
    store.close()
    store = SqliteStore(path)
    assert store.get_cache("s", "state") == b"x"
    store.close()


def test_the_commands_say_the_same_of_a_run(
    led: Led, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`show`, `best` and `runs --json`, which read different rows, agree."""
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(tmp_path / ".sweep" / "store.db", create=True)
    for recorded in led.memory.read(SWEEP, 0):
        store.append(
            SWEEP, [recorded.entry], writer=recorded.writer, first_seq=recorded.seq, at_s=recorded.at_s
        )
    store.write_index(SWEEP, led.memory.read_index(SWEEP))
    store.close()

    def said(*arguments: str) -> Any:
        result = CliRunner().invoke(cli, [*arguments, "--json"], standalone_mode=False)
        assert result.exception is None, result.output
        return json.loads(result.stdout)

    runs = said("runs", SWEEP)
    assert said("best", SWEEP) == runs[7]
    shown = said("show", f"{SWEEP}-7")
    assert {name: shown[name] for name in runs[7]} == runs[7]
    assert [
        row["run"] for row in said("runs", SWEEP, "--filter", "objective < 0.15", "--sort", "objective")
    ] == [7, 6, 8]
