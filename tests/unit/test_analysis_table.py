"""The table and the summary: trials, scores, parameters that vary, the best, durations."""

from __future__ import annotations

import math

import msgspec
import pytest

from analysed import SPACE, history, parameter, run_view, sweep, table_of
from sweep.analysis.summary import duration_s, summary
from sweep.analysis.table import ABSENT
from sweep.core.space import Categorical, Constant, Numeric, Space
from sweep.core.views import AttemptView

X = Space(
    (parameter("a.x", Numeric(0, 1)), parameter("b", Categorical(("u", "v"))), parameter("c", Constant(1)))
)


def _config(x: float, b: str = "u") -> dict[str, object]:
    return {"a": {"x": x}, "b": b, "c": 1}


def test_replicates_are_averaged_and_failed_ones_left_out() -> None:
    runs = [
        run_view(1, _config(0.1), "completed", 1.0, trial=0),
        run_view(2, _config(0.1), "pruned", 3.0, trial=0, replicate=1),
        run_view(3, _config(0.1), "failed", 0.0, trial=0, replicate=2),
        run_view(4, _config(0.2), "failed", 0.0, trial=1),
    ]
    table = table_of(runs, space=X)
    assert [(row.state, row.score) for row in table.trials] == [("completed", 2.0), ("failed", None)]
    assert table.best is table.trials[0]


def test_a_trial_is_open_until_all_its_runs_have_ended() -> None:
    runs = [
        run_view(1, _config(0.1), "completed", 1.0, trial=0),
        run_view(2, _config(0.1), "running", 0.5, trial=0),
    ]
    table = table_of(runs, space=X)
    assert table.trials[0].state == "open"
    assert table.trials[0].ended_s is None
    assert table.scored == []
    assert table.best is None


def test_only_runs_of_the_search_are_trials() -> None:
    runs = [
        run_view(1, _config(0.1), "completed", 1.0),
        run_view(2, _config(0.1), "completed", 0.0, purpose="confirm"),
    ]
    assert [row.trial for row in table_of(runs, space=X).trials] == [0]


def test_cancelled_trials_have_no_score() -> None:
    table = table_of([run_view(1, _config(0.1), "cancelled", 0.1)], space=X)
    assert table.trials[0].state == "cancelled"
    assert table.scored == []


@pytest.mark.parametrize(("goal", "trial"), [("minimize", 0), ("maximize", 2)])
def test_the_best_follows_the_direction_and_the_first_of_equals_wins(goal: str, trial: int) -> None:
    scores = [1.0, 1.0, 5.0, 5.0, math.nan]
    runs = [run_view(i + 1, _config(0.1 * i), objective=s) for i, s in enumerate(scores)]
    best = table_of(runs, space=X, goal=goal).best
    assert best is not None
    assert best.trial == trial


def test_of_equals_the_best_is_the_one_that_listings_name() -> None:
    """The pictures and `sweep best` must not name two different configs as the best."""
    runs = [run_view(i + 1, _config(0.1 * i), objective=1.0) for i in range(3)]
    table = table_of(runs, space=X)
    table.sweep = msgspec.structs.replace(table.sweep, best_run=3)
    assert table.best is not None
    assert (table.best.trial, summary(table).best_run) == (2, "swp1-3")
    one = [run_view(i + 1, _config(0.1), objective=1.0, trial=0, replicate=i) for i in range(3)]
    table = table_of(one, space=X)
    table.sweep = msgspec.structs.replace(table.sweep, best_run=2)
    assert summary(table).best_run == "swp1-2"


def test_parameters_are_those_that_took_two_values() -> None:
    table = table_of([run_view(1, _config(0.1)), run_view(2, _config(0.9))], space=X)
    assert [p.name for p in table.parameters] == ["a.x"]
    assert table.trials[0].value(X.parameters[0]) == 0.1


def test_a_config_from_before_a_revision_has_no_value() -> None:
    table = table_of([run_view(1, {"b": "u"}), run_view(2, _config(0.9))], space=X)
    assert table.trials[0].value(X.parameters[0]) is ABSENT
    assert [p.name for p in table.parameters] == ["a.x"]


def test_a_curve_is_the_metrics_whatever_its_separator() -> None:
    table = table_of(
        [run_view(1, _config(0.1)), run_view(2, _config(0.2))],
        {1: history([1.0, 0.5], "val/loss")},
        space=X,
        metric="val.loss",
    )
    curve = table.curve(table.runs[0])
    assert curve is not None
    assert list(curve.values) == [1.0, 0.5]
    assert table.curve(table.runs[1]) is None


def test_summary_counts_and_names_the_best() -> None:
    table = sweep(12, state=lambda n: "failed" if n % 4 == 0 else ("pruned" if n % 4 == 1 else "completed"))
    facts = summary(table)
    assert facts.counts == {"completed": 6, "pruned": 3, "failed": 3}
    assert (facts.runs, facts.trials) == (12, 12)
    assert facts.mean_duration_s == 10.0
    assert facts.total_time_s == 120.0
    assert facts.wall_time_s == 5.0 * 11 + 10.0
    best = table.best
    assert best is not None
    assert facts.best_run == f"swp1-{best.trial + 1}"
    assert facts.best_config == best.config
    assert facts.best_objective == min(row.score for row in table.scored if row.score is not None)


def test_the_best_run_of_a_trial_is_its_best_replicate_that_counts() -> None:
    runs = [
        run_view(1, _config(0.1), "completed", 2.0, trial=0),
        run_view(2, _config(0.1), "completed", 1.0, trial=0, replicate=1),
        run_view(3, _config(0.1), "failed", 0.0, trial=0, replicate=2),
    ]
    facts = summary(table_of(runs, space=X))
    assert (facts.best_run, facts.best_objective, facts.best_replicates) == ("swp1-2", 1.5, 2)


def test_summary_of_nothing() -> None:
    facts = summary(table_of([], space=SPACE))
    assert facts.counts == {}
    assert (facts.best_run, facts.mean_duration_s, facts.total_time_s, facts.wall_time_s) == (
        None,
        None,
        0.0,
        None,
    )


def test_durations_add_up_over_attempts() -> None:
    run = run_view(1, _config(0.1), "running")
    run.attempts = [
        AttemptView(attempt=1, agent="a", started_s=10.0, ended_s=14.0),
        AttemptView(attempt=2, agent="a"),
        AttemptView(attempt=3, agent="a", started_s=20.0),
    ]
    assert duration_s(run) == 4.0
    assert duration_s(run, now_s=21.5) == 5.5
    run.attempts = []
    assert duration_s(run, now_s=21.5) is None


def test_the_time_of_a_run_leaves_out_how_long_a_lease_was_waited_for() -> None:
    run = run_view(1, _config(0.1), "running")
    lost = AttemptView(attempt=1, agent="a", started_s=10.0, ended_s=21.0, outcome="lost")
    run.attempts = [lost, AttemptView(attempt=2, agent="b", started_s=21.0)]
    assert duration_s(run, now_s=22.5) == 1.5
    run.attempts[1] = AttemptView(
        attempt=2, agent="b", started_s=21.0, ended_s=24.0, wall_s=2.5, outcome="completed"
    )
    assert duration_s(run) == 2.5
    run.attempts = [lost]
    assert duration_s(run) is None
