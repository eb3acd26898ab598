"""What came of the sweep: its result and how sure that is, every seed's value, and the command of each.

The rule of this file: what may be said is `sweep.analysis.honest`'s to say. A figure stands with what it is, over what, and n; where
there is one value there is no interval.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from sweep.analysis import text as words
from sweep.analysis.honest import HonestRow, Point, with_spread
from sweep.analysis.inference import mean_interval
from sweep.analysis.records import flatten
from sweep.analysis.report.document import (
    Block,
    Code,
    Folded,
    Listing,
    Strong,
    Text,
    Words,
    bullets,
    paragraph,
    table,
    text,
)
from sweep.analysis.report.facts import Facts
from sweep.analysis.table import TrialRow
from sweep.core.views import RunView

MOST_SEEDS = 1000


def results(facts: Facts) -> list[Block]:
    """What may be said of the result, the table that it is said of, each seed's value, and the commands."""
    found = facts.result
    if facts.table.metric is None:
        return [
            paragraph(
                "The spec names no metric: there is nothing by which one run would be better than another."
            )
        ]
    if not found.rows:
        return [paragraph("No run has ended with a finite value of the metric: there is no result.")]
    blocks: list[Block] = [
        bullets([spoken(sentence) for sentence in found.words]),
        _table(facts),
        paragraph(*_legend(facts)),
    ]
    if len(found.rows) < found.trials:
        blocks.append(
            paragraph(
                f"{words.plural(found.trials, 'trial')} have a score; all are in the table of all configs."
            )
        )
    chosen, *others = found.rows
    if any(len(row.score_points) > 1 for row in found.rows) or is_fresh(facts) or found.report_points:
        blocks.append(_seeds(facts))
    blocks.append(paragraph(f"What the runs of trial {chosen.trial} executed:"))
    blocks.append(Listing("\n".join(_commands(facts, [chosen])), "sh"))
    if others:
        listing = Listing("\n".join(_commands(facts, others)), "sh")
        blocks.append(
            Folded(
                "What those of the other config executed"
                if len(others) == 1
                else f"What those of the {len(others):,} other configs executed",
                (listing,),
            )
        )
    return blocks


def is_fresh(facts: Facts) -> bool:
    """Whether some config has a value on fresh seeds."""
    return any(row.choosing or row.reporting for row in facts.result.rows)


def ranking(facts: Facts) -> list[TrialRow]:
    """Trials with a score, the best first."""
    return sorted(facts.table.scored, key=lambda row: (facts.table.rank_key(row), row.trial))


def counted(row: TrialRow) -> list[RunView]:
    """The runs that a trial's score is the mean of."""
    return [run for run in row.runs if _counts(run)]


def behind(facts: Facts) -> list[RunView]:
    """The runs that some score or some mean on fresh seeds is made of."""
    fresh = [run for run in facts.runs if run.purpose == "confirm" and _counts(run)]
    return [run for row in ranking(facts) for run in counted(row)] + fresh


def result_run(facts: Facts) -> str:
    """ID of a run of the chosen config: one that its value is made of; empty without a result."""
    points = [p for row in facts.result.rows[:1] for p in (*row.reporting, *row.choosing, *row.score_points)]
    return points[0].run if points else ""


def spoken(sentence: str) -> Text:
    """A sentence in which commands stand between backticks."""
    parts = sentence.split("`")
    whole = len(parts) % 2 == 1
    return text(*(Code(part) if whole and at % 2 else part for at, part in enumerate(parts)))


def spread(points: Sequence[Point]) -> str:
    """`0.123 ± 0.004`; a dash without values."""
    found = mean_interval([point.value for point in points])
    return "–" if found is None else with_spread(found)


def config_text(config: object) -> str:
    """`lr=0.1 layers=2`."""
    flat = flatten(config) if isinstance(config, dict) else {}
    return " ".join(f"{key}={words.value(value)}" for key, value in flat.items())


def command_line(run: RunView) -> str:
    """The command of a run's last attempt, as a shell takes it; empty when it never started."""
    started = [attempt for attempt in run.attempts if attempt.command]
    return shlex.join(started[-1].command) if started else ""


def _counts(run: RunView) -> bool:
    return run.state in ("completed", "pruned") and run.objective is not None and math.isfinite(run.objective)


