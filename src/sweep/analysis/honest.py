"""The result of a sweep as it may be reported: what the search found, what fresh seeds say of it, and how far the two differ.

The rule of this file: a number that had a part in choosing a config never says how good that config is. The search's scores
screen, the first of the fresh seeds choose (`spec.confirm.choosing`), and only the others are reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from sweep.analysis import text
from sweep.analysis.inference import (
    LEVEL,
    Interval,
    holm,
    least_p,
    pairs_needed,
    pooled_deviation,
    pooled_intervals,
    sign_flip,
)
from sweep.analysis.table import SweepTable, TrialRow
from sweep.core.lifecycle import ENDED
from sweep.core.space import Config
from sweep.core.spec import Confirm, Goal
from sweep.core.views import RunView

Status = Literal["no result", "searching", "not confirmed", "confirming", "confirmed"]
SHOWN = 5
"""So many of the search's best configs stand in the table of a sweep that is not confirmed."""


class Point(msgspec.Struct, frozen=True):
    """One run's value: all of them are there, also to be drawn."""

    run: str
    seed: int
    value: float


class HonestRow(msgspec.Struct, frozen=True, kw_only=True):
    """One config."""

    trial: int
    config: Config
    score: float | None
    """What the search saw: the mean over its replicates. It had a part in the choice."""
    score_points: tuple[Point, ...] = ()
    choosing: tuple[Point, ...] = ()
    """On the fresh seeds that choose."""
    reporting: tuple[Point, ...] = ()
    """On the fresh seeds that report."""
    confirmed: Interval | None = None
    """Of `reporting`: the mean over seeds and its 95 % interval (`inference.pooled_intervals`); None before there is one."""
    without_value: int = 0
    """Confirmation runs that have ended without a value: failed, or cancelled."""
    open: int = 0
    """Confirmation runs that have not ended."""
    finalist: bool = True
    """Whether it is among the best by the search's scores, as the spec has them confirmed now; others were confirmed earlier."""
    pairs: int = 0
    """Reporting seeds that it shares with the chosen one."""
    p: float | None = None
    """That it differs from the chosen one, on common reporting seeds: paired sign-flip test, adjusted by Holm. None for the
    chosen one itself, and where they share no seed."""
    tied: bool = False
    """Not told apart from the chosen one at 5 %; the chosen one is among them."""


class Honest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result table of a sweep, as data; `words` says the same in sentences."""

    sweep: str
    metric: str
    goal: Goal
    status: Status
    rows: tuple[HonestRow, ...] = ()
    """The chosen one first, then by what chose: the fresh seeds, before them the search's scores."""
    chosen: int | None = None
    """Trial that is the result."""
    chosen_by: Literal["", "search", "fresh seeds"] = ""
    top: int = 0
    seeds: int = 0
    choose: int = 0
    """As in the spec's `confirm`; 0 where nothing is to be confirmed."""
    trials: int = 0
    """From so many with a score the best ones were taken."""
    naive: int | None = None
    """Trial with the best score of the search."""
    optimism: float | None = None
    """By how much that score is better than what the same config reaches on the reporting seeds (negative: it is worse); in units
    of the metric."""
    optimism_sd: float | None = None
    """The same in standard deviations between seeds, pooled over the configs."""
    seed_sd: float | None = None
    least_p: float | None = None
    """The smallest p-value that so many reporting seeds can give."""
    seeds_needed: int | None = None
    """So many reporting seeds are needed before one config of the table can be told apart from the chosen one."""
    report_metric: str | None = None
    report: Interval | None = None
    """Of `report_metric`, for the chosen config alone, over the same runs as its confirmed value."""
    report_points: tuple[Point, ...] = ()
    looks: int = 0
    """How often somebody has looked at it."""
    words: tuple[str, ...] = ()


