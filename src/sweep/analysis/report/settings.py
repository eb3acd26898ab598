"""Every key of the spec with what was used, whether the file gave it or not.

The rule of this file: keys, defaults and what a key means when it is not given come from the models that the reference is made of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from sweep.analysis.report.document import Block, Code, Folded, Listing, Words, paragraph, table
from sweep.analysis.report.facts import Facts
from sweep.core.spec import EarlyTerminate, SweepSpec
from sweep.spec import KEYS_OF_RULE, keys_of_spec
from sweep.stopping import MIN_RUNS, first_rung, kept_eta

_NOT_GIVEN = re.compile(r"Not given: ([^.]*)\.")
_ELSEWHERE = ("parameters", "constraints", "about", "knowledge")
"""Keys that have a section of their own."""


class Setting(msgspec.Struct, frozen=True):
    key: str
    used: str
    given: bool | None
    """Whether the file gives it; None when that is not known."""
    later: bool = False
    """What held in the end is not what the file gave: a command has changed it (`sweep extend`, `sweep confirm`)."""


def settings(facts: Facts) -> list[Block]:
    """The table of all keys, and the file as it was."""
    known = given_keys(facts.source)
    found = all_settings(facts.table.spec, known, _content(facts.source))
    rows: list[list[Words]] = [[Code(item.key), _cell(item.used), _where(item)] for item in found]
    blocks: list[Block] = [
        paragraph(
            "All keys that a spec can have, with what held in this sweep; parameters stand under Space."
        ),
        table(("key", "used", "from"), rows),
    ]
    if facts.source:
        blocks.append(Folded("The file as it was recorded", (Listing(facts.source.rstrip("\n"), "yaml"),)))
    return blocks


def all_settings(
    spec: SweepSpec, given: set[str] | None, content: Mapping[str, Any] | None = None
) -> list[Setting]:
    """Every key, in the order of the reference. `given`: those that the file has; None when that is not known; `content`: all of it."""
    found = []
    for key, about in keys_of_spec().items():
        if key.split(".")[0] in _ELSEWHERE:
            continue
        has, value = _used(spec, key)
        words = _words(value) if has else ""
        if (rule := _by_rule(spec, key)).startswith("no "):
            words = rule
        if not words:
            said = _NOT_GIVEN.search(about)
            words = rule or (f"not given: {said[1]}" if said else "not given")
        later = given is not None and has and _set_later(key, value, content or {})
        found.append(Setting(key, words, None if given is None else key in given, later))
    return found


def _set_later(key: str, value: Any, content: Mapping[str, Any]) -> bool:
    """Whether a key that commands can set has another value than the file gives it, or has one that the file does not."""
    group, _, name = key.partition(".")
    if group == "confirm":
        confirm = content.get("confirm")
        return value is not None and (not isinstance(confirm, Mapping) or confirm.get(name, value) != value)
    return key == "run_cap" and value is not None and content.get("run_cap") != value


def given_keys(source: str) -> set[str] | None:
    """`method`, `limits.run_time`, …: the keys that a file gives; None when there is no file, or it cannot be read."""
    content = _content(source)
    if content is None:
        return None
    found = set()
    for key, value in content.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}" for name, item in value.items() if item is not None}
        if value is not None:
            found.add(str(key))
    return found


def _content(source: str) -> Mapping[str, Any] | None:
    import yaml

    try:
        content = yaml.safe_load(source) if source else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    return content if isinstance(content, Mapping) else None


def _used(spec: SweepSpec, key: str) -> tuple[bool, Any]:
    """Whether the spec has something under this key, and what."""
    group, dot, name = key.partition(".")
    if not dot:
        return (True, getattr(spec, key)) if hasattr(spec, key) else (key in spec.extra, spec.extra.get(key))
    if group == "retry" and name in ("exit", "oom", "time", "node"):
        return name in spec.retry.rules, spec.retry.rules.get(name)  # type: ignore[call-overload]
    owner = getattr(spec, group)
    if owner is None:
        return False, None
    if hasattr(owner, f"{name}_s"):
        value = getattr(owner, f"{name}_s")
        return value is not None, None if value is None else f"{value:g} s"
    return hasattr(owner, name), getattr(owner, name, None)


def _by_rule(spec: SweepSpec, key: str) -> str:
    """What a rule that ends runs early takes where the spec does not say it."""
    early = spec.early_terminate
    if not key.startswith("early_terminate."):
        return ""
    if early is None:
        return "no rule: no run was ended early"
    name = key.partition(".")[2]
    if name not in ("type", "step", "min_iter", "max_iter", *KEYS_OF_RULE[early.type]):
        return f"no key of {early.type}"
    return _of_rule(early, name)


def _of_rule(early: EarlyTerminate, name: str) -> str:
    if early.type in ("hyperband", "none"):
        return "count (the rule's own)" if name == "step" else ""
    if name == "min_iter":
        return f"{first_rung(early):g} (the rule's own)"
    if name == "min_runs" and early.type in MIN_RUNS:
        return f"{MIN_RUNS[early.type]} (the rule's own)"
    if name == "percentile" and early.type == "percentile":
        return f"{100 / kept_eta(early):g} (the rule's own)"
    return "logged (the rule's own)" if name == "step" else ""


def _words(value: Any) -> str:
    if value is None or (isinstance(value, list | tuple | dict | str) and not value):
        return ""
    if isinstance(value, msgspec.Struct):
        value = {name.removesuffix("_s"): item for name, item in msgspec.to_builtins(value).items()}
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_words(item) or 'not given'}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_words(item) for item in value) + "]"
    return str(value)


def _cell(used: str) -> Words:
    return used if used.startswith(("not given", "no ")) or "(the rule's" in used else Code(used)


def _where(item: Setting) -> str:
    if item.given is None or item.used.startswith("no key"):
        return "–"
    if item.later:
        return "set later"
    if item.given:
        return "the file"
    return "drawn" if item.key == "seed" else "default"
