"""Constraints between parameters: what an expression means, what is refused, and that counting agrees with trying."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core import domain
from sweep.core.conditions import INACTIVE
from sweep.core.constraints import ConstraintError, constraints_of
from sweep.core.expressions import Constraint
from sweep.core.plugins import Observation
from sweep.core.revisions import is_used_up
from sweep.core.space import Categorical, Condition, Numeric, Parameter, Space
from sweep.core.spec import SweepSpec
from sweep.search import make_searcher
from sweep.spec import SpecError, parse

VALUES = {"a": 3, "b": 0.5, "opt.name": "sgd", "flag": True, "batch-size": 32, "none": None, "dims": [1, 2]}


def holds(text: str, **changed: Any) -> bool:
    values = {**VALUES, **changed}
    return Constraint(text, {name: i for i, name in enumerate(values)}).holds(list(values.values()))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a * 2 <= 6", True),
        ("1 < a < 3", False),
        ("1 < a <= 3 != b", True),
        ("a // 2 == 1 and a % 2 == 1 and a ** 2 == 9 and a - 1 == 2 and -a < +b and a / 2 > 1", True),
        ('opt.name == "sgd" or b > 1', True),
        ('opt.name in ["adam", "lbfgs"]', False),
        ('opt.name not in ("adam", "lbfgs")', True),
        ('opt.name < "tgd"', True),
        ("flag", True),
        ("not flag or a == 3.0", True),
        ("flag == 1", False),
        ("none is None and none == None", True),
        ("dims == [1, 2] and 3 not in dims", True),
        ("config['batch-size'] >= 32", True),
        (" \n a > 2 \n ", True),
        ("flag or a < 'x'", True),  # what decides comes first
    ],
)
def test_an_expression_means_what_it_means_in_python(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a", "gives the number 3, and must be true or false"),
        ("opt.name < 3", "`<` cannot compare the text 'sgd' with the number 3"),
        ("flag + 1 > 1", r"`\+` needs numbers, not True"),
        ("opt.name * 3 == 'x'", r"`\*` needs numbers, not the text 'sgd'"),
        ("a and flag", "`and` needs what is true or false, not the number 3"),
        ("a in opt.name", "`in` needs a list on its right"),
        ("a / (b - b) > 1", "divides 3 by 0"),
        ("a ** 9999999 > 1", "too large"),
        ("(0 - a) ** b > 1", "too large, or none"),
        ("a * 1e308 * 10 > 1 and 10 ** 400 * a > b * 10 ** 400", "too large"),
    ],
)
def test_what_cannot_be_evaluated_says_why(text: str, words: str) -> None:
    with pytest.raises(ConstraintError, match=words):
        holds(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('true') == a", "holds a call"),
        ("a.__class__ == b", "there is no parameter `a.__class__`"),
        ("(lambda: a)() == 1", "holds a call"),
        ("[x for x in dims] == dims", "holds a loop"),
        ("dims[0] == 1", "holds square brackets"),
        ("(a := 3) == 3", "holds an assignment"),
        ("f'{a}' == 'x'", "holds an f-string"),
        ("a if flag else b", "holds an `if`"),
        ("a & 1 == 1", "holds `BitAnd`"),
        ("~a == 1", "holds `~`"),
        ("b'x' == a", "a value of type bytes"),
        ("a == ...", "a value of type ellipsis"),
        ("a = 3", "is no expression at character 3; write `==` to compare"),
        ("a >", "is no expression"),
        ("a > 1; b > 1", "is no expression"),
        ("(" * 300 + "a" + ")" * 300 + " > 1", "is no expression"),
        ("-" * 100 + "a > 1", "nested too deeply"),
        ("a > " + "1" * 1000, "longer than 1000 characters"),
        ("1 < 2", "names no parameter"),
        ("aa > 1", "there is no parameter `aa`; did you mean `a`"),
        ("name == 'sgd'", "did you mean `opt.name`"),
        ("opt == 'sgd'", "it is a group; name a parameter in it, such as `opt.name`"),
        ("flag == true", "write `True`"),
        ("none == null", "write `None`"),
    ],
)
def test_what_is_no_constraint_is_refused_unseen(text: str, words: str) -> None:
    with pytest.raises(ConstraintError, match=words):
        holds(text)


def test_a_constraint_over_an_inactive_parameter_holds() -> None:
    assert holds("a > 100", a=INACTIVE)
    assert holds("a > 100 and b > 100", a=INACTIVE)
    assert not holds("a > 100", b=INACTIVE)


TEXTS = [
    "p0 < p1",
    "p0 + p1 + p2 == 5",
    "p2 != 2",
    "p1 * p3 <= 4",
    "p3 > 9",
    "p0 == 1 or p2 == 3",
    "p3 / p0 > 1",
]


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 4), min_size=4, max_size=4),
    st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3),
    st.booleans(),
)
def test_counting_and_enumerating_agree_with_trying_everything(
    highs: list[int], texts: list[str], conditional: bool
) -> None:
    parameters = [Parameter((f"p{i}",), Numeric(0, high, integer=True)) for i, high in enumerate(highs)]
    if conditional:
        parameters[1] = Parameter(
            ("p1",), Numeric(0, highs[1], integer=True), when=(Condition(("p3",), (0, 1)),)
        )
    space = Space(tuple(parameters), tuple(texts))
    constraints = constraints_of(space)
    assert constraints is not None
    product = itertools.product(*(domain.support(p.distribution) or () for p in parameters))
    free = [domain.assemble(space, values) for values in product]
    allowed = {domain.canonical(config) for config in free if domain.allows(space, config)}
    assert domain.size(space) == domain.grid_size(space) == len(allowed)
    for points in (domain.points(space), domain.grid_points(space)):
        assert points is not None
        found = [domain.canonical(config) for config in domain.allowed(space, points)]
        assert len(found) == len(allowed)
        assert set(found) == allowed
    configs = [config for config in free if domain.allows(space, config)]
    for method in ("grid", "random"):
        assert is_used_up(space, method, configs)
        assert not configs or not is_used_up(space, method, configs[1:]) or len(allowed) < len(configs)
        searcher = make_searcher(SweepSpec(method=method, space=space, seed=1))
        answer = searcher.propose([], len(allowed) + 1)
        assert answer.exhausted
        assert {domain.canonical(config) for config in answer.configs} == allowed


def test_a_large_grid_is_passed_over_in_stretches() -> None:
    """Of 10**12 points the ten that are allowed are found, because a refused value refuses all that share it."""
    axes = tuple(Parameter((name,), Numeric(1, 1000, integer=True)) for name in "abcd")
    space = Space(axes, ("a == 7", "a * b == 21", "c == 5", "d <= 10"))
    answer = make_searcher(SweepSpec(method="grid", space=space, seed=1)).propose([], 20)
    assert answer.exhausted
    assert [config["d"] for config in answer.configs] == list(range(1, 11))


def test_random_draws_of_a_continuous_space_stay_what_they_are_where_they_are_allowed() -> None:
    free = Space((Parameter(("x",), Numeric(0.0, 1.0)), Parameter(("y",), Numeric(0.0, 1.0))))
    bound = Space(free.parameters, ("x + y <= 1",))
    draws = [
        make_searcher(SweepSpec(method="random", space=s, seed=5)).propose([], 200) for s in (free, bound)
    ]
    kept = [a == b for a, b in zip(draws[0].configs, draws[1].configs, strict=True)]
    assert kept == [config["x"] + config["y"] <= 1 for config in draws[0].configs]
    assert all(config["x"] + config["y"] <= 1 for config in draws[1].configs)
    late = make_searcher(SweepSpec(method="random", space=bound, seed=5)).propose(
        [Observation(i, config, "open") for i, config in enumerate(draws[1].configs[:150])], 50
    )
    assert late.configs == draws[1].configs[150:]


# --- in a file -------------------------------------------------------------------------------------------------

FILE = """\
method: {method}
program: t.py
parameters:
  a: {{min: 1, max: 8}}
  b: {{values: [x, y]}}
  c: {{{c}}}
