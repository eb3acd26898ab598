"""Which parameters mattered: a number per parameter with its uncertainty, beside the plain correlation.

The rule of this file: everything is a pure function of the table and `spec.seed`, and where the trials do not say
anything, it says so instead of giving numbers that look as if they did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec

from sweep.analysis import text
from sweep.analysis.axes import Axis, parameter_axis
from sweep.analysis.table import ABSENT, SweepTable, TrialRow
from sweep.core.space import Constant, Parameter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from sweep.analysis.estimators import Estimate

    Floats = NDArray[np.float64]

Method = Literal["auto", "forest", "ped-anova"]

LEAST_TRIALS = 8
"""Fewer finished trials than this are never turned into an importance."""


class ImportanceRow(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter. The importances of all parameters sum to 1."""

    parameter: str
    importance: float
    low: float
    high: float
    """Ends of the 90 % bootstrap interval over trials."""
    above_noise: bool
    """Whether the whole interval lies above what a shuffled objective reaches."""
    correlation: float | None = None
    """Spearman's rho, or eta for categories without an order; None when it is not defined."""
    correlation_kind: Literal["rho", "eta", ""] = ""
    """eta is never negative; it is corrected for the number of categories."""


class Importance(msgspec.Struct, frozen=True, kw_only=True):
    method: str
    """In words, with the library's version."""
    metric: str
    n: int
    """Trials that went in."""
    rows: tuple[ImportanceRow, ...] = ()
    """Most important first; empty when there is not enough signal."""
    noise: float = 0.0
    """What a shuffled objective reaches (95th percentile over all parameters), on the scale of the rows."""
    note: str | None = None

    @property
    def enough(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.rows)


def importance(table: SweepTable, method: Method = "auto") -> Importance:
    """Importance of each parameter that varied, for the rank of the objective.

    `forest` (what `auto` takes) is permutation importance (Breiman, Machine Learning 45, 2001) of extremely randomised
    trees (Geurts et al., Machine Learning 63, 2006) on trials that the trees have not seen: how much less of the
    objective's rank they explain once a parameter's values are shuffled among the trials that have one (a conditional
    parameter counts for what its value does, not for being there). `ped-anova` (Watanabe et al.,
    IJCAI 2023, as in Optuna) says instead what distinguishes the best tenth of the trials. They answer different
    questions and may disagree. Raises ValueError for an unknown method.
    """
    if method not in ("auto", "forest", "ped-anova"):
        raise ValueError(f"unknown method {method!r}: choose forest or ped-anova")
    rows = table.scored
    refusal = _refusal(table, rows)
    parameters = _varied(table, rows)
    if refusal is None and not parameters:
        refusal = "no parameter took more than one value"
    if refusal is not None:
        return _nothing(table, len(rows), refusal, "none")
    axes = [parameter_axis(p, [row.value(p) for row in rows]) for p in parameters]
    return _estimated(table, rows, parameters, axes, method)


def _estimated(
    table: SweepTable, rows: list[TrialRow], parameters: list[Parameter], axes: list[Axis], method: Method
) -> Importance:
    import numpy as np

    from sweep.analysis import estimators

    places = np.array(
        [[axis.position(row.value(p)) for p, axis in zip(parameters, axes, strict=True)] for row in rows]
    )
    present = np.array([[row.value(p) is not ABSENT for p in parameters] for row in rows])
    ranks = estimators.ranks(np.array([row.score for row in rows], dtype=np.float64))
    generator = np.random.default_rng([table.spec.seed % 2**64, 0x1A9])
    if method == "ped-anova":
        estimate = estimators.ped_anova(axes, places, ranks, generator, minimize=table.goal == "minimize")
    else:
        estimate = estimators.forest(axes, places, present, ranks, generator)
    if not estimate.mean.sum() > 0 or estimate.silent:
        return _nothing(
            table, len(rows), estimate.silent or "no parameter explains the objective", estimate.method
        )
    found = _rows(parameters, axes, np.where(present, places, np.nan), ranks, estimate)
    return Importance(
        method=estimate.method,
        metric=table.metric or "",
        n=len(rows),
        rows=found,
        noise=float(estimate.noise / estimate.mean.sum()),
        note=" ".join(filter(None, [_quiet(found), _bias(rows), _left_out(table, parameters)])) or None,
    )


