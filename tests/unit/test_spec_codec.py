"""A spec survives the journal."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from sweep.core.codec import spec_from_builtins, spec_to_builtins
from sweep.core.space import Beta, Categorical, Constant, Normal, Numeric, Parameter, Space
from sweep.core.spec import EarlyTerminate, Limits, Metric, Resources, Retry, SweepSpec

SPEC = SweepSpec(
    method="bayes",
    space=Space(
        (
            Parameter(("a",), Constant({"x": [1, [2.0, None]], "y": {"z": True}}), "constant"),
            Parameter(
                ("o", "b"), Categorical((1, True, 1.5, "1", None, [1, {"k": math.inf}]), None), "categorical"
            ),
            Parameter(("o", "c"), Categorical(("x", "y"), (0.25, 0.75)), "categorical_w_probabilities"),
            Parameter(("d",), Numeric(1.0, 1e300, "log", 2.0, True), "q_log_uniform_values"),
            Parameter(("e",), Normal(0.5, 2.0, True, 0.1, False), "q_log_normal"),
            Parameter(("f",), Beta(2.0, 5.0, 0.1, False), "q_beta"),
            Parameter(("big",), Constant(2**64 - 1)),
        )
    ),
    seed=2**63 - 1,
    metric=Metric(name="l", goal="maximize", target=-math.inf, impute_while_running="best"),
    name="n",
    program="t.py",
    command=("a", "${args}"),
    run_cap=3,
    early_terminate=EarlyTerminate(min_iter=3, eta=2.5),
    replicates=2,
    engine="skopt-et",
    resources=Resources(cpus=1.5, gpus=0.5),
    limits=Limits(run_time_s=1.5, kill_after_s=0.0),
    retry=Retry(max=2),
    env={"A": "1"},
    workdir="w",
    extra={"entity": {"a": [1, None]}},
)


def test_there_and_back_through_msgpack() -> None:
    builtins = spec_to_builtins(SPEC)
    packed = msgspec.msgpack.encode(builtins)
    assert msgspec.msgpack.decode(packed) == builtins
    back = spec_from_builtins(msgspec.msgpack.decode(packed))
    assert back == SPEC
    assert repr(back) == repr(SPEC)  # also 1, 1.0 and True, which are equal


def test_nan_survives() -> None:
    spec = SweepSpec(
        method="grid", space=Space((Parameter(("p",), Constant([math.nan, -math.inf])),)), seed=1
    )
    back = spec_from_builtins(msgspec.msgpack.decode(msgspec.msgpack.encode(spec_to_builtins(spec))))
    distribution = back.space.parameters[0].distribution
    assert isinstance(distribution, Constant)
    assert math.isnan(distribution.value[0])
    assert distribution.value[1] == -math.inf


def test_the_builtins_share_nothing_with_the_spec() -> None:
    builtins = spec_to_builtins(SPEC)
    builtins["extra"]["entity"]["a"].append(1)
    builtins["env"]["B"] = "2"
    assert SPEC.extra == {"entity": {"a": [1, None]}}
    assert SPEC.env == {"A": "1"}


def test_a_record_without_later_fields_gets_their_defaults() -> None:
    builtins = spec_to_builtins(SPEC)
    for key in ("replicates", "limits", "env", "extra"):
        del builtins[key]
    back = spec_from_builtins(builtins)
    assert (back.replicates, back.limits, back.env, back.extra) == (1, Limits(), {}, {})


@pytest.mark.parametrize(
    "wrong", [{}, {"method": "x"}, {"method": "grid", "space": {"parameters": [3]}, "seed": 1}]
)
def test_what_is_no_record_of_a_spec(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="this is not the record of a spec"):
        spec_from_builtins(wrong)


def test_core_needs_nothing_but_msgspec() -> None:
    import sweep.core.codec

    source = Path(sweep.core.codec.__file__).read_text(encoding="utf-8")
    assert {
        line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import", "from"))
    } == {
        "__future__",
        "typing",
        "msgspec",
        "sweep",
    }
