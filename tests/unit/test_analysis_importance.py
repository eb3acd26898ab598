"""Importance: finds what mattered, says when nothing can be said, is the same every time."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from analysed import SPACE, draw, loss_of, parameter, run_view, sweep, table_of
from sweep.analysis import estimators
from sweep.analysis.axes import parameter_axis
from sweep.analysis.importance import Importance, ImportanceRow, importance
from sweep.analysis.terminal import importance_lines
from sweep.core.space import Categorical, Config, Numeric, Space


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the work; what is tested does not depend on it."""
    monkeypatch.setattr(estimators, "TREES", 8)
    monkeypatch.setattr(estimators, "RESAMPLES", 10)
    monkeypatch.setattr(estimators, "SHUFFLES_OF_FEW", 4)


@pytest.fixture(scope="module")
def found() -> Importance:
    return importance(sweep(80))


def test_the_parameters_of_the_formula_come_first(found: Importance) -> None:
    assert {row.parameter for row in found.rows[:2]} == {"lr", "optimizer.name"}
    assert found.rows[0].above_noise and found.rows[1].above_noise
    assert not any(row.above_noise for row in found.rows[2:])
    assert "scikit-learn" in found.method
    assert (found.n, found.metric, found.note) == (80, "loss", None)


def test_shares_sum_to_one_and_lie_in_their_intervals(found: Importance) -> None:
    assert sum(row.importance for row in found.rows) == pytest.approx(1.0)
    assert all(
        0.0 <= row.low <= row.importance + 1e-9 <= row.high + 2e-9 <= 1.0 + 2e-9 for row in found.rows[:2]
    )
    assert all(0.0 <= row.low <= row.high <= 1.0 for row in found.rows)
    assert [row.importance for row in found.rows] == sorted((r.importance for r in found.rows), reverse=True)


def test_constants_are_not_rows(found: Importance) -> None:
    assert {row.parameter for row in found.rows} == {"lr", "batch", "optimizer.name", "dropout", "layers"}


def test_correlations_are_named_by_kind(found: Importance) -> None:
    kinds = {row.parameter: row.correlation_kind for row in found.rows}
    assert kinds == {"lr": "rho", "batch": "rho", "optimizer.name": "eta", "dropout": "rho", "layers": "rho"}


def test_the_seed_of_the_spec_decides_everything() -> None:
    table = sweep(30)
    assert importance(table) == importance(table)
    other = sweep(30)
    other.spec = msgspec.structs.replace(other.spec, seed=2**64 + 8)
    assert importance(other) != importance(table)
    assert [row.correlation for row in importance(other).rows[:1]] != [None]


def test_ped_anova_finds_what_is_in_the_best_tenth() -> None:
    found = importance(sweep(200, objective=lambda config: abs(config["dropout"] - 0.5)), "ped-anova")
    assert found.rows[0].parameter == "dropout"
    assert found.rows[0].above_noise
    assert "PED-ANOVA" in found.method and "Optuna" in found.method


def test_ped_anova_leaves_optuna_as_it_was() -> None:
    import logging

    import optuna

    before = optuna.logging.get_verbosity(), logging.getLogger("optuna.storages._in_memory").disabled
    importance(sweep(20), "ped-anova")
    assert (
        optuna.logging.get_verbosity(),
        logging.getLogger("optuna.storages._in_memory").disabled,
    ) == before


def test_an_objective_of_pure_chance_is_not_explained() -> None:
    for seed in range(5):
        chance = random.Random(seed)
        found = importance(sweep(30, seed=seed, objective=lambda _: chance.random()))  # noqa: B023
        assert not any(row.above_noise for row in found.rows)


def test_it_says_so_when_nothing_stands_clear_of_the_noise() -> None:
    found = importance(sweep(14))
    assert found.enough
    assert not any(row.above_noise for row in found.rows)
    assert found.note is not None and "noise level" in found.note


@pytest.mark.parametrize("method", ["forest", "ped-anova"])
@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("few", "7 finished trials with a finite loss, at least 8"),
        ("none", "no trial was proposed"),
        ("failed", "all 20 ended trials failed"),
        ("constant", "loss is 0.25 in all 20 trials"),
        ("metric", "names no metric"),
        ("single", "no parameter took more than one value"),
    ],
)
def test_not_enough_signal_is_said(case: str, said: str, method: str) -> None:
    tables = {
        "few": lambda: sweep(7),
        "none": lambda: table_of([]),
        "failed": lambda: sweep(20, state=lambda _: "failed"),
        "constant": lambda: sweep(20, objective=lambda _: 0.25),
        "metric": lambda: table_of(sweep(20).runs, metric=None),
        "single": lambda: table_of([run_view(i, {"x": 1.0}, objective=float(i)) for i in range(1, 21)], space=Space((parameter("x", Numeric(0, 1)),))),
    }  # fmt: skip
    found = importance(tables[case](), method)  # type: ignore[arg-type]
    assert found.rows == ()
    assert not found.enough
    assert found.note is not None and found.note.startswith("not enough signal: ")
    assert said in found.note


def test_pruned_trials_count_and_the_note_says_so() -> None:
    found = importance(sweep(40, state=lambda n: "pruned" if n % 2 else "completed"))
    assert found.n == 40
    assert found.note is not None and "20 pruned trials" in found.note and "biased" in found.note


