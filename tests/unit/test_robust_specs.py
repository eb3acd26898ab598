"""A valid spec is the same at both ends of every road that it takes: dict, YAML file, journal, and what is proposed from it."""

from __future__ import annotations

import itertools
import math
import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.core import domain
from sweep.core import entries as e
from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.journal import decode, encode
from sweep.core.spec import SweepSpec
from sweep.search import make_searcher
from sweep.spec import load, parse_dict

POINTS = 12
examples = settings(
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
names = st.text(string.ascii_letters + string.digits + "_-/+^", min_size=1, max_size=6)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | text
    | st.sampled_from(
        ["1e-4", "on", "0x10", "1:2", "2001-01-01", "null", "~", "", " a: b", "- x", "#", "&a", "!x"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
weights = st.integers(1, 4).map(lambda n: {"values": list(range(n)), "probabilities": [1 / n] * n})
whole = st.tuples(st.integers(-1000, 1000), st.integers(1, 50)).map(
    lambda b: {"min": b[0], "max": b[0] + b[1]}
)
stepped = st.tuples(
    st.integers(-20, 20), st.integers(1, 30), st.sampled_from([0.1, 0.25, 0.5, 1, 2, 1.0])
).map(lambda b: {"distribution": "q_uniform", "min": b[0], "max": b[0] + b[1], "q": b[2]})
finite = st.floats(-1e9, 1e9).map(lambda low: {"distribution": "uniform", "min": low, "max": low + 1e3})
logarithmic = st.floats(1e-9, 1e3).map(
    lambda low: {"distribution": "log_uniform_values", "min": low, "max": low * 100}
)
bells = st.tuples(
    st.sampled_from(["normal", "log_normal", "q_normal", "q_log_normal"]),
    st.floats(-3, 3),
    st.floats(0.01, 2),
).map(lambda b: {"distribution": b[0], "mu": b[1], "sigma": b[2]})

countable = (
    st.fixed_dictionaries({"value": values})
    | st.fixed_dictionaries({"values": st.lists(values, min_size=1, max_size=4)})
    | whole
    | stepped
)
endless = (
    countable | weights | finite | logarithmic | bells | st.just({"distribution": "beta", "a": 2, "b": 0.5})
)


def spaces(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.dictionaries(names, leaves, min_size=1, max_size=3),
        lambda inner: st.dictionaries(
            names, leaves | inner.map(lambda group: {"parameters": group}), min_size=1, max_size=3
        ),
        max_leaves=5,
    )


others = {
    "name": text.filter(str.strip),
    "description": text.filter(str.strip),
    "seed": st.integers(0, 2**63 - 1),
    "run_cap": st.integers(1, 10**6),
    "replicates": st.integers(1, 9),
    "metric": st.fixed_dictionaries(
        {"name": st.just("val.loss")},
        optional={"goal": st.sampled_from(["minimize", "maximize"]), "target": st.floats(-1e6, 1e6)},
    ),
    "limits": st.fixed_dictionaries(
        {},
        optional={
            "run_time": st.sampled_from([1, 2.5, "90s", "1h30m"]),
            "no_progress": st.sampled_from(["500ms", 60]),
            "kill_after": st.integers(1, 60),
        },
    ),
    "resources": st.fixed_dictionaries(
        {}, optional={"cpus": st.floats(0.1, 64), "gpus": st.sampled_from([0, 0.5, 1, 2.0])}
    ),
    "retry": st.fixed_dictionaries({"max": st.integers(0, 9)}),
    "env": st.dictionaries(st.sampled_from(["A", "B_C"]), text | st.integers(0, 99), max_size=2),
    "command": st.just(["python", "${program}", "--x", 1.10, True]),
    "project": st.text("abc", min_size=1),
}
optional: dict[Any, st.SearchStrategy[Any]] = dict(others)
grids = st.fixed_dictionaries(
    {"method": st.just("grid"), "program": st.just("t.py"), "parameters": spaces(countable)},
    optional=optional,
)
draws = st.fixed_dictionaries(
    {"method": st.just("random"), "program": st.just("t.py"), "parameters": spaces(endless)},
    optional=optional,
)


def through_a_file(content: dict[str, Any], folder: Path, flow: bool) -> SweepSpec:
    path = folder / "sweep.yaml"
    written = yaml.safe_dump(content, sort_keys=False, default_flow_style=flow)
    path.write_text(written, "utf-8")
    return load(path, draw_seed=lambda: 3).spec


def through_the_journal(spec: SweepSpec) -> SweepSpec:
    entry = e.SweepCreated("abc", spec_to_builtins(spec), "", "sweep.yaml", {})
    read = decode(encode(entry))
    assert isinstance(read, e.SweepCreated)
    return spec_from_builtins(read.spec)


def proposed(spec: SweepSpec) -> tuple[str, bool]:
    """What the searcher proposes first. As text: NaN is not equal to itself, and 1, 1.0 and True are equal."""
    found = make_searcher(spec).propose([], POINTS)
    return repr(found.configs), found.exhausted


@examples
@given(content=grids | draws, flow=st.booleans())
def test_a_spec_is_the_same_from_dict_file_and_journal(
    content: dict[str, Any], flow: bool, tmp_path: Path
) -> None:
    direct = parse_dict(content, draw_seed=lambda: 3).spec
    read = through_a_file(content, tmp_path, flow)
    recorded = through_the_journal(read)
    assert repr(direct) == repr(read) == repr(recorded)
    assert proposed(direct) == proposed(recorded)


@examples
@given(content=grids)
def test_a_grid_has_every_point_once_wherever_its_spec_comes_from(
    content: dict[str, Any], tmp_path: Path
) -> None:
    """Against a naive account: the product of the axes' values, names sorted, the last one fastest."""
    spec = through_the_journal(through_a_file(content, tmp_path, True))
    axes = sorted(spec.space.parameters, key=lambda parameter: parameter.name)
    grids_of = [list(itertools.islice(domain.grid_values(axis.distribution), 60)) for axis in axes]
    size = domain.grid_size(spec.space)
    assert size is not None
    if all(len(grid) < 60 for grid in grids_of):
        assert size == math.prod(len(grid) for grid in grids_of)
    expected = []
    for point in itertools.islice(itertools.product(*grids_of), POINTS):
        by_path = {axis.path: value for axis, value in zip(axes, point, strict=True)}
        expected.append(
            domain.assemble(spec.space, [by_path[parameter.path] for parameter in spec.space.parameters])
        )
    assert proposed(spec) == (repr(tuple(expected)), size <= POINTS)


@pytest.mark.parametrize("points", [10**9, 10**9 + 1])
def test_the_largest_grid_without_a_cap(points: int) -> None:
    content = {"method": "grid", "program": "t.py", "parameters": {"x": {"min": 1, "max": points}}}
    if points <= 10**9:
        assert domain.grid_size(parse_dict(content, draw_seed=lambda: 1).spec.space) == points
    else:
        with pytest.raises(Exception, match="more than could ever be run"):
            parse_dict(content, draw_seed=lambda: 1)
    assert parse_dict({**content, "run_cap": 5}, draw_seed=lambda: 1)