def honest(table: SweepTable) -> Honest:
    """What may be said of the result of a sweep."""
    spec, sweep = table.spec, table.sweep.sweep
    base: dict[str, Any] = {
        "sweep": sweep,
        "metric": table.metric or "",
        "goal": table.goal,
        "trials": len(table.scored),
    }
    if table.best is None:
        why = "the spec names no metric" if table.metric is None else "no trial has a finite score yet"
        return Honest(**base, status="no result", words=(f"There is no result: {why}.",))
    confirm = _confirm(table)
    rows = _rows(table, confirm)
    by_fresh = any(row.choosing for row in rows)
    rows = _with_intervals(sorted(rows, key=lambda row: _rank(row, table, by_fresh)))
    chosen = rows[0]
    rows = _compared(rows)
    naive = next((row for row in rows if row.trial == table.best.trial), None)
    seed_sd = _pooled_sd(rows)
    optimism = _optimism(naive, table)
    others = sum(row.p is not None for row in rows)
    common = max((row.pairs for row in rows), default=0)
    points = _report_points(table, chosen, by_fresh)
    beside = [_told(table, (*row.choosing, *row.reporting)) for row in rows]
    found = Honest(
        **base,
        status=_status(table, rows),
        rows=tuple(rows),
        chosen=chosen.trial,
        chosen_by="fresh seeds" if by_fresh else "search",
        top=confirm.top if confirm else 0,
        seeds=confirm.seeds if confirm else 0,
        choose=confirm.choosing if confirm else 0,
        naive=table.best.trial,
        optimism=optimism,
        optimism_sd=optimism / seed_sd if optimism is not None and seed_sd else None,
        seed_sd=seed_sd,
        least_p=least_p(common) if others else None,
        seeds_needed=pairs_needed(others) if others else None,
        report_metric=spec.report_metric,
        report=pooled_intervals([_values(points)], [_values(told) for told in beside] if by_fresh else ())[0],
        report_points=tuple(points),
        looks=table.sweep.looks,
    )
    return msgspec.structs.replace(found, words=in_words(found))


# --- rows ------------------------------------------------------------------------------------------------------


def _confirm(table: SweepTable) -> Confirm | None:
    """How the confirmation runs that there are, or are to be, are divided."""
    if table.spec.confirm is not None:
        return table.spec.confirm
    first = table.spec.replicates
    seeds = max((run.replicate - first + 1 for run in table.runs if run.purpose == "confirm"), default=0)
    return Confirm(seeds=seeds) if seeds > 1 else None


def choosing_seeds(table: SweepTable) -> int:
    """So many of the fresh seeds choose."""
    confirm = _confirm(table)
    return confirm.choosing if confirm else 0


def _rows(table: SweepTable, confirm: Confirm | None) -> list[HonestRow]:
    """The configs that run, or have run, on fresh seeds; without any, the best of the search."""
    fresh: dict[int, list[RunView]] = {}
    for run in table.runs:
        if run.purpose == "confirm":
            fresh.setdefault(run.trial, []).append(run)
    best = sorted(table.scored, key=lambda row: (table.rank_key(row), row.trial))
    wanted = [row for row in table.trials if row.trial in fresh] or best[:SHOWN]
    finalists = {row.trial for row in best[: confirm.top if confirm else SHOWN]}
    first = table.spec.replicates
    return [
        _row(row, fresh.get(row.trial, []), first, confirm, row.trial in finalists or not fresh)
        for row in wanted
    ]


def _row(
    trial: TrialRow, runs: Sequence[RunView], first: int, confirm: Confirm | None, finalist: bool
) -> HonestRow:
    last = first + (confirm.choosing if confirm else 0)
    return HonestRow(
        trial=trial.trial,
        config=trial.config,
        finalist=finalist,
        score=trial.score,
        score_points=_points(trial.runs),
        choosing=_points([run for run in runs if run.replicate < last]),
        reporting=_points([run for run in runs if run.replicate >= last]),
        without_value=sum(run.state in ENDED and _value(run) is None for run in runs),
        open=sum(run.state not in ENDED for run in runs),
    )


def _with_intervals(rows: Sequence[HonestRow]) -> list[HonestRow]:
    """The rows with what they report; how seeds spread values is taken from all of them."""
    groups = [_values((*row.choosing, *row.reporting)) for row in rows]
    found = pooled_intervals([_values(row.reporting) for row in rows], groups)
    return [msgspec.structs.replace(row, confirmed=mean) for row, mean in zip(rows, found, strict=True)]


def _values(points: Iterable[Point]) -> list[float]:
    return [point.value for point in points]


def _points(runs: Sequence[RunView]) -> tuple[Point, ...]:
    found = [(run, _value(run)) for run in sorted(runs, key=lambda run: run.replicate)]
    return tuple(Point(run.id, run.seed, value) for run, value in found if value is not None)


def _value(run: RunView) -> float | None:
    counts = run.state in ("completed", "pruned") and run.objective is not None
    return run.objective if counts and math.isfinite(run.objective or 0.0) else None


def _rank(row: HonestRow, table: SweepTable, by_fresh: bool) -> tuple[bool, float, float, int]:
    """Finalists, and of these those with the fewest seeds without a value, then the best mean on the seeds that choose; by the
    search's score before there are such seeds."""
    sign = 1.0 if table.goal == "minimize" else -1.0
    if not by_fresh:
        return False, 0.0, sign * row.score if row.score is not None else math.inf, row.trial
    values = [point.value for point in row.choosing]
    mean = sign * math.fsum(values) / len(values) if values else math.inf
    return not row.finalist, float(-len(values)), mean, row.trial


