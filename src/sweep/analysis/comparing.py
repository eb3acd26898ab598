"""Runs side by side: what each of them was, as named facts in sections, and which facts differ.

The rule of this file: facts only, as they were recorded; a fact that a run has not is None. Nothing here touches a store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sweep.analysis.history import History
from sweep.analysis.records import flatten, record
from sweep.core.spec import SweepSpec
from sweep.core.views import AttemptView, RunView

Facts = dict[str, dict[str, Any]]
"""Section -> name -> value."""

SECTIONS = (
    "outcome",
    "config",
    "metrics",
    "summary",
    "seeds",
    "determinism",
    "data",
    "code",
    "files",
    "packages",
    "python",
    "hardware",
    "variables",
)
_HARDWARE = ("os", "kernel", "libc", "container", "memory_bytes", "gpu_driver", "cuda_version")
_OUTCOME = ("trial", "state", "reason", "objective", "steps", "exit_code", "duration_s", "host", "started")


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What a run rests on, out of the records of its sweep and of the node that its last attempt was on."""

    spec: SweepSpec
    code: Mapping[str, Any] = {}
    """The record of the code that the run executed."""
    files: Mapping[str, str] = {}
    """Path -> digest of every file of that code."""
    node: Mapping[str, Any] = {}
    """`AgentJoined.record`."""
    packages: Mapping[str, str] = {}
    """Name -> version on that node."""


class Side(msgspec.Struct, frozen=True):
    """One run in a comparison."""

    id: str
    facts: Facts


class Line(msgspec.Struct, frozen=True):
    """One fact of all runs; None where a run has it not."""

    section: str
    name: str
    values: tuple[Any, ...]
    same: bool


def compare(sides: Sequence[Side]) -> list[Line]:
    """All facts of these runs, in the order of the sections; within one as the runs first name them."""
    lines = []
    for section in SECTIONS:
        names: dict[str, None] = {}
        for side in sides:
            names.update(dict.fromkeys(side.facts.get(section, {})))
        for name in names:
            values = tuple(side.facts.get(section, {}).get(name) for side in sides)
            lines.append(Line(section, name, values, len({_identity(value) for value in values}) == 1))
    return lines


def side_of(run: RunView, history: History, origin: Origin) -> Side:
    """Everything to compare about one run."""
    found = record(run)
    last = run.attempts[-1] if run.attempts else None
    return Side(
        run.id,
        {
            "outcome": {name: found[name] for name in _OUTCOME} | {"attempts": len(run.attempts)},
            "config": {**flatten(run.defaults), **flatten(run.config)},
            "metrics": _metrics(history, origin.spec),
            "summary": flatten(run.summary),
            "seeds": _seeds(run, origin.spec, last),
            "determinism": flatten(last.state) if last else {},
            "data": {one.path: one.digest or one.problem for one in run.data if one.attempt == run.attempt},
            "code": _code(origin),
            "files": dict(origin.files),
            "packages": dict(origin.packages),
            "python": _python(origin.node),
            "hardware": _hardware(origin.node, last),
            "variables": _variables(origin.node, last),
        },
    )


def _identity(value: Any) -> str:
    """Equal for equal values; 1 and 1.0 are the same, 1 and true are not."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return json.dumps(value, sort_keys=True, default=str)


def _metrics(history: History, spec: SweepSpec) -> dict[str, Any]:
    """Of each metric its last value, and its best: in the direction of its goal for the objective, else both ends."""
    found: dict[str, Any] = {}
    for name in history.metrics:
        values = history.series(name).values
        finite = [value for value in values if math.isfinite(value)]
        found[f"{name} (last)"] = values[-1]
        if not finite:
            continue
        if spec.metric is not None and name == spec.metric.name:
            found[f"{name} (best)"] = min(finite) if spec.metric.goal == "minimize" else max(finite)
        else:
            found[f"{name} (lowest)"], found[f"{name} (highest)"] = min(finite), max(finite)
    return found


def _seeds(run: RunView, spec: SweepSpec, last: AttemptView | None) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "replicate": run.replicate,
        "sweep's seed": spec.seed,
        "PYTHONHASHSEED": last.env.get("PYTHONHASHSEED") if last else None,
    }


def _code(origin: Origin) -> dict[str, Any]:
    code, git = origin.code, origin.code.get("git") or {}
    return {
        "tree": code.get("tree"),
        "commit": git.get("commit"),
        "branch": git.get("branch"),
        "uncommitted changes": git.get("dirty"),
        "complete": code.get("complete"),
        "program": origin.spec.program,
        "command": list(origin.spec.command),
    }


def _python(node: Mapping[str, Any]) -> dict[str, Any]:
    python = node.get("python") or {}
    return {name: python.get(name) for name in ("version", "implementation", "compiler", "executable")}


def _hardware(node: Mapping[str, Any], last: AttemptView | None) -> dict[str, Any]:
    hardware = node.get("hardware") or {}
    cpu = hardware.get("cpu") or {}
    return {
        "cpu": cpu.get("model"),
        "architecture": cpu.get("architecture"),
        "cores": cpu.get("cores_usable"),
        **{name: hardware.get(name) for name in _HARDWARE},
        "gpus of the node": [gpu.get("name") for gpu in hardware.get("gpus") or ()],
        "gpus of the run": list(last.gpus) if last else None,
    }


def _variables(node: Mapping[str, Any], last: AttemptView | None) -> dict[str, Any]:
    """What steers numerics, devices and threads: of the node, and over it what sweep set for the run."""
    inherited = dict((node.get("environ") or {}).get("values") or {})
    own = dict(last.env) if last else {}
    named = {**inherited, **own}
    return {
        name: named[name]
        for name in sorted(named)
        if not name.startswith("SWEEP_") and name != "PYTHONHASHSEED"
    }
