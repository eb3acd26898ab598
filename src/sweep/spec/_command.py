"""The command line of a run: the dialect's macros, and what is probably wrong with a command.

The rule of this file: a macro is expanded only where it is a whole item, `${envvar:X}` also inside of one; everything else
reaches the program as it is (`PYTHONPATH=${PYTHONPATH}:./app`). No pydantic here: agents import this.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.core.secrets import find_tokens, harmless_value, looks_secret_name
from sweep.core.space import Config
from sweep.core.spec import SweepSpec
from sweep.spec._problems import Path, Problem, Report, nearest, shorten

_ENVVAR = re.compile(r"\$\{envvar:([^{}]*)\}")
_MACRO = re.compile(r"\$\{([A-Za-z_]+)\}")


class CommandError(ValueError):
    """The command cannot be put together on this node; the message says what is missing."""


def expand_command(
    spec: SweepSpec, config: Config, *, interpreter: str, environ: Mapping[str, str], config_file: str
) -> list[str]:
    """The command line of a run with this config.

    `interpreter` is the Python that `${interpreter}` names, `environ` is where `${envvar:X}` is looked up, and `config_file`
    is the path of the JSON file that `${args_json_file}` names. Raises CommandError when a variable is not set,
    or when `${program}` is used in a spec without a program.
    """
    argv: list[str] = []
    for item in spec.command:
        if item == "${env}":
            argv.append("/usr/bin/env")
        elif item == "${interpreter}":
            argv.append(interpreter)
        elif item == "${program}":
            argv.append(_program(spec))
        elif item == "${args_json_file}":
            argv.append(config_file)
        elif item in _ARGUMENTS:
            argv += _ARGUMENTS[item](spec, config)
        else:
            argv.append(_with_variables(item, environ))
    return argv


def _program(spec: SweepSpec) -> str:
    if spec.program is None:
        raise CommandError("the command uses ${program}, and the spec names no program")
    return spec.program


def _with_variables(item: str, environ: Mapping[str, str]) -> str:
    def look_up(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in environ:
            raise CommandError(
                f"the command uses ${{envvar:{name}}}, and the variable {name!r} is not set on this node"
            )
        return environ[name]

    return _ENVVAR.sub(look_up, item)


# --- arguments -------------------------------------------------------------------------------------------------


def _args(_: SweepSpec, config: Config) -> list[str]:
    return [f"--{key}={value}" for key, value in config.items()]


def _no_hyphens(_: SweepSpec, config: Config) -> list[str]:
    return [f"{key}={value}" for key, value in config.items()]


def _no_boolean_flags(_: SweepSpec, config: Config) -> list[str]:
    return [
        f"--{key}" if value is True else f"--{key}={value}"
        for key, value in config.items()
        if value is not False
    ]


def _no_equals(_: SweepSpec, config: Config) -> list[str]:
    return [part for key, value in config.items() for part in (f"--{key}", str(value))]


def _json(_: SweepSpec, config: Config) -> list[str]:
    return [json.dumps(config)]


def _append_hydra(spec: SweepSpec, config: Config) -> list[str]:
    return [f"+{key}={value}" for key, value in _dotted(spec, config)]


def _override_hydra(spec: SweepSpec, config: Config) -> list[str]:
    return [f"++{key}={value}" for key, value in _dotted(spec, config)]


def _dotted(spec: SweepSpec, config: Config) -> Iterator[tuple[str, Any]]:
    """Nested parameters as Hydra names them, `optimizer.lr`. A value that is itself a mapping stays one."""
    groups = {
        parameter.path[:depth]
        for parameter in spec.space.parameters
        for depth in range(1, len(parameter.path))
    }

    def walk(level: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for key, value in level.items():
            here = (*path, key)
            if here in groups and isinstance(value, Mapping):
                yield from walk(value, here)
            else:
                yield ".".join(here), value

    return walk(config, ())


_ARGUMENTS: dict[str, Callable[[SweepSpec, Config], list[str]]] = {
    "${args}": _args,
    "${args_no_hyphens}": _no_hyphens,
    "${args_no_boolean_flags}": _no_boolean_flags,
    "${args_no_equals}": _no_equals,
    "${args_append_hydra}": _append_hydra,
    "${args_override_hydra}": _override_hydra,
    "${args_json}": _json,
}

MACROS: dict[str, str] = {
    "${env}": "`/usr/bin/env`",
    "${interpreter}": "the Python that runs the agent",
    "${program}": "the spec's `program`",
    "${args}": "`--key=value` for every parameter; values as Python's `str()` shows them: `True`, `None`, `[1, 2]`",
    "${args_no_hyphens}": "`key=value`",
    "${args_no_boolean_flags}": "as `${args}`, but true becomes `--key`, and false is left out",
    "${args_no_equals}": "`--key` and `value` as two items",
    "${args_append_hydra}": "`+key=value`; nested parameters as `+group.key=value`",
    "${args_override_hydra}": "`++key=value`; nested parameters as `++group.key=value`",
    "${args_json}": "the config as one JSON text",
    "${args_json_file}": "the path of a JSON file that holds the config",
    "${envvar:X}": "the value of the environment variable X on the node, also inside an item",
}


# --- Python programs -------------------------------------------------------------------------------------------

_PYTHON = re.compile(r"python(\d+(\.\d+)?)?")
_PLAIN_FLAG = re.compile(r"-[BEIOPSbdqsuv]+")
"""Options of Python that take no value and do not say what to run."""


@dataclass(frozen=True, slots=True)
class PythonProgram:
    """Where the parts of a command line stand that runs a Python program."""

    begin: int
    """The interpreter."""
    at: int
    """The script; for a module, its name after `-m`."""
    is_module: bool


def python_program(words: Sequence[str]) -> PythonProgram | None:
    """The parts of `[env] python [options] script …` or `[env] python [options] -m module …`, in a spec's command or in one
    that is expanded already; None for any other command."""
    begin = 1 if words and words[0] in ("${env}", "/usr/bin/env") else 0
    at = begin + 1
    if len(words) <= at or not _is_python(words[begin]):
        return None
    while at < len(words) and _PLAIN_FLAG.fullmatch(words[at]):
        at += 1
    is_module = at < len(words) and words[at] == "-m"
    at += is_module
    if at >= len(words) or words[at].startswith("-") or words[at] in _ARGUMENTS:
        return None
    return PythonProgram(begin, at, is_module)


def _is_python(word: str) -> bool:
    return word == "${interpreter}" or bool(_PYTHON.fullmatch(word.rpartition("/")[2]))


# --- checks ----------------------------------------------------------------------------------------------------


def command_problems(spec: SweepSpec, path: str = "sweep.yaml") -> tuple[Problem, ...]:
    """Errors, then warnings, about the spec's command (`Problem.severity`); without lines."""
    report = Report(path)
    check_command(spec.command, spec.program, report)
    return (*report.errors, *report.warnings)


