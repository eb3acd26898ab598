"""Whatever stands under `when`, `constraints`, `initial` and `learn_from`: a spec that can be searched, or words about it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core import domain
from sweep.search import make_searcher
from sweep.spec import SpecError, parse_dict

names = st.sampled_from(["a", "b", "g", "g.c", "z", "", "a b", "config['a']"])
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 5)
    | st.floats(allow_nan=True)
    | st.sampled_from(["x", "y", "1", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
PIECES = "a b g.c z 1 2.5 'x' None True ( ) [ ] , . < <= == != + - * / // % ** and or not in is lambda : if else = := @ ~ #"
texts = st.lists(st.sampled_from([*PIECES.split(), "\n"]), max_size=9).map(" ".join)


@settings(max_examples=150)
@given(
    st.sampled_from(["grid", "random", "bayes"]),
    st.lists(values, min_size=3, max_size=3),
    st.one_of(st.none(), values, st.lists(texts, max_size=2)),
    st.one_of(st.none(), values, st.lists(st.dictionaries(names, values, max_size=3), max_size=3)),
)
def test_whatever_is_written_the_outcome_is_a_search_or_words(
    method: str, whens: list[Any], constraints: Any, initial: Any
) -> None:
    content: dict[str, Any] = {
        "method": method,
        "seed": 1,
        "metric": {"name": "l"},
        "run_cap": 4,
        "parameters": {
            "a": {"values": [1, 2, "x"], "when": whens[0]},
            "b": {"min": 1, "max": 3, "when": whens[1]},
            "g": {"parameters": {"c": {"values": [True, None, "y", [1]], "when": whens[2]}}},
        },
        "constraints": constraints,
        "initial": initial,
    }
    try:
        spec = parse_dict(content, draw_seed=lambda: 1, needs_program=False).spec
    except SpecError as error:
        assert str(error).strip()
        assert all(problem.message for problem in error.problems)
        return
    if method == "bayes":
        return  # the searchers of that method have their own checks, and are slow to begin
    answer = make_searcher(spec).propose([], 3)
    assert answer.configs
    for config in answer.configs:
        assert domain.belongs(spec.space, config)


@settings(max_examples=300)
@given(texts)
def test_any_text_as_a_constraint(text: str) -> None:
    content = {
        "method": "random",
        "parameters": {
            "a": {"values": [1, 2, "x"]},
            "b": {"min": 1, "max": 3},
            "g": {"parameters": {"c": {"values": [1]}}},
        },
        "constraints": [text],
    }
    try:
        parse_dict(content, draw_seed=lambda: 1, needs_program=False)
    except SpecError as error:
        assert "constraints" in str(error)