def _rows(
    parameters: list[Parameter], axes: list[Axis], places: Floats, ranks: Floats, estimate: Estimate
) -> tuple[ImportanceRow, ...]:
    from sweep.analysis import estimators

    total = float(estimate.mean.sum())
    found = []
    for column, (parameter, axis) in enumerate(zip(parameters, axes, strict=True)):
        correlation, kind = estimators.correlation(axis, places[:, column], ranks)
        found.append(
            ImportanceRow(
                parameter=parameter.name,
                importance=float(estimate.mean[column]) / total,
                low=min(max(float(estimate.low[column]) / total, 0.0), 1.0),
                high=min(max(float(estimate.high[column]) / total, 0.0), 1.0),
                above_noise=bool(estimate.low[column] > estimate.noise),
                correlation=correlation,
                correlation_kind=kind,
            )
        )
    return tuple(sorted(found, key=lambda row: (-row.importance, row.parameter)))


def _varied(table: SweepTable, rows: list[TrialRow]) -> list[Parameter]:
    """Parameters that took two values among the trials that have a score."""
    varied = []
    for parameter in table.parameters:
        values = [row.value(parameter) for row in rows]
        if parameter.when:
            values = [value for value in values if value is not ABSENT]
        if not values:
            continue
        axis = parameter_axis(parameter, values)
        if len({axis.position(value) for value in values}) > 1:
            varied.append(parameter)
    return varied


def _refusal(table: SweepTable, rows: list[TrialRow]) -> str | None:
    """Why there is no importance, None when there can be one."""
    if table.metric is None:
        return "the spec names no metric"
    if not table.trials:
        return "no trial was proposed yet"
    ended = [row for row in table.trials if row.state != "open"]
    if ended and all(row.state == "failed" for row in ended):
        return f"all {text.plural(len(ended), 'ended trial')} failed"
    if len(rows) < LEAST_TRIALS:
        have = f"{text.plural(len(rows), 'finished trial')} with a finite {table.metric}"
        return f"{have}, at least {LEAST_TRIALS} are needed"
    scores = {row.score for row in rows}
    if len(scores) == 1:
        return f"{table.metric} is {text.number(rows[0].score or 0.0)} in all {len(rows)} trials"
    return None


def _nothing(table: SweepTable, n: int, why: str, method: str) -> Importance:
    return Importance(method=method, metric=table.metric or "", n=n, note=f"not enough signal: {why}.")


def _quiet(rows: tuple[ImportanceRow, ...]) -> str:
    if any(row.above_noise for row in rows):
        return ""
    return "No parameter stands clear of the noise level: treat the order as a guess."


def _bias(rows: list[TrialRow]) -> str:
    pruned = sum(row.state == "pruned" for row in rows)
    if not pruned:
        return ""
    verb = "counts" if pruned == 1 else "count"
    counts = f"{text.plural(pruned, 'pruned trial')} {verb} with the best value before the early end"
    return f"{counts}, which is worse than it could have become: the numbers are biased by that."


def _left_out(table: SweepTable, parameters: list[Parameter]) -> str:
    varying = [p for p in table.spec.space.parameters if not isinstance(p.distribution, Constant)]
    constant = [p.name for p in varying if p not in parameters]
    if not constant:
        return ""
    names = ", ".join(text.shorten(name, 32) for name in constant[:4]) + (
        " and others" if len(constant) > 4 else ""
    )
    return (
        f"Left out because it had one value: {names}."
        if len(constant) == 1
        else f"Left out, one value each: {names}."
    )