def _table(facts: Facts) -> Block:
    found, fresh = facts.result, is_fresh(facts)
    head = ["trial", f"{found.metric} in the search", "n"]
    if fresh:
        head = ["trial", "", *head[1:], f"{found.metric} on fresh seeds", "n", "p"]
    rows = [_row(row, row.trial == found.chosen, fresh) for row in found.rows]
    return table((*head, "config"), rows, (0, 2, 3, 4, 5, 6) if fresh else (0, 1, 2))


def _row(row: HonestRow, chosen: bool, fresh: bool) -> list[Words]:
    searched = spread(row.score_points)
    cells: list[Words] = [str(row.trial)]
    if fresh:
        cells.append("chosen" if chosen else "tied" if row.tied else "")
    cells += [searched if fresh or not chosen else Strong(searched), str(len(row.score_points))]
    if fresh:
        mean = "–" if row.confirmed is None else with_spread(row.confirmed)
        gone = f" ({row.without_value} without a value)" if row.without_value else ""
        cells += [
            Strong(mean) if chosen else mean,
            f"{len(row.reporting)}{gone}",
            "" if row.p is None else f"{row.p:.2g}",
        ]
    return [*cells, Code(words.shorten(config_text(row.config), 160))]


def _legend(facts: Facts) -> Text:
    metric, found = facts.table.spec.metric, facts.result
    assert metric is not None
    best = "lowest" if metric.goal == "minimize" else "highest"
    parts: list[Words] = [
        f"A run's score is the {best} finite value of ",
        Code(metric.name),
        " that it logged, over all steps. ",
    ]
    if any(len(row.score_points) > 1 for row in found.rows):
        parts.append(
            "In the search a trial's score is the mean over its n runs, which differ in their seed only. "
        )
    elif not is_fresh(facts):
        parts.append(
            "Each trial is one run with one seed (n = 1): nothing is known of how much another seed would change it, so there is no interval. "
        )
    else:
        parts.append("In the search each trial is one run with one seed. ")
    several = any(len(row.score_points) > 1 or len(row.reporting) > 1 for row in found.rows)
    if several:
        parts.append(
            "What stands behind ± is the half width of the 95 % interval of a mean, t(n-1)·s/√n over seeds, which assumes that they are spread normally"
            + (
                "; on fresh seeds it is wider where the seeds of these configs are spread unevenly (bootstrap-t and skewness, pooled over configs), "
                "and where most of them give the same value again (the deviation pooled over configs). "
                if is_fresh(facts)
                else ". "
            )
        )
    if is_fresh(facts):
        parts.append(
            "On fresh seeds n counts those that report, which had no part in the choice. p: whether a config differs from the chosen one on the "
            "seeds that both ran on (paired sign-flip test, adjusted by Holm)."
        )
    return text(*parts)


def _seeds(facts: Facts) -> Block:
    """Every value that a mean is made of."""
    found = facts.result
    told = {point.run: point.value for point in found.report_points}
    rows: list[list[Words]] = [
        [
            str(row.trial),
            Code(point.run),
            str(point.seed),
            part,
            f"{point.value:.6g}",
            *([f"{told[point.run]:.6g}" if point.run in told else ""] if told else []),
        ]
        for row in found.rows
        for part, points in (
            ("search", row.score_points),
            ("fresh, chooses", row.choosing),
            ("fresh, reports", row.reporting),
        )
        for point in points
    ]
    head = ("trial", "run", "seed", "part", found.metric, *([found.report_metric or ""] if told else []))
    shown = table(head, rows[:MOST_SEEDS], (0, 2, 4, 5) if told else (0, 2, 4))
    more = f", the first {MOST_SEEDS:,} of {len(rows):,}" if len(rows) > MOST_SEEDS else ""
    return Folded(f"Every seed's value{more}", (shown,))


def _commands(facts: Facts, rows: Sequence[HonestRow]) -> list[str]:
    runs = {run.id: run for run in facts.runs}
    lines = []
    for row in rows:
        for point in (*row.score_points, *row.choosing, *row.reporting):
            lines.append(f"# {point.run}, trial {row.trial}, seed {point.seed}")
            lines.append(command_line(runs[point.run]) or "# its command is not recorded")
    return lines
