"""When a sweep ends, and why: `target`, `patience`, `run_cap`, `limits.wall_time`, `limits.gpu_hours` and its like, and people.

The rule of this file: functions of the state and the time that is given; nothing is remembered here. `decide` ends sweeps
by them, `evolve` asks them whether a revised spec gives an ended sweep more to do.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from sweep.core.pausing import promotable
from sweep.core.spec import Limits
from sweep.core.state import State

J_PER_KWH = 3.6e6
_NOTHING_S = 0.001
"""Unix times are floats: what is left of a budget below this says nothing."""


class End(NamedTuple):
    """A sweep ends."""

    reason: str
    kills: bool = False
    """Running runs are ended with it."""
    spares: bool = False
    """Runs that a person wants tried again, or that confirm the result, are executed before."""
    confirms: bool = False
    """Nothing but the search has come to its end: its best configs are confirmed before, where the spec says so."""


def ending(state: State, now_s: float) -> End | None:
    """None while the sweep should go on; else how it ends."""
    if state.stop_requested:
        return End(state.reason, kills=state.stop_requested == "cancel")
    stopped = stopped_by(state, now_s)
    if stopped is not None:
        return stopped
    if state.only_confirm:
        return End(state.only_confirm, spares=True, confirms=True)
    if (
        not open_budget(state)
        and not state.waiting
        and not state.live
        and state.unexpanded == len(state.trials)
        and not promotable(state)
    ):
        return End(_spent(state), confirms=True)
    return None


def stopped_by(state: State, now_s: float) -> End | None:
    """Like `ending`, for what the spec ends a sweep by before its budget of trials is spent."""
    limits, metric = state.spec.limits, state.spec.metric
    wall = wall_end_s(state)
    if wall is not None and now_s >= wall:
        return End(words_of_wall_time(limits), kills=True)
    spent = gpu_end_s(state)
    if spent is not None and now_s >= spent:
        return End(words_of_gpu_hours(limits), kills=True)
    if limits.cpu_hours is not None and cpu_spent_s(state) >= limits.cpu_hours * 3600.0:
        return End(words_of_cpu_hours(limits), kills=True)
    if limits.energy_kwh is not None and energy_spent_j(state) >= limits.energy_kwh * J_PER_KWH:
        return End(words_of_energy(limits), kills=True)
    if state.reached is not None and metric is not None:
        run, value = state.reached
        return End(f"run {run} reached the target: {metric.name} {value:g}", spares=True, confirms=True)
    if state.stalled:
        return End(state.stalled, spares=True, confirms=True)
    return None


def words_of_wall_time(limits: Limits) -> str:
    """The reason of a sweep that `limits.wall_time` has ended."""
    return f"limits.wall_time ({limits.wall_time_s:g} s) is over"


def words_of_gpu_hours(limits: Limits) -> str:
    """The reason of a sweep that `limits.gpu_hours` has ended."""
    return f"limits.gpu_hours: {limits.gpu_hours:g} GPU-hours are spent"


def words_of_cpu_hours(limits: Limits) -> str:
    """The reason of a sweep that `limits.cpu_hours` has ended."""
    return f"limits.cpu_hours: {limits.cpu_hours:g} CPU-hours are spent"


def words_of_energy(limits: Limits) -> str:
    """The reason of a sweep that `limits.energy_kwh` has ended."""
    return f"limits.energy_kwh: {limits.energy_kwh:g} kWh are spent"


def cpu_spent_s(state: State) -> float:
    """CPU time of all attempts, as far as it was measured; of those that run what they have reported."""
    return state.cpu_s + math.fsum(state.runs[number].cpu_s for number in state.live)


def energy_spent_j(state: State) -> float:
    """Energy of all attempts, likewise."""
    return state.energy_j + math.fsum(state.runs[number].energy_j for number in state.live)


def over(state: State, now_s: float) -> bool:
    """Whether an ended sweep would end at once if it were reopened."""
    all_have_runs = state.unexpanded == len(state.trials)
    nothing_left = not open_budget(state) and all_have_runs and not any(run.shelved for run in state.runs)
    return nothing_left or stopped_by(state, now_s) is not None


def wall_end_s(state: State) -> float | None:
    """When `limits.wall_time` is over (Unix seconds); None where there is no such time."""
    limit = state.spec.limits.wall_time_s
    if limit is None or state.first_agent_s is None:
        return None
    return state.first_agent_s + limit


def gpu_end_s(state: State) -> float | None:
    """When `limits.gpu_hours` will be spent if what runs now runs on (Unix seconds; minus infinity: it is); None without
    a limit, and while nothing holds a GPU."""
    hours = state.spec.limits.gpu_hours
    if hours is None:
        return None
    left = hours * 3600.0 - state.gpu_s
    if left <= _NOTHING_S:
        return -math.inf
    holding = [run for run in map(state.runs.__getitem__, sorted(state.live)) if run.gpus]
    rate = math.fsum(run.gpus for run in holding)
    if not rate:
        return None
    last = max(run.started_s for run in holding)
    before = math.fsum(run.gpus * (last - run.started_s) for run in holding)
    return last + (left - before) / rate


def open_budget(state: State) -> float:
    """How many more trials may be proposed (infinity without a cap)."""
    if state.exhausted:
        return 0
    cap = state.spec.run_cap
    return math.inf if cap is None else max(0, cap - len(state.trials))


def _spent(state: State) -> str:
    done = len(state.trials)
    if state.exhausted:
        return (
            "the only point of the space is done" if done == 1 else f"all {done} points of the space are done"
        )
    return "run_cap: the one trial is done" if done == 1 else f"run_cap: all {done} trials are done"
