"""Invalid files: each with exactly what its author reads."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.spec import SpecError, parse, parse_dict

HEAD = "method: random\nprogram: t.py\n"


def errors(text: str | bytes) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, draw_seed=lambda: 1)
    assert all(problem.severity == "error" for problem in caught.value.problems)
    return str(caught.value).split("\n")


PARAMETER: list[tuple[str, str]] = [
    ("{min: 0.1, max: 0.001}", "4:7 parameters.p: min (0.1) must be below max (0.001)"),
    (
        "{max: 1, min: 1}",
        "4:15 parameters.p: min (1) must be below max (1); for the single value write `value: 1`",
    ),
    ("{min: 1}", "4:3 parameters.p.max: is missing; write, for example, `max: 10`"),
    ("{max: 1.5}", "4:3 parameters.p.min: is missing; write, for example, `min: 0.0`"),
    ("{min: a, max: 2}", "4:7 parameters.p.min: must be a number, not 'a'"),
    ("{min: true, max: 2}", "4:7 parameters.p.min: must be a whole number, not true"),
    ("{min: 1, max: null}", "4:15 parameters.p.max: must be a number, not nothing"),
    ("{min: [1], max: 2}", "4:7 parameters.p.min: must be a number, not a list"),
    ("{min: 0.0, max: .inf}", "4:17 parameters.p.max: must be a finite number, not .inf"),
    ("{min: .nan, max: 1}", "4:7 parameters.p.min: must be a finite number, not .nan"),
    (
        "{min: 1, max: 100000000000000000}",
        "4:15 parameters.p.max: must lie between -2**53 and 2**53, where every whole number is exact; "
        "it is 100000000000000000",
    ),
    (
        "{min: -1.5e+308, max: 1.5e+308}",
        "4:3 parameters.p: the range from min to max is too wide for floating-point numbers",
    ),
    (
        "{min: 0.0, max: 1.0, type: double}",
        "4:27 parameters.p.type: unknown key; write the bounds with a decimal point (`min: 0.0`) and remove `type`",
    ),
    (
        "{values: [1], type: categorical}",
        "4:20 parameters.p.type: unknown key; write `values: […]` and remove `type`",
    ),
    (
        "{values: [1], type: x}",
        "4:20 parameters.p.type: unknown key; the kind of a parameter is its `distribution`; remove `type`",
    ),
    (
        "{min: 0.0, max: 1.0, q: 0.1}",
        "4:27 parameters.p.q: `uniform` has no step; write `distribution: q_uniform`",
    ),
    (
        "{min: 0, max: 9, q: 3}",
        "4:23 parameters.p.q: `int_uniform` has no step; write `distribution: q_uniform`",
    ),
    (
        "{min: 0, max: 9, scale: log}",
        "4:23 parameters.p.scale: unknown key; write `distribution: log_uniform_values` for a log scale",
    ),
    ("{value: 1, valeu: 2}", "4:17 parameters.p.valeu: unknown key; did you mean `value`?"),
    ("{value: 1, where: 2}", "4:17 parameters.p.where: unknown key; write `when`"),
    (
        "{value: 1, values: [2]}",
        "4:17 parameters.p.values: `constant` does not have this key; it has `value`",
    ),
    ("{low: 1}", "4:7 parameters.p.low: unknown key; write `min`"),
    (
        "{distribution: loguniform, min: 1, max: 2}",
        "4:7 parameters.p.distribution: there is no distribution 'loguniform'; did you mean `log_uniform_values`?",
    ),
    (
        "{distribution: unifrom, min: 1, max: 2}",
        "4:7 parameters.p.distribution: there is no distribution 'unifrom'; did you mean `uniform`?",
    ),
    (
        "{distribution: zzz, min: 1, max: 2}",
        "4:7 parameters.p.distribution: there is no distribution 'zzz'; the distributions are constant, categorical, "
        "categorical_w_probabilities, int_uniform, uniform, q_uniform, log_uniform_values, q_log_uniform_values, "
        "inv_log_uniform_values, log_uniform, q_log_uniform, inv_log_uniform, normal, q_normal, log_normal, "
        "q_log_normal, beta and q_beta",
    ),
    (
        "{distribution: normal, min: 1}",
        "4:29 parameters.p.min: `normal` has no bounds; remove it, or use a distribution with `min` and `max`, "
        "such as uniform",
    ),
    (
        "{mu: 0, sigma: 1}",
        "4:3 parameters.p: `mu` and `sigma` need `distribution: normal` (or log_normal, q_normal, q_log_normal)",
    ),
    ("{a: 2, b: 1}", "4:3 parameters.p: `a` and `b` need `distribution: beta` (or q_beta)"),
    ("{distribution: normal, sigma: 0}", "4:29 parameters.p.sigma: must be above 0, not 0"),
    ("{distribution: beta, a: -1}", "4:27 parameters.p.a: must be above 0, not -1"),
    (
        "{distribution: log_normal, mu: 800}",
        "4:3 parameters.p: exp(mu + sigma) is too large for a floating-point number: `mu` and `sigma` are of the logarithm",
    ),
    (
        "{distribution: q_beta, q: 2}",
        "4:29 parameters.p.q: q (2) must be at most 1: the values lie between 0 and 1",
    ),
    ("{distribution: q_uniform, min: 0, max: 9, q: 0}", "4:48 parameters.p.q: must be above 0, not 0"),
    (
        "{distribution: q_uniform, min: 1.2, max: 1.8, q: 1}",
        "4:52 parameters.p.q: no multiple of q (1) lies between 1.2 and 1.8; make q smaller",
    ),
    (
        "{distribution: log_uniform_values, min: 0, max: 1}",
        "4:41 parameters.p.min: min (0) must be above 0 for a logarithmic scale",
    ),
    (
        "{distribution: log_uniform, min: 1, max: 1000}",
        "4:3 parameters.p: the bounds of `log_uniform` are exponents of e, and exp(1) to exp(1000) is no usable "
        "range; if they are values, write `distribution: log_uniform_values`",
    ),
    (
        "{distribution: inv_log_uniform, min: 1, max: 1000}",
        "4:3 parameters.p: the bounds of `inv_log_uniform` are exponents of e, and exp(-1000) to exp(-1) is no usable "
        "range; if they are values, write `distribution: inv_log_uniform_values`",
    ),
    ("{values: 5}", "4:7 parameters.p.values: must be a list, not 5; write `values: [5]`"),
    ("{values: adam}", "4:7 parameters.p.values: must be a list, not 'adam'; write `values: [adam]`"),
    ("{values: '16, 32'}", "4:7 parameters.p.values: must be a list, not '16, 32'; write `values: [16, 32]`"),
    ("{values: {a: 1}}", "4:7 parameters.p.values: must be a list, not a mapping"),
    ("{values: []}", "4:7 parameters.p.values: is empty; a parameter needs at least one value"),
    (
        "{values: [1, 2], probabilities: [1.0]}",
        "4:23 parameters.p.probabilities: there must be one probability for each value: 1 given for 2 values",
    ),
    (
        "{values: [1, 2], probabilities: [0.5, 0.4]}",
        "4:23 parameters.p.probabilities: the probabilities add up to 0.9, and must add up to 1",
    ),
    (
        "{values: [1, 2], probabilities: [1.5, 0.0]}",
        "4:39 parameters.p.probabilities[0]: must be at most 1, not 1.5",
    ),
    (
        "{probabilities: [1.0]}",
        "4:3 parameters.p.values: is missing; write, for example, `values: [adam, sgd]`",
    ),
    (
        "{distribution: categorical, values: [1], probabilities: [1]}",
        "4:47 parameters.p.probabilities: write `distribution: categorical_w_probabilities`, or leave the distribution out",
    ),
    ("{}", "4:3 parameters.p: is empty; write `value: …`, `values: […]`, or `min: …` and `max: …` below it"),
    ("", "4:3 parameters.p: is empty; write `value: …`, `values: […]`, or `min: …` and `max: …` below it"),
    ("0.1", "4:3 parameters.p: must be a mapping, not 0.1; for a fixed value write `p: {value: 0.1}`"),
    ("adam", "4:3 parameters.p: must be a mapping, not 'adam'; for a fixed value write `p: {value: 'adam'}`"),
    ("[1, 2]", "4:3 parameters.p: must be a mapping, not a list; write `p: {values: […]}`"),
    (
        "{lr: {min: 0, max: 1}}",
        "4:3 parameters.p: nested parameters stand below `parameters:`; write `p: {parameters: {…}}`",
    ),
    (
        "{parameters: {}}",
        "4:7 parameters.p.parameters: must be a mapping from names to distributions, not an empty one",
    ),
    (
        "{parameters: {lr: {value: 1}}, min: 1}",
        "4:37 parameters.p.min: a group has only `parameters` and `when`; move this below `parameters`, or remove it",
    ),
    (
        "{parameters: {o: {parameters: {lr: {min: 2, max: 1}}}}}",
        "4:42 parameters.p.parameters.o.parameters.lr: min (2) must be below max (1)",
    ),
]


@pytest.mark.parametrize(("body", "expected"), PARAMETER)
def test_a_wrong_parameter(body: str, expected: str) -> None:
    assert errors(f"{HEAD}parameters:\n  p: {body}\n") == [f"sweep.yaml:{expected}"]


SAMPLED = "a grid needs countable values, and"
GRID: list[tuple[str, str]] = [
    (
        "{min: 0.0, max: 0.5}",
        f"4:3 parameters.p: {SAMPLED} `uniform` is continuous; write, for example, "
        "`distribution: q_uniform, min: 0.0, max: 0.5, q: 0.05`",
    ),
    (
        "{distribution: log_uniform_values, min: 0.0001, max: 0.1}",
        f"4:3 parameters.p: {SAMPLED} `log_uniform_values` is continuous; write, for example, "
        "`distribution: q_log_uniform_values, min: 0.0001, max: 0.1, q: 0.01` or `values: [0.0001, 0.001, 0.01, 0.1]`",
    ),
    (
        "{distribution: beta, a: 2}",
        f"4:3 parameters.p: {SAMPLED} `beta` is continuous; write, for example, "
        "`distribution: q_beta, a: 2, b: 1.0, q: 0.1`",
    ),
    (
        "{distribution: q_normal, q: 1}",
        f"4:3 parameters.p: {SAMPLED} `q_normal` is unbounded; write, for example, "
        "`distribution: q_uniform, min: -2.0, max: 2.0, q: 1.0` or `values: [-1.0, 0.0, 1.0]`",
    ),
    (
        "{values: [1, 2], probabilities: [0.5, 0.5]}",
        "4:23 parameters.p.probabilities: a grid visits every value once, so probabilities have no meaning in it; "
        "remove them, or use `method: random`",
    ),
]


@pytest.mark.parametrize(("body", "expected"), GRID)
def test_what_a_grid_cannot_enumerate(body: str, expected: str) -> None:
    assert errors(f"method: grid\nprogram: t.py\nparameters:\n  p: {body}\n") == [f"sweep.yaml:{expected}"]


@pytest.mark.parametrize(
    "distribution",
    [
        "distribution: q_uniform, min: 0.0, max: 0.5, q: 0.05",
        "distribution: q_log_uniform_values, min: 0.0001, max: 0.1, q: 0.01",
        "values: [0.0001, 0.001, 0.01, 0.1]",
        "distribution: q_beta, a: 2, b: 1.0, q: 0.1",
        "distribution: q_uniform, min: -2.0, max: 2.0, q: 1.0",
    ],
)
def test_what_those_messages_propose_is_accepted(distribution: str) -> None:
    from sweep.core.domain import grid_size

    parsed = parse(
        f"method: grid\nprogram: t.py\nparameters: {{p: {{{distribution}}}}}\n", draw_seed=lambda: 1
    )
    assert 3 <= (grid_size(parsed.spec.space) or 0) <= 12


TOP: list[tuple[str, list[str]]] = [
    ("runcap: 3", ["4:1 runcap: unknown key; did you mean `run_cap`?"]),
    ("max_trials: 3", ["4:1 max_trials: unknown key; write `run_cap`"]),
    ("gpus: 1", ["4:1 gpus: unknown key; write `resources: {gpus: …}`"]),
    ("early_stopping: {}", ["4:1 early_stopping: unknown key; write `early_terminate`"]),
    ("zzzzzz: []", [f"4:1 zzzzzz: unknown key; {'the keys here are '}"]),
    ("run_cap: 0", ["4:1 run_cap: must be at least 1, not 0"]),
    ("run_cap: many", ["4:1 run_cap: must be a whole number, not 'many'"]),
    ("run_cap: 1.5", ["4:1 run_cap: must be a whole number, not 1.5"]),
    ("replicates: 0", ["4:1 replicates: must be at least 1, not 0"]),
    ("seed: -1", ["4:1 seed: must be at least 0, not -1"]),
    ("seed: 9223372036854775808", ["4:1 seed: must be at most 9223372036854775807, not 9223372036854775808"]),
    ("name: 3", ["4:1 name: must be text, not 3; write it in quotes: '3'"]),
    ("name: ''", ["4:1 name: must not be empty"]),
    ("description: [a]", ["4:1 description: must be text, not a list"]),
    (
        "metric: loss",
        ["4:1 metric: must be a mapping (`key: value` lines), not 'loss'; write `metric: {name: loss}`"],
    ),
    ('metric: "a\\nb"', ["4:1 metric: must be a mapping (`key: value` lines), not 'a?b'"]),
    (
        "metric: hf_" + "a" * 34,
        ["4:1 metric: must be a mapping (`key: value` lines), not a text that looks like a secret"],
    ),
    ("metric: {goal: minimize}", ["4:1 metric.name: is missing; write, for example, `name: val/loss`"]),
    (
        "metric: {name: l, goal: maximise}",
        ["4:19 metric.goal: must be minimize or maximize, not 'maximise'; did you mean `maximize`?"],
    ),
    ("metric: {name: l, gaol: minimize}", ["4:19 metric.gaol: unknown key; did you mean `goal`?"]),
    ("metric: {name: l, target: x}", ["4:19 metric.target: must be a number, not 'x'"]),
    (
        "metric: {name: l, impute_while_running: 3}",
        ["4:19 metric.impute_while_running: must be true, false, worst, best or latest, not 3"],
    ),
    (
        "resources: {gpus: 1.5}",
        ["4:13 resources.gpus: must be a share of one GPU below 1 (0.5), or a whole number, not 1.5"],
    ),
    (
        "resources: {gpus: 1, nodes: 2}",
        [
            "4:22 resources.nodes: a run works on one node, with as many of its CPUs and GPUs as you like; runs over several "
            "nodes are not supported: remove this key"
        ],
    ),
    (
        "num_nodes: 2",
        [
            "4:1 num_nodes: a run works on one node, with as many of its CPUs and GPUs as you like; runs over several nodes "
            "are not supported: remove this key"
        ],
    ),
    ("resources: {gpus: -1}", ["4:13 resources.gpus: must be at least 0, not -1"]),
    ("resources: {cpus: 0}", ["4:13 resources.cpus: must be above 0, not 0"]),
    (
        "resources: 2",
        ["4:1 resources: must be a mapping (`key: value` lines), not 2; write `resources: {cpus: 2}`"],
    ),
    ("limits: {run_time: 0}", ["4:10 limits.run_time: must be longer than 0 s; leave it out for no limit"]),
    (
        "limits: {run_time: 2 hours}",
        [
            "4:10 limits.run_time: must be a duration such as 90s, 2h, 1h30m or 500ms (or seconds as a number), "
            "not '2 hours'"
        ],
    ),
    (
        "limits: {kill_after: 30m1h}",
        [
            "4:10 limits.kill_after: must be a duration such as 90s, 2h, 1h30m or 500ms (or seconds as a number), "
            "not '30m1h'"
        ],
    ),
    ("limits: {kill_after: -1}", ["4:10 limits.kill_after: must not be negative, but is -1"]),
    ("retry: 3", ["4:1 retry: must be a mapping (`key: value` lines), not 3; write `retry: {max: 3}`"]),
    ("retry: {max: -1}", ["4:9 retry.max: must be at least 0, not -1"]),
    (
        "engine: optuna-tpe",
        ["4:1 engine: only `method: bayes` has engines, and the method is random; remove it"],
    ),
    (
        "engine: optuna",
        [
            "4:1 engine: must be auto, blend, optuna-tpe, optuna-gp, optuna-cmaes, skopt-et, skopt-rf, skopt-gp or sobol, "
            "not 'optuna'; did you mean `optuna-gp`?"
        ],
    ),
    (
        "early_terminate: {min_iter: 3}",
        ["4:1 early_terminate.type: is missing; write, for example, `type: hyperband`"],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: hyperband}",
        ["5:1 early_terminate: needs `min_iter`, or `max_iter` and `s`; write, for example, `min_iter: 3`"],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: hyperband, max_iter: 27}",
        [
            "5:1 early_terminate: `max_iter` needs `s`, the number of iterations at which runs may end; "
            "write, for example, `s: 2`"
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: hyperband, min_iter: 5, max_iter: 3}",
        ["5:1 early_terminate: min_iter (5) must not be above max_iter (3)"],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: hyperband, min_iter: 3, eta: 1, strict: 'no'}",
        [
            "5:49 early_terminate.eta: must be above 1, not 1",
            "5:57 early_terminate.strict: must be true or false, not 'no'",
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: plateau, patience: 5, patience_share: 0.5}",
        ["5:47 early_terminate.patience_share: is what holds without `patience`; remove one of them"],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: plateau, patience_share: 1}",
        ["5:34 early_terminate.patience_share: must be below 1, not 1"],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: median, eta: 2}",
        [
            "5:33 early_terminate.eta: is a key of `hyperband` and `asha`, and the type is median; its keys are "
            "`min_iter`, `max_iter`, `min_runs`, `trend` and `step`"
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: medain, step: epochs}",
        [
            "5:19 early_terminate.type: must be hyperband, asha, median, percentile, plateau, threshold or none, not 'medain'; "
            "did you mean `median`?",
            "5:33 early_terminate.step: must be count, logged, time or metric:NAME, not 'epochs'; where it is a metric, write `metric:epochs`",
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: asha, step: {metric: epoch}, min_iter: 9, max_iter: 9}",
        [
            "5:31 early_terminate.step: must be one text; write it without a space: `step: metric:epoch`",
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: asha, step: 'metric:', minruns: 3}",
        [
            "5:31 early_terminate.step: names no metric; write, for example, `step: metric:epoch`",
            "5:48 early_terminate.minruns: unknown key; did you mean `min_runs`?",
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: asha, min_iter: 9, max_iter: 9}",
        ["5:1 early_terminate: min_iter (9) must be below max_iter (9), the end of a run"],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: percentile, step: time}",
        [
            "5:1 early_terminate: with `step: time` iterations are seconds; say from when on runs may be ended: `min_iter: 60`"
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: percentile, percentile: 100}",
        ["5:37 early_terminate.percentile: must be below 100, not 100"],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: threshold}",
        [
            "5:1 early_terminate: needs `threshold`, the value that a run must reach; write, for example, `threshold: 0.7`"
        ],
    ),
    (
        "early_terminate: {type: hyperband, min_iter: 3}",
        ["4:1 early_terminate: needs a metric to compare runs by; add `metric: {name: …, goal: minimize}`"],
    ),
    (
        "command: python train.py --x 'a b'",
        [
            "4:1 command: must be a list, one item per argument, not 'python train.py --x 'a b''; "
            "write `command: [python, train.py, --x, 'a b']`"
        ],
    ),
    ("command: {a: 1}", ["4:1 command: must be a list, one item per argument, not a mapping"]),
    (
        "command: []",
        [
            "4:1 command: is empty; leave it out for the default, [${env}, ${interpreter}, ${program}, ${args}]"
        ],
    ),
    (
        "command: [python, --x: 3, null]",
        [
            "4:19 command[1]: must be text, not a mapping; a text with `: ` in it needs quotes",
            "4:27 command[2]: must be text, not nothing",
        ],
    ),
    (
        "env: [A=1]",
        [
            "4:1 env: must be a mapping (`NAME: value` lines), not a list; write `NAME: value` lines without dashes"
        ],
    ),
    ("env: {A: }", ["4:7 env.A: must be text or a number, not nothing; write '' for an empty value"]),
    ("env: {A: [1]}", ["4:7 env.A: must be text or a number, not a list"]),
    ("env: {'A B': x}", ["4:7 env.A B: this cannot be the name of an environment variable"]),
    (
        "env: {SWEEP_ID: x}",
        ["4:7 env.SWEEP_ID: variables that begin with SWEEP_ are set by sweep itself; choose another name"],
    ),
    ("workdir: 3", ["4:1 workdir: must be text, not 3; write it in quotes: '3'"]),
    ("program: x.py", ["4:1 program: given twice (first in line 2)"]),
]


@pytest.mark.parametrize(("line", "expected"), TOP)
def test_a_wrong_key_at_the_top(line: str, expected: list[str]) -> None:
    found = errors(f"{HEAD}parameters: {{p: {{value: 1}}}}\n{line}\n")
    assert len(found) == len(expected)
    for one, start in zip(found, expected, strict=True):
        start = f"sweep.yaml:{start}"
        assert one == start or (start.endswith(" are ") and one.startswith(start))


SECRET_VALUES = [
    ("HF_TOKEN", "abcdefgh"),
    ("DB_PASSWORD", "hunter2"),
    ("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567"),
    ("AWS_SECRET_ACCESS_KEY", "x/y+z12345"),
    ("ADMIN_CREDENTIAL", "abc"),
    ("MY_PRIVATE_KEY", "abc"),
    ("URL", "https://joe:s3cret@example.org/x"),
    ("X", "ghp_" + "a" * 36),
    ("HARMLESS", "prefix hf_" + "A" * 34),
]


@pytest.mark.parametrize(("name", "value"), SECRET_VALUES)
def test_a_literal_secret_is_an_error_that_does_not_repeat_it(name: str, value: str) -> None:
    (found,) = errors(f"{HEAD}parameters: {{p: {{value: 1}}}}\nenv: {{{name}: '{value}'}}\n")
    assert found == (
        f"sweep.yaml:4:7 env.{name}: a secret must not stand in the file, which is recorded; write "
        f"`{name}: ${{envvar:{name}}}`, and it is read from the environment of the node that runs it"
    )
    assert value not in found


@pytest.mark.parametrize(
    "line",
    [
        "HF_TOKEN: ${envvar:HF_TOKEN}",
        "AUTH_TOKEN: Bearer ${envvar:T}",
        "TOKENIZERS_PARALLELISM: false",
        "USE_TOKEN: 1",
        "HF_TOKEN_PATH: /home/x/token",
        "GOOGLE_APPLICATION_CREDENTIALS: /home/x/key.json",
        "MAX_TOKENS: 512",
        "GIT_COMMIT: 0123456789abcdef0123456789abcdef01234567",
        "HF_TOKEN: ''",
    ],
)
def test_what_only_resembles_a_secret_is_accepted(line: str) -> None:
    name, _, value = line.partition(": ")
    parsed = parse(f"{HEAD}parameters: {{p: {{value: 1}}}}\nenv:\n  {line}\n", draw_seed=lambda: 1)
    assert parsed.spec.env == {name: value.strip("'")}


FILES: list[tuple[str, list[str]]] = [
    ("", ["sweep.yaml:1:1: the file is empty; a sweep needs at least `method` and `parameters`"]),
    ("# only a comment", ["sweep.yaml:1:1: the file is empty; a sweep needs at least `method` and `parameters`"]),
    ("- a", ["sweep.yaml:1:1: a sweep file is a mapping (`method: …`, `parameters: …`), not a list"]),
    ("null", ["sweep.yaml:1:1: a sweep file is a mapping (`method: …`, `parameters: …`), not nothing"]),
    (
        "{}",
        [
            "sweep.yaml:1:1 method: is missing; write, for example, `method: bayes`",
            "sweep.yaml:1:1 parameters: is missing",
            "sweep.yaml:1:1: neither `program` nor `command` is given; add, for example, `program: train.py`",
        ],
    ),
    (
        "method: bayesian\nprogram: t.py\nparameters: {p: {value: 1}}",
        ["sweep.yaml:1:1 method: must be grid, random or bayes, not 'bayesian'; did you mean `bayes`?"],
    ),
    (
        "method: bayes\nprogram: t.py\nparameters: {p: {value: 1}}",
        ["sweep.yaml:1:1 method: bayes needs a metric; add `metric: {name: …, goal: minimize}`"],
    ),
    ("methd: grid\nprogramm: t.py\nparameters: {p: {value: 1}}", [
        "sweep.yaml:1:1 methd: unknown key; did you mean `method`?",
        "sweep.yaml:2:1 programm: unknown key; did you mean `program`?",
    ]),
    (
        "method: grid\nprogram: t.py\nparameters: [a]",
        ["sweep.yaml:3:1 parameters: must be a mapping from names to distributions, not a list"],
    ),
    (
        "method: grid\nprogram: t.py\nparameters:",
        ["sweep.yaml:3:1 parameters: must be a mapping from names to distributions, not nothing"],
    ),
    (
        "method: grid\nprogram: t.py\nparameters: {}",
        ["sweep.yaml:3:1 parameters: is empty; a sweep needs at least one parameter"],
    ),
    (
        "method: grid\nparameters: {p: {value: 1}}\ncommand: [x, '${program}']",
        ["sweep.yaml:3:14 command[1]: `${program}` is used, but the spec names no program; add `program: train.py`"],
    ),
    (
        "method: grid\nprogram: t.py\nparameters:\n  a.b: {value: 1}\n  a: {parameters: {b: {value: 2}}}\n",
        ["sweep.yaml:5:20 parameters.a.parameters.b: another parameter is called `a.b`, too (line 4); every name must be used once"],
    ),
    (
        "method: grid\nprogram: t.py\nparameters: {'a b': {value: 1}, 'a=b': {value: 1}, '': {value: 1}}",
        [
            "sweep.yaml:3:14 parameters.a b: a parameter's name cannot hold spaces, control characters or `=`: "
            "it becomes a part of the command line",
            "sweep.yaml:3:33 parameters.a=b: a parameter's name cannot hold spaces, control characters or `=`: "
            "it becomes a part of the command line",
            "sweep.yaml:3:52 parameters.: a parameter needs a name",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILES)
def test_a_wrong_file(text: str, expected: list[str]) -> None:
    assert errors(text) == expected


def test_everything_is_reported_at_once_in_the_order_of_the_file() -> None:
    text = """\
