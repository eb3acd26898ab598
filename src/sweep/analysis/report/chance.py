"""What was done about chance: the state of libraries as each run's process read it back.

The rule of this file: it is what the processes said; of a run that said nothing, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sweep.analysis import text as words
from sweep.analysis.report.document import Block, Code, Words, paragraph, table
from sweep.analysis.report.facts import Facts

MOST = 50


def chance(facts: Facts) -> list[Block]:
    """One line for each thing that was said, with the number of runs that said it."""
    last = [run.attempts[-1] for run in facts.runs if run.attempts and run.attempts[-1].started_s is not None]
    told = [attempt.state for attempt in last if attempt.state]
    asked = facts.table.spec.determinism
    if not told:
        return [
            paragraph(
                "Chance (", Code(f"determinism: {asked}"), "): no run's process told how it was seeded."
            )
        ]
    counts: dict[tuple[str, str], int] = {}
    for state in told:
        for name, said in state.items():
            key = (name, _said(name, said))
            counts[key] = counts.get(key, 0) + 1
    rows: list[list[Words]] = [
        [Code(name), said, f"{count:,}"] for (name, said), count in sorted(counts.items())[:MOST]
    ]
    silent = len(last) - len(told)
    without = f" {words.plural(silent, 'run')} told nothing." if silent else ""
    return [
        paragraph(
            "Chance (",
            Code(f"determinism: {asked}"),
            f"), as the processes of {words.plural(len(told), 'run')} read it back after each library was imported; what a program "
            f"itself seeded or switched later is not in it.{without}",
        ),
        table(("", "state", "runs"), rows, (2,)),
    ]


def _said(name: str, said: Any) -> str:
    if name == "hash_seed":  # each run has its own
        return "left to chance" if said in (None, "", "random") else "fixed"
    if isinstance(said, Mapping):
        return ", ".join(f"{key} {words.value(value)}" for key, value in said.items()) or "not set"
    return words.value(said)
