"""Another spec for a recorded sweep: what changes, what may not, what it means for what is recorded, and the request itself.

The rule of this file: keys are named and values written as a person writes them in a `sweep.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sweep.api.reading import load_views
from sweep.api.requests import Refused, append_request
from sweep.controller import settle
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.domain import belongs
from sweep.core.revisions import gives_more, revisable
from sweep.core.rows import Views
from sweep.core.space import Beta, Categorical, Constant, Normal, Numeric, Parameter, Space
from sweep.core.spec import SweepSpec
from sweep.core.views import SweepView
from sweep.stores import Store

NOT_GIVEN = "not given"
_GROUPS = ("metric", "confirm", "early_terminate", "resources", "limits", "retry", "env", "about")
_LATER = ("program", "command", "env", "preload", "outputs")
_LONGEST = 100


class Change(msgspec.Struct, frozen=True):
    """One key of the spec, before and after, in words."""

    key: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.key}: {self.old} → {self.new}"


class Revision(msgspec.Struct, frozen=True):
    """What a new spec would do to a sweep."""

    changes: tuple[Change, ...]
    refused: tuple[str, ...]
    """Why it may not be: one sentence each; empty when it may."""
    effects: tuple[str, ...]
    """What it means for what is recorded and for what comes."""
    number: int
    """Of the revision that it would become."""


def plan_revision(views: Views, new: SweepSpec) -> Revision:
    """What would change if `new` replaced the spec of the sweep that `views` shows."""
    old = views.spec
    refused = list(revisable(old, new))
    changes = spec_changes(old, new)
    effects = _effects(views, new, {change.key for change in changes}) if changes and not refused else ()
    return Revision(tuple(changes), tuple(refused), tuple(effects), views.sweep.revision + 1)


def revise(store: Store, sweep: str, new: SweepSpec, source: str, number: int, by: str = "") -> SweepView:
    """Make `new` the sweep's spec, as revision `number`; the sweep as it is then. Raises Refused when somebody else has
    revised it since it was looked at, NotFound when it is gone."""
    entry = e.SpecRevised(number, spec_to_builtins(new), source, by)
    with store.batch():
        append_request(store, sweep, entry)
    settle(store, sweep)
    views = load_views(store, sweep)
    if views.sweep.revision < number or (views.sweep.revision == number and views.spec != new):
        raise Refused(
            f"somebody else has revised sweep {sweep} in the meantime; look at it, and edit it again"
        )
    return views.sweep


# --- what changes ----------------------------------------------------------------------------------------------


def spec_changes(old: SweepSpec, new: SweepSpec) -> list[Change]:
    """Every key in which two specs differ, in the order of the spec's keys; parameters one by one."""
    found: list[Change] = []
    for field in SweepSpec.__struct_fields__:
        was, now = getattr(old, field), getattr(new, field)
        if was == now:
            continue
        if field == "knowledge":
            found.append(Change(field, _count(len(was), "result"), _count(len(now), "result")))
        elif field == "space":
            found += _compared(_axes(was), _axes(now))
            found += _compared(_constraints(was), _constraints(now))
        elif field in _GROUPS:
            found += _compared(_flat(field, was), _flat(field, now))
        else:
            found.append(Change(field, _given(was), _given(now)))
    return found


def _compared(old: Mapping[str, str], new: Mapping[str, str]) -> list[Change]:
    keys = dict.fromkeys([*old, *new])
    pairs = ((key, old.get(key, NOT_GIVEN), new.get(key, NOT_GIVEN)) for key in keys)
    return [Change(key, was, now) for key, was, now in pairs if was != now]


def _flat(name: str, value: Any) -> dict[str, str]:
    """`limits.run_time: 2h`: the keys of a group that are given, by the names that they have in a file."""
    found: dict[str, str] = {}
    for key, item in _items(value):
        short = "" if (name, key) == ("retry", "rules") else f".{key.removesuffix('_s')}"
        if isinstance(item, msgspec.Struct | Mapping):
            found |= _flat(name + short, item)
        elif item is not None:
            found[name + short] = duration(item) if key.endswith("_s") else _text(item)
    return found


def _items(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, msgspec.Struct):
        return [(key, getattr(value, key)) for key in value.__struct_fields__]
    return list(value.items()) if isinstance(value, Mapping) else []


