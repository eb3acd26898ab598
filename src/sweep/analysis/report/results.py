"""What came of the sweep: the best trials, how sure that is, and the command of each.

The rule of this file: a figure stands with what it is, over what, and n; where there is one value there is no interval.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from sweep.analysis import text as words
from sweep.analysis.records import flatten
from sweep.analysis.report.document import Block, Code, Listing, Strong, Text, Words, paragraph, table, text
from sweep.analysis.report.facts import Facts
from sweep.analysis.summary import summary
from sweep.analysis.table import TrialRow
from sweep.core.names import run_id
from sweep.core.views import RunView

SHOWN = 10
LEVEL = 0.95
_DIGITS = 5


def results(facts: Facts) -> list[Block]:
    """The table of the best trials, what its figures are, and the command of each."""
    ranked = ranking(facts)
    if facts.table.metric is None:
        return [
            paragraph(
                "The spec names no metric: there is nothing by which one run would be better than another."
            )
        ]
    if not ranked:
        return [paragraph("No run has ended with a finite value of the metric: there is no result.")]
    shown = ranked[:SHOWN]
    rows = [_row(facts, place, row) for place, row in enumerate(shown, 1)]
    head = (
        "",
        "trial",
        "run",
        facts.table.metric or "score",
        f"{LEVEL:.0%} interval",
        "n",
        "ended as",
        "config",
    )
    blocks: list[Block] = [table(head, rows, (0, 1, 3, 5))]
    blocks.append(paragraph(*_legend(facts)))
    if len(ranked) > SHOWN:
        blocks.append(
            paragraph(
                f"The best {SHOWN} of {len(ranked)} trials that have a score; all are in the table of all configs."
            )
        )
    blocks.append(paragraph("What each of them executed:"))
    blocks.append(Listing("\n".join(_commands(shown)), "sh"))
    return blocks


def ranking(facts: Facts) -> list[TrialRow]:
    """Trials with a score, the best first."""
    return sorted(facts.table.scored, key=lambda row: (facts.table.rank_key(row), row.trial))


def counted(row: TrialRow) -> list[RunView]:
    """The runs that a trial's score is the mean of."""
    return [
        run
        for run in row.runs
        if run.state in ("completed", "pruned") and run.objective is not None and math.isfinite(run.objective)
    ]


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """mean - t·s/√n and mean + t·s/√n, with Student's t for n - 1 degrees of freedom; None for fewer than two values."""
    n = len(values)
    if n < 2:
        return None
    from scipy.stats import t

    mean = math.fsum(values) / n
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf((1 + LEVEL) / 2, n - 1)) * deviation / math.sqrt(n)
    return mean - half, mean + half


def interval_text(values: Sequence[float]) -> str:
    """`0.91 to 0.95`; a dash where there is none."""
    found = interval(values)
    if found is None:
        return "–"
    return f"{words.number(found[0], _DIGITS)} to {words.number(found[1], _DIGITS)}"


def config_text(config: object) -> str:
    """`lr=0.1 layers=2`."""
    flat = flatten(config) if isinstance(config, dict) else {}
    return " ".join(f"{key}={words.value(value)}" for key, value in flat.items())


def command_line(run: RunView) -> str:
    """The command of a run's last attempt, as a shell takes it; empty when it never started."""
    started = [attempt for attempt in run.attempts if attempt.command]
    return shlex.join(started[-1].command) if started else ""


def _row(facts: Facts, place: int, row: TrialRow) -> list[Words]:
    runs = counted(row)
    values = [run.objective for run in runs if run.objective is not None]
    score = words.number(row.score or 0.0, _DIGITS)
    ids = ", ".join(run_id(facts.sweep, run.run) for run in runs)
    return [
        str(place),
        str(row.trial),
        Code(ids),
        Strong(score) if place == 1 else score,
        interval_text(values),
        str(len(values)),
        row.state,
        Code(words.shorten(config_text(row.config), 160)),
    ]


def _legend(facts: Facts) -> Text:
    spec, most = facts.table.spec, summary(facts.table).best_replicates
    metric = spec.metric
    assert metric is not None
    best = "lowest" if metric.goal == "minimize" else "highest"
    parts: list[Words] = [
        "A run's score is the ",
        f"{best} finite value of ",
        Code(metric.name),
        " that it logged, over all steps. ",
    ]
    if spec.replicates > 1 or most > 1:
        parts.append(
            f"A trial's score is the mean over its runs, which differ in their seed only; the interval is mean ± t(n-1)·s/√n at {LEVEL:.0%} over "
            "these seeds, which assumes that they are spread normally. "
        )
    else:
        parts.append(
            "Each trial is one run with one seed (n = 1): nothing is known of how much another seed would change it, so there is no interval. "
        )
    parts.append(
        f"The best of {len(facts.table.scored)} was chosen by the same values that stand here, which makes it look better than it is; "
        "the same config on fresh seeds is expected to score worse."
    )
    return text(*parts)


def _commands(rows: Sequence[TrialRow]) -> list[str]:
    lines = []
    for row in rows:
        for run in counted(row):
            line = command_line(run)
            lines.append(f"# {run.id}, seed {run.seed}")
            lines.append(line or "# its command is not recorded")
    return lines