def _compared(rows: Sequence[HonestRow]) -> list[HonestRow]:
    """The rows with what tests against the first one say, on the seeds that report."""
    chosen = {point.seed: point.value for point in rows[0].reporting}
    if not chosen:
        return list(rows)
    pairs = [
        [point.value - chosen[point.seed] for point in row.reporting if point.seed in chosen]
        for row in rows[1:]
    ]
    tested = [number for number, differences in enumerate(pairs) if differences]
    adjusted = dict(zip(tested, holm([sign_flip(pairs[number]) for number in tested]), strict=True))
    replace = msgspec.structs.replace
    compared = [
        replace(
            row,
            pairs=len(pairs[number]),
            p=adjusted.get(number),
            tied=adjusted.get(number, 0.0) > 1 - LEVEL,
        )
        for number, row in enumerate(rows[1:])
    ]
    return [replace(rows[0], tied=True), *compared]


def _pooled_sd(rows: Sequence[HonestRow]) -> float | None:
    """Between seeds, within configs."""
    return pooled_deviation([_values((*row.choosing, *row.reporting)) for row in rows])[0] or None


def _optimism(naive: HonestRow | None, table: SweepTable) -> float | None:
    if naive is None or naive.confirmed is None or naive.score is None:
        return None
    better = naive.confirmed.mean - naive.score
    return better if table.goal == "minimize" else -better


def _report_points(table: SweepTable, chosen: HonestRow, by_fresh: bool) -> list[Point]:
    """`report_metric` of the chosen config: of the runs that its confirmed value is made of; without fresh seeds, of the
    search's, which it had no part in choosing."""
    return _told(table, chosen.reporting if by_fresh else chosen.score_points)


def _told(table: SweepTable, points: Sequence[Point]) -> list[Point]:
    """`report_metric` of the same runs."""
    name = table.spec.report_metric
    if name is None:
        return []
    wanted = {point.run for point in points}
    found = []
    for run in table.runs:
        value = run.summary.get(name) if run.id in wanted else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found.append(Point(run.id, run.seed, float(value)))
    return found


def _status(table: SweepTable, rows: Sequence[HonestRow]) -> Status:
    fresh = any(run.purpose == "confirm" for run in table.runs)
    if fresh and any(row.open for row in rows):
        return "confirming" if table.sweep.state != "ended" else "not confirmed"
    if table.sweep.state != "ended":
        return "searching"
    return "confirmed" if fresh and rows[0].reporting else "not confirmed"


# --- in words --------------------------------------------------------------------------------------------------


def in_words(found: Honest) -> tuple[str, ...]:
    """What a table says, in sentences for a person."""
    if not found.rows:
        return found.words
    chosen = found.rows[0]
    words = [_chosen_words(found, chosen)]
    if found.chosen_by == "fresh seeds" and chosen.confirmed is not None:
        words += [_confirmed_words(found, chosen.confirmed), *_tied_words(found)]
        if any(row.confirmed is not None and row.confirmed.half is not None for row in found.rows):
            words.append(f"Here {spread_words()}.")
    elif found.status in ("searching", "not confirmed"):
        later = f"; `sweep confirm {found.sweep}` runs the best again on fresh seeds"
        if found.status == "searching":
            later = "; `confirm:` in the spec runs the best again when it ends" if not found.seeds else ""
        words.append(f"It was chosen by the score that it is shown with, so that score is too good{later}.")
    if found.optimism is not None:
        words.append(_optimism_words(found))
    words += _gaps_words(found)
    if found.report_metric is not None:
        words.append(_report_words(found))
    return tuple(words)


def in_brief(found: Honest) -> tuple[str, ...]:
    """The chosen config and its confirmed value, without `report_metric`, which whoever wants it must ask for."""
    if found.status != "confirmed":
        return ()
    chosen = found.rows[0]
    words = [_chosen_words(found, chosen)]
    if chosen.confirmed is not None:
        words.append(_confirmed_words(found, chosen.confirmed))
    return (*words, f"`sweep best {found.sweep}` shows the whole result.")


def spread_words() -> str:
    """What the ± of a confirmed value is."""
    return (
        "the ± is the half width of a 95 % confidence interval of the mean over seeds (Student's t, widened where the seeds of these "
        "configs are spread unevenly or give the same value again): it says how the mean would vary with other seeds, and nothing of other data"
    )


