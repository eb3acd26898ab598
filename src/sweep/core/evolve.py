"""evolve(state, recorded): fold one journal entry into the state. Deterministic, no I/O, total.

It mutates the state that it is given. An event that cannot happen any more is noted as ignored; a decision that cannot
happen is a bug in the controller and raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sweep.core import entries as e
from sweep.core import told
from sweep.core.codec import spec_from_builtins
from sweep.core.confirming import confirm_problem, missing, without_value
from sweep.core.ending import over, stopped_by
from sweep.core.lifecycle import TABLE, RunEntry, advance, refuse
from sweep.core.nodes import forgive, note_end
from sweep.core.plugins import Observation
from sweep.core.revisions import gives_more, is_used_up, revisable
from sweep.core.spec import Confirm, SweepSpec, unit_of
from sweep.core.state import Agent, Run, State, Trial, best_finite, best_so_far
from sweep.core.told import find
from sweep.core.views import RunState


class IllegalDecision(Exception):
    """A controller decided what the table of transitions does not allow."""


def evolve(state: State, recorded: e.Recorded) -> str | None:
    """Fold `recorded` into `state`. Returns None, or why the entry was ignored.

    Raises IllegalDecision for a decision that is not legal, ValueError for a gap in the journal; nothing has changed then.
    """
    position, entry, last_s = recorded.position, recorded.entry, state.last_s
    if position != state.position + 1:
        raise ValueError(f"journal entry {position} does not follow {state.position}")
    kind = type(entry)
    state.last_s = recorded.at_s
    if state.sweep or kind is e.SweepCreated:
        refusal = _HANDLERS[kind](state, entry)
    else:
        refusal = "the sweep does not exist yet"
    if refusal is not None:
        if e.is_decision(entry):
            state.last_s = last_s
            raise IllegalDecision(f"entry {position}, {kind.__name__}: {refusal}")
        state.ignored.append((position, refusal))
    state.position = position
    return refusal


# --- the sweep ---------------------------------------------------------------------------------------------------


def _created(state: State, entry: e.SweepCreated) -> str | None:
    if state.sweep:
        return "the sweep exists already"
    state.sweep, state.created_s = entry.sweep, state.last_s
    state.adopt_spec(spec_from_builtins(entry.spec))
    return None


def _revised(state: State, entry: e.SpecRevised) -> str | None:
    if entry.revision != state.revision + 1:
        return f"revision {entry.revision} does not follow {state.revision}"
    try:
        spec = spec_from_builtins(entry.spec)
    except ValueError as error:
        return str(error)
    fixed = revisable(state.spec, spec)
    if fixed:
        return "; ".join(fixed)
    more = _revise(state, spec)
    why = _by(f"revision {state.revision} ({', '.join(more)})", entry.by)
    if state.phase == "ended" and more == ["confirm"]:
        _reopen_to_confirm(state, why)
    elif state.phase == "ended" and more and not over(state, state.last_s):
        state.reopen = why
    return None


def _revise(state: State, spec: SweepSpec) -> list[str]:
    """Another spec from now on. What is recorded stays; what waited goes on unless people stopped the sweep. Returns the keys
    that give it more to do."""
    old = state.spec
    more = gives_more(old, spec)
    if more and more != ["confirm"]:
        state.only_confirm = ""
    state.adopt_spec(spec)
    if spec.space != old.space:
        state.exhausted = is_used_up(spec.space, spec.method, [trial.config for trial in state.trials])
    if spec.metric != old.metric:
        state.reached = None
        for run in state.runs:
            _check_target(state, run)
    if spec.patience != old.patience:
        state.note_stall()
    if state.phase != "ended" and not state.stop_requested:
        _take_up_again(state)
    return more


def _pause(state: State, entry: e.PauseRequested) -> str | None:
    if state.phase != "active":
        return f"the sweep is {state.phase}"
    state.phase, state.reason = "paused", _by("paused", entry.by)
    return None


def _resume(state: State, entry: e.ResumeRequested) -> str | None:
    if state.phase == "active" and not state.only_confirm:
        return "the sweep is active"
    if state.phase in ("active", "ended"):  # the search goes on
        state.begin_row()
        state.stalled = state.only_confirm = ""
    if state.phase == "ended":
        state.reopen, state.stop_requested = _by("resumed", entry.by), ""
        return None
    state.phase, state.reason, state.stop_requested = "active", "", ""
    _take_up_again(state)
    return None


def _stop(state: State, entry: e.StopRequested) -> str | None:
    if state.stop_requested:
        return "the sweep is finishing already"
    return _wind_up(state, "stop", _by("stopped", entry.by))


def _cancel(state: State, entry: e.CancelRequested) -> str | None:
    return _wind_up(state, "cancel", _by("cancelled", entry.by))


def _wind_up(state: State, how: str, reason: str) -> str | None:
    """No new runs. A sweep that has ended and is about to go on is reopened for this alone: nobody's wish is lost."""
    if state.phase == "ended" and not state.reopen:
        return "the sweep has ended"
    state.stop_requested, state.reason = how, reason
    if state.phase != "ended":
        state.phase = "finishing"
    return None


