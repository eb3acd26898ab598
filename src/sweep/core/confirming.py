"""Which runs confirm a result: the best configs of the search, each on seeds that the search never saw.

The rule of this file: functions of the state alone, so that whoever controls the sweep next comes to the same runs. They are
asked when the search has ended; what was confirmed before stays, and counts.
"""

from __future__ import annotations

import heapq

from sweep.core.spec import Confirm
from sweep.core.state import Run, State


def finalists(state: State) -> list[int]:
    """The trials with the best scores, as many as `confirm.top` says, the best first; of equals the first ones."""
    confirm = state.spec.confirm
    if confirm is None or state.spec.metric is None:
        return []
    sign = 1.0 if state.goal == "minimize" else -1.0
    scored = (
        (sign * seen.score, seen.trial)
        for seen in state.observations
        if seen.score is not None and seen.status in ("completed", "pruned")
    )
    return [trial for _, trial in heapq.nsmallest(confirm.top, scored)]


def missing(state: State) -> list[tuple[int, int]]:
    """(trial, replicate) of the runs that are still to be added: seed by seed, so that whenever this is cut short all configs
    have been seen on the same ones. Replicates go on where the search's end."""
    confirm, found = state.spec.confirm, finalists(state)
    if confirm is None or not found:
        return []
    have = {(trial, state.runs[run].replicate) for trial in found for run in state.trials[trial].runs}
    first = state.spec.replicates
    wanted = [(trial, first + number) for number in range(confirm.seeds) for trial in found]
    return [pair for pair in wanted if pair not in have]


def without_value(state: State) -> list[Run]:
    """The runs that confirm the best configs and have failed, or were cancelled."""
    confirm = state.spec.confirm
    last = state.spec.replicates + (confirm.seeds if confirm is not None else 0)
    runs = [state.runs[run] for trial in finalists(state) for run in state.trials[trial].runs]
    return [
        run
        for run in runs
        if run.purpose == "confirm" and run.replicate < last and run.state in ("failed", "cancelled")
    ]


def confirm_problem(confirm: Confirm) -> str | None:
    """Why this makes no confirmation, None when it does."""
    if confirm.top < 1 or confirm.seeds < 2 or not 1 <= confirm.choosing < confirm.seeds:
        return "at least one config, one seed to choose on and one to report on are needed"
    return None