def test_a_parameter_that_took_one_value_is_named() -> None:
    space = Space((*SPACE.parameters, parameter("fixed", Numeric(0, 1))))

    def config(chance: random.Random) -> Config:
        return draw(SPACE, chance) | {"fixed": 0.5}

    chance = random.Random(3)
    runs = []
    for number in range(1, 41):
        made = config(chance)
        runs.append(run_view(number, made, objective=loss_of(made)))
    found = importance(table_of(runs, space=space))
    assert found.note is not None and "one value: fixed" in found.note


def test_failed_and_infinite_trials_are_left_out() -> None:
    table = sweep(40, state=lambda n: "failed" if n % 4 == 0 else "completed")
    table.runs[0].objective = float("inf")
    assert importance(table_of(table.runs)).n == 29


def test_values_that_are_absent_or_strange_do_not_break_it() -> None:
    space = Space((parameter("x", Numeric(0, 1)), parameter("o", Categorical((None, [1, 2], {"k": 1})))))
    chance = random.Random(1)
    runs = []
    for number in range(1, 31):
        config = draw(space, chance)
        if number % 5 == 0:
            config = {"o": config["o"]}
        runs.append(run_view(number, config, objective=2.0 * config.get("x", 0.0)))
    for method in ("forest", "ped-anova"):
        found = importance(table_of(runs, space=space), method)  # type: ignore[arg-type]
        assert found.rows[0].parameter == "x"


def test_a_heavy_tail_does_not_hide_the_rest() -> None:
    def objective(config: Config) -> float:
        return 1e9 * config["dropout"] if config["lr"] > 0.05 else loss_of(config)

    found = importance(sweep(120, objective=objective))
    assert {row.parameter for row in found.rows[:2]} == {"lr", "optimizer.name"}


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="forest or ped-anova"):
        importance(sweep(10), "magic")  # type: ignore[arg-type]


# --- the pieces ------------------------------------------------------------------------------------------------


def test_ranks_are_shared_by_equal_values() -> None:
    assert estimators.ranks(np.array([5.0, 1.0, 5.0, 9.0])).tolist() == pytest.approx([0.5, 0.0, 0.5, 1.0])


def test_spearman_is_one_for_any_rising_relation() -> None:
    values = [1e-4, 1e-3, 1e-2, 0.1]
    axis = parameter_axis(parameter("lr", Numeric(1e-5, 1.0, "log")), values)
    places = np.array([axis.position(v) for v in values])
    assert estimators.correlation(axis, places, np.exp([1.0, 2.0, 3.0, 9.0])) == (pytest.approx(1.0), "rho")
    assert estimators.correlation(axis, places, np.array([4.0, 3.0, 2.0, -9.0])) == (
        pytest.approx(-1.0),
        "rho",
    )
    assert estimators.correlation(axis, places, np.ones(4)) == (None, "")


def test_eta_is_corrected_for_the_number_of_categories() -> None:
    axis = parameter_axis(parameter("o", Categorical(tuple("abcdefghij"))), [])
    generator = np.random.default_rng(0)
    found = [
        estimators.correlation(axis, generator.integers(10, size=30).astype(float), generator.random(30))[0]
        for _ in range(200)
    ]
    # Without the correction the mean would be near sqrt(9/29) = 0.56.
    assert np.mean([value for value in found if value is not None]) < 0.25
    perfect, kind = estimators.correlation(axis, np.repeat(np.arange(3.0), 5), np.repeat(np.arange(3.0), 5))
    assert (perfect, kind) == (pytest.approx(1.0), "eta")


# --- on the terminal -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [20, 40, 80, 120])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_lines_fit_and_use_what_the_encoding_has(found: Importance, width: int, encoding: str) -> None:
    lines = importance_lines(found, width, encoding)
    assert all(len(line) <= max(width, 40) for line in lines)
    "\n".join(lines).encode(encoding)
    assert lines[0].startswith(found.rows[0].parameter[:4])
    assert any("scikit-learn" in line for line in lines)


def test_the_longest_bar_belongs_to_the_most_important(found: Importance) -> None:
    lengths = [line.count("█") for line in importance_lines(found, 100)[: len(found.rows)]]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] > 20


def _row(name: str, share: float) -> ImportanceRow:
    return ImportanceRow(parameter=name, importance=share, low=0.0, high=share, above_noise=False)


def test_long_and_wide_names_stay_in_their_column() -> None:
    many = Importance(method="m", metric="loss", n=9, rows=(_row("a" * 200, 0.6), _row("学習率", 0.4)))
    first, second = importance_lines(many, 80)[:2]
    assert "…" in first
    # The wide characters take two columns each, so the bar begins three characters earlier.
    assert first.index("█") - second.index("█") == 3


def test_only_the_most_important_are_listed() -> None:
    many = Importance(method="m", metric="loss", n=9, rows=tuple(_row(f"p{i}", 0.04) for i in range(25)))
    lines = importance_lines(many, 80)
    assert lines[20] == "and 5 parameters that matter less"


def test_without_signal_there_is_a_sentence_and_no_bar() -> None:
    lines = importance_lines(importance(sweep(3)), 80)
    assert " ".join(lines).startswith("Not enough signal: 3 finished trials")
    assert "█" not in "".join(lines)
