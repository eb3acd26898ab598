"""The keys `preload` and `determinism`: what is refused and where, and what a launcher makes of them."""

from __future__ import annotations

import re

import pytest

from sweep.agents.environment import environment
from sweep.agents.warming import is_at_start
from sweep.provenance import launcher_env
from sweep.spec import SpecError, parse, parse_dict, python_program

BASE = "method: grid\nprogram: train.py\nparameters: {x: {values: [1]}}\n"


def problems(text: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse(BASE + text, draw_seed=lambda: 1)
    return str(caught.value)


def warnings(text: str) -> list[str]:
    return [str(warning) for warning in parse(BASE + text, draw_seed=lambda: 1).warnings]


def test_both_keys_are_read() -> None:
    spec = parse(BASE + "preload: [numpy, sklearn.linear_model]\n", draw_seed=lambda: 1).spec
    assert spec.preload == ("numpy", "sklearn.linear_model") and spec.determinism == "seeded"
    spec = parse(BASE + "determinism: strict\npreload:\n", draw_seed=lambda: 1).spec
    assert spec.preload == () and spec.determinism == "strict"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("preload: [numpy]\ndeterminism: strict\n", r"sweep.yaml:4:1 preload: cannot be combined with `determinism: strict`"),
        ("preload: [numpy, 'a b']\n", r"sweep.yaml:4:18 preload\[1\]: 'a b' cannot be the name of a module"),
        ("preload: [numpy, numpy]\n", r"sweep.yaml:4:18 preload\[1\]: 'numpy' is named twice"),
        ("preload: [train.py]\n", r"sweep.yaml:4:11 preload\[0\]: 'train.py' is a file; name modules that are installed"),
        ("preload: [-x]\n", r"sweep.yaml:4:11 preload\[0\]: '-x' cannot be"),
        ("preload: [3]\n", r"sweep.yaml:4:11 preload\[0\]: must be text, not 3"),
        ("preload: numpy\n", r"sweep.yaml:4:1 preload: must be a list"),
        ("determinism: very\n", r"sweep.yaml:4:1 determinism: must be"),
        ("preload: [numpy]\ncommand: [bash, run.sh]\n", r"sweep.yaml:4:1 preload: needs a command that runs a Python program"),
        ("preload: [numpy]\ncommand: ['${env}', A=1, '${interpreter}', '${program}']\n", r"sweep.yaml:4:1 preload: needs"),
        ("preload: [numpy]\ncommand: ['${interpreter}', -c, pass]\n", r"sweep.yaml:4:1 preload: needs"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_place(text: str, expected: str) -> None:
    assert re.search(expected, problems(text)), problems(text)


def test_variables_that_a_fork_cannot_honour_are_warned_of() -> None:
    [threads] = warnings("preload: [numpy]\nenv: {OMP_NUM_THREADS: 4, LD_PRELOAD: x.so, OTHER: y}\n")
    assert "sweep.yaml:5:7 env.OMP_NUM_THREADS: is 1 while" in threads
    [start] = warnings("preload: [numpy]\nretry: {max: 1, exit: {env: {PYTHONPATH: x, OTHER: y}}}\n")
    assert "retry.exit.env.PYTHONPATH: takes effect only when an interpreter starts" in start
    assert warnings("env: {OMP_NUM_THREADS: 4}\n") == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["${env}", "${interpreter}", "${program}", "${args}"], (1, 2, False)),
        (["/usr/bin/env", "/opt/bin/python3.12", "-u", "-O", "train.py"], (1, 4, False)),
        (["python3", "-m", "pkg.train", "--x=1"], (0, 2, True)),
        (["python", "train"], (0, 1, False)),
        (["torchrun", "train.py"], None),
        (["python"], None),
        (["python", "-m"], None),
        (["python", "-X", "dev", "train.py"], None),
        (["python", "-"], None),
        (["python", "${args}"], None),
        ([], None),
    ],
)
def test_the_parts_of_a_python_program(words: list[str], found: tuple[int, int, bool] | None) -> None:
    parts = python_program(words)
    assert (parts and (parts.begin, parts.at, parts.is_module)) == found


def test_a_spec_from_python_needs_no_program_only_where_that_is_said() -> None:
    content = {"method": "grid", "parameters": {"x": {"values": [1]}}}
    assert parse_dict(content, draw_seed=lambda: 1, needs_program=False).spec.program is None
    with pytest.raises(SpecError, match="neither `program` nor `command`"):
        parse_dict(content, draw_seed=lambda: 1)
    with pytest.raises(SpecError, match="names no program"):
        parse_dict({**content, "command": ["${program}"]}, draw_seed=lambda: 1, needs_program=False)


# --- what a launcher sets -----------------------------------------------------------------------------------------


def test_the_levels_of_determinism() -> None:
    off = launcher_env(7, 2.0, {}, "off")
    seeded = launcher_env(7, 2.0, {}, "seeded")
    strict = launcher_env(7, None, {}, "strict")
    assert "PYTHONHASHSEED" not in off and "CUBLAS_WORKSPACE_CONFIG" not in off
    assert seeded == launcher_env(7, 2.0, {}) == {**off, "PYTHONHASHSEED": "7"}
    assert strict["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8" and strict["PYTHONHASHSEED"] == "7"
    assert strict["OMP_NUM_THREADS"] == strict["MKL_NUM_THREADS"] == "1"
    assert set(seeded) < set(strict)


def test_strict_wins_over_the_agent_s_variables_and_the_spec_over_strict() -> None:
    inherited = {"PYTHONHASHSEED": "random", "OMP_NUM_THREADS": "64", "XLA_FLAGS": "--inherited"}
    own = {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "XLA_FLAGS": "--own"}
    env, recorded = environment(own, inherited, {}, {}, 7, 2.0, "strict")
    assert env["PYTHONHASHSEED"] == "7" and env["OMP_NUM_THREADS"] == "2"
    assert env["CUBLAS_WORKSPACE_CONFIG"] == recorded["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    assert env["XLA_FLAGS"] == recorded["XLA_FLAGS"] == "--xla_gpu_deterministic_ops=true --own"
    seeded, _ = environment({}, inherited, {}, {}, 7, 2.0, "seeded")
    assert seeded["PYTHONHASHSEED"] == "random" and seeded["OMP_NUM_THREADS"] == "64"


def test_what_counts_as_read_at_the_start() -> None:
    assert all(
        map(is_at_start, ("PYTHONPATH", "LD_LIBRARY_PATH", "LC_ALL", "OMP_PROC_BIND", "MALLOC_ARENA_MAX"))
    )
    assert not any(map(is_at_start, ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PATH", "HOME", "SWEEP_ID")))
