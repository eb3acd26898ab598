"""Which node is to blame: one whose runs fail as others' do not is set aside.

The rule of this file: functions of the state and the time that is given, called by `evolve` (what happened where) and by
`decide` (whether it is enough). A run that failed on two nodes is its own fault, and nobody's evidence.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice

from sweep.core import entries as e
from sweep.core.retries import RETRY_CLASS
from sweep.core.state import Run, State

FEWEST = 3
"""So many different runs must have failed on a node, one after the other, before it is suspected."""
CHANCE = 0.001
"""The node is to blame when runs that fail everywhere alike would fail like this less often than so."""
MANY = 10
"""So many in a row are enough by themselves while nothing has failed elsewhere lately, and something has not failed there."""
LATELY = 20
"""So many ends elsewhere are looked at."""
KEPT_ENDS, KEPT_FAILURES = 5 * LATELY, 1000
"""Of so many ends, or `LATELY` of each node if that is more, and of so many failures in a row on one node, anything is remembered."""
SEVERAL = "*"
"""In `Run.failed_on`: more than one node."""


def note_end(state: State, run: Run, host: str, entry: e.AttemptEnded, began_s: float) -> None:
    """An attempt that began at `began_s` (now when it never started) has ended on `host`."""
    if entry.outcome in ("completed", "pruned", "paused"):
        # What began before a failure did says nothing of the node since then.
        _keep(state, host, lambda failure: failure[2] > began_s)
    elif entry.outcome == "failed":
        _note_failure(state, run, host, entry.error_class or "exit", began_s)
    else:
        return
    state.lately.append((host, entry.outcome != "failed"))
    if len(state.lately) > KEPT_ENDS:  # a node that fails on and on must not push out what others did
        of_it = list(islice((place for place, end in enumerate(state.lately) if end[0] == host), LATELY + 1))
        if len(of_it) > LATELY:
            del state.lately[of_it[0]]


def _keep(state: State, host: str, wanted: Callable[[tuple[int, e.ErrorClass, float, float]], bool]) -> None:
    """Only those failures of a node's row."""
    kept = [failure for failure in state.in_a_row.pop(host, ()) if wanted(failure)]
    if kept:
        state.in_a_row[host] = kept


def _note_failure(state: State, run: Run, host: str, error: e.ErrorClass, began_s: float) -> None:
    if run.failed_on not in ("", host):
        run.failed_on = SEVERAL
        for other in list(state.in_a_row):
            _keep(state, other, lambda failure: failure[0] != run.run)
        return
    run.failed_on = host
    mine = state.in_a_row.setdefault(host, [])
    mine.append((run.run, error, began_s, state.last_s - began_s))
    if len(mine) > KEPT_FAILURES:
        del mine[0]


def setting_aside(state: State, now_s: float) -> list[e.AnyEntry]:
    """The decisions by which one node is set aside, if one must be: to each of its agents, and to its runs to go elsewhere.
    Never the last node that works."""
    suspects = [host for host, failures in state.in_a_row.items() if len(failures) >= FEWEST]
    if not suspects:
        return []
    working = {agent.host for agent in state.agents.values() if agent.alive and not agent.aside}
    for host in suspects:
        reason = _evidence(state, host, now_s) if working - {host} else None
        if reason is not None:
            runs = tuple(sorted({failure[0] for failure in state.in_a_row[host]}))
            there = [
                name
                for name, agent in state.agents.items()
                if agent.host == host and agent.alive and not agent.aside
            ]
            first, *others = there or [""]
            return [
                e.NodeSetAside(host, first, reason, runs),
                *(e.NodeSetAside(host, name, reason) for name in others),
            ]
    return []


def _evidence(state: State, host: str, now_s: float) -> str | None:
    """Why it is the node and not what runs there, None while that may be chance."""
    failures = state.in_a_row[host]
    count = len({failure[0] for failure in failures})
    elsewhere = [good for other, good in state.lately if other != host][-LATELY:]
    bad = elsewhere.count(False)
    longest_s = max(failure[3] for failure in failures)
    good = len(elsewhere) - bad + _outlived(state, host, longest_s, now_s)
    if count < FEWEST or not (chance_of(count, bad, good) < CHANCE or (count >= MANY and not bad and good)):
        return None
    seen = bad + good
    none = "none" if not bad else f"{bad}"
    return (
        f"{count} different runs in a row failed on {host} (the last: {failures[-1][1]}), "
        f"and {none} of {seen} elsewhere"
    )


def _outlived(state: State, host: str, longest_s: float, now_s: float) -> int:
    """How many runs go on elsewhere that have gone on for longer than any that failed here."""
    return sum(
        run.state == "running" and now_s - run.started_s > longest_s and state.agents[run.agent].host != host
        for run in map(state.runs.__getitem__, state.live)
    )


def chance_of(count: int, bad: int, good: int) -> float:
    """How likely it is that `count` attempts here all failed and `bad` of `bad + good` elsewhere did, given how many
    failed in all, where it does not matter where one runs (Fisher's exact test, one-sided)."""
    return math.prod((count + bad - i) / (count + bad + good - i) for i in range(count))


def forgive(state: State, run: Run, host: str) -> None:
    """The failures of `run` that stand in the row of `host` were the node's: they do not count against it. Those from before it was
    last asked for do not count anyhow; where it has failed on another node since, all of them are."""
    for number, error, *_ in state.in_a_row.get(host, ()):
        if number == run.run and run.failed_on == host:
            name = RETRY_CLASS[error]
            run.failures[name] = max(0, run.failures.get(name, 0) - 1)
    run.failed_on = ""
