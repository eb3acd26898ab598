"""What a new revision of a spec may change, and whether it gives a sweep more to do.

The rule of this file: pure functions of two specs. What would make recorded results incomparable with later ones may not
change; everything else may, and holds from the revision on: trials that were proposed before keep their configs and are run.
"""

from __future__ import annotations

from collections.abc import Collection

from sweep.core import domain
from sweep.core.space import Config, Space
from sweep.core.spec import Confirm, Method, SweepSpec, unit_of


def revisable(old: SweepSpec, new: SweepSpec) -> list[str]:
    """What of `new` may not differ from `old` but does, each as a sentence for a person; empty when `new` may follow.

    Fixed are `method` (what a complete sweep is depends on it), `seed` and `seeds` (random draws and the seeds of runs come from them),
    `replicates` (a trial's score is the mean over them), and the name and goal of `metric` (scores are compared by it).
    So is `workdir`: the record of the sweep's code and files begins there. `engine` may change: every proposal names the
    one that made it. So may `program`, `command` and `env`, as the code that they lead to may, unseen by the spec; and
    `resources`, for agents that start later.
    """
    found: list[str] = []
    for key in ("method", "seed", "seeds", "replicates", "workdir"):
        was, now = getattr(old, key), getattr(new, key)
        if was != now:
            shown = f" from {was} to {now}" if was is not None and now is not None else ""
            found.append(f"{key} cannot change{shown}: {_WHY[key]}")
    if (old.metric is None) != (new.metric is None):
        done = "added" if old.metric is None else "taken away"
        found.append(f"metric cannot be {done}: {_WHY['metric']}")
    elif old.metric is not None and new.metric is not None:
        for key in ("name", "goal"):
            was, now = getattr(old.metric, key), getattr(new.metric, key)
            if was != now:
                found.append(f"metric.{key} cannot change from {was} to {now}: {_WHY['metric']}")
    units = unit_of(old.early_terminate), unit_of(new.early_terminate)
    if units[0] != units[1] and not {*units} <= {"count", "logged"} and units[1] != "count":
        found.append(
            f"early_terminate.step cannot change from {units[0]} to {units[1]}: runs have reported by {units[0]}"
        )
    return found


_WHY = {
    "method": "which trials a whole sweep has depends on it; create another sweep",
    "seed": "the recorded trials and the seeds of their runs come from it",
    "seeds": "runs of one config would have seeds of two kinds",
    "replicates": "scores are means over them, and recorded ones could not be compared with new ones",
    "workdir": "runs start in the folder that was recorded with the sweep",
    "metric": "recorded scores could not be compared with new ones; create another sweep",
}


def gives_more(old: SweepSpec, new: SweepSpec) -> list[str]:
    """The keys by which `new` may give a sweep more to do than `old`: a raised or removed limit, a target that moved, another
    space. What of it really is left to do depends on the state."""
    limits, raised = old.limits, new.limits
    checks = {
        "run_cap": _raised(old.run_cap, new.run_cap),
        "patience": _raised(old.patience, new.patience),
        "metric.target": old.metric is not None
        and new.metric is not None
        and old.metric.target is not None
        and old.metric.target != new.metric.target,
        "limits.wall_time": _raised(limits.wall_time_s, raised.wall_time_s),
        "limits.gpu_hours": _raised(limits.gpu_hours, raised.gpu_hours),
        "limits.cpu_hours": _raised(limits.cpu_hours, raised.cpu_hours),
        "limits.energy_kwh": _raised(limits.energy_kwh, raised.energy_kwh),
        "parameters": old.space != new.space,
        "confirm": _confirms_more(old.confirm, new.confirm),
    }
    return [key for key, more in checks.items() if more]


def _raised(old: float | None, new: float | None) -> bool:
    return old is not None and (new is None or new > old)


def _confirms_more(old: Confirm | None, new: Confirm | None) -> bool:
    return new is not None and (old is None or new.top > old.top or new.seeds > old.seeds)


def is_used_up(space: Space, method: Method, tried: Collection[Config]) -> bool:
    """Whether every point of `space` is among the configs `tried`, which may hold others as well. At most as many points
    are looked at as there are configs."""
    keys = {domain.canonical(config) for config in tried}
    size = domain.grid_size(space) if method == "grid" else domain.size(space)
    found = domain.grid_points(space) if method == "grid" else domain.points(space)
    if size is None or found is None or size > len(keys):
        return False
    return all(domain.canonical(config) in keys for config in domain.allowed(space, found))
