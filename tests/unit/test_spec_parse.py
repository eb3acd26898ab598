"""Valid files: what they become."""

from __future__ import annotations

import math
from typing import Any

import pytest

from sweep.core.space import Beta, Categorical, Constant, Distribution, Normal, Numeric, Parameter
from sweep.core.spec import DEFAULT_COMMAND, EarlyTerminate, Limits, Metric, Resources, Retry, SweepSpec
from sweep.spec import Parsed, SpecError, parse, parse_dict


def no_seed() -> int:
    raise AssertionError("a seed was drawn, though the file gives one")


def read(text: str) -> Parsed:
    return parse(text, draw_seed=lambda: 7)


def one(body: str, method: str = "random") -> Parameter:
    parsed = read(f"method: {method}\nprogram: t.py\nmetric: {{name: loss}}\nparameters:\n  p: {body}\n")
    (parameter,) = parsed.spec.space.parameters
    return parameter


DISTRIBUTIONS: list[tuple[str, str, Distribution]] = [
    ("{value: 3}", "constant", Constant(3)),
    ("{value: null}", "constant", Constant(None)),
    ("{value: {a: [1, 2]}}", "constant", Constant({"a": [1, 2]})),
    ("{distribution: constant, value: x}", "constant", Constant("x")),
    ("{values: [1, null, [1, 2], {a: 1}]}", "categorical", Categorical((1, None, [1, 2], {"a": 1}))),
    ("{values: [1, true, 1.5, '1']}", "categorical", Categorical((1, True, 1.5, "1"))),
    (
        "{values: [a, b], probabilities: [0.25, 0.75]}",
        "categorical_w_probabilities",
        Categorical(("a", "b"), (0.25, 0.75)),
    ),
    (
        "{values: [3, x, 3.0], probabilities: [0.25, 0.5, 0.25]}",
        "categorical_w_probabilities",
        Categorical((3, "x"), (0.5, 0.5)),
    ),
    ("{min: 1, max: 10}", "int_uniform", Numeric(1.0, 10.0, integer=True)),
    ("{min: '1', max: 10}", "int_uniform", Numeric(1.0, 10.0, integer=True)),
    ("{distribution: int_uniform, min: 1.0, max: 1e1}", "int_uniform", Numeric(1.0, 10.0, integer=True)),
    ("{min: 1, max: 10.0}", "uniform", Numeric(1.0, 10.0)),
    ("{min: 0.0, max: 1}", "uniform", Numeric(0.0, 1.0)),
    ("{min: 1e-4, max: 1}", "uniform", Numeric(1e-4, 1.0)),
    ("{distribution: uniform, min: 1, max: 10}", "uniform", Numeric(1.0, 10.0)),
    ("{distribution: uniform, min: 1E-4, max: 1E+4}", "uniform", Numeric(1e-4, 1e4)),
    ("{distribution: q_uniform, min: 0, max: 10}", "q_uniform", Numeric(0.0, 10.0, q=1.0)),
    (
        "{distribution: q_uniform, min: 0, max: 10, q: 2}",
        "q_uniform",
        Numeric(0.0, 10.0, q=2.0, integer=True),
    ),
    ("{distribution: q_uniform, min: 0, max: 10, q: 2.0}", "q_uniform", Numeric(0.0, 10.0, q=2.0)),
    ("{distribution: q_uniform, min: 0, max: 1, q: 5e-2}", "q_uniform", Numeric(0.0, 1.0, q=0.05)),
    ("{distribution: log_uniform, min: -5, max: 0}", "log_uniform", Numeric(math.exp(-5), 1.0, "log")),
    (
        "{distribution: inv_log_uniform, min: 1, max: 5}",
        "inv_log_uniform",
        Numeric(math.exp(-5), math.exp(-1), "log"),
    ),
    (
        "{distribution: q_log_uniform, min: 0, max: 5, q: 2}",
        "q_log_uniform",
        Numeric(1.0, math.exp(5), "log", q=2.0, integer=True),
    ),
    (
        "{distribution: log_uniform_values, min: 1e-4, max: 1e-1}",
        "log_uniform_values",
        Numeric(1e-4, 0.1, "log"),
    ),
    (
        "{distribution: inv_log_uniform_values, min: 1.0e-4, max: 0.1}",
        "inv_log_uniform_values",
        Numeric(1e-4, 0.1, "log"),
    ),
    (
        "{distribution: q_log_uniform_values, min: 8, max: 512, q: 8}",
        "q_log_uniform_values",
        Numeric(8.0, 512.0, "log", q=8.0, integer=True),
    ),
    ("{distribution: normal}", "normal", Normal()),
    ("{distribution: normal, mu: 1e-1, sigma: 2}", "normal", Normal(0.1, 2.0)),
    ("{distribution: q_normal, sigma: 9, q: 3}", "q_normal", Normal(0.0, 9.0, q=3.0, integer=True)),
    ("{distribution: log_normal, mu: -3}", "log_normal", Normal(-3.0, 1.0, log=True)),
    ("{distribution: q_log_normal, q: 0.5}", "q_log_normal", Normal(0.0, 1.0, log=True, q=0.5)),
    ("{distribution: beta, a: 2, b: 5}", "beta", Beta(2.0, 5.0)),
    ("{distribution: q_beta, q: 0.1}", "q_beta", Beta(1.0, 1.0, q=0.1)),
]


