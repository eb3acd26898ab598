"""Single values: what YAML's plain words mean, which of them a config can carry, and numbers written as text.

The rule of this file: a value that the journal (msgpack), a command line or JSON could not carry is refused here, once.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_CORE = "tag:yaml.org,2002:"
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_INTEGER = re.compile(r"[+-]?\d+")
_LONGEST_NUMBER = 1000
"""In characters. YAML 1.1 reads `1:1:1:…` as a number to the base 60, in a time that grows with its square."""
_SCIENTIFIC = re.compile(r"([+-]?)(\d+)(\.\d*)?[eE]([+-]?)(\d+)")
_READERS = {
    "int": _CONSTRUCTOR.construct_yaml_int,
    "float": _CONSTRUCTOR.construct_yaml_float,
    "bool": _CONSTRUCTOR.construct_yaml_bool,
}


def read_scalar(text: str, tag: str) -> tuple[Any, str | None]:
    """The value of a scalar with this (resolved) tag, and what is wrong with it. Dates stay text, as a command line
    would carry them."""
    kind = tag.removeprefix(_CORE)
    if kind == "null":
        return None, None
    if kind not in _READERS:
        return text, text_problem(text)
    try:
        if len(text) > _LONGEST_NUMBER:
            raise ValueError
        value = _READERS[kind](yaml.ScalarNode(tag, text))
    except (ValueError, LookupError, OverflowError):
        words = {"int": "a whole number", "float": "a number", "bool": "true or false"}[kind]
        return None, f"this cannot be read as {words}; if it is text, write it in quotes"
    return value, int_problem(value) if isinstance(value, int) else None


def text_problem(text: str) -> str | None:
    """What no command line, variable or journal can carry."""
    if "\0" in text:
        return "a text cannot hold a NUL character: no command line can carry it"
    if any("\ud800" <= char <= "\udfff" for char in text):
        return "a text cannot hold half of a surrogate pair: it has no UTF-8 form"
    return None


def int_problem(value: int) -> str | None:
    """The journal's numbers have 64 bits."""
    if -(2**63) <= value < 2**64:
        return None
    return "this whole number needs more than 64 bits; write it with a decimal point (1.0e+20), or in quotes as text"


def numeric_text(text: str) -> int | float | None:
    """The number that a text like `1e-4` or `10` was meant to be, None when it is none. YAML 1.1 reads `1e-4` as text."""
    stripped = text.strip()
    if len(stripped) > 100 or not _NUMBER.fullmatch(stripped):
        return None
    return int(stripped) if _INTEGER.fullmatch(stripped) else float(stripped)


def scientific_text(text: str) -> str | None:
    """For `1e-4`, which YAML 1.1 reads as text: the same number as YAML reads it, `1.0e-4`. None for anything else."""
    match = _SCIENTIFIC.fullmatch(text)
    if match is None:
        return None
    sign, whole, fraction, exponent_sign, exponent = match.groups()
    fraction = ".0" if fraction in (None, ".") else fraction
    return f"{sign}{whole}{fraction}e{exponent_sign or '+'}{exponent}"
