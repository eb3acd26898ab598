"""decide(state, now): what the controller wants to happen now, derived from the state alone.

Level-triggered: asked twice it gives the same answer twice, so a controller that dies between deciding and appending
loses nothing. Every decision carries its reason where one is not obvious.
"""

from __future__ import annotations

import heapq
import math

import msgspec

from sweep.core import entries as e
from sweep.core.seeds import run_seed
from sweep.core.state import State


class Propose(msgspec.Struct, frozen=True):
    """Ask the searcher for the configs of `n` further trials."""

    n: int


class WakeAt(msgspec.Struct, frozen=True):
    """Decide again at this Unix time (seconds), if nothing happened before."""

    at_s: float


Command = Propose | WakeAt


def decide(state: State, now_s: float, lookahead: int = 0) -> tuple[list[e.AnyEntry], list[Command]]:
    """Entries to append and commands to do, given the time (Unix seconds).

    `lookahead`: how many trials beyond the slots on offer to have ready (a cheap searcher is asked ahead).
    """
    if state.phase == "ended":
        return ([e.SweepReopened(state.reopen)] if state.reopen else []), []
    decisions: list[e.AnyEntry] = [*_lost(state)]
    if decisions:
        return decisions, []
    ending = _ending(state, now_s)
    if ending is not None:
        return _wind_down(state, *ending), _timers(state, now_s)
    decisions += _judge(state)
    decisions += _expand(state)
    if state.phase == "active":
        decisions += _assign(state)
    commands: list[Command] = [*_timers(state, now_s)]
    wanted = _wanted(state, len(decisions), lookahead)
    if wanted:
        commands.append(Propose(wanted))
    return decisions, commands


def _lost(state: State) -> list[e.AnyEntry]:
    """The attempts of agents that are gone."""
    return [
        e.AttemptEnded(number, state.runs[number].attempt, name, "lost", reason="its agent vanished")
        for name, agent in state.agents.items()
        if agent.runs and not agent.alive
        for number in sorted(agent.runs)
    ]


def _ending(state: State, now_s: float) -> tuple[str, bool] | None:
    """None while the sweep should go on; else why it ends, and whether running runs are ended with it."""
    spec = state.spec
    if state.stop_requested:
        return state.reason, state.stop_requested == "cancel"
    wall = _wall_end_s(state)
    if wall is not None and now_s >= wall:
        return f"limits.wall_time ({spec.limits.wall_time_s:g} s) is over", True
    if state.reached is not None and spec.metric is not None:
        run, value = state.reached
        return f"run {run} reached the target: {spec.metric.name} {value:g}", False
    if (
        not _open_budget(state)
        and not state.waiting
        and not state.live
        and state.unexpanded == len(state.trials)
    ):
        return _spent(state), False
    return None


def _wall_end_s(state: State) -> float | None:
    limit = state.spec.limits.wall_time_s
    if limit is None or state.first_agent_s is None:
        return None
    return state.first_agent_s + limit


def _open_budget(state: State) -> float:
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


def _wind_down(state: State, reason: str, kill: bool) -> list[e.AnyEntry]:
    decisions: list[e.AnyEntry] = []
    for run in state.runs if state.waiting or (kill and state.live) else ():
        waiting = run.state in ("queued", "paused")
        if waiting or (kill and run.run in state.live and not run.order):
            decisions.append(e.RunCancelled(run.run, run.attempt, "" if waiting else run.agent, reason))
    if not decisions and not state.live:
        decisions.append(e.SweepEnded(reason))
    if not kill and state.live:
        decisions += _judge(state)
    return decisions


def _judge(state: State) -> list[e.AnyEntry]:
    """Running runs that the stopper condemns."""
    stopper = state.stopper
    if stopper is None or not state.to_judge:
        return []
    decisions: list[e.AnyEntry] = []
    for number in sorted(state.live):
        run = state.runs[number]
        if run.state == "running" and not run.order and run.values:
            reason = stopper.condemned(number)
            if reason is not None:
                decisions.append(e.RunPruned(number, run.attempt, run.agent, reason))
    if not decisions:
        state.to_judge = False
    return decisions


def _expand(state: State) -> list[e.AnyEntry]:
    """The runs of trials that have none yet."""
    spec, number, decisions = state.spec, len(state.runs), list[e.AnyEntry]()
    for trial in range(state.unexpanded, len(state.trials)):
        for replicate in range(spec.replicates):
            decisions.append(e.RunAdded(number, trial, replicate, run_seed(spec.seed, replicate)))
            number += 1
    return decisions


def _assign(state: State) -> list[e.AnyEntry]:
    """Waiting runs, lowest number first, onto offered slots, oldest offer first."""
    decisions: list[e.AnyEntry] = []
    taken: list[int] = []
    for (agent, slot), offer in state.offers.items():
        number = _pop_waiting(state)
        if number is None:
            break
        taken.append(number)
        run = state.runs[number]
        config = state.trials[run.trial].config
        decisions.append(
            e.RunAssigned(
                number, run.attempt + 1, agent, slot, offer, run.trial, run.replicate, run.seed, config
            )
        )
    for number in taken:  # popping is a look only: the queue changes when the decision is folded
        heapq.heappush(state.queue, number)
    return decisions


def _pop_waiting(state: State) -> int | None:
    last = -1
    while state.queue:
        number = heapq.heappop(state.queue)
        if number != last and state.runs[number].state in ("queued", "paused"):
            while state.queue and state.queue[0] == number:
                heapq.heappop(state.queue)
            return number
        last = number
    return None


def _wanted(state: State, deciding: int, lookahead: int) -> int:
    """How many trials to ask for: enough for every slot on offer, and `lookahead` more; none while decisions of
    this round still change the picture."""
    if state.phase != "active" or deciding or state.unexpanded < len(state.trials):
        return 0
    short = len(state.offers) + lookahead - state.waiting
    if short <= 0:
        return 0
    return int(min(math.ceil(short / state.spec.replicates), _open_budget(state)))


def _timers(state: State, now_s: float) -> list[Command]:
    wall = _wall_end_s(state)
    return [WakeAt(wall)] if wall is not None and wall > now_s else []
