"""How good the best of m trials is on average: what a search of another length would have reported.

The rule of this file: it holds for independent random trials that all ran to their end; everything else is refused, with the
reason.
"""

from __future__ import annotations

import math

import msgspec

from sweep.analysis import text
from sweep.analysis.inference import expected_best
from sweep.analysis.table import SweepTable, TrialRow
from sweep.core.sizes import points
from sweep.core.spec import Goal

LEAST = 3


class ExpectedRow(msgspec.Struct, frozen=True):
    """The best of m trials: its mean, and the ends of the 95 % bootstrap interval over trials."""

    m: int
    mean: float
    low: float
    high: float


class ExpectedBest(msgspec.Struct, frozen=True, kw_only=True):
    metric: str
    goal: Goal
    n: int = 0
    """Trials that it is computed from."""
    rows: tuple[ExpectedRow, ...] = ()
    """m = 1 … n; empty where it is refused."""
    refused: str = ""
    """Why it does not hold here, '' where it does."""
    notes: tuple[str, ...] = ()


def expected(table: SweepTable) -> ExpectedBest:
    """The expected best of m = 1 … n trials (Dodge et al., "Show Your Work", EMNLP 2019, in the V-statistic form)."""
    rows = _independent(table)
    refused = _refusal(table, rows)
    if refused:
        return ExpectedBest(metric=table.metric or "", goal=table.goal, refused=refused)
    scores = [row.score for row in rows if row.score is not None]
    worst = max(scores) if table.goal == "minimize" else min(scores)
    failed = len(rows) - len(scores)
    found = expected_best(scores + [worst] * failed, table.goal == "minimize", seed=table.spec.seed)
    return ExpectedBest(
        metric=table.metric or "",
        goal=table.goal,
        n=len(rows),
        rows=tuple(ExpectedRow(*row) for row in found),
        notes=tuple(_notes(table, failed, len(rows))),
    )


def _independent(table: SweepTable) -> list[TrialRow]:
    """The trials that were drawn at random and have come to an end; those that the spec begins with are none of them."""
    first = len(table.spec.initial)
    return [row for row in table.trials if row.trial >= first and row.state in ("completed", "failed")]


def _refusal(table: SweepTable, rows: list[TrialRow]) -> str:
    spec = table.spec
    if spec.metric is None:
        return "the spec names no metric"
    if spec.method != "random":
        what = "looked at earlier results" if spec.method == "bayes" else "took the points of a grid in order"
        return f"it holds for independent random trials, and `method: {spec.method}` {what}"
    if any(row.state == "pruned" for row in table.trials):
        return "it holds for trials that ran to their end, and some were ended early (early_terminate)"
    if spec.early_terminate is not None and spec.early_terminate.type != "none":
        return "it holds for trials that ran to their end, and the spec has `early_terminate`"
    ended = [
        name
        for name, given in (("patience", spec.patience), ("metric.target", spec.metric.target))
        if given is not None
    ]
    if ended:
        return f"it holds for a number of trials that was set beforehand, and here `{ended[0]}` may end the search by its results"
    if any(row.state == "open" for row in table.trials):
        return "trials are still open, and those that have ended already are rather the short ones"
    if sum(row.score is not None and math.isfinite(row.score) for row in rows) < LEAST:
        return f"at least {LEAST} finished trials with a finite {spec.metric.name} are needed"
    return ""


def _notes(table: SweepTable, failed: int, n: int) -> list[str]:
    notes = [
        f"From {text.plural(n, 'random trial')}; the interval is a 95 % bootstrap over trials. Towards m = {n} the values are biased "
        "to the worse side."
    ]
    if failed:
        notes.append(
            f"{text.plural(failed, 'failed trial')} {'counts' if failed == 1 else 'count'} as the worst score seen."
        )
    size = points(table.spec.method, table.spec.space)
    if size is not None and size < 20 * n:
        notes.append(
            f"The space has {size:,} points and none is drawn twice: the draws are not quite independent."
        )
    if table.sweep.revision > 1:
        notes.append(
            "The spec was revised: it holds only if the trials were drawn from one and the same space."
        )
    return notes
