"""`sweep.Optimizer`: the controller of an agent, asked and told in this process."""

from __future__ import annotations

import math
import threading
from typing import Any

import pytest

import sweep
from sweep.core import domain
from sweep.core.domain import canonical

RANDOM: dict[str, Any] = {
    "method": "random",
    "seed": 1,
    "run_cap": 12,
    "metric": {"name": "loss"},
    "parameters": {"x": {"min": 0.0, "max": 1.0}, "k": {"values": ["a", "b"]}},
}


def loss(config: dict[str, Any]) -> float:
    return float((config["x"] - 0.3) ** 2 + (config["k"] == "a"))


def test_asking_and_telling_until_it_is_done() -> None:
    opt, asked = sweep.Optimizer(RANDOM), []
    while not opt.done:
        trial = opt.ask()
        asked.append(trial)
        opt.tell(trial, loss(trial.config))
    assert [trial.id for trial in asked] == [trial.trial for trial in asked] == list(range(12))
    assert opt.reason() == "run_cap: all 12 trials are done"
    assert [result.config for result in opt.trials] == [trial.config for trial in asked]
    assert {result.state for result in opt.trials} == {"completed"}
    best = min(asked, key=lambda trial: loss(trial.config))
    assert opt.best is not None
    assert (opt.best.trial, opt.best.config) == (best.trial, best.config)
    assert opt.best.score == loss(best.config)
    with pytest.raises(sweep.NothingToAsk, match="the sweep has ended: run_cap: all 12 trials are done"):
        opt.ask()


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_many_open_at_once_are_all_different_and_told_in_any_order(method: str) -> None:
    opt = sweep.Optimizer({**RANDOM, "method": method, "run_cap": 30})
    trials = [opt.ask() for _ in range(16)]
    assert len({canonical(trial.config) for trial in trials}) == 16
    for trial in reversed(trials):
        opt.tell(trial, loss(trial.config))
    while not opt.done:
        trials.append(opt.ask())
    assert len(trials) == 30
    with pytest.raises(sweep.NothingToAsk, match="nothing is left but 14 open trials"):
        opt.ask()
    assert opt.reason() == ""
    for trial in trials[16:]:
        opt.tell(trial, 1.0)
    assert opt.reason() == "run_cap: all 30 trials are done"
    assert len({canonical(trial.config) for trial in trials}) == 30


def test_the_same_results_give_the_same_proposals() -> None:
    spec = {**RANDOM, "method": "bayes", "run_cap": 20}

    def played() -> list[Any]:
        opt = sweep.Optimizer(spec)
        while not opt.done:
            trial = opt.ask()
            opt.tell(trial, loss(trial.config))
        return [result.config for result in opt.trials]

    assert played() == played()