def _by(what: str, who: str) -> str:
    return f"{what} by {who}" if who else what


def _extend(state: State, entry: e.ExtendRequested) -> str | None:
    more = _revise(state, msgspec.structs.replace(state.spec, run_cap=entry.run_cap))
    if more and state.phase == "ended" and not over(state, state.last_s):
        state.reopen = _by(f"extended to {entry.run_cap} trials", entry.by)
    return None


def _confirm(state: State, entry: e.ConfirmRequested) -> str | None:
    confirm = Confirm(top=entry.top, seeds=entry.seeds, choose=entry.choose)
    if state.spec.metric is None:
        return "the spec names no metric to know the best configs by"
    problem = confirm_problem(confirm)
    if problem is not None:
        return problem
    stopped = stopped_by(state, state.last_s)
    if state.phase == "ended" and stopped is not None and not stopped.confirms:
        return stopped.reason
    _revise(state, msgspec.structs.replace(state.spec, confirm=confirm))
    again = without_value(state)
    if state.phase == "ended":
        _reopen_to_confirm(state, _by("to be confirmed, asked", entry.by), bool(again))
    for run in again:
        _requeue(state, run)
    return None


def _reopen_to_confirm(state: State, why: str, again: bool = False) -> None:
    """Let an ended sweep go on for its confirmation alone, if anything of it is to be done (`again`: something is), and unless
    it is to go on anyway."""
    stopped = stopped_by(state, state.last_s)
    left = again or any(run.shelved and run.purpose == "confirm" for run in state.runs) or missing(state)
    if state.reopen or not left or (stopped is not None and not stopped.confirms):
        return
    state.reopen, state.only_confirm = why, state.reason or "the search has ended"


def _retry(state: State, entry: e.RetryRequested) -> str | None:
    taken = 0
    for number in entry.runs:
        run = find(state, number)
        if run is None or (run.state, e.RetryRequested) not in TABLE:
            continue
        run.asked = True
        _requeue(state, run)
        taken += 1
    if not taken:
        return "none of these runs has failed or was cancelled"
    if state.phase == "ended":
        state.reopen, state.only_confirm = _by(f"{taken} runs to be tried again", entry.by), ""
    return None


def _requeue(state: State, run: Run) -> None:
    before = run.state
    run.state, run.lost, run.reason, run.shelved = "queued", 0, "", False
    run.failures.clear()
    run.failed_on = ""
    state.move(run, before)


def _ended(state: State, entry: e.SweepEnded) -> str | None:
    if state.phase == "ended":
        return "the sweep has ended already"
    if state.live or state.waiting or state.paused:
        return "runs are still to be done"
    state.phase, state.reason, state.reopen = "ended", entry.reason, ""
    state.stop_requested = state.only_confirm = ""
    return None


def _reopened(state: State, _: e.SweepReopened) -> str | None:
    if state.phase != "ended":
        return "the sweep has not ended"
    state.reopen = ""
    if state.stop_requested:  # asked after what reopens it
        state.phase = "finishing"
        return None
    state.phase, state.reason = "active", ""
    _take_up_again(state)
    return None


def _take_up_again(state: State) -> None:
    """Runs that were cancelled while they waited wait again; those of the search, if it goes on."""
    for run in state.runs:
        if run.shelved and (run.purpose == "confirm" or not state.only_confirm):
            _requeue(state, run)


# --- agents ------------------------------------------------------------------------------------------------------


def _joined(state: State, entry: e.AgentJoined) -> str | None:
    if entry.agent in state.agents:
        return "this agent has joined before"
    state.agents[entry.agent] = Agent(entry.host, entry.slots, state.last_s, state.spec.resources.gpus)
    if state.first_agent_s is None:
        state.first_agent_s = state.last_s
    return None


def _gone(state: State, entry: e.AgentLeft | e.AgentLost) -> str | None:
    agent = state.agents.get(entry.agent)
    if agent is None or not agent.alive:
        return "this agent is not here"
    agent.alive = False
    for key in [key for key in state.offers if key[0] == entry.agent]:
        del state.offers[key]
    return None