method: grid
program: t.py
run_cap: 0
parameters:
  a: {min: 0.0, max: 1.0}
  b:
    parameters:
      c: {min: 2, max: 1}
      d: {valuse: [1]}
env: {TOKEN: abcdefgh}
retry: 1
"""
    assert [line.split(":")[1] for line in errors(text)] == ["3", "5", "8", "9", "10", "11"]


def test_a_long_list_of_problems_is_cut_in_the_text_but_not_in_the_data() -> None:
    text = HEAD + "parameters:\n" + "".join(f"  p{i}: {i}\n" for i in range(80))
    with pytest.raises(SpecError) as caught:
        parse(text, "my.yaml", draw_seed=lambda: 1)
    assert len(caught.value.problems) == 80
    assert str(caught.value).splitlines()[-1] == "… and 30 more"


def test_a_problem_knows_its_parts() -> None:
    with pytest.raises(SpecError) as caught:
        parse(HEAD + "parameters: {lr: {min: 1, max: 0}}", "my.yaml", draw_seed=lambda: 1)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line, problem.column) == ("my.yaml", 3, 19)
    assert (problem.key, problem.message) == ("parameters.lr", "min (1) must be below max (0)")


DICTS: list[tuple[Any, list[str]]] = [
    ({}, ["spec method: is missing; write, for example, `method: bayes`"]),
    (
        {"parameters": {"p": 3}},
        ["spec parameters.p: must be a mapping, not 3; for a fixed value write `p: {value: 3}`"],
    ),
    ({1: 2}, ["spec: a key must be a str, not int"]),
    ({"a": {1, 2}}, ["spec a: must be plain Python data (None, bool, int, float, str, list, dict), not set"]),
    ({"a": 1j}, ["spec a: must be plain Python data (None, bool, int, float, str, list, dict), not complex"]),
    (
        {"a": 2**64},
        [
            "spec a: this whole number needs more than 64 bits; write it with a decimal point (1.0e+20), or in quotes as text"
        ],
    ),
    ({"a": "x\0"}, ["spec a: a text cannot hold a NUL character: no command line can carry it"]),
    ({"a": "\ud800"}, ["spec a: a text cannot hold half of a surrogate pair: it has no UTF-8 form"]),
    ([], ["spec: a sweep file is a mapping (`method: …`, `parameters: …`), not a list"]),
]


@pytest.mark.parametrize(("content", "expected"), DICTS)
def test_a_wrong_dict(content: Any, expected: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_dict(content, draw_seed=lambda: 1)
    assert set(expected) <= set(str(caught.value).split("\n"))
    assert all(problem.line is None for problem in caught.value.problems)


def test_a_dict_that_contains_itself() -> None:
    loop: dict[str, Any] = {}
    loop["a"] = loop
    with pytest.raises(SpecError, match=r"nested more than 100 deep \(or contains itself\)"):
        parse_dict(loop, draw_seed=lambda: 1)


def test_a_list_as_the_only_value_is_pointed_at() -> None:
    """`value` where `values` is meant would make a sweep in which nothing varies."""
    found = parse(
        HEAD + "parameters:\n  p: {value: [16, 32]}\n  q: {min: 0.0, max: 1.0}\n", draw_seed=lambda: 1
    ).warnings
    [said] = [problem.message for problem in found]
    assert said == "every run gets the whole list; to try its items one by one write `values`"
