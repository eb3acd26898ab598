"""Each rule that ends runs early, alone, on recorded curves: how much of the clock it saves, and how often it keeps the best run.

    python benchmarks/stopping/run.py                       # ours, and Optuna's pruners where Optuna is installed
    python benchmarks/stopping/run.py --held-out            # on curves by which no default was chosen
    python benchmarks/stopping/run.py --table my.csv        # also on curves of your own (run, step, value, seconds)

The first time it trains the curves (some minutes of CPU time), then it takes them from `--curves`. All rules see the same replays. Ours run
under the real controller; a pruner of Optuna is asked after each report, as its own loop does.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import curves as tables

from sweep.api.curves import RunCurve, read_table
from sweep.api.replaying import replay
from sweep.core.spec import EarlyTerminate, Metric

METRIC = Metric(name="loss")
HERE = Path(__file__).parent


class Result(NamedTuple):
    """Of one replay."""

    clock_s: float
    best: float | None


Run = Callable[[Sequence[RunCurve], int], Result]


def ours(length: int) -> dict[str, EarlyTerminate]:
    """Every rule as somebody has it who gives nothing, the length of a run, or W&B's numbers."""
    return {
        "asha": EarlyTerminate(type="asha", eta=2.0, trend=True),
        "asha, max_iter": EarlyTerminate(type="asha", eta=2.0, max_iter=length, trend=True),
        "median": EarlyTerminate(type="median", trend=True),
        "median, max_iter": EarlyTerminate(type="median", max_iter=length, trend=True),
        "percentile": EarlyTerminate(type="percentile", trend=True),
        "percentile, max_iter": EarlyTerminate(type="percentile", max_iter=length, trend=True),
        "asha, trend: false": EarlyTerminate(type="asha", eta=2.0),
        "median, trend: false": EarlyTerminate(type="median"),
        "percentile, trend: false": EarlyTerminate(type="percentile"),
        "plateau": EarlyTerminate(type="plateau", patience_share=0.65),
        "plateau, max_iter": EarlyTerminate(type="plateau", max_iter=length, patience_share=0.65),
        "plateau, patience_share: 0.5": EarlyTerminate(type="plateau"),
        "hyperband (W&B), min_iter 3": EarlyTerminate(min_iter=3),
        "hyperband (W&B), min_iter 5, eta 2": EarlyTerminate(min_iter=5, eta=2.0),
    }


def peers(length: int) -> dict[str, Callable[[], Any]]:
    """Optuna's pruners with their defaults; empty where Optuna is not installed."""
    try:
        from optuna import pruners
    except ImportError:
        return {}
    return {
        "optuna MedianPruner": pruners.MedianPruner,
        "optuna MedianPruner, warmup 5": lambda: pruners.MedianPruner(n_warmup_steps=5),
        "optuna PercentilePruner(60), warmup 5": lambda: pruners.PercentilePruner(60.0, n_warmup_steps=5),
        "optuna SuccessiveHalvingPruner": pruners.SuccessiveHalvingPruner,
        "optuna SuccessiveHalvingPruner(5, 2)": lambda: pruners.SuccessiveHalvingPruner(
            min_resource=5, reduction_factor=2
        ),
        "optuna HyperbandPruner": lambda: pruners.HyperbandPruner(min_resource=1, max_resource=length),
    }


def by_rule(rule: EarlyTerminate | None) -> Run:
    """Ours, under the real controller."""

    def run(drawn: Sequence[RunCurve], slots: int) -> Result:
        outcome = replay(drawn, METRIC, rule, slots)
        return Result(outcome.clock_s, outcome.best)

    return run


def by_pruner(make: Callable[[], Any]) -> Run:
    """Optuna's: a study in memory whose trials are the curves."""

    def run(drawn: Sequence[RunCurve], slots: int) -> Result:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=make())
        waiting, events, clock_s, best = list(drawn)[::-1], [], 0.0, float("inf")

        def start(now_s: float) -> None:
            if waiting:
                curve, trial = waiting.pop(), study.ask()
                heapq.heappush(events, (now_s + curve.seconds[0], trial.number, 0, now_s, curve, trial))

        for _ in range(slots):
            start(0.0)
        while events:
            clock_s, number, report, began_s, curve, trial = heapq.heappop(events)
            value = curve.values[report]
            best = min(best, value) if value == value else best
            trial.report(value, int(curve.steps[report]))
            last = report + 1 == len(curve.values)
            if last or trial.should_prune():
                end = (
                    optuna.trial.TrialState.COMPLETE
                    if last and value == value
                    else optuna.trial.TrialState.PRUNED
                )
                study.tell(trial, value if end == optuna.trial.TrialState.COMPLETE else None, state=end)
                start(clock_s)
            else:
                at_s = began_s + curve.seconds[report + 1]
                heapq.heappush(events, (at_s, number, report + 1, began_s, curve, trial))
        return Result(clock_s, best)

    return run