def _set_aside(state: State, entry: e.NodeSetAside) -> str | None:
    agent = state.agents.get(entry.agent)
    if entry.agent and (agent is None or not agent.alive or agent.host != entry.host):
        return f"agent {entry.agent} is not on {entry.host}"
    if agent is not None and agent.aside:
        return "its node is set aside already"
    if agent is None and any(a.host == entry.host and a.alive and not a.aside for a in state.agents.values()):
        return f"agents are on {entry.host}, and must be told"
    if any(not 0 <= number < len(state.runs) for number in entry.runs):
        return "there is no such run"
    if agent is not None:
        agent.aside = True
        for key in [key for key in state.offers if key[0] == entry.agent]:
            del state.offers[key]
    for number in entry.runs:
        run = state.runs[number]
        state.touch(number)
        forgive(state, run, entry.host)
        if (run.state, e.NodeSetAside) in TABLE:
            before, run.state, run.reason = run.state, "queued", ""
            if run.purpose == "search":
                state.take_back(run.trial)
            state.move(run, before)
    state.in_a_row.pop(entry.host, None)
    state.lately = [end for end in state.lately if end[0] != entry.host]
    return None


def _offered(state: State, entry: e.SlotOffered) -> str | None:
    agent = state.agents.get(entry.agent)
    if agent is None or not agent.alive:
        return "this agent is not here"
    if agent.aside:
        return "its node is set aside"
    if (entry.agent, entry.slot) in state.offers:
        return "this slot is on offer already"
    state.offers[entry.agent, entry.slot] = entry.offer
    return None


def _withdrawn(state: State, entry: e.SlotWithdrawn) -> str | None:
    if state.offers.get((entry.agent, entry.slot)) != entry.offer:
        return "this offer is used up or withdrawn"
    del state.offers[entry.agent, entry.slot]
    return None


# --- trials and runs ---------------------------------------------------------------------------------------------


def _proposed(state: State, entry: e.TrialsProposed) -> str | None:
    if entry.first != len(state.trials):
        return f"trial {entry.first} does not follow {len(state.trials) - 1}"
    if entry.revision != state.revision:
        return f"proposed for revision {entry.revision} of the spec, which is at {state.revision}"
    for config in entry.configs:
        state.touch(len(state.trials))
        state.observations.append(Observation(len(state.trials), config, "open"))
        state.trials.append(Trial(config))
    state.exhausted = entry.exhausted
    return None


def _added(state: State, entry: e.RunAdded) -> str | None:
    if entry.run != len(state.runs):
        return f"run {entry.run} does not follow {len(state.runs) - 1}"
    if not 0 <= entry.trial < len(state.trials):
        return f"there is no trial {entry.trial}"
    if entry.purpose != "search":
        others = map(state.runs.__getitem__, state.trials[entry.trial].runs)
        if any((run.purpose, run.replicate) == (entry.purpose, entry.replicate) for run in others):
            return f"replicate {entry.replicate} of trial {entry.trial} is there already"
    run = Run(entry.run, entry.trial, entry.replicate, entry.purpose, entry.seed)
    state.runs.append(run)
    state.trials[entry.trial].runs.append(entry.run)
    state.touch(entry.trial)
    if entry.purpose == "search":
        state.unexpanded = max(state.unexpanded, entry.trial + 1)
    state.move(run, None)
    return None


def _run_entry(state: State, entry: RunEntry) -> str | None:
    number = entry.run
    if not 0 <= number < len(state.runs):
        return f"there is no run {number}"
    run = state.runs[number]
    refusal = refuse(run, entry)
    kind = type(entry)
    if refusal is None and kind is e.RunAssigned:
        refusal = _consume(state, entry)  # type: ignore[arg-type]
    if refusal is not None:
        return refusal
    before, holder = run.state, run.agent
    charged = not (kind is e.AttemptEnded and state.agents[holder].aside)
    advance(run, entry, state.spec.retry, state.last_s, charged)
    if before == "paused" and kind is e.RunAssigned:
        run.granted = run.far(unit_of(state.spec.early_terminate))
    if kind is e.AttemptEnded:
        _ended_attempt(state, run, before, holder, entry)  # type: ignore[arg-type]
    elif kind is e.RunStarted:
        run.started_s, run.gpus = state.last_s, _gpus(state.agents[holder], entry)  # type: ignore[arg-type]
        if run.values:
            state.to_judge = True  # earlier attempts may have condemned it while nobody could be told
    state.move(run, before)
    return None


