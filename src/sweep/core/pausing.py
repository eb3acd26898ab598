"""Which paused runs go on: `early_terminate` with `resume`.

The rule of this file: functions of the state. A run is paused while the rule condemns it, and goes on as soon as it does not: more runs have
come to its rung, and it is among the best of them after all. A promotion holds until the next rung, so that nobody is
paused twice at one.
"""

from __future__ import annotations

from collections.abc import Iterable

from sweep.core.spec import pauses, unit_of
from sweep.core.state import Run, State


def condemned(state: State, run: Run) -> str | None:
    """Why a run should not go on now; None when it should."""
    if state.stopper is None:
        return None
    since = run.granted if pauses(state.spec.early_terminate) else None
    return state.stopper.condemned(run.run, since)


def promotable(state: State) -> list[int]:
    """Paused runs that may go on: those that are furthest first, and among them the best one."""
    if not state.paused:
        return []
    unit, sign = unit_of(state.spec.early_terminate), 1 if state.goal == "minimize" else -1

    def rank(run: Run) -> tuple[float, bool, float, int]:
        return -run.far(unit), run.score is None, sign * (run.score or 0.0), run.run

    found: Iterable[int] = state.paused
    if state.stopper is not None:
        pausing = pauses(state.spec.early_terminate)
        found = state.stopper.spared(
            [(number, state.runs[number].granted if pausing else None) for number in state.paused]
        )
    return [run.run for run in sorted((state.runs[number] for number in found), key=rank)]
