"""Checks of a folded state: its indexes against what they are derived from, and a dump by which two folds compare.

The rule of this file: everything is computed anew, in the plainest way, from runs, trials and agents.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections import Counter
from typing import Any

from sweep.core.codec import spec_to_builtins
from sweep.core.spec import unit_of
from sweep.core.state import Run, State, Trial, best_finite, trial_outcome

_ENDED = ("completed", "failed", "pruned", "cancelled")


class Inconsistent(AssertionError):
    """An index of a state says something else than the state itself."""


def dump(state: State) -> dict[str, Any]:
    """The state as plain data: two folds of one journal give equal dumps. NaN is written as text, to equal itself."""
    return {
        "position": state.position,
        "sweep": state.sweep,
        "spec": repr(spec_to_builtins(state.spec)),
        "revision": state.revision,
        "phase": (state.phase, state.reason, state.stop_requested, state.reopen, state.only_confirm),
        "times": (state.created_s, state.first_agent_s, state.last_s),
        "trials": [(repr(trial.config), list(trial.runs), trial.counted) for trial in state.trials],
        "runs": [_run(run) for run in state.runs],
        "agents": {
            name: (
                agent.host,
                agent.slots,
                agent.joined_s,
                agent.alive,
                agent.aside,
                agent.gpus,
                sorted(agent.runs),
            )
            for name, agent in state.agents.items()
        },
        "ends": (sorted(state.in_a_row.items()), list(state.lately)),
        "offers": list(state.offers.items()),
        "exhausted": state.exhausted,
        "reached": state.reached,
        "patience": (state.best_score, state.unimproved, state.row, state.stalled, state.stalled_in),
        "spent": (state.gpu_s, state.cpu_s, state.energy_j),
        "ignored": list(state.ignored),
        "counts": {name: count for name, count in state.counts.items() if count},
        "best": (state.best_run, state.best_trial),
        "waiting": (state.waiting, state.spared_waiting, state.confirm_open),
        "live": sorted(state.live),
        "paused": sorted(state.paused),
        "unexpanded": state.unexpanded,
        "observations": [(o.trial, repr(o.config), o.status, o.score, o.worth) for o in state.observations],
    }


def _run(run: Run) -> tuple[Any, ...]:
    series = ("steps", "values", "progress", "passed")  # these may hold NaN
    fields = [getattr(run, name) for name in Run.__slots__ if name not in series]
    return (*fields, repr([run.passed, list(run.steps), list(run.values), list(run.progress)]))


def check_state(state: State) -> None:
    """Raise Inconsistent when an index of `state` is not what its runs, trials and agents say."""
    runs = state.runs
    live = {run.run for run in runs if run.state in ("assigned", "running")}
    waiting = [run.run for run in runs if run.state == "queued"]
    _same("paused", state.paused, {run.run for run in runs if run.state == "paused"})
    _same("live", state.live, live)
    _same("waiting", state.waiting, len(waiting))
    spared = [n for n in waiting if runs[n].asked or runs[n].purpose == "confirm"]
    _same("spared_waiting", state.spared_waiting, len(spared))
    unconfirmed = [r for r in runs if r.purpose == "confirm" and r.state not in _ENDED]
    _same("confirm_open", state.confirm_open, len(unconfirmed))
    _same("whole runs that only confirm", [n for n in state.whole if runs[n].purpose != "search"], [])
    _same("counts", +Counter(state.counts), Counter(run.state for run in runs))
    _same("ended runs that are to be tried again", [r.run for r in runs if r.state in _ENDED and r.asked], [])
    queued = set(state.queue) | {
        number for ready_s, number in state.delayed if ready_s == runs[number].ready_s
    }
    _same("waiting runs that are in no queue", set(waiting) - queued, set())
    _check_trials(state)
    _check_agents(state)
    searched = [run for run in runs if run.purpose == "search"]
    scores = [run.score for run in searched if run.state in ("completed", "pruned")]
    best = None if state.best_run is None else runs[state.best_run].score
    _same("best_run", best, best_finite(scores, state.goal))
    means = [one.score for one in state.observations if one.status in ("completed", "pruned")]
    best = None if state.best_trial is None else state.observations[state.best_trial].score
    _same("best_trial", best, best_finite(means, state.goal))
    if state.phase == "ended" and not state.reopen:
        _same("live runs of an ended sweep", live, set())
        _same("waiting runs of an ended sweep", waiting, [])
        _same("paused runs of an ended sweep", state.paused, set())


def _check_trials(state: State) -> None:
    owners = [(run.run, run.trial) for run in state.runs]
    listed = [(number, trial) for trial, one in enumerate(state.trials) for number in one.runs]
    _same("runs of trials", sorted(listed), sorted(owners))
    expanded = [number for number, trial in enumerate(state.trials) if trial.runs]
    _same("unexpanded", state.unexpanded, max(expanded, default=-1) + 1)
    for number, trial in enumerate(state.trials):
        outcome = trial_outcome([state.runs[run] for run in trial.runs])
        seen = state.observations[number]
        _same(f"observation of trial {number}", (seen.trial, seen.status, seen.score), (number, *outcome))
        _same(f"config of trial {number}", seen.config, trial.config)
        _same(f"worth of trial {number}", seen.worth, _worth(state, trial))
    _same("number of observations", len(state.observations), len(state.trials))


def _worth(state: State, trial: Trial) -> float | None:
    """What a trial is worth that was ended early, as the docs have it: by hand."""
    runs = [state.runs[number] for number in trial.runs if state.runs[number].purpose == "search"]
    if not runs or any(run.state not in (*_ENDED, "paused") for run in runs):
        return None
    runs = [run for run in runs if run.state in ("completed", "pruned", "paused") and run.score is not None]
    known = max((2**k for k in range(20) if 2**k <= len(state.whole)), default=0)
    whole = [state.runs[number] for number in state.whole[:known][-64:]]
    if not whole or all(run.state == "completed" for run in runs):
        return None
    sign, scores = 1 if state.goal == "minimize" else -1, []
    middle = sorted(sign * (run.score or 0.0) for run in whole)[(len(whole) - 1) // 2]
    for run in runs:
        assert run.score is not None
        gains = []
        for other in whole:
            until = len(run.values)
            if unit_of(state.spec.early_terminate) != "count":
                until = bisect_right(other.progress, run.progress[-1]) if run.values else 0
            best = best_finite(other.values[:until], state.goal)
            if best is not None:
                gains.append(sign * best - sign * (other.score or 0.0))
        guess = max(sign * run.score - statistics.median(gains), middle) if gains else sign * run.score
        scores.append(run.score if run.state == "completed" else sign * guess)
    return math.fsum(scores) / len(scores)


def _check_agents(state: State) -> None:
    for name, agent in state.agents.items():
        here = {r.run for r in state.runs if r.agent == name and r.state in ("assigned", "running")}
        _same(f"runs of agent {name}", agent.runs, here)
        if agent.alive and len(here) + sum(owner == name for owner, _ in state.offers) > agent.slots:
            raise Inconsistent(f"agent {name} has {agent.slots} slots, but more runs and offers")
    for owner, slot in state.offers:
        if not state.agents[owner].alive:
            raise Inconsistent(f"slot {slot} of {owner} is on offer, but the agent is gone")
        if state.agents[owner].aside:
            raise Inconsistent(f"slot {slot} of {owner} is on offer, but its node is set aside")
    for run in state.runs:
        if run.agent and run.state not in ("assigned", "running"):
            raise Inconsistent(f"run {run.run} is {run.state}, but agent {run.agent} has it")


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise Inconsistent(f"{what}: the index says {found!r}, it should be {expected!r}")