def test_a_stopper_ends_a_trial_and_says_why() -> None:
    opt = sweep.Optimizer({**RANDOM, "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2}})
    good, fair, bad = opt.ask(), opt.ask(), opt.ask()
    assert not opt.report(good, 0, 0.1)
    assert not opt.report(fair, 0, 0.2)
    assert opt.reason(good) == ""
    assert opt.report(bad, 0, 0.9)
    assert "0.9 is worse than" in opt.reason(bad)
    opt.tell(bad)
    assert not opt.report(good, 1, 0.05)
    opt.tell(good, 0.2)
    assert [(result.state, result.score) for result in opt.trials] == [
        ("completed", 0.05),
        ("open", None),
        ("pruned", 0.9),
    ]
    assert "0.9 is worse than" in opt.reason(bad)


def test_failures_nan_and_what_is_tried_again() -> None:
    opt = sweep.Optimizer({**RANDOM, "run_cap": 3, "retry": {"max": 1}})
    first = opt.ask()
    opt.tell(first, state="failed", reason="it broke")
    again = opt.ask()
    assert (again.id, again.attempt, again.config) == (first.id, 2, first.config)
    opt.tell(again, state="failed", reason="it broke again")
    assert opt.reason(again) == "it broke again"
    second, third = opt.ask(), opt.ask()
    opt.tell(second, math.nan)
    opt.tell(third, 3)
    assert [(result.state, result.score) for result in opt.trials] == [
        ("failed", None),
        ("completed", None),
        ("completed", 3.0),
    ]
    assert opt.best is not None and opt.best.trial == 2
    assert opt.done


def test_wrong_use_is_said() -> None:
    opt = sweep.Optimizer(RANDOM)
    trial = opt.ask()
    with pytest.raises(ValueError, match="trial 0 needs a value"):
        opt.tell(trial)
    with pytest.raises(ValueError, match="state must be completed, failed or pruned, not 'done'"):
        opt.tell(trial, 1.0, state="done")  # type: ignore[arg-type]
    with pytest.raises((ValueError, TypeError)):
        opt.tell(trial, "much")  # type: ignore[arg-type]
    for other in (0, trial.config):
        with pytest.raises(TypeError, match=r"the trial must be what ask\(\) gave, not (0|\{)"):
            opt.tell(other, 1.0)  # type: ignore[arg-type]
    opt.tell(trial, 1.0)
    with pytest.raises(ValueError, match="trial 0 was told already"):
        opt.tell(trial, 1.0)
    with pytest.raises(ValueError, match="trial 0 was told already"):
        opt.report(trial, 1, 1.0)
    with pytest.raises(sweep.SpecError, match=r"spec method: must be grid, random or bayes"):
        sweep.Optimizer({"method": "magic", "parameters": {"x": {"value": 1}}})


def test_replicates_have_seeds_of_their_own_and_count_with_their_mean() -> None:
    opt = sweep.Optimizer({**RANDOM, "run_cap": 2, "replicates": 2})
    trials = []
    while not opt.done:
        trial = opt.ask()
        trials.append(trial)
        opt.tell(trial, trial.trial + trial.replicate)
    assert [(trial.trial, trial.replicate) for trial in trials] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert trials[0].config == trials[1].config
    assert trials[0].seed == trials[2].seed != trials[1].seed == trials[3].seed
    assert [result.score for result in opt.trials] == [0.5, 1.5]


def test_a_grid_ends_with_its_last_point_and_initial_configs_come_first() -> None:
    opt = sweep.Optimizer(
        {
            "method": "grid",
            "parameters": {"a": {"min": 1, "max": 3}, "b": {"values": [1, 2], "when": {"a": 2}}},
            "initial": [{"b": 2}],
        }
    )
    while not opt.done:
        opt.tell(opt.ask(), 0.0)
    assert opt.trials[0].config == {"a": 2, "b": 2}
    assert len(opt.trials) == domain.grid_size(opt.spec.space) == 4
    assert opt.reason() == "all 4 points of the space are done"


def test_target_patience_and_a_clock_of_the_callers_own_end_it() -> None:
    opt = sweep.Optimizer({**RANDOM, "metric": {"name": "loss", "target": 0.5}})
    first, second = opt.ask(), opt.ask()
    opt.tell(first, 0.4)
    assert opt.done
    assert opt.reason() == ""  # one is open
    opt.tell(second, 1.0)
    assert opt.reason() == "run 0 reached the target: loss 0.4"
    now = [1000.0]
    timed = sweep.Optimizer({**RANDOM, "limits": {"wall_time": "1h"}}, clock=lambda: now[0])
    trial = timed.ask()
    assert not timed.report(trial, 0, 1.0)
    now[0] += 3601
    assert timed.report(trial, 1, 1.0)
    assert timed.reason(trial) == "limits.wall_time (3600 s) is over"
    timed.tell(trial)
    assert timed.done


def test_threads_may_share_one() -> None:
    opt = sweep.Optimizer({**RANDOM, "run_cap": 40})
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            while True:
                trial = opt.ask()
                opt.tell(trial, loss(trial.config))
        except sweep.NothingToAsk:
            return
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []
    assert [result.trial for result in opt.trials] == list(range(40))
    assert {result.state for result in opt.trials} == {"completed"}


def test_what_is_given_out_can_be_changed_without_changing_what_is_known() -> None:
    opt = sweep.Optimizer(RANDOM)
    trial = opt.ask()
    x = trial.config["x"]
    trial.config["x"] = 99
    opt.trials[0].config["x"] = 99
    assert opt.trials[0].config["x"] == x
