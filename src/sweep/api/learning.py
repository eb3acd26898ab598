"""`learn_from`: the results of earlier sweeps, or of a CSV file, as knowledge of a new sweep.

The rule of this file: what is learnt is read once, when a spec is recorded, and stands in the record from then on: proposals must not
depend on what becomes of another sweep or of a file.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sweep.analysis.table import SweepTable
from sweep.api.finding import find_sweep
from sweep.api.reading import load_views
from sweep.core import domain
from sweep.core.errors import SweepError
from sweep.core.space import Categorical, Config, Constant, Parameter, Space
from sweep.core.spec import Known, SweepSpec
from sweep.stores import Store

MOST = 1000
"""So many results are kept: the best half, and of the others the last ones."""
_SCORES = ("objective", "score")


class CannotLearn(SweepError):
    """A source of `learn_from` gives nothing that this sweep could use; the message says why."""


def with_knowledge(
    store: Store | None, spec: SweepSpec, folder: Path, before: SweepSpec | None = None
) -> tuple[SweepSpec, list[str]]:
    """The spec with what its `learn_from` names, and what a person should know about it. `folder`: where paths begin; `before`: the
    spec that this one replaces, whose knowledge stays where neither the sources nor the space have changed. `store` None: there
    are no sweeps to learn from. Raises CannotLearn, NotFound, StoreError."""
    if not spec.learn_from:
        return spec, []
    if before is not None and (before.learn_from, before.space) == (spec.learn_from, spec.space):
        return msgspec.structs.replace(spec, knowledge=before.knowledge), []
    found: list[Known] = []
    said: list[str] = []
    for source in spec.learn_from:
        results = list(_results(store, spec, source, folder))
        usable = [known for known in results if domain.belongs(spec.space, known.config)]
        if not usable:
            raise CannotLearn(
                f"learn_from: none of the {len(results)} results of {source} lies in the space of this sweep"
                if results
                else f"learn_from: {source} has no result with a finite value"
            )
        if len(usable) < len(results):
            said.append(
                f"learn_from: {len(usable)} of {len(results)} results of {source} lie in the space and are used"
            )
        found += usable
    if len(found) > MOST:
        said.append(f"learn_from: the best and the last of {len(found):,} results are used, {MOST:,} in all")
    return msgspec.structs.replace(spec, knowledge=tuple(_fewer(found, spec))), said


def _fewer(found: list[Known], spec: SweepSpec) -> list[Known]:
    sign = -1.0 if spec.metric is not None and spec.metric.goal == "maximize" else 1.0
    if len(found) <= MOST:
        return found
    ranked = sorted(range(len(found)), key=lambda i: sign * found[i].score)
    best = set(ranked[: MOST // 2])
    last = [i for i in range(len(found)) if i not in best][-(MOST - len(best)) :]
    return [found[i] for i in sorted({*best, *last})]


def _results(store: Store | None, spec: SweepSpec, source: str, folder: Path) -> Iterable[Known]:
    if source.lower().endswith(".csv"):
        return _of_file(spec, folder / source)
    if store is None:
        raise CannotLearn(
            f"learn_from: there is no store here that could have sweep {source}; name a CSV file"
        )
    return _of_sweep(store, spec, source)


# --- an earlier sweep ------------------------------------------------------------------------------------------


def _of_sweep(store: Store, spec: SweepSpec, text: str) -> list[Known]:
    sweep = find_sweep(store, text)
    views = load_views(store, sweep)
    mine, other = spec.metric, views.spec.metric
    if mine is None or other is None or (mine.name, mine.goal) != (other.name, other.goal):
        theirs = "no metric" if other is None else f"{other.goal}s {other.name}"
        ours = "no metric" if mine is None else f"{mine.goal}s {mine.name}"
        raise CannotLearn(
            f"learn_from: sweep {sweep} {theirs}, and this one {ours}: their results do not compare"
        )
    table = SweepTable(views.spec, views.sweep, views.runs)
    return [
        Known(_declared(spec.space, row.config), row.score) for row in table.scored if row.score is not None
    ]


def _declared(space: Space, config: Config) -> Config:
    """The parameters of `space` that `config` has values for, in the form in which a search gives them."""
    found: Config = {}
    for parameter in space.parameters:
        try:
            value = domain.value_at(config, parameter.path)
        except KeyError:
            continue
        _put(found, parameter, value)
    return found


def _put(config: Config, parameter: Parameter, value: Any) -> None:
    level = config
    for key in parameter.path[:-1]:
        level = level.setdefault(key, {})
    possible = domain.contains(parameter.distribution, value)
    level[parameter.path[-1]] = domain.as_declared(parameter.distribution, value) if possible else value


# --- a table -----------------------------------------------------------------------------------------------------


def _of_file(spec: SweepSpec, path: Path) -> list[Known]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            names = list(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CannotLearn(f"learn_from: {path} cannot be read: {why}") from None
    score = _score_column(spec, names, path)
    columns = [
        (parameter, name)
        for parameter in spec.space.parameters
        for name in (f"config.{parameter.name}", parameter.name)
        if name in names
    ]
    if not columns:
        wanted = ", ".join(parameter.name for parameter in spec.space.parameters[:5])
        raise CannotLearn(f"learn_from: {path} has no column for any parameter ({wanted})")
    found = []
    for row in rows:
        value = _number(row.get(score))
        if value is not None and row.get("state", "completed") in ("completed", "pruned"):
            found.append(Known(_config(row, columns), value))
    return found


def _score_column(spec: SweepSpec, names: list[str], path: Path) -> str:
    metric = spec.metric.name if spec.metric is not None else ""
    for name in (metric, f"summary.{metric}", *_SCORES):
        if name in names:
            return name
    has = f"it has {', '.join(names[:8])}" if names else "it is empty"
    raise CannotLearn(f"learn_from: {path} has no column {metric} (or objective, or score); {has}")


def _config(row: Mapping[str, Any], columns: Sequence[tuple[Parameter, str]]) -> Config:
    config: Config = {}
    for parameter, name in columns:
        text = row.get(name)
        if text not in (None, ""):
            _put(config, parameter, _value(parameter, str(text)))
    return config


def _value(parameter: Parameter, text: str) -> Any:
    """What a cell means: the choice that is written so, else the number."""
    dist = parameter.distribution
    if isinstance(dist, Categorical | Constant):
        for choice in dist.values if isinstance(dist, Categorical) else (dist.value,):
            if (
                text in (str(choice), json.dumps(choice))
                or _number(text) == _plain_number(choice) is not None
            ):
                return choice
        return text
    number = _number(text)
    return text if number is None else number


def _plain_number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _number(text: Any) -> float | None:
    try:
        number = float(text)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
