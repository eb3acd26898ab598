"""The keys for retries by class, `patience` and `limits.gpu_hours`: what they become, and what is said about mistakes."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.core.spec import Retry, RetryRule
from sweep.spec import SpecError, parse, parse_dict
from sweep.spec.reference import json_schema

BASE = "method: random\nprogram: t.py\nmetric: {name: loss}\nparameters: {a: {values: [1, 2]}}\n"


def read(text: str) -> Any:
    return parse(BASE + text, draw_seed=lambda: 1).spec


def mistakes(text: str, base: str = BASE) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(base + text, draw_seed=lambda: 1)
    return [str(problem).removeprefix("sweep.yaml:") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "retry"),
    [
        ("", Retry()),
        ("retry: {max: 2}", Retry(max=2, on=("exit", "oom", "node"))),
        ("retry: {max: 2, on: [node, exit, node]}", Retry(max=2, on=("exit", "node"))),
        ("retry: {max: 2, 'on': [time]}", Retry(max=2, on=("time",))),
        ("retry:\n  max: 2\n  on:\n  - oom", Retry(max=2, on=("oom",))),
        (
            "retry: {time: {max: 1}}",
            Retry(on=("exit", "oom", "time", "node"), rules={"time": RetryRule(max=1)}),
        ),
        (
            "retry: {oom: {max: 1, wait: 1m30s, env: {A: 1.10, B: x}}}",
            Retry(rules={"oom": RetryRule(max=1, wait_s=90.0, env={"A": "1.10", "B": "x"})}),
        ),
        ("retry: {node: {wait: 2, env: null}, oom: null}", Retry(rules={"node": RetryRule(wait_s=2.0)})),
    ],
)
def test_retry(text: str, retry: Retry) -> None:
    assert read(text).retry == retry


def test_stops() -> None:
    spec = read("patience: 7\nlimits: {gpu_hours: 1.5}")
    assert (spec.patience, spec.limits.gpu_hours) == (7, 1.5)
    assert type(read("limits: {gpu_hours: 2}").limits.gpu_hours) is float
    plain = read("")
    assert (plain.patience, plain.limits.gpu_hours) == (None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retry: {on: node}", ["5:9 retry.on: must be a list, not 'node'; write `on: [node]`"]),
        (
            "retry: {on: [oom, nod]}",
            ["5:19 retry.on[1]: must be exit, oom, time or node, not 'nod'; did you mean `node`?"],
        ),
        (
            "retry: {on: []}",
            ["5:9 retry.on: is empty; leave `retry` out where no run is to be tried again, or name classes"],
        ),
        (
            "retry:\n  on: [oom]\n  time: {max: 1}",
            ["7:3 retry.time: has no effect, because `retry.on` does not name it; add time there"],
        ),
        ("retry: {oom: 1}", ["5:9 retry.oom: must be a mapping (`key: value` lines), not 1"]),
        ("retry: {oom: {maxx: 1}}", ["5:15 retry.oom.maxx: unknown key; did you mean `max`?"]),
        ("retry: {oom: {max: -1}}", ["5:15 retry.oom.max: must be at least 0, not -1"]),
        (
            "retry:\n  node:\n    wait: soon",
            [
                "7:5 retry.node.wait: must be a duration such as 90s, 2h, 1h30m or 500ms (or seconds as a number), not 'soon'"
            ],
        ),
        (
            "retry: {oom: {env: [A]}}",
            [
                "5:15 retry.oom.env: must be a mapping (`NAME: value` lines), not a list; write `NAME: value` lines without dashes"
            ],
        ),
        ("retry: {oom: {env: {A: [1]}}}", ["5:21 retry.oom.env.A: must be text or a number, not a list"]),
        (
            "retry: {oom: {env: {SWEEP_RUN: 1}}}",
            [
                "5:21 retry.oom.env.SWEEP_RUN: variables that begin with SWEEP_ are set by sweep itself; choose another name"
            ],
        ),
        (
            "retry: {memory: {max: 1}}",
            ["5:9 retry.memory: unknown key; the keys here are max, on, exit, oom, time and node"],
        ),
        ("patience: 0", ["5:1 patience: must be at least 1, not 0"]),
        ("patience: [3]", ["5:1 patience: must be a whole number, not a list"]),
        ("limits: {gpu_hours: 0}", ["5:10 limits.gpu_hours: must be above 0, not 0"]),
        ("limits: {gpu_hours: 2h}", ["5:10 limits.gpu_hours: must be a number, not '2h'"]),
    ],
)
def test_mistakes_are_named_with_their_place(text: str, said: list[str]) -> None:
    assert mistakes(text) == said


def test_a_secret_in_the_variables_of_a_class_is_refused() -> None:
    (said,) = mistakes("retry: {oom: {env: {HF_TOKEN: abcdefgh1234}}}")
    assert said.startswith("5:21 retry.oom.env.HF_TOKEN: a secret must not stand in the file")
    assert "abcdefgh" not in said
    assert read("retry: {oom: {env: {HF_TOKEN: '${envvar:HF_TOKEN}'}}}").retry.rules["oom"].env


def test_patience_needs_a_metric() -> None:
    base = BASE.replace("metric: {name: loss}\n", "")
    assert mistakes("patience: 3", base) == [
        "4:1 patience: needs a metric to compare trials by; add `metric: {name: …, goal: minimize}`"
    ]


def test_elsewhere_on_is_still_a_truth_value() -> None:
    (said,) = mistakes("limits: {on: 1}")
    assert "YAML reads the key `on` as true" in said


def test_a_spec_from_python_has_the_key_as_it_is() -> None:
    content = {
        "method": "random",
        "program": "t.py",
        "parameters": {"a": {"values": [1]}},
        "retry": {"max": 1, "on": ["time"], "time": {"wait": "2s"}},
    }
    spec = parse_dict(content, draw_seed=lambda: 1).spec
    assert spec.retry == Retry(max=1, on=("time",), rules={"time": RetryRule(wait_s=2.0)})


def test_the_schema_has_them() -> None:
    schema = json_schema()
    rules = schema["$defs"]["RetryModel"]["properties"]
    assert list(rules) == ["max", "on", "exit", "oom", "time", "node"]
    assert schema["properties"]["patience"]["anyOf"][0]["minimum"] == 1
    assert "gpu_hours" in schema["$defs"]["LimitsModel"]["properties"]