def _chosen_words(found: Honest, chosen: HonestRow) -> str:
    if found.chosen_by == "search":
        return f"Trial {chosen.trial} has the best {found.metric} of {text.plural(found.trials, 'trial')}: {_number(chosen.score)}."
    if len(found.rows) == 1:
        return f"Trial {chosen.trial} alone ran again on fresh seeds, as the best of {text.plural(found.trials, 'trial')} by the search's score."
    return (
        f"Trial {chosen.trial} was chosen among {text.plural(len(found.rows), 'config')} (the best of "
        f"{text.plural(found.trials, 'trial')}) by its mean on {text.plural(len(chosen.choosing), 'fresh seed')}."
    )


def _confirmed_words(found: Honest, mean: Interval) -> str:
    held = f"{text.plural(mean.n, 'other fresh seed')} that had no part in the choice"
    if mean.half is None:
        return f"On {held}: {found.metric} {_number(mean.mean)}; of one value there is no interval."
    said = f"On {held}: {found.metric} {with_spread(mean)} (n = {mean.n} seeds)."
    if mean.sd:
        return said
    if mean.half:
        return f"{said} They are all equal: the ± is what the configs' values deviate by on all fresh seeds together."
    return f"{said} They are all equal: the interval says nothing of how rarely another value comes."


def _tied_words(found: Honest) -> list[str]:
    tied = [row.trial for row in found.rows[1:] if row.tied]
    apart = [row.trial for row in found.rows[1:] if row.p is not None and not row.tied]
    if not tied and not apart:
        alone = any(row.reporting for row in found.rows[1:])
        return ["The configs share no seeds: there is no paired test of which is better."] if alone else []
    if not tied:
        who = "The other config is" if len(apart) == 1 else "Every other config is"
        return [f"{who} worse or better than it beyond chance (paired sign-flip tests, Holm)."]
    words = [
        f"Not told apart from it at 5 % (paired sign-flip tests on common seeds, Holm): {_trials(tied)}."
    ]
    reporting = max(row.pairs for row in found.rows)
    if found.seeds_needed is not None and reporting < found.seeds_needed:
        others = len(found.rows) - 1
        which = "the other config" if others == 1 else f"one of the {others} others"
        words.append(
            f"No such test can on {text.plural(reporting, 'seed')}, where the smallest p-value is {_number(found.least_p)}: "
            f"it takes {found.seeds_needed} reporting seeds to tell {which} apart."
        )
    return words


def _optimism_words(found: Honest) -> str:
    assert found.optimism is not None
    sds = (
        "" if found.optimism_sd is None else f" ({found.optimism_sd:+.2f} standard deviations between seeds)"
    )
    naive = next(row for row in found.rows if row.trial == found.naive)
    assert naive.confirmed is not None
    return (
        f"The search's best score, {_number(naive.score)} in trial {naive.trial}, overstates that config by "
        f"{_number(found.optimism)}{sds}: on fresh seeds it has {_number(naive.confirmed.mean)}."
        if found.optimism > 0
        else f"The search's best score, {_number(naive.score)} in trial {naive.trial}, does not overstate that config: on fresh "
        f"seeds it has {_number(naive.confirmed.mean)}{sds}."
    )


def _gaps_words(found: Honest) -> list[str]:
    words = []
    without = sum(row.without_value for row in found.rows)
    still = sum(row.open for row in found.rows)
    if without:
        have = "has" if without == 1 else "have"
        words.append(
            f"{text.plural(without, 'confirmation run')} {have} ended without a value and {'is' if without == 1 else 'are'} in no mean."
        )
    if still:
        words.append(
            f"{text.plural(still, 'confirmation run')} {'is' if still == 1 else 'are'} still to end."
        )
    return words


def _report_words(found: Honest) -> str:
    if found.report is None:
        return f"{found.report_metric}: the chosen config's runs have not logged it."
    where = "the same runs" if found.chosen_by == "fresh seeds" else "the search's own runs"
    looks = f"; looked at {text.plural(found.looks, 'time')}" if found.looks else ""
    return f"{found.report_metric} {with_spread(found.report)} (n = {found.report.n}, {where}{looks}); it had no part in the choice."


def with_spread(mean: Interval) -> str:
    """`0.123 ± 0.004`, with as many digits as the ± has."""
    if mean.half is None:
        return _number(mean.mean)
    if not mean.half:
        return f"{_number(mean.mean)} ± 0"
    places = max(0, 1 - math.floor(math.log10(mean.half)))
    if places > 12 or abs(mean.mean) >= 1e9:
        return f"{_number(mean.mean)} ± {_number(mean.half)}"
    return f"{mean.mean:.{places}f} ± {mean.half:.{places}f}"


def _trials(numbers: Sequence[int]) -> str:
    noun = "trial" if len(numbers) == 1 else "trials"
    return f"{noun} {', '.join(map(str, numbers))}"


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.6g}"
