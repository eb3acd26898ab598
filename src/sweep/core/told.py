"""Entries on which nothing acts: they stand in the index, for people. Why one of them is ignored all the same.

The rule of this file: nothing here changes the state.
"""

from __future__ import annotations

from sweep.core import entries as e
from sweep.core.state import Run, State


def find(state: State, number: int) -> Run | None:
    """The run of this number, None where there is none."""
    return state.runs[number] if 0 <= number < len(state.runs) else None


def shown(_: State, __: e.ReportShown) -> str | None:
    """Counted in the index; nothing acts on it."""
    return None


def annotated(state: State, entry: e.Annotated) -> str | None:
    """What it says is for people: it stands in the index only."""
    if entry.run >= len(state.runs) or entry.run < -1:
        return f"there is no run {entry.run}"
    return None


def reproduced(state: State, entry: e.RunReproduced) -> str | None:
    """As `annotated`."""
    return f"there is no run {entry.run}" if find(state, entry.run) is None else None


def belongs(
    state: State, entry: e.ArtifactLogged | e.ArtifactUsed | e.DataUsed | e.DataChecked
) -> str | None:
    """What an attempt says of artifacts and data stands in the index only; that of one that is over does not count any more."""
    run = find(state, entry.run)
    if run is None:
        return f"there is no run {entry.run}"
    if entry.attempt != run.attempt:  # its results do not count any more
        return f"attempt {entry.attempt} of run {entry.run} is over"
    return None


def known(state: State, entry: e.CodeChanged) -> str | None:
    """As `annotated`: what an agent says of its code."""
    return None if entry.agent in state.agents else f"there is no agent {entry.agent}"


def kept(state: State, entry: e.SlotKept) -> str | None:
    """As `annotated`: why a slot is not offered."""
    agent = state.agents.get(entry.agent)
    if agent is None or not agent.alive:
        return "this agent is not here"
    return None if 0 <= entry.slot < agent.slots else "it has no such slot"