constraints:
  - {text}
"""


def read(text: str, method: str = "random", c: str = "min: 0.0, max: 1.0") -> Space:
    return parse(FILE.format(text=text, method=method, c=c), draw_seed=lambda: 1).spec.space


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a * d <= 3", "8:5 constraints[0]: `a * d <= 3`: there is no parameter `d`; a text needs quotes"),
        (
            "b < 3",
            "8:5 constraints[0]: `b < 3`: `<` cannot compare the text 'y' with the number 3 (with b = 'y')",
        ),
        ("c > 2", "8:5 constraints[0]: none of 20,000 random configs satisfies `c > 2`"),
        ("3", "8:5 constraints[0]: must be text, not 3; write it in quotes: '3'"),
    ],
)
def test_a_wrong_constraint_in_a_file(text: str, expected: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(text)
    assert [str(problem) for problem in caught.value.problems] == [f"sweep.yaml:{expected}"]


def test_what_is_satisfied_alone_and_never_together_is_an_error_for_the_whole_grid() -> None:
    with pytest.raises(
        SpecError, match=r"7:1 constraints: no config of the space satisfies all of them together"
    ):
        read('a > 4\n  - a < 4 or b == "z"', "grid", "value: 1")
    with pytest.raises(SpecError, match=r"8:5 constraints\[0\]: no config of the space satisfies `a > 8`"):
        read("a > 8", "grid", "value: 1")
    assert domain.grid_size(read("a > 4", "grid", "value: 1")) == 8


def test_a_constraint_that_little_satisfies_is_worth_a_warning() -> None:
    parsed = parse(
        FILE.format(text="c < 0.004", method="random", c="min: 0.0, max: 1.0"), draw_seed=lambda: 1
    )
    assert [str(warning) for warning in parsed.warnings] == [
        "sweep.yaml:7:1 constraints: only 11 of 2,000 random configs satisfy them; bounds that leave less out make the search "
        "faster"
    ]


def test_under_constraints_draws_keep_their_distribution() -> None:
    """Where most draws are refused, likely values still come more often: it is drawn again, not enumerated."""
    space = Space(
        (
            Parameter(("k",), Categorical(("often", "seldom"), (0.95, 0.05))),
            *(Parameter((name,), Numeric(1, 40, integer=True)) for name in "abc"),
        ),
        ("a == b", "c % 5 == 0"),
    )
    configs = make_searcher(SweepSpec(method="random", space=space, seed=2)).propose([], 100).configs
    assert sum(config["k"] == "often" for config in configs) > 85
