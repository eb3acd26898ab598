"""Pictures and tables of configs that ran on several seeds: means, bands, and every value."""

from __future__ import annotations

import math
from pathlib import Path

import plotly.graph_objects as go
import pytest

from analysed import history, run_view, spec_of, sweep, table_of
from sweep.analysis.figures import page, seeds, web, write_plots
from sweep.analysis.figures.page import _runs
from sweep.analysis.figures.prepare import prepare
from sweep.analysis.groups import groups, means_of_runs, seed_parts
from sweep.analysis.importance import importance
from sweep.analysis.inference import mean_interval
from sweep.analysis.table import SweepTable
from sweep.core.spec import Confirm
from test_honest import CONFIG, table


def replicated(trials: int = 4, seeds_each: int = 3) -> SweepTable:
    """Trial t logs 1 + t, then t plus its replicate's tenth."""
    runs, histories = [], {}
    for trial in range(trials):
        for replicate in range(seeds_each):
            value = trial + 0.1 * replicate
            number = len(runs)
            config = CONFIG | {"lr": 0.001 * (trial + 1)}
            runs.append(run_view(number, config, objective=value, trial=trial, replicate=replicate))
            histories[number] = history([1.0 + trial, value])
    return table_of(runs, histories, replicates=seeds_each)


def test_runs_are_grouped_by_everything_except_the_seed() -> None:
    made = table([0.1, 0.2, None], {0: [0.3, 0.5], 1: [0.4, None]})
    found = groups(made)
    assert [(g.trial, g.state, g.values, g.choosing, g.fresh) for g in found] == [
        (0, "completed", (0.1,), (0.3,), (0.5,)),
        (1, "completed", (0.2,), (0.4,), ()),
        (2, "failed", (), (), ()),
    ]
    assert found[0].fresh_mean == mean_interval([0.5]) and found[2].mean is None
    assert groups(replicated())[1].values == pytest.approx((1.0, 1.1, 1.2))


def test_beside_each_run_stands_the_mean_of_its_config_over_seeds_that_are_for_the_same() -> None:
    made = table([0.1, 0.2, 0.3], {0: [0.3, 0.5, 0.6, 0.7], 1: [0.4, 0.4, 0.4, 0.4]})
    parts, means = seed_parts(made), means_of_runs(made)
    assert [parts[run.run] for run in made.runs] == ["search"] * 3 + [
        "chooses",
        "chooses",
        "reports",
        "reports",
    ] * 2
    shown = [means.get(run.run, "") for run in made.runs]
    assert shown[:5] == [""] * 5, "one seed in the search; and what chose says nothing of how good it is"
    assert shown[5] == shown[6] == "0.65 ± 0.64 (n=2)" and shown[9] == "0.40 ± 0.21 (n=2)"
    again = replicated()
    assert means_of_runs(again)[3] == "1.10 ± 0.25 (n=3)" and set(seed_parts(again).values()) == {"search"}
    assert seed_parts(table([0.1, 0.2], {})) == means_of_runs(table([0.1, 0.2], {})) == {}


def test_the_page_has_each_runs_part_and_the_mean_of_its_config() -> None:
    found, _ = _runs(table([0.1, 0.2], {0: [0.3, 0.5, 0.6, 0.7]}))
    labels = [column["label"] for column in found["columns"]]
    assert labels[:7] == ["run", "trial", "replicate", "seed", "state", "loss", "mean loss of its config"]
    assert labels[found["sort"]] == "loss" and found["rows"][-1][3] == "fresh, reports"
    assert found["rows"][-1][6] == "0.65 ± 0.64 (n=2)"


def test_means_stand_over_the_runs_that_they_are_the_means_of() -> None:
    made = replicated()
    pictures = prepare(made, importance(made))
    for panel in (*pictures.best.panels, *pictures.slices.panels):
        assert sorted(point.score for point in panel.singles if point.score is not None) == pytest.approx(
            sorted(t + 0.1 * r for t in range(4) for r in range(3))
        )
        assert not any(point.over for point in panel.singles), "every value has its place"
        assert len(panel.points) == 4
    assert "single runs" in pictures.best.note and "single runs" in pictures.slices.note


