"""`sweep simulate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from sweep.analysis.text import number, padded
from sweep.api.curves import Curves, read_table, recorded_curves
from sweep.api.seeds import draw_seed
from sweep.api.simulating import SHARE, Verdict, rules_for, simulate
from sweep.cli.common import command, file_argument, json_option, opened, print_json, store_option
from sweep.cli.creating import tell_warnings
from sweep.cli.main import UserMistake
from sweep.core.spec import PATIENCE_SHARE, EarlyTerminate, Metric
from sweep.spec import load

FORMATS = (".html", ".png")
ENOUGH = 0.95
"""A rule is recommended that keeps the best run in so large a part of the replays."""


@command("simulate", "sweep simulate sweep.yaml --like latest --slots 8")
@file_argument
@click.option(
    "--like",
    required=True,
    metavar="ID|TABLE",
    help="The curves: a recorded sweep, or a CSV file with the columns run, step, value and maybe seconds.",
)
@click.option(
    "--slots", type=click.IntRange(1, 10_000), default=8, show_default=True, help="How many runs at once."
)
@click.option(
    "--replays",
    type=click.IntRange(1, 10_000),
    default=40,
    show_default=True,
    help="How many sweeps to replay, each of other runs in another order.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Decides which runs and orders.")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw it, too: a page (FILE.html) or a picture (FILE.png).",
)
@click.option("--open", "show", is_flag=True, help="Open that in a browser (default: simulate.html).")
@store_option
@json_option
def simulate_command(
    file: Path,
    like: str,
    slots: int,
    replays: int,
    seed: int,
    out: Path | None,
    show: bool,
    store_url: str | None,
    as_json: bool,
) -> None:
    """Replay recorded learning curves under the real controller, with the clock running as fast as it can, and tell what each rule
    that ends runs early would have saved and lost.

    The metric, its goal and `early_terminate` are taken from FILE; beside that rule, every other one is shown with its defaults for
    curves of this length. Nothing is recorded, and nothing is started.
    """
    if out is not None and out.suffix not in FORMATS:
        raise UserMistake(f"--out takes a file that ends in .html or .png, not {str(out)!r}")
    parsed = load(file, draw_seed=draw_seed)
    tell_warnings(parsed)
    metric, own = parsed.spec.metric, parsed.spec.early_terminate
    if metric is None:
        raise UserMistake(f"{file} has no metric; add `metric: {{name: …, goal: minimize}}`")
    curves = _curves(like, store_url, metric)
    rules = rules_for(curves.length)
    if own is not None and own.type != "none":
        rules.insert(0, own)
    else:
        own = None
    verdicts = _simulated(curves, metric, rules, slots, replays, seed)
    if as_json:
        print_json(_as_json(curves, verdicts, slots, own is not None))
    else:
        _print(curves, verdicts, slots, metric, own is not None)
    if out is not None or show:
        path = out or Path("simulate.html")
        _draw(curves, verdicts, slots, metric, own is not None, path)
        if not as_json:
            click.echo(f"\n{path}")
        if show:
            click.launch(str(path))


def _curves(like: str, store_url: str | None, metric: Metric) -> Curves:
    path = Path(like)
    if path.suffix.lower() == ".csv" or path.is_file():
        return read_table(path)
    with opened(store_url) as store:
        return recorded_curves(store, like, metric.name)


def _simulated(
    curves: Curves, metric: Metric, rules: Sequence[EarlyTerminate], slots: int, replays: int, seed: int
) -> list[Verdict]:
    if not sys.stderr.isatty():
        return simulate(curves, metric, rules, slots, replays, seed)
    with click.progressbar(
        length=replays * (len(rules) + 1), label="replaying", file=sys.stderr, show_pos=True
    ) as bar:
        return simulate(curves, metric, rules, slots, replays, seed, lambda: bar.update(1))


def _print(curves: Curves, verdicts: Sequence[Verdict], slots: int, metric: Metric, own: bool) -> None:
    drawn = max(2, round(SHARE * len(curves.runs)))
    out = f"; {curves.left_out} left out, which ended early or have no value" if curves.left_out else ""
    click.echo(f"{curves.source}: {len(curves.runs)} whole runs of {number(curves.length)} steps{out}")
    click.echo(f"{verdicts[0].replays} replays of {drawn} runs each on {slots} slots\n")
    head = (
        "rule",
        "clock saved",
        "slot time saved",
        "keeps the best",
        f"{metric.name} worse by",
        "ended early",
    )
    rows = [head, *(_cells(verdict, own and index == 0) for index, verdict in enumerate(verdicts))]
    click.echo("\n".join(padded(rows)))
    click.echo("\n" + _advice(verdicts))


def _draw(
    curves: Curves, verdicts: Sequence[Verdict], slots: int, metric: Metric, own: bool, path: Path
) -> None:
    from sweep.analysis.figures.rules import Rule, picture_of, write_rules

    rules = []
    for index, verdict in enumerate(verdicts):
        cells = _cells(verdict, own and index == 0)
        rules.append(
            Rule(
                name=cells[0],
                saved=verdict.clock_saved,
                saved_interval=verdict.clock_interval,
                kept=verdict.kept,
                kept_interval=verdict.kept_interval,
                cells=(as_yaml(verdict.rule), *cells[1:]),
            )
        )
    drawn = max(2, round(SHARE * len(curves.runs)))
    subtitle = f"{metric.name}: {verdicts[0].replays} replays of {drawn} of {len(curves.runs)} runs each on {slots} slots"
    advice = _advice(verdicts)
    note = (
        f"Grey: the best run is kept in {ENOUGH:.0%} of the replays or more. Lines: 95 % intervals. "
        f"{advice[0].upper()}{advice[1:]}."
    )
    try:
        write_rules(picture_of(rules, subtitle, note, ENOUGH), path, curves.source)
    except OSError as error:
        raise UserMistake(f"cannot write to {path}: {error.strerror}") from None


def _cells(verdict: Verdict, own: bool) -> tuple[str, ...]:
    return (
        verdict.rule.type + ", resume" * verdict.rule.resume + " (this file's)" * own,
        _share(verdict.clock_saved, verdict.clock_interval),
        f"{verdict.slot_time_saved:.0%}",
        _share(verdict.kept, verdict.kept_interval),
        number(verdict.lost, 2) if verdict.lost else "0",
        f"{verdict.ended:.0%}",
    )


def _share(value: float, interval: tuple[float, float]) -> str:
    return f"{value:.0%} ({interval[0]:.0%} to {interval[1]:.0%})"


def _advice(verdicts: Sequence[Verdict]) -> str:
    good = [verdict for verdict in verdicts if verdict.kept >= ENOUGH]
    if not good:
        return f"no rule keeps the best run in {ENOUGH:.0%} of the replays: give runs longer (min_iter) before they are judged"
    best = max(good, key=lambda verdict: verdict.clock_saved)
    return f"saves most of those that keep the best in {ENOUGH:.0%}:  early_terminate: {as_yaml(best.rule)}"


def as_yaml(rule: EarlyTerminate) -> str:
    """The rule as one writes it."""
    compares = rule.type in ("asha", "median", "percentile")
    flat = rule.type == "plateau" and rule.patience is None
    usual = EarlyTerminate(
        type=rule.type,
        eta=2.0 if rule.type == "asha" else 3.0,
        trend=compares,
        patience_share=PATIENCE_SHARE if flat else 0.5,
    )
    keys = [name for name in rule.__struct_fields__ if getattr(rule, name) != getattr(usual, name)]
    words = [f"type: {rule.type}", *(f"{name}: {_scalar(getattr(rule, name))}" for name in keys)]
    return f"{{{', '.join(words)}}}"


def _scalar(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else f"{value}"


def _as_json(curves: Curves, verdicts: Sequence[Verdict], slots: int, own: bool) -> dict[str, Any]:
    return {
        "source": curves.source,
        "runs": len(curves.runs),
        "left_out": curves.left_out,
        "length": curves.length,
        "slots": slots,
        "replays": verdicts[0].replays,
        "rules": [
            {
                "rule": as_yaml(verdict.rule),
                "type": verdict.rule.type,
                "from_file": own and index == 0,
                "clock_saved": verdict.clock_saved,
                "clock_interval": list(verdict.clock_interval),
                "slot_time_saved": verdict.slot_time_saved,
                "kept": verdict.kept,
                "kept_interval": list(verdict.kept_interval),
                "lost": verdict.lost,
                "ended_early": verdict.ended,
            }
            for index, verdict in enumerate(verdicts)
        ],
    }
