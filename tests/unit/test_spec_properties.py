"""For any text: a spec or a SpecError. For any valid spec: the same from YAML and from Python."""

from __future__ import annotations

import string
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.domain import assemble, from_unit
from sweep.spec import SpecError, parse, parse_dict
from sweep.spec._models import DISTRIBUTIONS, GROUPS, SweepFile

bounded = settings(max_examples=150)

KEYS = [*SweepFile.model_fields, *(key for model in GROUPS.values() for key in model.model_fields)]
KEYS += [key for model, _ in DISTRIBUTIONS.values() for key in model.model_fields]
WORDS = [
    *KEYS,
    *DISTRIBUTIONS,
    "grid",
    "random",
    "bayes",
    "hyperband",
    "p",
    "1",
    "1e-4",
    "0.5",
    "-1",
    "null",
    "true",
    ".nan",
]
WORDS += [
    "[",
    "]",
    "{",
    "}",
    ": ",
    ", ",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!int ",
    "!x ",
    "'",
    '"',
    "#",
    "|\n",
]


def outcome(content: Any, from_dict: bool) -> None:
    """Whatever `content` is, it must not end in anything but a spec or a SpecError."""
    try:
        parsed = (parse_dict if from_dict else parse)(content, draw_seed=lambda: 1)
    except SpecError as error:
        assert error.problems
        assert all(problem.message and "\n" not in str(problem) for problem in error.problems)
        assert "pydantic" not in str(error)
        return
    assert repr(spec_from_builtins(spec_to_builtins(parsed.spec))) == repr(parsed.spec)


@bounded
@given(st.text(max_size=300) | st.binary(max_size=300))
def test_any_text(text: str | bytes) -> None:
    outcome(text, from_dict=False)


@bounded
@given(st.lists(st.sampled_from(WORDS), max_size=60).map("".join))
def test_any_text_of_likely_words(text: str) -> None:
    outcome(text, from_dict=False)


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@bounded
@given(st.dictionaries(st.sampled_from(list(SweepFile.model_fields)), anything, max_size=8), anything)
def test_any_content_below_the_right_keys(content: dict[str, Any], parameter: Any) -> None:
    outcome(content, from_dict=True)
    outcome(
        {"method": "random", "program": "t.py", "parameters": {"p": parameter}, **content}, from_dict=True
    )


# --- valid specs -----------------------------------------------------------------------------------------------

names = st.text(string.ascii_letters + string.digits + "_+^/-", min_size=1, max_size=6)
finite = st.floats(-1e6, 1e6)
plain_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | plain_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_text, inner, max_size=3),
    max_leaves=6,
)
steps = st.sampled_from([0.1, 0.5, 1, 2, 1.0])


@st.composite
def bounds(draw: st.DrawFn, numbers: st.SearchStrategy[float]) -> dict[str, float]:
    low = draw(numbers)
    return {"min": low, "max": low + draw(st.sampled_from([4, 10, 1000]))}


parameters = st.one_of(
    st.fixed_dictionaries({"value": values}),
    st.fixed_dictionaries({"values": st.lists(values, min_size=1, max_size=4)}),
    st.just({"values": ["a", "b"], "probabilities": [0.25, 0.75]}),
    bounds(st.integers(-1000, 1000)),
    bounds(finite).map(lambda b: {**b, "distribution": "uniform"}),
    st.tuples(bounds(finite), steps).map(lambda b: {**b[0], "distribution": "q_uniform", "q": b[1]}),
    bounds(st.floats(1e-6, 10)).map(lambda b: {**b, "distribution": "log_uniform_values"}),
    bounds(st.floats(-20, 0)).map(
        lambda b: {"min": b["min"], "max": b["min"] + 4, "distribution": "inv_log_uniform"}
    ),
    st.tuples(st.floats(-5, 5), steps).map(lambda b: {"distribution": "q_log_normal", "mu": b[0], "q": b[1]}),
    st.just({"distribution": "beta", "a": 2}),
)
spaces = st.recursive(
    st.dictionaries(names, parameters, min_size=1, max_size=3),
    lambda inner: st.dictionaries(
        names, parameters | inner.map(lambda group: {"parameters": group}), min_size=1, max_size=3
    ),
    max_leaves=6,
)
specs = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["random", "bayes"]),
        "program": st.just("t.py"),
        "metric": st.just({"name": "l"}),
    }
    | {"parameters": spaces},
    optional={
        "seed": st.integers(0, 2**63 - 1),
        "run_cap": st.integers(1, 10**6),
        "replicates": st.integers(1, 9),
        "early_terminate": st.just({"type": "hyperband", "min_iter": 2}),
        "limits": st.fixed_dictionaries({"run_time": st.sampled_from([1, 2.5, "90s", "1h30m"])}),
        "resources": st.fixed_dictionaries(
            {"cpus": st.floats(0.1, 64), "gpus": st.sampled_from([0, 0.5, 1, 2.0])}
        ),
        "retry": st.fixed_dictionaries({"max": st.integers(0, 9)}),
        "env": st.dictionaries(st.sampled_from(["A", "B_C"]), plain_text | st.integers(0, 99), max_size=2),
        "project": st.text("abc", min_size=1),
    },
)


@bounded
@given(specs)
def test_a_valid_spec_is_the_same_from_yaml_and_from_python(content: dict[str, Any]) -> None:
    direct = parse_dict(content, draw_seed=lambda: 3)
    text = yaml.safe_dump(content, sort_keys=False)
    read = parse(text, draw_seed=lambda: 3)
    # Not ==, because NaN is not equal to itself, and 1, 1.0 and True are equal.
    assert repr(read.spec) == repr(direct.spec)
    assert repr(parse(direct.source, draw_seed=lambda: 3).spec) == repr(direct.spec)
    assert repr(spec_from_builtins(spec_to_builtins(read.spec))) == repr(read.spec)


@bounded
@given(specs, st.floats(0, 1))
def test_every_valid_space_can_be_sampled(content: dict[str, Any], u: float) -> None:
    space = parse_dict(content, draw_seed=lambda: 3).spec.space
    assert assemble(space, [from_unit(parameter.distribution, u) for parameter in space.parameters])
