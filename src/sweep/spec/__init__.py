"""YAML -> `SweepSpec`: the W&B dialect and our own keys, with errors that name line, column and key.

The rule of this package: whatever the text is, the outcome is a valid spec or a SpecError that says everything that is
wrong with it. Names are resolved on first use, because agents need only `expand_command`, and pydantic is slow to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.spec._command import MACROS, CommandError, command_problems, expand_command, python_program
    from sweep.spec._early import KEYS_OF_RULE
    from sweep.spec._parse import Parsed, load, parse, parse_dict
    from sweep.spec._problems import Problem, SpecError
    from sweep.spec.reference import json_schema, keys_of_spec, reference_markdown

_HOMES = {
    "KEYS_OF_RULE": "_early",
    "MACROS": "_command",
    "CommandError": "_command",
    "command_problems": "_command",
    "expand_command": "_command",
    "python_program": "_command",
    "Parsed": "_parse",
    "load": "_parse",
    "parse": "_parse",
    "parse_dict": "_parse",
    "Problem": "_problems",
    "SpecError": "_problems",
    "json_schema": "reference",
    "keys_of_spec": "reference",
    "reference_markdown": "reference",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "KEYS_OF_RULE",
    "MACROS",
    "CommandError",
    "Parsed",
    "Problem",
    "SpecError",
    "command_problems",
    "expand_command",
    "json_schema",
    "keys_of_spec",
    "load",
    "parse",
    "parse_dict",
    "python_program",
    "reference_markdown",
]