def test_curves_of_one_config_have_a_mean_and_a_band() -> None:
    made = replicated(trials=7)
    picture = prepare(made, importance(made)).curves
    assert [mean.trial for mean in picture.means] == [0, 1, 2, 3, 4] and len(picture.curves) == 21
    mean = picture.means[1]
    assert picture.axis is not None and mean.steps == (0.0, 1.0)
    assert mean.places == pytest.approx([picture.axis.position(v) for v in (2.0, 1.1)])
    assert mean.low[1] == pytest.approx(picture.axis.position(1.0))
    assert mean.high[1] == pytest.approx(picture.axis.position(1.2))
    assert {curve.rank for curve in picture.curves if curve.trial == 1} == {1}
    assert {curve.rank for curve in picture.curves if curve.trial == 6} == {None}
    assert picture.subtitle.endswith("the best 5 of 7 configs in colour") and "bands" in picture.note


def test_curves_without_a_common_step_have_no_mean() -> None:
    runs = [run_view(i, CONFIG, objective=0.1, trial=0, replicate=i) for i in range(2)]
    made = table_of(runs, {0: history([1.0, 0.5]), 1: history([1.0, 0.5], first=7)}, replicates=2)
    assert prepare(made, importance(made)).curves.means == ()


def test_one_run_per_config_looks_as_ever() -> None:
    made = sweep(12)
    pictures = prepare(made, importance(made))
    assert pictures.curves.means == () and pictures.confirmed is None and pictures.expected is None
    assert all(panel.singles == () for panel in pictures.slices.panels)
    assert "single runs" not in pictures.best.note


def test_runs_on_fresh_seeds_are_no_curves_of_the_search() -> None:
    made = table([0.1, 0.2, 0.4], {0: [0.3, 0.5], 1: [0.4, 0.3]})
    made.histories = {run.run: history([1.0, run.objective]) for run in made.runs}
    shown = {curve.run for curve in prepare(made, importance(made)).curves.curves}
    assert shown == {0, 1, 2}


def test_the_result_on_fresh_seeds_shows_every_value() -> None:
    made = table([0.1, 0.2], {0: [0.5, 0.3, 0.4], 1: [0.2, 0.25, 0.22]})
    picture = seeds.prepare_confirmed(made)
    assert picture is not None and picture.axis is not None
    first = picture.rows[0]
    assert (first.trial, first.chosen, first.label) == (1, True, "trial 1 (chosen)")
    where = picture.axis.position
    assert first.choosing == pytest.approx((where(0.2),)) and first.reporting == pytest.approx(
        (where(0.25), where(0.22))
    )
    assert first.mean == pytest.approx(where(0.235)) and first.score == pytest.approx(where(0.2))
    assert first.low is not None and first.high is not None and first.low < first.mean < first.high  # type: ignore[operator]


def test_the_expected_best_is_drawn_or_refused_with_the_reason() -> None:
    made = sweep(12)
    picture = prepare(made, importance(made), expected=True).expected
    assert picture is not None and [row.m for row in picture.rows] == list(range(1, 13)) and not picture.empty
    refused = sweep(12, patience=3)
    other = prepare(refused, importance(refused), expected=True).expected
    assert other is not None and "patience" in other.empty


def test_files_and_the_page(tmp_path: Path) -> None:
    made = replicated()
    made.spec = spec_of(replicates=3, confirm=Confirm(top=2, seeds=3))
    best = [run for run in made.runs if run.trial < 2]
    for number in range(3):
        for run in (best[0], best[3]):
            made.runs.append(
                run_view(
                    len(made.runs), run.config, objective=0.5 + 0.1 * number, trial=run.trial, replicate=3 + number,
                    purpose="confirm", seed=70 + number,
                )
            )  # fmt: skip
    paths = write_plots(made, tmp_path, ["html", "png"], expected=True)
    names = [path.name for path in paths]
    assert names[-2:] == ["confirmed.png", "expected-best.png"]
    assert all(path.stat().st_size > 5000 for path in paths)
    text = (tmp_path / "index.html").read_text()
    assert 'id="confirmed"' in text and 'id="expected-best"' in text
    pictures = prepare(made, importance(made), expected=True)
    for key, figures in web.figures(pictures).items():
        for figure in figures:
            go.Figure({"data": figure["data"], "layout": figure["layout"]})  # plotly's own validator
        assert figures or key == "importance"  # too few trials
    assert "The result on fresh seeds" in page.render(made, pictures)
    assert math.isfinite(pictures.confirmed.rows[0].mean or 0.0)  # type: ignore[union-attr]
