"""What it took: every attempt of every run, however it ended, and what other sweeps of the store took.

The rule of this file: what was not measured is called so, and is never a zero in a sum that looks complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from sweep.analysis import text as words
from sweep.analysis.report.document import Block, Code, Strong, Words, paragraph, table
from sweep.analysis.report.facts import Facts, hours, seconds_of
from sweep.core.views import AttemptView

NOT_MEASURED = "not measured"
_ORDER = ("completed", "pruned", "failed", "paused", "cancelled", "lost", "preempted", "not ended")


class Taken(msgspec.Struct, frozen=True):
    """What some attempts took together."""

    attempts: int
    seconds: float
    cpu_s: float
    without_cpu: int
    """Attempts whose CPU time is not known."""
    gpu_s: float

    @property
    def cpu(self) -> str:
        if self.without_cpu == self.attempts:
            return NOT_MEASURED if self.attempts else "0"
        more = (
            f" (without {words.plural(self.without_cpu, 'attempt')}, {NOT_MEASURED})"
            if self.without_cpu
            else ""
        )
        return hours(self.cpu_s) + more


def taken(attempts: Sequence[AttemptView]) -> Taken:
    """All of it together."""
    started = [attempt for attempt in attempts if attempt.started_s is not None]
    return Taken(
        len(attempts),
        sum(seconds_of(attempt) for attempt in attempts),
        sum(attempt.cpu_s or 0.0 for attempt in started),
        sum(attempt.cpu_s is None for attempt in started),
        sum(attempt.gpu_s(attempt.started_s or 0.0) for attempt in started),
    )


def compute(facts: Facts) -> list[Block]:
    """How many runs and attempts, how they ended, and the hours of each kind."""
    groups: dict[str, list[AttemptView]] = {}
    for _, attempt in facts.attempts():
        groups.setdefault(attempt.outcome or "not ended", []).append(attempt)
    rows: list[Sequence[Words]] = [
        _row(
            f"attempts that ended as {name}" if name != "not ended" else "attempts that have not ended",
            groups[name],
        )
        for name in _ORDER
        if name in groups
    ]
    everything = [attempt for _, attempt in facts.attempts()]
    rows.append(_row(Strong("this sweep, all attempts"), everything, f"{len(facts.runs):,}"))
    head = ("", "runs", "attempts", "hours", "CPU-hours", "GPU-hours", "energy")
    blocks: list[Block] = [table(head, [*rows, *_others(facts)], (1, 2, 3, 4, 5))]
    blocks.append(
        paragraph(
            "Hours are those of attempts in execution, added up over slots that worked side by side; failed, pruned, cancelled and lost "
            f"attempts count. GPU-hours count a share of a GPU as that share. Energy: {NOT_MEASURED}."
        )
    )
    blocks += _again(facts)
    return blocks


def runs_text(facts: Facts) -> str:
    """`30 runs (10 completed, 20 pruned)`."""
    counts: dict[str, int] = {}
    for run in facts.runs:
        counts[run.state] = counts.get(run.state, 0) + 1
    kinds = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    return f"{words.plural(len(facts.runs), 'run')} ({kinds})" if counts else "no run"


def _row(label: Words, attempts: Sequence[AttemptView], runs: str = "") -> list[Words]:
    found = taken(attempts)
    return [
        label,
        runs,
        f"{found.attempts:,}",
        hours(found.seconds),
        found.cpu,
        hours(found.gpu_s),
        NOT_MEASURED,
    ]


def _others(facts: Facts) -> list[list[Words]]:
    rows: list[list[Words]] = []
    for other in facts.others:
        label = f"sweep {other.sweep}" + (f" ({other.name})" if other.name else "") + f", {other.state}"
        rows.append(
            [
                label,
                f"{other.runs:,}",
                f"{other.attempts:,}",
                hours(other.seconds),
                "–",
                hours(other.gpu_s),
                NOT_MEASURED,
            ]
        )
    if not facts.others:
        return rows
    own = taken([attempt for _, attempt in facts.attempts()])
    rows.append(
        [
            Strong(f"all {words.plural(len(facts.others) + 1, 'sweep')} of this store"),
            f"{len(facts.runs) + _sum(other.runs for other in facts.others):,.0f}",
            f"{own.attempts + _sum(other.attempts for other in facts.others):,.0f}",
            hours(own.seconds + _sum(other.seconds for other in facts.others)),
            "–",
            hours(own.gpu_s + _sum(other.gpu_s for other in facts.others)),
            NOT_MEASURED,
        ]
    )
    return rows


def _sum(values: Iterable[float]) -> float:
    return sum(values)


def _again(facts: Facts) -> list[Block]:
    """What executing runs again to compare them took."""
    found = [entry for run in facts.runs for entry in run.reproduced]
    if not found:
        return []
    known = [float(entry.report.get("duration_s") or 0.0) for entry in found]
    return [
        paragraph(
            f"On top: {words.plural(len(found), 'execution')} by ",
            Code("sweep reproduce"),
            f", {hours(sum(known))} hours.",
        )
    ]
