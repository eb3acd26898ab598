"""`when:` in a sweep file: what it means, and what its author reads when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sweep.api.revising import inside, spec_changes
from sweep.core import domain
from sweep.core.space import Condition, Space
from sweep.spec import SpecError, parse

BASE = """\
method: {method}
program: t.py
parameters:
  optimizer: {{values: [adam, sgd, 3]}}
  layers: {{min: 1, max: 30}}
  net:
    parameters:
      kind: {{values: [mlp, cnn, [1, 2]]}}
      lr: {{value: 0.1}}
  p: {{values: [1, 2], when: {when}}}
"""


def space(text: str) -> Space:
    return parse(text, draw_seed=lambda: 1).spec.space


def errors(when: str, method: str = "random") -> list[str]:
    with pytest.raises(SpecError) as caught:
        space(BASE.format(when=when, method=method))
    return [str(problem).removeprefix("sweep.yaml:") for problem in caught.value.problems]


def condition(when: str) -> tuple[Condition, ...]:
    return space(BASE.format(when=when, method="random")).parameters[-1].when


def test_a_value_a_list_of_values_and_several_lines() -> None:
    assert condition("{optimizer: sgd}") == (Condition(("optimizer",), ("sgd",)),)
    assert condition("{optimizer: [sgd, 3]}") == (Condition(("optimizer",), ("sgd", 3)),)
    assert condition("{net.kind: [[1, 2]]}") == (Condition(("net", "kind"), ([1, 2],)),)
    assert condition("{layers: [1, '2'], net.lr: 0.1}") == (
        Condition(("layers",), (1, 2)),
        Condition(("net", "lr"), (0.1,)),
    )
    assert condition("") == ()


def test_a_name_is_looked_up_from_the_inside_outwards_and_a_group_passes_its_condition_on() -> None:
    found = space("""\
method: random
program: t.py
parameters:
  kind: {values: [out]}
  size: {values: [1, 2]}
  net:
    when: {size: 2}
    parameters:
      kind: {values: [in, other]}
      deep:
        when: {kind: in}
        parameters:
          x: {values: [1, 2]}
          y: {values: [1, 2], when: {x: 1}}
