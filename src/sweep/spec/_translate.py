"""Pydantic's errors -> plain words with a position.

The rule of this file: nobody ever reads pydantic's own text; an error type that is not known here becomes a general sentence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError

from sweep.core.secrets import find_tokens
from sweep.spec._distribution_models import Model
from sweep.spec._models import GROUPS, ResourcesModel, SweepFile
from sweep.spec._problems import Path, Report, listed, nearest, show

M = TypeVar("M", bound=Model)
_WORD = re.compile(r"[\w./+-]{1,40}")
_MOST = 100

_KINDS = {
    "model_type": "a mapping (`key: value` lines)",
    "model_attributes_type": "a mapping (`key: value` lines)",
    "dict_type": "a mapping (`key: value` lines)",
    "list_type": "a list",
    "string_type": "text",
}

# What people write for a key, and what to write instead.
MEANT: dict[str, str] = {
    "goal": "write it below `metric`",
    "max_runs": "write `run_cap`",
    "num_runs": "write `run_cap`",
    "count": "write `run_cap`",
    "trials": "write `run_cap`",
    "max_trials": "write `run_cap`",
    "n_trials": "write `run_cap`",
    "script": "write `program`",
    "hyperparameters": "write `parameters`",
    "params": "write `parameters`",
    "search_space": "write `parameters`",
    "algorithm": "write `method`",
    "early_stopping": "write `early_terminate`",
    "environment": "write `env`",
    "cwd": "write `workdir`",
    "repeats": "write `replicates`",
    "num_samples": "write `run_cap`",
    "gpus": "write `resources: {gpus: …}`",
    "cpus": "write `resources: {cpus: …}`",
    "timeout": "write `limits: {run_time: …}`",
    "start_points": "write `initial`",
    "points_to_evaluate": "write `initial`",
    "constraint": "write `constraints: […]`",
    "retries": "write `retry: {max: …}`",
    "time_limit": "write `limits: {run_time: …}`",
}
_SEVERAL_NODES = frozenset(("nodes", "num_nodes", "nnodes", "n_nodes", "hosts", "machines"))
ONE_NODE = (
    "a run works on one node, with as many of its CPUs and GPUs as you like; runs over several nodes are not supported: "
    "remove this key"
)


def validate(
    model: type[M], value: Any, at: Path, report: Report, meant: Mapping[str, str] = MEANT
) -> M | None:
    """`value` as a `model`; None (and errors in the report) when it is not one."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=True)
    unknown = [str(e["loc"][-1]) for e in found if e["type"] == "extra_forbidden"]
    replaced = {nearest(word, list(model.model_fields)) for word in unknown[:_MOST]}
    for e in found:
        if report.is_full:
            return None
        path: Path = tuple(e["loc"])
        if e["type"] == "missing" and path[-1] in replaced:
            continue  # said better by the unknown key that was meant for it
        report.error((*at, *path), _message(model, e["type"], path, e, meant))
    return None


def _message(model: type[Model], kind: str, path: Path, error: Any, meant: Mapping[str, str]) -> str:
    owner = _owner(model, path)
    if kind == "sweep":
        return str(error["ctx"]["message"])
    if kind == "missing":
        return f"is missing{_example(owner, str(path[-1]))}"
    if kind == "extra_forbidden" and owner in (ResourcesModel, SweepFile) and str(path[-1]) in _SEVERAL_NODES:
        return ONE_NODE
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]), list(owner.model_fields), meant if owner is model else {})
    value = error["input"]
    if kind == "literal_error":
        name = next(part for part in reversed(path) if isinstance(part, str))
        return _choice(value, choices(owner.model_fields[name].annotation))
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {show(value)}{_rewrite(owner, kind, path, value)}"
    return f"{show(value)} is not valid here"


def _owner(model: type[Model], path: Path) -> type[Model]:
    """The model that has the last key of `path`."""
    for part in path[:-1]:
        field = model.model_fields.get(str(part))
        kinds = (field.annotation, *get_args(field.annotation)) if field is not None else ()
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Model)]
        if not inner:
            break
        model = inner[0]
    return model


def unknown_key(key: str, known: list[str], meant: Mapping[str, str]) -> str:
    """Names the key that was probably meant; all of them when none is near."""
    if key in meant:
        return f"unknown key; {meant[key]}"
    if found := nearest(key, known):
        return f"unknown key; did you mean `{found}`?"
    return f"unknown key; the keys here are {listed(known)}"


def choices(annotation: Any) -> list[str]:
    """The words that a field of this type accepts, by itself or in a list."""
    if get_origin(annotation) is Literal:
        return [str(word) for word in get_args(annotation)]
    return [word for part in get_args(annotation) for word in choices(part)]


def _choice(value: Any, words: list[str]) -> str:
    found = nearest(value, words) if isinstance(value, str) else None
    hint = f"; did you mean `{found}`?" if found else ""
    return f"must be {listed(words, 'or')}, not {show(value)}{hint}"


def _example(owner: type[Model], name: str) -> str:
    """`: write, for example, method: bayes`."""
    field = owner.model_fields.get(name)
    if field is None or not field.examples:
        return ""
    example = field.examples[0]
    return f"; write, for example, `{name}: {example if isinstance(example, str) else show_yaml(example)}`"


def _rewrite(owner: type[Model], kind: str, path: Path, value: Any) -> str:
    """How a bare value is written as the list or mapping that it must be; nothing for what is better not repeated."""
    plain = value if isinstance(value, str) else show(value)
    words = re.split(r" *, *", plain) if kind == "list_type" else [plain]
    if (
        isinstance(value, dict | list)
        or value is None
        or not all(map(_WORD.fullmatch, words))
        or find_tokens(plain)
    ):
        return ""
    if kind == "list_type":
        return f"; write `{path[-1]}: [{plain}]`"
    group = GROUPS.get(str(path[-1])) if owner.__name__ == "SweepFile" else None
    return f"; write `{path[-1]}: {{{next(iter(group.model_fields))}: {plain}}}`" if group else ""


def show_yaml(value: Any) -> str:
    """A short list or value in one line of YAML."""
    if isinstance(value, list):
        return f"[{', '.join(map(show_yaml, value))}]"
    return value if isinstance(value, str) else show(value)