@pytest.mark.parametrize(("body", "declared", "expected"), DISTRIBUTIONS)
def test_a_distribution_becomes_its_struct(body: str, declared: str, expected: Distribution) -> None:
    parameter = one(body)
    assert parameter.distribution == expected
    assert repr(parameter.distribution) == repr(expected)  # 1, 1.0 and True are equal, and yet not the same
    assert parameter.declared == declared
    assert parameter.path == ("p",)


def test_every_distribution_of_the_dialect_is_in_the_table() -> None:
    from sweep.spec._models import DISTRIBUTIONS as known

    assert {declared for _, declared, _ in DISTRIBUTIONS} == set(known)


def test_every_key_of_a_whole_file() -> None:
    parsed = parse(
        """\
method: bayes
engine: skopt-et
program: train.py
name: first
description: a look
metric: {name: val/loss, goal: maximize, target: 1e-2}
parameters:
  lr: {min: 0.1, max: 0.5}
command: [python, "${program}", --epochs, 3, --x, 1.10, "${args}"]
run_cap: 10
early_terminate: {type: hyperband, max_iter: 27, s: 2, eta: 4, strict: false}
seed: 9223372036854775807
replicates: 3
resources: {cpus: 2, gpus: 0.5}
limits: {run_time: 1h30m, no_progress: 90, wall_time: 2d, kill_after: 500ms}
retry: {max: 2}
env: {OMP_NUM_THREADS: 4, VERSION: 12.10, FLAG: true, HF_TOKEN: "${envvar:HF_TOKEN}"}
workdir: code
project: p
entity: {a: 1}
""",
        draw_seed=no_seed,
    )
    assert parsed.spec == SweepSpec(
        method="bayes",
        engine="skopt-et",
        space=parsed.spec.space,
        seed=2**63 - 1,
        program="train.py",
        name="first",
        description="a look",
        metric=Metric(name="val/loss", goal="maximize", target=0.01),
        command=("python", "${program}", "--epochs", "3", "--x", "1.10", "${args}"),
        run_cap=10,
        early_terminate=EarlyTerminate(max_iter=27, s=2, eta=4.0, strict=False),
        replicates=3,
        resources=Resources(cpus=2.0, gpus=0.5),
        limits=Limits(run_time_s=5400.0, no_progress_s=90.0, wall_time_s=172800.0, kill_after_s=0.5),
        retry=Retry(max=2),
        env={"OMP_NUM_THREADS": "4", "VERSION": "12.10", "FLAG": "true", "HF_TOKEN": "${envvar:HF_TOKEN}"},
        workdir="code",
        extra={"project": "p", "entity": {"a": 1}},
    )


def test_what_is_not_given_has_its_default() -> None:
    spec = read("method: random\nprogram: t.py\nparameters: {p: {value: 1}}\n").spec
    assert spec == SweepSpec(method="random", space=spec.space, seed=7, program="t.py")
    assert spec.command == DEFAULT_COMMAND


def test_a_key_with_nothing_behind_it_counts_as_not_given() -> None:
    spec = read(
        "method: random\nprogram: t.py\nparameters: {p: {value: 1}}\nmetric:\nrun_cap:\nlimits: {run_time: }\n"
        "command: ~\nenv:\nretry:\nentity:\nseed:\nearly_terminate:\n"
    ).spec
    assert spec == SweepSpec(method="random", space=spec.space, seed=7, program="t.py")


