"""What it took: every attempt of every run, however it ended, and what other sweeps of the store took.

The rule of this file: what was not measured is called so, and is never a zero in a sum that looks complete.
"""

from __future__ import annotations

from collections.abc import Sequence

from sweep.analysis import text as words
from sweep.analysis.report.document import Block, Code, Strong, Words, paragraph, table
from sweep.analysis.report.facts import Facts, spent_by
from sweep.analysis.usage import Spent, energy, hours, together
from sweep.core.views import AttemptView

NOT_MEASURED = "not measured"
_ORDER = ("completed", "pruned", "failed", "paused", "cancelled", "lost", "preempted", "not ended")


def cpu_hours(found: Spent) -> str:
    """The hours, and how many attempts are not in them."""
    return _measured(hours(found.cpu_s), found.no_cpu, found)


def energy_text(found: Spent) -> str:
    """`2.1 kWh`, and how many attempts are not in it."""
    return _measured(energy(found.energy_j), found.no_energy, found)


def _measured(value: str, without: int, found: Spent) -> str:
    if not found.attempts:
        return "0"
    if without == found.attempts:
        return NOT_MEASURED
    return value + (f" (without {words.plural(without, 'attempt')}, {NOT_MEASURED})" if without else "")


def energy_words(facts: Facts) -> str:
    """What the energy is of: no counter tells of more than its own device."""
    known = [
        attempt.usage
        for _, attempt in facts.attempts()
        if attempt.usage is not None and attempt.energy_j is not None
    ]
    gpus = sum(used.gpu_energy_j is not None for used in known)
    cpus = sum(used.node_cpu_energy_j is not None for used in known)
    parts = [
        f"{name} in {words.plural(count, 'attempt')}"
        for name, count in (("GPUs", gpus), ("the node's processors", cpus))
        if count
    ]
    if not parts:
        return ""
    shared = any(used.gpu_shared for used in known) or cpus
    divided = " What a device used that several runs had is divided evenly among them." if shared else ""
    return f"It is what counters of devices told, {' and '.join(parts)}, and has no other part of a machine.{divided}"


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
            f"attempts count. GPU-hours count a share of a GPU as that share. {_energy_sentence(facts, everything)}"
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
    return [label, runs, f"{len(attempts):,}", *_cells(spent_by(attempts))]


def _cells(found: Spent) -> list[Words]:
    return [hours(found.wall_s), cpu_hours(found), hours(found.gpu_s), energy_text(found)]


def _energy_sentence(facts: Facts, attempts: Sequence[AttemptView]) -> str:
    found = spent_by(attempts)
    if found.no_energy == found.attempts:
        return f"Energy: {NOT_MEASURED}."
    return f"Energy: {energy_text(found)}. {energy_words(facts)}".rstrip()


def _others(facts: Facts) -> list[list[Words]]:
    rows: list[list[Words]] = []
    for other in facts.others:
        label = f"sweep {other.sweep}" + (f" ({other.name})" if other.name else "") + f", {other.state}"
        rows.append([label, f"{other.runs:,}", f"{other.attempts:,}", *_cells(other.spent)])
    if not facts.others:
        return rows
    total = spent_by(attempt for _, attempt in facts.attempts())
    for other in facts.others:
        total = together(total, other.spent)
    rows.append(
        [
            Strong(f"all {words.plural(len(facts.others) + 1, 'sweep')} of this store"),
            f"{len(facts.runs) + sum(other.runs for other in facts.others):,}",
            f"{len(facts.attempts()) + sum(other.attempts for other in facts.others):,}",
            *_cells(total),
        ]
    )
    return rows


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