def check_command(command: tuple[str, ...], program: str | None, report: Report) -> None:
    """What is wrong with a command, or probably not meant, into the report."""
    for index, item in enumerate(command):
        at: Path = ("command", index)
        if item == "${program}" and program is None:
            report.error(at, "`${program}` is used, but the spec names no program; add `program: train.py`")
        before = command[index - 1] if index else ""
        follows = before.startswith("-") and "=" not in before and looks_secret_name(before)
        is_value = follows and not item.startswith("-") and "${" not in item and not harmless_value(item)
        if is_value or find_tokens(item, assignments=True):
            report.error(
                at, "looks like a secret, and commands are recorded; write `${envvar:NAME}` instead of it"
            )
        _check_macros(item, at, report)
    if program is not None and not any("${program}" in item or program in item for item in command):
        report.warn(("program",), "has no effect: `command` does not contain `${program}`")


def _check_macros(item: str, at: Path, report: Report) -> None:
    whole = _MACRO.fullmatch(item)
    if whole and item not in MACROS:
        found = nearest(item[2:-1], [macro[2:-1] for macro in MACROS if ":" not in macro])
        hint = f"did you mean `${{{found}}}`?" if found else "it reaches the program as it is"
        report.warn(at, f"`{shorten(item)}` is no macro; {hint}")
    if not whole:
        for match in _MACRO.finditer(item):
            if match[0] in MACROS:
                report.warn(
                    at,
                    f"`{match[0]}` is expanded only as an item of its own; here it reaches the program as it is",
                )
    for variable in _ENVVAR.finditer(item):
        if not variable[1]:
            report.warn(at, "`${envvar:}` names no variable; write `${envvar:NAME}`")
