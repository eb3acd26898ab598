"""The dialect's macros."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sweep.core.space import Constant, Parameter, Space
from sweep.core.spec import SweepSpec
from sweep.spec import CommandError, command_problems, expand_command

CONFIG: dict[str, Any] = {
    "lr": 0.1,
    "on": True,
    "off": False,
    "none": None,
    "list": [1, "a"],
    "o": {"m": 0.9, "n": {"k": 1}},
}
SPACE = Space(
    (
        *(Parameter((name,), Constant(CONFIG[name])) for name in ("lr", "on", "off", "none", "list")),
        Parameter(("o", "m"), Constant(0.9)),
        Parameter(("o", "n", "k"), Constant(1)),
    )
)


def expand(
    *command: str, config: dict[str, Any] = CONFIG, program: str | None = "train.py", **environ: str
) -> list[str]:
    spec = SweepSpec(method="random", space=SPACE, seed=1, program=program, command=command)
    return expand_command(
        spec, config, interpreter="/usr/bin/python3", environ=environ, config_file="/run/config.json"
    )


NESTED = "{'m': 0.9, 'n': {'k': 1}}"
MACROS: list[tuple[str, list[str]]] = [
    ("${env}", ["/usr/bin/env"]),
    ("${interpreter}", ["/usr/bin/python3"]),
    ("${program}", ["train.py"]),
    (
        "${args}",
        ["--lr=0.1", "--on=True", "--off=False", "--none=None", "--list=[1, 'a']", f"--o={NESTED}"],
    ),
    ("${args_no_hyphens}", ["lr=0.1", "on=True", "off=False", "none=None", "list=[1, 'a']", f"o={NESTED}"]),
    ("${args_no_boolean_flags}", ["--lr=0.1", "--on", "--none=None", "--list=[1, 'a']", f"--o={NESTED}"]),
    (
        "${args_no_equals}",
        [
            "--lr",
            "0.1",
            "--on",
            "True",
            "--off",
            "False",
            "--none",
            "None",
            "--list",
            "[1, 'a']",
            "--o",
            NESTED,
        ],
    ),
    (
        "${args_append_hydra}",
        ["+lr=0.1", "+on=True", "+off=False", "+none=None", "+list=[1, 'a']", "+o.m=0.9", "+o.n.k=1"],
    ),
    (
        "${args_override_hydra}",
        ["++lr=0.1", "++on=True", "++off=False", "++none=None", "++list=[1, 'a']", "++o.m=0.9", "++o.n.k=1"],
    ),
    ("${args_json}", [json.dumps(CONFIG)]),
    ("${args_json_file}", ["/run/config.json"]),
    ("${envvar:HOME}", ["/home/x"]),
    ("--port=${envvar:PORT}:${envvar:HOME}", ["--port=29500:/home/x"]),
    ("PYTHONPATH=${PYTHONPATH}:./app", ["PYTHONPATH=${PYTHONPATH}:./app"]),
    ("--x=${args}", ["--x=${args}"]),
    ("${unknown}", ["${unknown}"]),
    ("$HOME", ["$HOME"]),
    ("", [""]),
]


@pytest.mark.parametrize(("item", "expected"), MACROS)
def test_a_macro(item: str, expected: list[str]) -> None:
    assert expand("first", item, "last", HOME="/home/x", PORT="29500") == ["first", *expected, "last"]


def test_every_macro_of_the_reference_is_in_the_table() -> None:
    from sweep.spec import MACROS as known

    assert {macro for macro in known if ":" not in macro} <= {item for item, _ in MACROS}


def test_a_value_that_is_a_mapping_is_one_argument_for_hydra() -> None:
    spec = SweepSpec(
        method="random",
        space=Space((Parameter(("v",), Constant({"a": 1})),)),
        seed=1,
        command=("${args_append_hydra}",),
    )
    found = expand_command(spec, {"v": {"a": 1}}, interpreter="p", environ={}, config_file="c")
    assert found == ["+v={'a': 1}"]


def test_names_as_hydra_writes_them() -> None:
    assert expand("${args_no_hyphens}", config={"++a.b": 1, "^c": 2}) == ["++a.b=1", "^c=2"]


def test_the_value_of_a_variable_is_not_expanded_again() -> None:
    assert expand("${envvar:A}", A="${envvar:B}", B="b") == ["${envvar:B}"]


def test_a_variable_that_is_not_set() -> None:
    with pytest.raises(
        CommandError, match=r"uses \$\{envvar:NOPE\}, and the variable 'NOPE' is not set on this node"
    ):
        expand("x", "a${envvar:NOPE}", OTHER="1")


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(CommandError, match=r"uses \$\{program\}, and the spec names no program"):
        expand("${program}", program=None)


@pytest.mark.parametrize(
    ("command", "program", "expected"),
    [
        (("${env}", "${interpreter}", "${program}", "${args}"), "t.py", []),
        (("python", "t.py"), "t.py", []),
        (("a", "${program}"), None, ["error", "command[1]"]),
        (("${programm}", "x"), None, ["warning", "command[0]"]),
        (("python", "x"), "t.py", ["warning", "program"]),
        (("x", "${envvar:}"), None, ["warning", "command[1]"]),
        (("x=${args}",), None, ["warning", "command[0]"]),
        (("PYTHONPATH=${PYTHONPATH}:./app",), None, []),
    ],
)
def test_command_problems(command: tuple[str, ...], program: str | None, expected: list[str]) -> None:
    spec = SweepSpec(method="random", space=SPACE, seed=1, program=program, command=command)
    found = [part for problem in command_problems(spec) for part in (problem.severity, problem.key)]
    assert found == expected


def test_an_agent_that_expands_a_command_does_not_import_pydantic() -> None:
    code = "import sys, sweep.spec; sweep.spec.expand_command; print('pydantic' in sys.modules, 'yaml' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_package_has_no_other_names() -> None:
    import sweep.spec

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sweep.spec.nothing
    assert all(getattr(sweep.spec, name) is not None for name in sweep.spec.__all__)