def test_the_seed_is_drawn_once_and_only_when_it_is_missing() -> None:
    drawn: list[int] = []

    def draw() -> int:
        drawn.append(1)
        return 2**63 - 1

    text = "method: random\nprogram: t.py\nparameters: {p: {value: 1}}\n"
    assert parse(text, draw_seed=draw).spec.seed == 2**63 - 1
    assert drawn == [1]
    assert parse(text + "seed: 0", draw_seed=no_seed).spec.seed == 0
    with pytest.raises(ValueError, match="between 0 and 2"):
        parse(text, draw_seed=lambda: 2**63)


def test_bayes_has_an_engine_and_others_have_none() -> None:
    text = "program: t.py\nmetric: {name: l}\nparameters: {p: {value: 1}}\nmethod: "
    assert read(text + "bayes").spec.engine == "auto"
    assert read(text + "random").spec.engine is None


@pytest.mark.parametrize(
    ("written", "seconds"),
    {
        "90": 90.0,
        "90s": 90.0,
        "2h": 7200.0,
        "1h30m": 5400.0,
        "1h 30m": 5400.0,
        "500ms": 0.5,
        "0.5": 0.5,
        "1.5m": 90.0,
        "1d12h": 129600.0,
        "1m500ms": 60.5,
        "'90'": 90.0,
        "1e3": 1000.0,
    }.items(),
)
def test_durations(written: str, seconds: float) -> None:
    text = "method: random\nprogram: t.py\nparameters: {p: {value: 1}}\nlimits: {run_time: " + written + "}"
    assert read(text).spec.limits.run_time_s == pytest.approx(seconds)


@pytest.mark.parametrize("gpus", ["0", "0.25", "1", "1.0", "3"])
def test_shares_of_a_gpu_and_whole_gpus(gpus: str) -> None:
    text = "method: random\nprogram: t.py\nparameters: {p: {value: 1}}\nresources: {gpus: " + gpus + "}"
    assert read(text).spec.resources.gpus == float(gpus)


@pytest.mark.parametrize("name", ["++model.lr", "^x", "+a/b", "a-b", "größe", "-x", "model@optim", "1a"])
def test_names_that_a_command_line_can_carry(name: str) -> None:
    spec = read(f"method: random\nprogram: t.py\nparameters: {{'{name}': {{value: 1}}}}\n").spec
    assert spec.space.parameters[0].path == (name,)


def test_nesting_to_any_depth_keeps_the_order_of_the_file() -> None:
    spec = read(
        """\
method: random
program: t.py
parameters:
  z: {value: 1}
  optimizer:
    parameters:
      lr: {min: 0.1, max: 0.2}
      schedule:
        parameters:
          warmup: {min: 1, max: 9}
          parameters: {value: x}
  a: {values: [1, 2]}
"""
    ).spec
    assert [parameter.path for parameter in spec.space.parameters] == [
        ("z",),
        ("optimizer", "lr"),
        ("optimizer", "schedule", "warmup"),
        ("optimizer", "schedule", "parameters"),
        ("a",),
    ]