""")
    conditions = {parameter.name: parameter.when for parameter in found.parameters}
    size, kind = Condition(("size",), (2,)), Condition(("net", "kind"), ("in",))
    assert conditions["net.kind"] == (size,)
    assert conditions["net.deep.x"] == (size, kind)
    assert conditions["net.deep.y"] == (size, kind, Condition(("net", "deep", "x"), (1,)))
    assert domain.size(found) == 1 + (1 + 2 + 1)


ERRORS = [
    (
        "sgd",
        "10:23 parameters.p.when: must be a mapping from parameters to values, such as `when: {optimizer: sgd}`, not 'sgd'",
    ),
    (
        "{optimiser: sgd}",
        "10:30 parameters.p.when.optimiser: there is no parameter `optimiser`; did you mean `optimizer`?",
    ),
    (
        "{net: mlp}",
        "10:30 parameters.p.when.net: there is no parameter `net`: it is a group; name a parameter in it, such as `net.kind`",
    ),
    (
        "{optimizer: sdg}",
        "10:30 parameters.p.when.optimizer: `optimizer` is never 'sdg'; it is one of 'adam', 'sgd' or 3",
    ),
    (
        "{optimizer: [sgd, true]}",
        "10:47 parameters.p.when.optimizer[1]: `optimizer` is never true; it is one of 'adam', 'sgd' or 3",
    ),
    ("{layers: 31}", "10:30 parameters.p.when.layers: `layers` is never 31; it has 30 values, from 1 to 30"),
    ("{net.lr: 0.2}", "10:30 parameters.p.when.net.lr: `net.lr` is never 0.2; it is always 0.1"),
    (
        "{optimizer: []}",
        "10:30 parameters.p.when.optimizer: is an empty list: with no value to have, nothing is ever active",
    ),
    ("{p: 1}", "10:30 parameters.p.when.p: a parameter cannot depend on itself"),
]


@pytest.mark.parametrize(("when", "expected"), ERRORS)
def test_a_wrong_condition(when: str, expected: str) -> None:
    assert errors(when) == [expected]


def test_a_continuous_parent_circles_and_what_is_never_active() -> None:
    text = "method: random\nprogram: t.py\nparameters:\n"
    with pytest.raises(SpecError, match=r"5:27 parameters\.b\.when\.a: `a` is continuous"):
        space(text + "  a: {min: 0.0, max: 1.0}\n  b: {values: [1], when: {a: 0.5}}\n")
    with pytest.raises(
        SpecError,
        match=r"4:23 parameters\.a\.when: goes round in a circle: `a` depends on `b` depends on `a`",
    ):
        space(text + "  a: {values: [1, 2], when: {b: 1}}\n  b: {values: [1, 2], when: {a: 1}}\n")
    with pytest.raises(
        SpecError, match=r"6:20 parameters\.c\.when: `c` can never be active: .* values of `a`"
    ):
        space(
            text
            + "  a: {values: [1, 2]}\n  b: {values: [1], when: {a: 1}}\n  c: {values: [1], when: {a: 2, b: 1}}\n"
        )


def test_a_condition_on_a_parameter_that_is_wrong_itself_is_no_second_error() -> None:
    with pytest.raises(SpecError) as caught:
        space(
            "method: random\nprogram: t.py\nparameters:\n  a: {min: 2, max: 1}\n  b: {values: [1], when: {a: 1}}\n"
        )
    assert len(caught.value.problems) == 1


def test_in_a_grid_a_value_must_be_one_of_the_grids() -> None:
    text = "method: {}\nprogram: t.py\nparameters:\n  a: {{distribution: q_uniform, min: 0, max: 2, q: 1}}\n  b: {{values: [1], when: {{a: 2}}}}\n"
    assert domain.size(space(text.format("random"))) == 3
    with pytest.raises(SpecError, match="`a` is never 2; it is one of 0 or 1"):
        space(text.format("grid"))


def test_a_revision_says_what_changes_in_conditions_constraints_and_initial_configs() -> None:
    text = "method: random\nprogram: t.py\nseed: 1\nparameters:\n  a: {values: [1, 2]}\n  b: {values: [3, 4]"
    old = parse(text + "}\n", draw_seed=lambda: 1).spec
    more = ", when: {a: [1]}}\nconstraints: [a * b < 8]\ninitial: [{b: 3}]\n"
    new = parse(text + more, draw_seed=lambda: 1).spec
    assert [str(change) for change in spec_changes(old, new)] == [
        "parameters.b: one of 3, 4 → one of 3, 4 when a is 1",
        "constraints: not given → [a * b < 8]",
        "initial: not given → [{b: 3}]",
    ]
    assert inside(old.space, {"a": 2, "b": 4})
    assert inside(new.space, {"a": 2})
    assert inside(new.space, {"a": 2, "b": 4})  # what is inactive does not matter
    assert not inside(new.space, {"a": 1})


def test_the_examples_of_the_reference_are_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "spec.md").read_text(encoding="utf-8")
    blocks = [
        text
        for text in re.findall(r"^```yaml\n(.*?)^```", page, re.S | re.M)
        if text.startswith("parameters:")
    ]
    conditions, constraints = blocks
    head = "method: grid\nprogram: t.py\n"
    two = conditions.replace("{min: 0.0, max: 0.99, when", "{values: [0.5, 0.9], when")
    assert domain.grid_size(space(head + two)) == 9

    found = parse("method: random\nprogram: t.py\n" + constraints, draw_seed=lambda: 1).spec.space
    assert len(found.constraints) == 2
    assert domain.belongs(found, {"batch_size": 16, "accum": 16, "optimizer": {"name": "adam", "lr": 0.05}})
    assert not domain.belongs(
        found, {"batch_size": 32, "accum": 16, "optimizer": {"name": "adam", "lr": 0.05}}
    )
    assert not domain.belongs(
        found, {"batch_size": 16, "accum": 16, "optimizer": {"name": "adam", "lr": 0.5}}
    )
