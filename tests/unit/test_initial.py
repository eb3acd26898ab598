"""`initial:` configs: read, completed, tried first."""

from __future__ import annotations

import pytest

from sweep.core import domain
from sweep.core.initial import completed
from sweep.core.plugins import Observation
from sweep.core.spec import SweepSpec
from sweep.search import make_searcher
from sweep.spec import SpecError, parse

FILE = """\
method: {method}
program: t.py
seed: 3
metric: {{name: loss}}
parameters:
  optimizer: {{values: [adam, sgd]}}
  momentum: {{distribution: q_uniform, min: 0.0, max: 1.0, q: 0.25, when: {{optimizer: sgd}}}}
  lr: {lr}
  net: {{parameters: {{size: {{min: 1, max: 4}}}}}}
constraints: [net.size != 3]
initial:
{initial}
"""


def spec(initial: str, method: str = "random", lr: str = "{min: 0.0, max: 1.0}") -> SweepSpec:
    return parse(FILE.format(initial=initial, method=method, lr=lr), draw_seed=lambda: 1).spec


def errors(initial: str, method: str = "random") -> list[str]:
    with pytest.raises(SpecError) as caught:
        spec(initial, method, "{values: [0.1, 1]}" if method == "grid" else "{min: 0.0, max: 1.0}")
    return [str(problem).removeprefix("sweep.yaml:") for problem in caught.value.problems]


def test_values_take_the_form_in_which_a_search_gives_them() -> None:
    read = spec("  - {optimizer: sgd, momentum: '0.5', lr: 1, net.size: 2.0}\n  - {net: {size: 4}}")
    assert read.initial == (
        {"optimizer": "sgd", "momentum": 0.5, "lr": 1.0, "net": {"size": 2}},
        {"net": {"size": 4}},
    )
    assert type(read.initial[0]["lr"]) is float
    assert type(read.initial[0]["net"]["size"]) is int


@pytest.mark.parametrize(
    ("initial", "expected"),
    [
        ("  3", "11:1 initial: must be a list of configs, such as `initial: [{lr: 0.1}]`, not 3"),
        ("  - 3", "12:5 initial[0]: must be a mapping from parameters to values, not 3"),
        ("  - {lr: 2}", "12:6 initial[0].lr: `lr` is never 2; it lies between 0.0 and 1.0"),
        ("  - {lr: true}", "12:6 initial[0].lr: `lr` is never true; it lies between 0.0 and 1.0"),
        ("  - {lrr: 2}", "12:6 initial[0].lrr: there is no parameter `lrr`; did you mean `lr`?"),
        ("  - {net: 2}", "12:6 initial[0].net: there is no parameter `net`: it is a group; write `net: {…}`"),
        (
            "  - {net: {size: 9}}",
            "12:12 initial[0].net.size: `net.size` is never 9; it is one of 1, 2, 3 or 4",
        ),
        ("  - {net: {size: 1}, net.size: 2}", "12:22 initial[0].net.size: `net.size` is given twice"),
        (
            "  - {optimizer: adam, momentum: 0.5}",
            "12:5 initial[0]: gives a value for `momentum`, which is inactive where `optimizer` is 'adam'",
        ),
        (
            "  - {net: {size: 3}}",
            "12:5 initial[0]: no config that is not among the others has these values and satisfies every condition and "
            "constraint",
        ),
    ],
)
def test_a_wrong_initial_config(initial: str, expected: str) -> None:
    assert errors(initial) == [expected]


def test_in_a_grid_they_are_points_of_the_grid() -> None:
    assert errors("  - {lr: 0.5}", "grid") == ["12:6 initial[0].lr: `lr` is never 0.5; it is one of 0.1 or 1"]
    assert errors("  - {momentum: 1.0}", "grid") == [
        "12:6 initial[0].momentum: `momentum` is never 1.0; it is one of 0.0, 0.25, 0.5 or 0.75"
    ]
    made = spec("  - {lr: 1, net.size: 4}\n  - {momentum: 0.75}", "grid", "{values: [0.1, 1]}")
    answer = make_searcher(made).propose([], 100)
    assert answer.exhausted
    assert len(answer.configs) == domain.grid_size(made.space) == (1 + 4) * 2 * 3
    assert answer.configs[0]["lr"] == 1 and answer.configs[0]["net"]["size"] == 4
    assert answer.configs[1]["momentum"] == 0.75
    assert len({domain.canonical(config) for config in answer.configs}) == len(answer.configs)


def test_what_is_left_open_is_drawn_and_two_alike_are_filled_in_differently() -> None:
    made = spec("  - {momentum: 0.5}\n  - {momentum: 0.5}\n  - {optimizer: adam}")
    first, second, third = completed(made.space, made.method, made.initial, made.seed)
    assert first["optimizer"] == second["optimizer"] == "sgd"
    assert first != second
    assert third.keys() == {"optimizer", "lr", "net"}
    assert completed(made.space, made.method, made.initial, made.seed) == [first, second, third]
    assert completed(made.space, made.method, made.initial, made.seed + 1) != [first, second, third]


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_a_revision_can_add_one_and_what_was_tried_is_not_tried_again(method: str) -> None:
    one = "  - {optimizer: adam, lr: 0.25, net: {size: 1}}"
    two = one + "\n  - {optimizer: adam, lr: 0.75, net: {size: 1}}"
    answer = make_searcher(spec(one, method)).propose([], 3)
    assert answer.configs[0] == {"optimizer": "adam", "lr": 0.25, "net": {"size": 1}}
    seen = [Observation(i, config, "completed", 1.0) for i, config in enumerate(answer.configs)]
    later = make_searcher(spec(two, method)).propose(seen, 2).configs
    assert later[0] == {"optimizer": "adam", "lr": 0.75, "net": {"size": 1}}
    assert later[1] not in answer.configs


def test_more_than_run_cap_and_the_same_twice_are_worth_a_warning() -> None:
    text = FILE.format(
        method="random", lr="{value: 1}", initial="  - &a {optimizer: adam, lr: 1, net: {size: 1}}\n  - *a"
    )
    warnings = parse(text + "run_cap: 1\n", draw_seed=lambda: 1).warnings
    assert [str(warning).removeprefix("sweep.yaml:") for warning in warnings] == [
        "11:1 initial: has 2 configs, and run_cap ends the sweep after 1",
        "12:5 initial[1]: is the same as an earlier one and counts once",
    ]
