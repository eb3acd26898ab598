"""Another spec for a recorded sweep: the difference in words, what it means, and two people at it at once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ended import record_sweep
from folded import make_spec
from sweep.api import NotFound, Refused, load_views
from sweep.api.revising import axis_text, duration, inside, plan_revision, revise, spec_changes
from sweep.core.space import Beta, Categorical, Constant, Normal, Numeric, Parameter, Space
from sweep.core.spec import EarlyTerminate, Limits, Metric, Resources, Retry, RetryRule
from sweep.stores.memory import MemoryStore


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    was, now = (msgspec.structs.replace(make_spec(), **given) for given in (old, new))
    return [str(change) for change in spec_changes(was, now)]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"run_cap": 20}, {"run_cap": 40}, ["run_cap: 20 → 40"]),
        ({}, {"patience": 5, "name": "x"}, ["name: not given → x", "patience: not given → 5"]),
        ({}, {"limits": Limits(run_time_s=5400.0)}, ["limits.run_time: not given → 1h30m"]),
        ({}, {"limits": Limits(kill_after_s=0.5)}, ["limits.kill_after: 30s → 0.5s"]),
        (
            {"retry": Retry(max=1)},
            {"retry": Retry(max=2, rules={"oom": RetryRule(max=1, wait_s=30.0, env={"A": "b"})})},
            [
                "retry.max: 1 → 2",
                "retry.oom.max: not given → 1",
                "retry.oom.wait: not given → 30s",
                "retry.oom.env.A: not given → b",
            ],
        ),
        ({"env": {"A": "1", "B": "2"}}, {"env": {"A": "3"}}, ["env.A: 1 → 3", "env.B: 2 → not given"]),
        (
            {"early_terminate": EarlyTerminate(min_iter=3)},
            {"early_terminate": EarlyTerminate(min_iter=5)},
            ["early_terminate.min_iter: 3 → 5"],
        ),
        (
            {"metric": Metric(name="loss", target=0.5)},
            {"metric": Metric(name="loss")},
            ["metric.target: 0.5 → not given"],
        ),
        ({}, {"resources": Resources(gpus=0.5)}, ["resources.gpus: not given → 0.5"]),
        (
            {"command": ("${program}", "${args}")},
            {"command": ("sh", "-c", "x  \n y")},
            ["command: [${program}, ${args}] → [sh, -c, x y]"],
        ),
        ({"run_cap": 3}, {"run_cap": 3}, []),
    ],
)
def test_changes_in_words(old: dict[str, Any], new: dict[str, Any], said: list[str]) -> None:
    assert changes(old, new) == said


def test_changes_of_parameters_are_told_one_by_one() -> None:
    old = Space(
        (
            Parameter(("lr",), Numeric(1e-5, 0.1, "log"), "log_uniform_values"),
            Parameter(("a", "b"), Constant(1)),
        )
    )
    new = Space(
        (
            Parameter(("lr",), Numeric(1e-4, 0.1, "log"), "log_uniform_values"),
            Parameter(("c",), Constant("x")),
        )
    )
    assert changes({"space": old}, {"space": new}) == [
        "parameters.lr: log_uniform_values 1e-05 to 0.1 → log_uniform_values 0.0001 to 0.1",
        "parameters.a.b: always 1 → not given",
        "parameters.c: not given → always x",
    ]


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (Parameter(("x",), Categorical((1, "a", None, True))), "one of 1, a, null, true"),
        (
            Parameter(("x",), Categorical((1, 2), (0.25, 0.75))),
            "one of 1, 2 with probabilities [0.25, 0.75]",
        ),
        (Parameter(("x",), Numeric(0, 8, q=2.0), "q_uniform"), "q_uniform 0 to 8 in steps of 2"),
        (Parameter(("x",), Normal(1.0, 2.0), "normal"), "normal with mu 1, sigma 2"),
        (Parameter(("x",), Beta(2.0, 3.0)), "beta with a 2, b 3"),
    ],
)
def test_axes_in_words(parameter: Parameter, text: str) -> None:
    assert axis_text(parameter) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5s"), (90, "1m30s"), (7200, "2h"), (5400, "1h30m"), (1, "1s"), (0, "0s")]
)
def test_durations_as_a_file_has_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_what_lies_inside_a_space() -> None:
    space = Space((Parameter(("a", "x"), Numeric(0.0, 1.0)), Parameter(("n",), Categorical((1, 2)))))
    assert inside(space, {"a": {"x": 0.5}, "n": 2})
    assert inside(space, {"a": {"x": 1.0}, "n": 2, "more": 1})
    assert not inside(space, {"a": {"x": 1.5}, "n": 2})
    assert not inside(space, {"a": {"x": 0.5}})
    assert not inside(space, {"a": 1, "n": 2})


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    record_sweep(found, "s1", ("completed", 1.0), ("completed", 2.0), "failed", spec=make_spec(run_cap=3))
    return found


def small(*values: int) -> Space:
    return Space((Parameter(("x",), Categorical(values)),))


def test_what_a_revision_means(store: MemoryStore) -> None:
    views = load_views(store, "s1")
    plan = plan_revision(views, make_spec(run_cap=2, space=small(1, 2, 3), env={"A": "1"}, name="n"))
    assert (plan.refused, plan.number) == ((), 2)
    assert plan.effects == (
        "3 recorded trials stay; 1 of them lies outside the new space",
        "3 trials proposed already: no new ones follow",
        "env: for runs that start from now on",
    )
    assert plan_revision(views, views.spec).changes == ()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"seed": 8}, "seed cannot change from 7 to 8"),
        ({"method": "random"}, "method cannot change from grid to random"),
        ({"metric": Metric(name="acc")}, "metric.name cannot change from loss to acc"),
        ({"replicates": 2}, "replicates cannot change from 1 to 2"),
        ({"workdir": "elsewhere"}, "workdir cannot change"),
    ],
)
def test_what_may_not_change_is_refused_with_a_reason(
    store: MemoryStore, changed: dict[str, Any], why: str
) -> None:
    plan = plan_revision(load_views(store, "s1"), make_spec(run_cap=3, **changed))
    [refused] = plan.refused
    assert refused.startswith(why)
    assert plan.effects == ()


def test_a_revision_is_recorded_and_of_two_at_once_one_is_told(store: MemoryStore) -> None:
    first, second = make_spec(run_cap=5), make_spec(run_cap=6)
    assert revise(store, "s1", first, "run_cap: 5", 2, "me").revision == 2
    assert load_views(store, "s1").spec == first
    assert load_views(store, "s1").created.source == "run_cap: 5"
    with pytest.raises(Refused, match="somebody else has revised sweep s1 in the meantime"):
        revise(store, "s1", second, "run_cap: 6", 2)
    assert load_views(store, "s1").spec == first
    store.delete_sweep("s1")
    with pytest.raises(NotFound):
        revise(store, "s1", second, "", 3)
    assert store.sweeps() == []