def _axes(space: Space) -> dict[str, str]:
    return {f"parameters.{parameter.name}": axis_text(parameter) for parameter in space.parameters}


def _constraints(space: Space) -> dict[str, str]:
    return {"constraints": _text(space.constraints)} if space.constraints else {}


def axis_text(parameter: Parameter) -> str:
    """`log_uniform_values 1e-05 to 0.1`, `one of adam, sgd`, `always 20`; `uniform 0 to 0.9 when optimizer is sgd`."""
    return _distribution_text(parameter) + when_text(parameter)


def when_text(parameter: Parameter) -> str:
    """` when optimizer is sgd or adam`, with a space in front; nothing for a parameter that is always active."""
    said = [
        f"{'.'.join(c.path)} is {' or '.join(_text(value) for value in c.values)}" for c in parameter.when
    ]
    return f" when {' and '.join(said)}" if said else ""


def _distribution_text(parameter: Parameter) -> str:
    dist = parameter.distribution
    if isinstance(dist, Constant):
        return f"always {_text(dist.value)}"
    if isinstance(dist, Categorical):
        weights = "" if dist.probabilities is None else f" with probabilities {_text(dist.probabilities)}"
        return _cut(f"one of {', '.join(_text(value) for value in dist.values)}") + weights
    kind = parameter.declared or type(dist).__name__.lower()
    step = "" if dist.q is None else f" in steps of {dist.q:g}"
    if isinstance(dist, Numeric):
        return f"{kind} {dist.low:g} to {dist.high:g}{step}"
    if isinstance(dist, Normal):
        return f"{kind} with mu {dist.mu:g}, sigma {dist.sigma:g}{step}"
    assert isinstance(dist, Beta)
    return f"{kind} with a {dist.a:g}, b {dist.b:g}{step}"


def duration(seconds: float) -> str:
    """As a file may have it: `2h`, `1h30m`, `0.5s`."""
    if seconds != int(seconds) or seconds < 1:
        return f"{seconds:g}s"
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return "".join(f"{n}{unit}" for n, unit in ((hours, "h"), (minutes, "m"), (left, "s")) if n)


def _given(value: Any) -> str:
    return NOT_GIVEN if value is None or value in ((), {}) else _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return _cut(f"[{', '.join(_text(item) for item in value)}]")
    if isinstance(value, Mapping):
        return _cut("{" + ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) + "}")
    return _cut(str(value))


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


# --- what it means ---------------------------------------------------------------------------------------------


def _effects(views: Views, new: SweepSpec, keys: set[str]) -> list[str]:
    old, sweep = views.spec, views.sweep
    found = [_about_trials(views, new)] if old.space != new.space else []
    if old.run_cap != new.run_cap and new.run_cap is not None and new.run_cap <= sweep.trials:
        found.append(f"{_count(sweep.trials, 'trial')} proposed already: no new ones follow")
    if old.limits != new.limits:
        found.append("run_time, no_progress and kill_after hold at once, also for runs that are at work")
    later = [key for key in _LATER if any(name.split(".")[0] == key for name in keys)]
    if later:
        found.append(f"{' and '.join(later)}: for runs that start from now on")
    if old.resources != new.resources:
        found.append("resources: for agents that start from now on")
    if keys & {"code", "links"}:
        found.append(
            "code and links: for agents that start from now on; the recorded code stays what it was when the sweep was created"
        )
    if sweep.state == "ended" and gives_more(old, new):
        found.append("the sweep has ended; it goes on where this leaves it something to do")
    return found


def _about_trials(views: Views, new: SweepSpec) -> str:
    configs = {run.trial: run.config for run in views.runs}
    outside = sum(not inside(new.space, config) for config in configs.values())
    stay = f"{_count(len(configs), 'recorded trial')} stay{'s' if len(configs) == 1 else ''}"
    if not configs:
        return "no trial is recorded yet"
    lie = "lies" if outside == 1 else "lie"
    return f"{stay}; {outside or 'none'} of them {lie} outside the new space"


def inside(space: Space, config: Mapping[str, Any]) -> bool:
    """Whether a search of `space` could propose `config`."""
    return belongs(space, dict(config))


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'s' if n != 1 else ''}"