def measure(
    args: argparse.Namespace, paths: Sequence[Path]
) -> dict[str, dict[str, list[tuple[float, bool]]]]:
    """Rule -> table -> (share of the clock saved, whether the best was kept) of each replay."""
    found: dict[str, dict[str, list[tuple[float, bool]]]] = {}
    for path in paths:
        known = read_table(path)
        length = round(known.length)
        runs: dict[str, Run] = {name: by_rule(rule) for name, rule in ours(length).items()}
        runs |= {name: by_pruner(make) for name, make in peers(length).items()}
        rng = random.Random(path.stem)
        draws = [rng.sample(known.runs, min(args.runs, len(known.runs))) for _ in range(args.replays)]
        whole = [by_rule(None)(drawn, args.slots) for drawn in draws]
        for number, (name, run) in enumerate(runs.items(), 1):
            say(f"{path.stem}: {number} of {len(runs)}, {name}".ljust(79) + "\r")
            pairs = [(before, run(drawn, args.slots)) for before, drawn in zip(whole, draws, strict=True)]
            found.setdefault(name, {})[path.stem] = [
                (1 - after.clock_s / before.clock_s, after.best == before.best) for before, after in pairs
            ]
    say(" " * 79 + "\r")
    return found


def interval(by_table: dict[str, list[tuple[float, bool]]], index: int) -> tuple[float, float, float]:
    """Mean over tables, and its 95 % interval: tables and then replays drawn again."""
    rng, names = random.Random(1), list(by_table)

    def mean(draw: Callable[[list[Any]], list[Any]]) -> float:
        parts = [draw(by_table[name]) for name in draw(names)]
        return sum(sum(one[index] for one in part) / len(part) for part in parts) / len(parts)

    means = sorted(mean(lambda items: rng.choices(items, k=len(items))) for _ in range(1000))
    return mean(lambda items: items), means[24], means[974]


def markdown(found: dict[str, dict[str, list[tuple[float, bool]]]]) -> str:
    """The table for the docs."""
    lines = ["| rule | clock saved [95 %] | best kept [95 %] | worst table |", "| --- | --- | --- | --- |"]
    for name, by_table in found.items():
        saved, kept = (interval(by_table, index) for index in (0, 1))
        worst = min(by_table, key=lambda table: sum(hit for _, hit in by_table[table]))
        share = sum(hit for _, hit in by_table[worst]) / len(by_table[worst])
        cells = (f"{a:.0%} [{low:.0%}, {high:.0%}]" for a, low, high in (saved, kept))
        lines.append(f"| {name} | {' | '.join(cells)} | {share:.0%} ({worst}) |")
    return "\n".join(lines)


def picture(found: dict[str, dict[str, list[tuple[float, bool]]]], path: Path) -> None:
    """Clock saved against best kept, a point a rule."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5.5))
    for name, by_table in found.items():
        (x, *across), (y, *along) = (interval(by_table, index) for index in (0, 1))
        peer = name.startswith(("optuna", "hyperband"))
        axes.errorbar(
            x,
            y,
            xerr=[[x - across[0]], [across[1] - x]],
            yerr=[[y - along[0]], [along[1] - y]],
            fmt="s" if peer else "o",
            color="0.6" if peer else "C0",
        )
        axes.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7)
    axes.axhline(0.95, color="0.8", zorder=0)
    axes.axvline(0.5, color="0.8", zorder=0)
    axes.set(xlabel="share of the clock saved", ylabel="share of the replays that keep the best run")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def say(text: str) -> None:
    """Progress, for a person."""
    if sys.stderr.isatty() or text.endswith("\n"):
        sys.stderr.write(text)
        sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--curves", type=Path, default=HERE / "curves", help="folder of the trained curves")
    parser.add_argument("--table", type=Path, action="append", default=[], help="further curves, as CSV")
    parser.add_argument(
        "--held-out", action="store_true", help="on the tables by which no default was chosen"
    )
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--runs", type=int, default=96, help="runs in a replay")
    parser.add_argument("--replays", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write every replay to this file")
    parser.add_argument("--picture", type=Path, help="draw it into this file (matplotlib)")
    args = parser.parse_args()
    made = tables.held_out if args.held_out else tables.problems
    paths = [*tables.tables(args.curves, say, made), *args.table]
    found = measure(args, paths)
    print(f"{len(paths)} tables, {args.replays} replays of {args.runs} runs each, {args.slots} slots\n")
    print(markdown(found))
    if args.json:
        args.json.write_text(json.dumps(found))
    if args.picture:
        picture(found, args.picture)


if __name__ == "__main__":
    main()