def _ended_attempt(state: State, run: Run, before: RunState, holder: str, entry: e.AttemptEnded) -> None:
    agent = state.agents[holder]
    agent.runs.discard(run.run)
    if not agent.aside:
        began_s = run.started_s if before == "running" else state.last_s
        note_end(state, run, agent.host, entry, began_s)
    if run.gpus:
        state.gpu_s += run.gpus * (state.last_s - run.started_s)
        run.gpus = 0.0
    # What it reported while it ran is what is known of one whose agent vanished.
    state.cpu_s += max(run.cpu_s, entry.cpu_s or 0.0)
    state.energy_j += max(run.energy_j, (entry.usage.energy_j if entry.usage is not None else 0.0) or 0.0)
    run.cpu_s = run.energy_j = 0.0
    if entry.score is not None and entry.score != run.score:
        run.score = best_so_far(run.score, (entry.score,), state.goal)
    _check_target(state, run)


def _reported(state: State, entry: e.ObjectiveReported) -> str | None:
    run = find(state, entry.run)
    if run is None:
        return f"there is no run {entry.run}"
    refusal = refuse(run, entry)
    if refusal is None:
        _absorb(state, run, entry)
    return refusal


def _used(state: State, entry: e.UsageReported) -> str | None:
    run = find(state, entry.run)
    if run is None:
        return f"there is no run {entry.run}"
    refusal = refuse(run, entry)
    if refusal is None:
        run.cpu_s = max(run.cpu_s, entry.cpu_s or 0.0)
        run.energy_j = max(run.energy_j, entry.energy_j or 0.0)
        state.touch(run.run)
    return refusal


def _gpus(agent: Agent, entry: e.RunStarted) -> float:
    """How many GPUs an attempt holds: those of its slot, a share of one where the agent's slots share GPUs."""
    if not entry.gpus:
        return 0.0
    shared = agent.gpus is not None and 0 < agent.gpus < 1
    return float(agent.gpus or 0) if shared else float(len(entry.gpus))


def _consume(state: State, entry: e.RunAssigned) -> str | None:
    if state.offers.get((entry.agent, entry.slot)) != entry.offer:
        return f"offer {entry.offer} of {entry.agent} is not open"
    del state.offers[entry.agent, entry.slot]
    state.agents[entry.agent].runs.add(entry.run)
    return None


def _absorb(state: State, run: Run, entry: e.ObjectiveReported) -> None:
    state.touch(run.run)
    early = state.spec.early_terminate
    anew = early is not None and early.step == "time"
    if run.absorb(entry.first, entry.steps, entry.values, entry.progress, anew):
        run.score = best_finite(run.values, state.goal)
    else:
        run.score = best_so_far(run.score, entry.values, state.goal)
    if run.purpose != "search":
        return
    state.to_judge = True
    _check_target(state, run)
    if state.stopper is not None:
        state.stopper.report(run.run, run.values, run.progress)


def _check_target(state: State, run: Run) -> None:
    metric = state.spec.metric
    if metric is None or metric.target is None or state.reached is not None or run.score is None:
        return
    hit = run.score <= metric.target if metric.goal == "minimize" else run.score >= metric.target
    if hit and run.purpose == "search":
        state.reached = (run.run, run.score)


_HANDLERS: dict[type[e.Entry], Callable[[State, Any], str | None]] = {
    e.SweepCreated: _created,
    e.SpecRevised: _revised,
    e.PauseRequested: _pause,
    e.ResumeRequested: _resume,
    e.StopRequested: _stop,
    e.CancelRequested: _cancel,
    e.ExtendRequested: _extend,
    e.ConfirmRequested: _confirm,
    e.ReportShown: told.shown,
    e.RetryRequested: _retry,
    e.Annotated: told.annotated,
    e.RunReproduced: told.reproduced,
    e.SweepEnded: _ended,
    e.SweepReopened: _reopened,
    e.AgentJoined: _joined,
    e.AgentLeft: _gone,
    e.AgentLost: _gone,
    e.NodeSetAside: _set_aside,
    e.SlotOffered: _offered,
    e.SlotWithdrawn: _withdrawn,
    e.SlotKept: told.kept,
    e.TrialsProposed: _proposed,
    e.RunAdded: _added,
    e.RunAssigned: _run_entry,
    e.RunStarted: _run_entry,
    e.ObjectiveReported: _reported,
    e.UsageReported: _used,
    e.RunPruned: _run_entry,
    e.RunPaused: _run_entry,
    e.RunCancelled: _run_entry,
    e.AttemptEnded: _run_entry,
    e.ArtifactLogged: told.belongs,
    e.ArtifactUsed: told.belongs,
    e.DataUsed: told.belongs,
    e.DataChecked: told.belongs,
    e.CodeChanged: told.known,
}
