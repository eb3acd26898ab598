"""decide(state, now): what the controller wants to happen now, derived from the state alone.

Level-triggered: asked twice it gives the same answer twice, so a controller that dies between deciding and appending
loses nothing. Every decision carries its reason where one is not obvious.
"""

from __future__ import annotations

import heapq
import math

import msgspec

from sweep.core import entries as e
from sweep.core.confirming import missing
from sweep.core.ending import End, ending, gpu_end_s, open_budget, stopped_by, wall_end_s
from sweep.core.nodes import setting_aside
from sweep.core.pausing import condemned, promotable
from sweep.core.seeds import seed_of
from sweep.core.spec import pauses
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
    decisions = _lost(state)
    if decisions:
        return decisions, []
    if state.in_a_row and not state.stop_requested and stopped_by(state, now_s) is None:
        decisions = setting_aside(state, now_s)
        if decisions:
            return decisions, []
    end = ending(state, now_s)
    if end is not None:
        return _wind_down(state, end, now_s), _timers(state, now_s)
    if state.to_judge:
        decisions += _judge(state)
    if state.unexpanded < len(state.trials):
        decisions += _expand(state)
    decisions += _assign(state, now_s)
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


def _wind_down(state: State, end: End, now_s: float) -> list[e.AnyEntry]:
    decisions: list[e.AnyEntry] = []
    spared = state.spared_waiting if end.spares else 0
    for number in sorted(state.paused):
        run = state.runs[number]
        decisions.append(e.RunPruned(number, run.attempt, "", f"{run.reason}; paused until the end"))
    for run in state.runs if state.waiting > spared or (end.kills and state.live) else ():
        waiting = run.state == "queued"
        if waiting and end.spares and run.spared:
            continue
        if waiting or (end.kills and run.run in state.live and not run.order):
            decisions.append(e.RunCancelled(run.run, run.attempt, "" if waiting else run.agent, end.reason))
    if not decisions and not state.live and not spared:
        decisions += (_confirm(state) if end.confirms else []) or [e.SweepEnded(end.reason)]
    if not end.kills and state.live:
        decisions += _judge(state, for_good=True)
    if spared == state.waiting and not state.paused:  # nothing else can be assigned
        decisions += _assign(state, now_s)
    return decisions


def _confirm(state: State) -> list[e.AnyEntry]:
    """The runs that confirm the best configs and are not there yet."""
    decisions: list[e.AnyEntry] = []
    for number, (trial, replicate) in enumerate(missing(state), start=len(state.runs)):
        seed = seed_of(state.spec, state.trials[trial].config, replicate, "confirm")
        decisions.append(e.RunAdded(number, trial, replicate, seed, "confirm"))
    return decisions


def _judge(state: State, for_good: bool = False) -> list[e.AnyEntry]:
    """Running runs of the search that the stopper condemns: they end, or are paused unless `for_good`. Under a rule that pauses nobody,
    those that are paused from earlier end as well."""
    if state.stopper is None or not state.to_judge:
        return []
    decisions: list[e.AnyEntry] = []
    pausing = pauses(state.spec.early_terminate) and not for_good
    for number in sorted(state.live if pausing or for_good else state.live | state.paused):
        run = state.runs[number]
        begun = run.state == "running" and not run.order and run.values and run.purpose == "search"
        if begun or run.state == "paused":
            reason = condemned(state, run)
            if reason is not None:
                kind = e.RunPaused if pausing else e.RunPruned
                decisions.append(kind(number, run.attempt, run.agent, reason))
    if not decisions:
        state.to_judge = False
    return decisions


def _expand(state: State) -> list[e.AnyEntry]:
    """The runs of trials that have none yet."""
    spec, number, decisions = state.spec, len(state.runs), list[e.AnyEntry]()
    for trial in range(state.unexpanded, len(state.trials)):
        for replicate in range(spec.replicates):
            seed = seed_of(spec, state.trials[trial].config, replicate)
            decisions.append(e.RunAdded(number, trial, replicate, seed))
            number += 1
    return decisions


def _wake(state: State, now_s: float) -> None:
    """Queue the runs that have waited long enough. Which runs wait for what is not changed by it."""
    while state.delayed and state.delayed[0][0] <= now_s:
        heapq.heappush(state.queue, heapq.heappop(state.delayed)[1])


def _delayed(state: State) -> list[float]:
    """When the runs will be ready that still wait for a time."""
    ready = {
        number: ready_s
        for ready_s, number in state.delayed
        if state.runs[number].state == "queued" and state.runs[number].ready_s == ready_s
    }
    return list(ready.values())


def _assign(state: State, now_s: float) -> list[e.AnyEntry]:
    """Paused runs that may go on, then waiting ones, lowest number first, onto offered slots, oldest offer first."""
    decisions: list[e.AnyEntry] = []
    if not state.offers or not (state.waiting or state.paused) or state.phase != "active":
        return decisions
    _wake(state, now_s)
    taken: list[int] = []
    promoted = iter(promotable(state))
    for (agent, slot), offer in state.offers.items():
        number = next(promoted, None)
        if number is None:
            number = _pop_waiting(state, now_s)
            if number is None:
                break
            taken.append(number)
        run = state.runs[number]
        config = state.trials[run.trial].config
        decisions.append(
            e.RunAssigned(
                number,
                run.attempt + 1,
                agent,
                slot,
                offer,
                run.trial,
                run.replicate,
                run.seed,
                config,
                run.after,
            )
        )
    for number in taken:  # popping is a look only: the queue changes when the decision is folded
        heapq.heappush(state.queue, number)
    return decisions


def _pop_waiting(state: State, now_s: float) -> int | None:
    last = -1
    while state.queue:
        number = heapq.heappop(state.queue)
        run = state.runs[number]
        if number != last and run.state == "queued":
            if run.ready_s > now_s:  # it stood here from an earlier time
                heapq.heappush(state.delayed, (run.ready_s, number))
                last = number
                continue
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
    if state.delayed:
        short += len(_delayed(state))
    if short <= lookahead // 2:  # half of what should be in hand is: ask for several at a time
        return 0
    return int(min(math.ceil(short / state.spec.replicates), open_budget(state)))


def _timers(state: State, now_s: float) -> list[Command]:
    limits = state.spec.limits
    if limits.wall_time_s is None and limits.gpu_hours is None and not state.delayed:
        return []
    times = _delayed(state) if state.delayed else []
    times += [at_s for at_s in (wall_end_s(state), gpu_end_s(state)) if at_s is not None]
    future = [at_s for at_s in times if at_s > now_s]
    return [WakeAt(min(future))] if future else []