STYLES = {
    "argparse": (
        """\
# a typical file
program: train.py
method: bayes
project: my-project
metric:
  goal: minimize
  name: val_loss
parameters:
  learning_rate: {max: 1e-1, min: 1e-5, distribution: log_uniform_values}
  batch_size: {values: [32, 64]}
  dropout: {min: 0, max: 0.5}
early_terminate: {type: hyperband, min_iter: 3}
""",
        ("${env}", "${interpreter}", "${program}", "${args}"),
    ),
    "torchrun": (
        """\
method: grid
command:
  - ${env}
  - torchrun
  - --nproc_per_node=2
  - --master_port=${envvar:PORT}
  - train.py
  - ${args_no_boolean_flags}
parameters:
  lr: {values: [0.1, 0.2]}
""",
        (
            "${env}",
            "torchrun",
            "--nproc_per_node=2",
            "--master_port=${envvar:PORT}",
            "train.py",
            "${args_no_boolean_flags}",
        ),
    ),
    "accelerate": (
        """\
method: random
program: train.py
command: ["accelerate", "launch", "--num_processes", 1, "${program}", "${args_no_equals}"]
parameters: {lr: {distribution: uniform, min: 0, max: 1}}
run_cap: 5
""",
        ("accelerate", "launch", "--num_processes", "1", "${program}", "${args_no_equals}"),
    ),
    "hydra": (
        """\
method: grid
program: main.py
command: ["${env}", python, "${program}", "${args_no_hyphens}"]
parameters:
  ++model.depth: {values: [1, 2]}
  ^optimizer: {values: [adam, sgd]}
  seed: {values: [0, 1, 2]}
""",
        ("${env}", "python", "${program}", "${args_no_hyphens}"),
    ),
    "bash": (
        """\
method: grid
command: [bash, -c, "PYTHONPATH=${PYTHONPATH}:./app python -m app $0 $@", "${args}"]
parameters: {x: {values: [a b, c]}}
""",
        ("bash", "-c", "PYTHONPATH=${PYTHONPATH}:./app python -m app $0 $@", "${args}"),
    ),
    "anchors": (
        """\
method: grid
program: t.py
parameters:
  a: &p {values: [1, 2]}
  b: *p
  c: {<<: *p, distribution: categorical}
""",
        DEFAULT_COMMAND,
    ),
    "both kinds of iterations, without s": (
        "method: random\nprogram: t.py\nmetric: {name: l}\nparameters: {x: {value: 1}}\n"
        "early_terminate: {type: hyperband, min_iter: 3, max_iter: 27, eta: 2}\n",
        DEFAULT_COMMAND,
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_styles_found_in_public_files(style: str) -> None:
    text, command = STYLES[style]
    parsed = read(text)
    assert parsed.spec.command == command
    assert parsed.source == text


WARNED: list[tuple[str, list[str]]] = [
    (
        "project: p",
        [
            "sweep.yaml:4:1 project: `project` has no effect here: it names a part of a hosted service; kept in the record"
        ],
    ),
    (
        "entity: e\nproject: p\njob: j",
        [
            "sweep.yaml:4:1 entity: `entity`, `project` and `job` have no effect here: "
            "they name a part of a hosted service; kept in the record"
        ],
    ),
    (
        "metrics: {name: l}",
        [
            "sweep.yaml:4:1 metrics: `metrics` has no effect here: it names a part of a hosted service; kept in the record",
            "sweep.yaml:4:1 metrics: what is optimised is `metric: {name: …, goal: minimize}`; did you mean `metric`?",
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: hyperband, min_iter: 3, max_iter: 27}",
        [
            "sweep.yaml:5:49 early_terminate.max_iter: has no effect without `s`: runs may end at min_iter·eta^k"
        ],
    ),
    (
        "metric: {name: l}\nearly_terminate: {type: hyperband, max_iter: 2, s: 1}",
        ["sweep.yaml:5:1 early_terminate: ends no run: max_iter/eta (2/3.0) is below the first iteration"],
    ),
    (
        "metric: {name: l, impute: best}",
        [
            "sweep.yaml:4:1 metric: `impute` has no effect here: a run without a value counts as the worst one seen"
        ],
    ),
    (
        "command: [python, x.py]",
        ["sweep.yaml:2:1 program: has no effect: `command` does not contain `${program}`"],
    ),
    (
        'command: ["${program}", "${arg}"]',
        ["sweep.yaml:4:25 command[1]: `${arg}` is no macro; did you mean `${args}`?"],
    ),
    (
        'command: ["${program}", "--cfg=${args_json_file}"]',
        [
            "sweep.yaml:4:25 command[1]: `${args_json_file}` is expanded only as an item of its own; "
            "here it reaches the program as it is"
        ],
    ),
]


@pytest.mark.parametrize(("line", "expected"), WARNED)
def test_warnings(line: str, expected: list[str]) -> None:
    parsed = read(f"method: random\nprogram: t.py\nparameters: {{p: {{value: 1}}}}\n{line}\n")
    assert [str(warning) for warning in parsed.warnings] == expected
    assert all(warning.severity == "warning" for warning in parsed.warnings)


SECRET = "looks like a secret, and configs are recorded; pass it on through the environment: `env: {NAME: ${envvar:NAME}}`"
PARAMETER_WARNINGS = [
    (
        "p: {values: [1e-4, '1e-5', 1.0e-3]}",
        [
            "parameters.p.values[0]: `1e-4` is text for YAML 1.1; the number is written `1.0e-4` (or quote it if text is meant)"
        ],
    ),
    (
        "p: {value: 3.5E6}",
        [
            "parameters.p.value: `3.5E6` is text for YAML 1.1; the number is written `3.5e+6` (or quote it if text is meant)"
        ],
    ),
    (
        "p: {values: [3, 4, 3.0]}",
        [
            "parameters.p.values[2]: equals value 1 of the list and counts once; `probabilities` can make a value likelier"
        ],
    ),
    ("api_key: {value: abcdefgh}", [f"parameters.api_key.value: {SECRET}"]),
    ("pad_token: {values: ['<pad>', eos]}", []),
    (
        "p: {distribution: log_uniform, min: 0.0001, max: 0.1}",
        [
            "parameters.p: the bounds of `log_uniform` are exponents of e: this searches from 1 to 1.105; "
            "if they are values, write `distribution: log_uniform_values`"
        ],
    ),
]


@pytest.mark.parametrize(("parameter", "expected"), PARAMETER_WARNINGS)
def test_warnings_about_parameters(parameter: str, expected: list[str]) -> None:
    parsed = read(f"method: random\nprogram: t.py\nparameters:\n  {parameter}\n")
    assert [str(warning).split(" ", 1)[1] for warning in parsed.warnings] == expected


TOKEN = "hf_" + "a1" * 17
IN_COMMAND = "looks like a secret, and commands are recorded; write `${envvar:NAME}` instead of it"
PLANTED = [
    ('command: ["${program}", "--api-key=abcdefgh"]', f"4:25 command[1]: {IN_COMMAND}"),
    ('command: ["${program}", "--api-key", "abcdefgh"]', f"4:38 command[2]: {IN_COMMAND}"),
    (f'command: ["${{program}}", "{TOKEN}"]', f"4:25 command[1]: {IN_COMMAND}"),
    ("parameters: {q: {values: [[{a: " + TOKEN + "}]]}}", f"4:29 parameters.q.values[0][0].a: {SECRET}"),
    (
        f"description: with {TOKEN}",
        "4:1 description: looks like a secret, and the file is recorded; remove it",
    ),
    (f"seed: 1  # {TOKEN}", "4:12: looks like a secret, and the whole file is recorded; remove it"),
]


@pytest.mark.parametrize(("line", "expected"), PLANTED)
def test_a_secret_anywhere_in_the_file_is_refused_and_not_repeated(line: str, expected: str) -> None:
    parameters = "" if line.startswith("parameters") else "parameters: {p: {value: 1}}"
    with pytest.raises(SpecError) as raised:
        read(f"method: random\nprogram: t.py\n{parameters}\n{line}\n")
    assert [str(problem) for problem in raised.value.problems] == [f"sweep.yaml:{expected}"]
    assert TOKEN not in str(raised.value)


def test_what_stands_for_a_secret_in_a_command_is_none() -> None:
    for item in ("${envvar:KEY}", "--other", "no"):
        read(
            f'method: random\nprogram: t.py\nparameters: {{p: {{value: 1}}}}\ncommand: ["${{program}}", "--api-key", "{item}"]\n'
        )


def test_a_dict_is_read_like_a_file() -> None:
    content: dict[str, Any] = {
        "method": "random",
        "program": "t.py",
        "parameters": {"p": {"values": (1, 2)}, "o": {"parameters": {"lr": {"min": 0.0, "max": 1.0}}}},
        "env": {"A": 1, "B": True},
        "seed": 1,
    }
    parsed = parse_dict(content, draw_seed=no_seed)
    assert parsed.spec.space.parameters[0].distribution == Categorical((1, 2))
    assert parsed.spec.env == {"A": "1", "B": "true"}
    assert parse(parsed.source, draw_seed=no_seed).spec == parsed.spec
    assert parsed.source.startswith("method: random\nprogram: t.py\n")
    assert content["parameters"]["p"] == {"values": (1, 2)}  # left as it was


@pytest.mark.parametrize(
    "text", ["a\x85b", "\u2028", "ü\u2029", "ü", " x ", "a\nb", "1e-4", "on", "\t", "x" * 200 + " y"]
)
def test_the_source_of_a_dict_reads_back_as_the_same(text: str) -> None:
    content = {"method": "random", "program": "t.py", "parameters": {"p": {"value": {text: text}}}}
    parsed = parse_dict(content, draw_seed=lambda: 1)
    assert parse(parsed.source, draw_seed=lambda: 1).spec == parsed.spec
