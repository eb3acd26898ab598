"""A sweep whose runs keep a second account of what they did, and the comparison of the record with it.

The rule of this file: a run tells a file of its own what it has done, only after it has; the record may lack what was told in
the last moments of an agent that was killed or frozen, and nothing else.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sweep.core.rows import Views
from sweep.core.views import RunView
from sweep.stores import Store
from sweep.testing.chaos import Harm

LONG_EVERY = 25
LONG, SHORT = 30, 3
"""Rows that such a run logs, and any other."""
SLACK_S = 1.0
"""So much of what a run told before its agent's end may be missing: rows are committed within a second."""

PROGRAM = f"""
import os, time
import sweep
run = sweep.init()
x, me = run.config.x, f"{{run.id}} {{run.attempt}} {{run.config.x}}"
witness = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def tell(what):
    os.write(witness, f"{{what}} {{me}} {{time.time()}}\\n".encode())
tell("start -1")
steps = {LONG} if x % {LONG_EVERY} == 0 else {SHORT}
for i in range(steps):
    run.log({{"loss": x + 1 / (i + 1)}})
    tell(f"row {{i}}")
    time.sleep(float(os.environ["PAUSE_S"]))
tell("end -1")
"""


def spec_text(points: int, witness: Path, pause_s: float) -> str:
    """The spec of a sweep with so many points; `pause_s`: between two rows of a run of `PROGRAM`, which must lie in train.py."""
    return (
        "program: train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\nretry: {max: 1000}\n"
        f"parameters: {{x: {{distribution: int_uniform, min: 0, max: {points - 1}}}}}\n"
        f"env: {{WITNESS: {json.dumps(str(witness))}, PAUSE_S: '{pause_s}'}}\n"
    )


def steps_of(x: int) -> int:
    """How many rows the run of this point logs."""
    return LONG if x % LONG_EVERY == 0 else SHORT


class Told(NamedTuple):
    """One line of the witness."""

    what: str
    row: int
    run: str
    attempt: int
    x: int
    at_s: float


class Found(NamedTuple):
    """What the comparison has come to."""

    problems: list[str]
    """Empty when the record is as it should be."""
    attempts: Counter[str]
    """Outcome -> how many."""
    rows: int
    """Rows that were told and had to be in the record."""


def read_witness(file: Path) -> list[Told]:
    """Everything that runs have told."""
    found = []
    for line in file.read_text().splitlines():
        what, row, run, attempt, x, at = line.split()
        found.append(Told(what, int(row), run, int(attempt), int(x), float(at)))
    return found


def compare(
    store: Store,
    views: Views,
    points: int,
    told: Sequence[Told],
    harms: Mapping[int, Sequence[Harm]] = {},
    outages: Sequence[Harm] = (),
    lease_s: float = 10.0,
) -> Found:
    """The record of the sweep against what was asked and what was told. `harms`: agent's process id -> when it was dead or
    frozen; `outages`: when the store was away."""
    problems = list(_unlike_what_was_asked(views, points, told))
    rows = {
        (run.id, attempt): content for run in views.runs for attempt, content in _rows(store, run).items()
    }
    problems += _invented(rows, told)
    until = _certain_until(views, told, harms, outages, lease_s)
    checked = 0
    for one in told:
        if one.what == "row" and one.at_s < until.get((one.run, one.attempt), -math.inf):
            checked += 1
            if one.row not in rows.get((one.run, one.attempt), {}):
                problems.append(f"row {one.row} of {one.run}, attempt {one.attempt}, is lost")
    outcomes = Counter(str(a.outcome) for run in views.runs for a in run.attempts)
    return Found(problems, outcomes, checked)


def _unlike_what_was_asked(views: Views, points: int, told: Sequence[Told]) -> Iterable[str]:
    """Each point is to have one run with one result, which is that of its config."""
    if views.sweep.state != "ended":
        yield f"the sweep has not ended: it is {views.sweep.state} ({views.sweep.reason})"
    if sorted(run.config["x"] for run in views.runs) != list(range(points)):
        yield f"the points are not those that were asked for: {[run.config for run in views.runs]}"
    ends = Counter((one.run, one.attempt, one.x) for one in told if one.what == "end")
    for run in views.runs:
        x = run.config["x"]
        counted = [a for a in run.attempts if a.outcome == "completed"]
        if run.state != "completed" or len(counted) != 1 or run.attempts[-1] is not counted[0]:
            yield f"{run.id} is {run.state} after {[a.outcome for a in run.attempts]}"
            continue
        if ends[run.id, counted[0].attempt, x] != 1:
            yield f"{run.id}, attempt {counted[0].attempt}, counts and never came to its end with x = {x}"
        if run.objective is None or not math.isclose(run.objective, x + 1 / steps_of(x)):
            yield f"{run.id} has the result {run.objective}, which is not that of x = {x}"


def _rows(store: Store, run: RunView) -> dict[int, dict[int, float]]:
    """Attempt -> row -> loss, as recorded."""
    found: dict[int, dict[int, float]] = {}
    for chunk in store.read_history(run.sweep, run.run):
        lines = chunk.data.split(b"\n")
        here = found.setdefault(chunk.attempt, {})
        for number, line in enumerate(lines, chunk.first_row):
            assert number not in here, f"row {number} of {run.id}, attempt {chunk.attempt}, is there twice"
            here[number] = json.loads(line)["m"]["loss"]
    return found


def _invented(rows: Mapping[tuple[str, int], Mapping[int, float]], told: Sequence[Told]) -> Iterable[str]:
    """A row stands in the record with the value that its run logged."""
    points = {(one.run, one.attempt): one.x for one in told}
    for (run, attempt), content in rows.items():
        x = points.get((run, attempt))
        for row, loss in content.items():
            if x is None or not math.isclose(loss, x + 1 / (row + 1)):
                yield f"row {row} of {run}, attempt {attempt}, is {loss}, which no run with x = {x} logged"


def _certain_until(
    views: Views,
    told: Sequence[Told],
    harms: Mapping[int, Sequence[Harm]],
    outages: Sequence[Harm],
    lease_s: float,
) -> dict[tuple[str, int], float]:
    """(run, attempt) -> up to when what it told must be in the record, Unix seconds. The death of a training costs no row,
    nor does a guard's; an agent that loses its lease, frozen or killed, takes with it what it had not written."""
    agents = {agent.agent: agent for agent in views.agents}
    last_s = {(one.run, one.attempt): one.at_s for one in told}
    found: dict[tuple[str, int], float] = {}
    for run in views.runs:
        for attempt in run.attempts:
            key, agent = (run.id, attempt.attempt), agents[attempt.agent]
            found[key] = math.inf
            if attempt.outcome == "lost" and agent.state != "left":
                here = harms.get(agent.pid, ())
                known_s = attempt.ended_s or math.inf
                killed = [harm.begin_s for harm in here if harm.end_s == math.inf and harm.begin_s <= known_s]
                # Else its lease ran out: its guard ended everything then, and it had last written a lease's length before.
                lost_s = min(killed, default=last_s.get(key, -math.inf) - lease_s)
                found[key] = _before(lost_s - SLACK_S, [*here, *outages])
    return found


def _before(at_s: float, harms: Iterable[Harm]) -> float:
    """The last moment before `at_s` of which all has been written: none within a harm, or just before it."""
    for harm in sorted(harms, key=lambda harm: -harm.end_s):
        if harm.end_s > at_s:
            at_s = min(at_s, harm.begin_s - SLACK_S)
    return at_s
