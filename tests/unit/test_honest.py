"""The result table: what chose never reports, what is tied, how optimistic the search was, and what is said of it."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scipy import stats

from analysed import run_view, table_of
from sweep.analysis.expected import expected
from sweep.analysis.honest import honest, in_brief
from sweep.analysis.inference import holm, mean_interval, sign_flip
from sweep.analysis.table import SweepTable
from sweep.core.spec import Confirm, EarlyTerminate, Metric
from sweep.core.views import RunView

CONFIG = {"lr": 0.01, "batch": 16, "optimizer": {"name": "adam"}, "dropout": 0.0, "layers": 1, "epochs": 8}


def table(
    scores: Sequence[float | None],
    fresh: dict[int, Sequence[float | None]],
    confirm: Confirm | None = None,
    summaries: bool = False,
    **spec: Any,
) -> SweepTable:
    """Trials with these scores, and for some of them values on fresh seeds (None: the run failed)."""
    runs: list[RunView] = []
    for trial, score in enumerate(scores):
        state = "completed" if score is not None else "failed"
        config = CONFIG | {"lr": 0.001 * (trial + 1)}
        runs.append(run_view(len(runs), config, state, score, trial=trial, summary={"acc": 0.5}))
    for trial, values in fresh.items():
        for number, value in enumerate(values):
            runs.append(
                run_view(
                    len(runs), runs[trial].config, "completed" if value is not None else "failed", value, trial=trial,
                    replicate=1 + number, purpose="confirm", seed=9000 + number,
                    summary={"acc": 0.9 + 0.01 * number} if summaries else {},
                )
            )  # fmt: skip
    seeds = max(map(len, fresh.values()), default=0)
    if confirm is None and fresh:
        confirm = Confirm(top=len(fresh), seeds=seeds)
    return table_of(runs, confirm=confirm, **spec)


def test_what_chooses_does_not_report() -> None:
    found = honest(table([0.1, 0.2, 0.9], {0: [0.5, 0.5, 0.31, 0.33], 1: [0.3, 0.3, 0.52, 0.48]}))
    assert (found.status, found.chosen, found.chosen_by, found.naive) == ("confirmed", 1, "fresh seeds", 0)
    assert (found.top, found.seeds, found.choose, found.trials) == (2, 4, 2, 3)
    chosen, other = found.rows
    assert [p.value for p in chosen.choosing] == [0.3, 0.3], "by which it is better"
    assert [p.value for p in chosen.reporting] == [0.52, 0.48], (
        "and by these it is not, which is what is said"
    )
    assert chosen.confirmed == mean_interval([0.52, 0.48]) and other.confirmed == mean_interval([0.31, 0.33])
    assert [p.seed for p in chosen.reporting] == [p.seed for p in other.reporting] == [9002, 9003]


def test_the_naive_winner_s_optimism_is_by_how_much_its_score_is_too_good() -> None:
    found = honest(table([0.1, 0.2], {0: [0.5, 0.3, 0.4], 1: [0.2, 0.2, 0.2]}))
    assert found.naive == 0 and found.optimism == pytest.approx(0.35 - 0.1)
    sd = math.sqrt((0.1**2 + 0.0 + 0.1**2) / 4)
    assert found.seed_sd == pytest.approx(sd) and found.optimism_sd == pytest.approx(0.25 / sd)
    assert any("overstates that config by 0.25 (+3.54 standard" in one for one in found.words)
    up = honest(table([0.9, 0.2], {0: [0.5, 0.95]}, metric="loss", goal="maximize"))
    assert up.optimism == pytest.approx(-0.05)
    assert any("does not overstate" in one for one in up.words)


def test_the_tied_set_is_what_holm_cannot_tell_apart() -> None:
    base = [0.50, 0.52, 0.49, 0.51, 0.53, 0.50, 0.48, 0.52, 0.51]
    worse = [value + 0.2 + 0.01 * i for i, value in enumerate(base)]
    same = [value + (0.01 if i % 2 else -0.011) for i, value in enumerate(base)]
    fresh = {0: [0.1, *base], 1: [0.2, *worse], 2: [0.3, *same]}
    found = honest(table([0.5, 0.5, 0.5], fresh, Confirm(top=3, seeds=10, choose=1)))
    assert found.chosen == 0
    by_trial = {row.trial: row for row in found.rows}
    differences = [[a - b for a, b in zip(other, base, strict=True)] for other in (worse, same)]
    expected_p = holm([sign_flip(d) for d in differences])
    assert [by_trial[1].p, by_trial[2].p] == pytest.approx(expected_p)
    assert (by_trial[0].tied, by_trial[1].tied, by_trial[2].tied) == (True, False, True)
    assert by_trial[1].p == pytest.approx(2 * 2 / 2**9)
    assert any("Not told apart from it at 5 %" in one and "trial 2." in one for one in found.words)
    assert not any("such test can" in one for one in found.words)


def test_few_seeds_tell_nothing_apart_and_it_says_so() -> None:
    found = honest(table([0.1, 0.2], {0: [0.1] * 5, 1: [0.9, 0.91, 0.92, 0.93, 0.94]}))
    assert found.least_p == 0.25 and found.seeds_needed == 6 and all(row.tied for row in found.rows)
    said = "No such test can on 3 seeds, where the smallest p-value is 0.25: it takes 6 reporting seeds to tell the other config apart."
    assert said in found.words
    three = honest(table([0.1, 0.2, 0.3], {0: [0.1] * 5, 1: [0.9] * 5, 2: [0.5] * 5}))
    assert any("it takes 7 reporting seeds to tell one of the 2 others apart" in one for one in three.words)
    five = honest(table([0.1, 0.2], {0: [0.1] * 7, 1: [0.9] * 7}, Confirm(top=2, seeds=7, choose=2)))
    assert five.least_p == 0.0625 and all(row.tied for row in five.rows)


def test_one_config_alone_was_not_chosen_among_others() -> None:
    found = honest(table([0.1, 0.2], {0: [0.1, 0.2, 0.3, 0.4]}))
    assert (
        found.words[0]
        == "Trial 0 alone ran again on fresh seeds, as the best of 2 trials by the search's score."
    )
    apart = honest(table([0.1, 0.2], {0: [0.1, 0.1, *[0.1 * i for i in range(8)]], 1: [0.9, 0.9, *[1 + 0.11 * i for i in range(8)]]},
                         Confirm(top=2, seeds=10, choose=2)))  # fmt: skip
    assert any(one.startswith("The other config is worse or better than it") for one in apart.words)
    one_each = honest(table([0.1, 0.2], {0: [0.1, 0.2], 1: [0.3, 0.2]}))
    assert not any("the ± is" in one for one in one_each.words), "there is none"


def test_values_that_are_all_equal_say_where_the_interval_is_from() -> None:
    found = honest(table([0.1, 0.2], {0: [0.1] * 5, 1: [0.9, 0.91, 0.92, 0.93, 0.94]}))
    assert found.rows[0].confirmed is not None and (found.rows[0].confirmed.half or 0.0) > 0.0
    assert any(
        "They are all equal: the ± is what the configs' values deviate by" in one for one in found.words
    )
    nowhere = honest(table([0.1, 0.2], {0: [0.1] * 5, 1: [0.9] * 5}))
    assert any("They are all equal: the interval says nothing" in one for one in nowhere.words)


def test_what_failed_is_in_no_mean_is_not_chosen_and_is_told() -> None:
    found = honest(table([0.1, 0.2], {0: [None, 0.1, 0.1, None], 1: [0.5, 0.5, 0.5, 0.5]}))
    assert found.chosen == 1 and found.rows[1].without_value == 2
    assert found.rows[1].confirmed is not None and found.rows[1].confirmed.n == 1
    assert any("2 confirmation runs have ended without a value" in one for one in found.words)


def test_a_confirmation_under_way_is_told_as_that() -> None:
    made = table([0.1, 0.2], {0: [0.1, 0.2], 1: [0.3, 0.2]}, Confirm(top=2, seeds=4, choose=1))
    made.runs[-1].state = "running"
    made.sweep.state = "active"
    found = honest(made)
    assert found.status == "confirming" and found.rows[1].open == 1
    assert any("1 confirmation run is still to end" in one for one in found.words)


def test_a_sweep_that_is_not_confirmed_says_that_its_score_is_too_good() -> None:
    found = honest(table([0.3, 0.1, None, 0.2], {}))
    assert (found.status, found.chosen, found.chosen_by, found.optimism) == (
        "not confirmed",
        1,
        "search",
        None,
    )
    assert [row.trial for row in found.rows] == [1, 3, 0]
    assert "`sweep confirm swp1`" in found.words[1] and in_brief(found) == ()
    assert honest(table([None, None], {})).words == ("There is no result: no trial has a finite score yet.",)
    assert honest(table([0.2], {}, metric=None)).status == "no result"


def test_what_was_confirmed_earlier_stands_in_the_table_and_is_not_chosen() -> None:
    fresh = {0: [0.5, 0.5], 1: [0.4, 0.4], 2: [0.1, 0.1]}
    found = honest(table([0.1, 0.2, 0.3], fresh, Confirm(top=2, seeds=2)))
    assert [(row.trial, row.finalist) for row in found.rows] == [(1, True), (0, True), (2, False)]


def test_independent_seeds_are_not_paired() -> None:
    made = table([0.1, 0.2], {0: [0.1, 0.2, 0.3], 1: [0.3, 0.2, 0.1]})
    for run in made.runs:
        if run.purpose == "confirm" and run.trial == 1:
            run.seed += 500
    found = honest(made)
    assert found.rows[1].p is None and found.rows[1].pairs == 0 and not found.rows[1].tied
    assert any("share no seeds" in one for one in found.words)


def test_a_report_metric_is_that_of_the_chosen_config_over_the_reporting_runs() -> None:
    fresh = {0: [0.5, 0.5, 0.5, 0.5], 1: [0.3, 0.3, 0.52, 0.48]}
    found = honest(table([0.1, 0.2], fresh, summaries=True, report_metric="acc"))
    assert found.report is not None and [p.value for p in found.report_points] == pytest.approx([0.92, 0.93])
    low, high = stats.ttest_1samp([0.92, 0.93], 0.0).confidence_interval(0.95)
    assert (found.report.low, found.report.high) == pytest.approx((low, high))
    assert {p.run for p in found.report_points} == {p.run for p in found.rows[0].reporting}
    assert any(one.startswith("acc 0.92") for one in found.words)
    alone = honest(table([0.2, 0.1], {}, report_metric="acc"))
    assert alone.report is not None and (alone.report.mean, alone.report.n) == (0.5, 1)
    assert honest(table([0.2], {}, report_metric="other")).report is None


def test_it_is_plain_data() -> None:
    found = honest(table([0.1, 0.2], {0: [0.5, 0.3], 1: [0.2, 0.2]}))
    assert msgspec.json.decode(msgspec.json.encode(found))["rows"][0]["confirmed"]["n"] == 1


# --- where the truth is known ---


@pytest.mark.parametrize("kind", ["Gaussian", "heteroscedastic"])
def test_what_is_reported_is_right_on_average_and_the_search_is_not(kind: str) -> None:
    honesty = _benchmark()
    found = honesty.measure(
        lambda chance: honesty.made_up(kind, chance),
        honesty.PLANS["5 seeds: 2 choose, 3 report"],
        500,
        seed=1,
    )
    assert found["search"] > 1, "in standard deviations between seeds"
    assert abs(found["confirmed"]) < 4 * found["confirmed_se"] < 0.15
    assert 0.15 < found["rerun"] < 0.45, "chosen and reported on the same seeds"
    assert found["covered"] == pytest.approx(0.95, abs=0.03) and found["lost"] < found["lost_naive"]


def _benchmark() -> Any:
    """benchmarks/honesty.py as a module."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "honesty.py"
    before = list(sys.path)
    try:
        spec = importlib.util.spec_from_file_location("honesty", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
        sys.modules.pop("tables", None)
    return module


# --- expected best -----------------------------------------------------------------------------------------------


def test_the_expected_best_of_m_random_trials() -> None:
    found = expected(table([0.3, 0.1, 0.2, None], {}))
    assert (found.n, found.refused, [row.m for row in found.rows]) == (4, "", [1, 2, 3, 4])
    assert found.rows[0].mean == pytest.approx((0.3 + 0.1 + 0.2 + 0.3) / 4), (
        "a failed one counts as the worst seen"
    )
    assert "1 failed trial counts" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metric": None}, "no metric"),
        ({"early_terminate": EarlyTerminate()}, "early_terminate"),
        ({"patience": 3}, "`patience` may end the search by its results"),
    ],
)
def test_where_it_does_not_hold_it_is_refused(change: dict[str, Any], why: str) -> None:
    found = expected(table([0.3, 0.1, 0.2], {}, **change))
    assert why in found.refused and not found.rows


def test_it_is_refused_for_searches_that_are_not_random() -> None:
    made = table([0.3, 0.1, 0.2], {})
    replace = msgspec.structs.replace
    made.spec = replace(made.spec, method="bayes")
    assert "looked at earlier results" in expected(made).refused
    made.spec = replace(made.spec, method="grid")
    assert "points of a grid" in expected(made).refused
    made.spec = replace(made.spec, method="random", metric=Metric(name="loss", target=0.0))
    assert "`metric.target` may end" in expected(made).refused
    pruned = table([0.3, 0.1, 0.2], {})
    pruned.runs[0].state = "pruned"
    assert "ended early" in expected(pruned).refused
    going = table([0.3, 0.1, 0.2, 0.4], {})
    going.runs[0].state = "running"
    assert "still open" in expected(going).refused
    assert "at least 3" in expected(table([0.3, 0.1], {})).refused
    begun = table([0.3, 0.1, 0.2, 0.4], {}, initial=({"lr": 1.0},))
    assert expected(begun).n == 3, "what the spec begins with was not drawn"
