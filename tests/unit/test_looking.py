"""Looks at `report_metric`: each is recorded once, and where nothing can be written reading goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import sweep
from kept import curve, keep, project_store, spec_of
from sweep.api.reading import load_views
from sweep.api.results import look, result
from sweep.cli.main import cli
from sweep.core import entries as e
from sweep.spec import SpecError, parse
from sweep.stores import Store
from sweep.stores.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    found = project_store(tmp_path)
    monkeypatch.chdir(tmp_path)
    keep(
        found, [{"lr": 0.1, "model": {"depth": 1}}, {"lr": 0.2, "model": {"depth": 1}}], [curve(0.9), curve(0.5)],
        spec=spec_of(report_metric="acc"), summary={"acc": 0.75},
    )  # fmt: skip
    yield found
    found.close()


def shown(store: Store) -> list[e.ReportShown]:
    return [r.entry for r in store.read("abcd2345", 0) if isinstance(r.entry, e.ReportShown)]


def test_each_look_counts_once(store: Store) -> None:
    def seen(command: str, by: str) -> int:
        return look(store, result(load_views(store, "abcd2345")), command, by).looks

    assert [seen("best", "ann"), seen("best", "ann"), seen("status", "ann"), seen("best", "bob")] == [
        1,
        1,
        2,
        3,
    ]
    assert shown(store) == [
        e.ReportShown("acc", "best", "ann"), e.ReportShown("acc", "status", "ann"), e.ReportShown("acc", "best", "bob"),
    ]  # fmt: skip
    found = look(store, result(load_views(store, "abcd2345")), "best", "bob")
    assert "looked at 3 times" in found.words[-1] and load_views(store, "abcd2345").sweep.looks == 3
    assert store.read_index("abcd2345").upto == store.position("abcd2345"), (
        "listings stay as cheap as they were"
    )


def test_loading_a_result_is_a_look(store: Store) -> None:
    found = sweep.load("abc").result()
    assert (found["report"]["mean"], found["looks"], found["chosen"]) == (0.75, 1, 1)


@pytest.mark.parametrize(
    ("words", "counts"),
    [
        (["runs", "abc", "--json"], True),
        (["runs", "abc", "--format", "csv"], True),
        (["runs", "abc", "--history", "--format", "json"], True),
        (["runs", "abc", "--sort", "-summary.acc"], True),
        (["runs", "abc", "--filter", "summary.acc > 0.1"], True),
        (["export", "abc"], True),
        (["compare", "abc-0", "abc-1"], True),
        (["diff", "abc-0", "abc-1"], True),
        (["runs", "abc"], False),
        (["runs", "abc", "--sort", "objective"], False),
        (["runs", "abc", "--group"], False),
        (["show", "abc-0", "--json"], False),
        (["ls", "--json"], False),
    ],
)
def test_whatever_prints_the_values_is_a_look(store: Store, words: list[str], counts: bool) -> None:
    for _ in range(2):
        done = CliRunner().invoke(cli, words, env={"USER": "ann"})
        assert done.exit_code == 0, done.output
    assert shown(store) == ([e.ReportShown("acc", words[0], "ann")] if counts else []), (
        "the same figures once"
    )


def test_a_programs_data_are_looked_at_when_it_asks_for_them(store: Store) -> None:
    loaded = sweep.load("abc")
    assert len(loaded) == 2 and shown(store) == []
    assert loaded.rows()[0]["summary"]["acc"] == 0.75
    loaded.rows()
    assert [one.command for one in shown(store)] == ["load"]
    assert loaded.best is not None and loaded.best["summary"]["acc"] == 0.75
    assert len(shown(store)) == 2, "which of them is the best one's is another figure"


def test_without_a_value_nothing_is_recorded(store: Store) -> None:
    keep(store, [{"lr": 0.1, "model": {"depth": 1}}], [curve(0.9)], sweep="zzzz2345")
    assert look(store, result(load_views(store, "zzzz2345")), "best").looks == 0
    assert shown(store) == []


def test_a_store_that_cannot_be_written_can_be_read(store: Store) -> None:
    assert isinstance(store, SqliteStore)
    found = result(load_views(store, "abcd2345"))
    store._db.execute("PRAGMA query_only = ON")
    try:
        assert look(store, found, "best", "ann").report == found.report
    finally:
        store._db.execute("PRAGMA query_only = OFF")
    assert shown(store) == []


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ("confirm: {top: 2}", "confirm: needs a metric to know the best configs by"),
        (
            "metric: {name: m}\nconfirm: {seeds: 3, choose: 3}",
            "confirm.choose: must leave seeds to report on",
        ),
        ("metric: {name: m}\nconfirm: {seeds: 1}", "confirm.seeds: must be"),
        ("metric: {name: m}\nreport_metric: m", "report_metric: is the metric that selects"),
        ("report_metric: m", "report_metric: needs a metric that selects"),
        (
            "metric: {name: m}\nreport_metric: t\nearly_terminate: {type: asha, step: 'metric:t'}",
            "report_metric: `early_terminate.step` is metric:t",
        ),
    ],
)
def test_what_is_wrong_in_the_spec_is_said(keys: str, where: str) -> None:
    text = f"program: a.py\nmethod: random\nparameters: {{x: {{min: 0.0, max: 1.0}}}}\n{keys}\n"
    with pytest.raises(SpecError) as told:
        parse(text, draw_seed=lambda: 1)
    assert where in str(told.value), str(told.value)


def test_one_seed_to_report_on_is_warned_of() -> None:
    text = "program: a.py\nmethod: random\nmetric: {name: m}\nconfirm: {seeds: 2}\nparameters: {x: {min: 0.0, max: 1.0}}\n"
    parsed = parse(text, draw_seed=lambda: 1)
    assert any("there is no interval" in str(warning) for warning in parsed.warnings)
    assert parsed.spec.confirm is not None and parsed.spec.confirm.choosing == 1


def test_asking_and_telling_come_to_the_fresh_seeds_too() -> None:
    opt = sweep.Optimizer(
        {
            "method": "random", "run_cap": 4, "seed": 1, "metric": {"name": "m"}, "confirm": {"top": 2, "seeds": 3},
            "parameters": {"x": {"min": 0.0, "max": 1.0}},
        }
    )  # fmt: skip
    purposes: list[str] = []
    while not opt.done:
        trial = opt.ask()
        purposes.append(trial.purpose)
        opt.tell(trial, trial.config["x"] + (trial.seed % 7) / 100)
    assert purposes == ["search"] * 4 + ["confirm"] * 6 and len(opt.trials) == 4
    target = sweep.Optimizer(
        {
            "method": "random", "seed": 1, "metric": {"name": "m", "target": 5.0}, "confirm": {"top": 1, "seeds": 2},
            "parameters": {"x": {"min": 0.0, "max": 1.0}},
        }
    )  # fmt: skip
    asked = 0
    while not target.done:
        target.tell(target.ask(), 1.0)
        asked += 1
    assert asked == 3
