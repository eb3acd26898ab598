"""`sweep reproduce`."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from sweep.analysis.reproduction import ATOL, EXIT_CODES, RTOL, Verdict, step_words
from sweep.analysis.text import padded
from sweep.analysis.usage import energy, three
from sweep.api import load_views
from sweep.api.choosing import find_one
from sweep.api.finding import find_sweep
from sweep.api.metering import Cost
from sweep.api.repeating import CannotRepeat
from sweep.api.reproducing import Outcome, Wish, report_of, reproduce
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.cli.main import UserMistake
from sweep.stores import Store

WIDEST = 60
_GOOD: tuple[Verdict, ...] = ("identical", "within tolerance")


@command("reproduce", "sweep reproduce best --env rebuild")
@click.argument("run", metavar="RUN")
@click.option(
    "--env",
    type=click.Choice(["current", "rebuild"]),
    default="current",
    show_default=True,
    help="The Python that is here, or one built by uv with the recorded version of every package.",
)
@click.option("--steps", type=float, metavar="N", help="Only up to step N; the program is ended there.")
@click.option(
    "--calibrate",
    type=click.IntRange(min=2),
    metavar="K",
    help="Execute it K times first; what these differ by among themselves is the tolerance.",
)
@click.option(
    "--rtol", type=click.FloatRange(min=0), default=RTOL, show_default=True, help="Relative tolerance."
)
@click.option(
    "--atol", type=click.FloatRange(min=0), default=ATOL, show_default=True, help="Absolute tolerance."
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="PATTERN",
    help="Don't compare these metrics ('time/*'). May be given more than once.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", help="Another seed, as a control: it should differ."
)
@click.option(
    "--link",
    "links",
    multiple=True,
    metavar="NAME=PATH",
    help="Where a folder is that the recorded code leaves out. May be given more than once.",
)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    metavar="N",
    help="RUN is a sweep: N of its runs, drawn at random.",
)
@click.option("--sample-seed", type=int, default=0, show_default=True, help="What the draw begins from.")
@store_option
@json_option
def reproduce_command(
    run: str,
    env: str,
    steps: float | None,
    calibrate: int | None,
    rtol: float,
    atol: float,
    ignore: tuple[str, ...],
    seed: int | None,
    links: tuple[str, ...],
    sample: int | None,
    sample_seed: int,
    store_url: str | None,
    as_json: bool,
) -> None:
    """Execute RUN again from its record, and compare every value that it logs with what was recorded.

    The program starts in a worktree of the recorded code, with its command, config, seed and variables; a run that was ended
    early is ended at the same row. The verdict is recorded with the run.

    Exit codes: 0 identical, 10 within tolerance, 11 within seed noise, 12 different, 13 inconclusive, 14 unreproducible; with
    --sample the highest of them.
    """
    wish = Wish(
        env=env,  # type: ignore[arg-type]
        steps=steps,
        calibrate=calibrate or 0,
        rtol=rtol,
        atol=atol,
        ignore=ignore,
        seed=seed,
        links=dict(_link(text) for text in links),
        by=who(),
    )
    with opened(store_url) as store:
        chosen = [find_one(store, run)] if sample is None else _sample(store, run, sample, sample_seed)
        outcomes = []
        for sweep, number in chosen:
            try:
                outcome = reproduce(store, sweep, number, wish, os.environ, _say, _progress(as_json))
            except CannotRepeat as error:
                raise UserMistake(str(error)) from None
            outcomes.append(outcome)
            if sample is None and not as_json:
                _print(outcome)
            elif not as_json:
                click.echo(f"{outcome.run:<16} {_headline(outcome)}")
    if as_json:
        print_json(report_of(outcomes[0]) if sample is None else _sample_report(outcomes))
    elif sample is not None:
        click.echo(_rate(outcomes))
    sys.exit(max(EXIT_CODES[outcome.judgement.verdict] for outcome in outcomes))


def _link(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not name or not equals or not path:
        raise UserMistake(f"--link {text}: write NAME=PATH, such as data=/mnt/data")
    found = Path(path).expanduser().absolute()
    if not found.exists():
        raise UserMistake(f"--link {text}: there is no {found}")
    return name, found


def _sample(store: Store, text: str, count: int, seed: int) -> list[tuple[str, int]]:
    sweep = find_sweep(store, text)
    fit = [view.run for view in load_views(store, sweep).runs if view.state in ("completed", "pruned")]
    if not fit:
        raise UserMistake(f"sweep {sweep} has no run that completed or was pruned")
    drawn = random.Random(seed).sample(fit, min(count, len(fit)))
    return [(sweep, number) for number in sorted(drawn)]


def _say(text: str) -> None:
    click.echo(f"sweep: {text}", err=True)


def _progress(as_json: bool) -> Callable[[int, int], None]:
    """Rows so far, in place, where somebody watches."""
    if as_json or not sys.stderr.isatty():
        return lambda _, __: None
    last = [-1]

    def show(rows: int, expected: int) -> None:
        if rows != last[0]:
            last[0] = rows
            click.echo(
                f"\r  row {rows:,} of {expected:,} " + ("\n" if rows >= expected else ""), nl=False, err=True
            )

    return show


def _print(outcome: Outcome) -> None:
    for line in _preflight(outcome):
        click.echo(line)
    if outcome.streams:
        click.echo("")
        for line in _metrics(outcome):
            click.echo(line)
    if outcome.cost is not None and outcome.cost_again is not None:
        click.echo("")
        for line in _table(_used(outcome, outcome.cost, outcome.cost_again)):
            click.echo(line)
    click.echo("")
    click.echo(_headline(outcome))
    first = outcome.first
    if first is not None:
        click.echo(
            f"first difference: {first.metric} {step_words(first.step)}: {_value(first.recorded)}, now {_value(first.again)}"
        )
    if outcome.streams and outcome.judgement.verdict not in _GOOD:
        click.echo(f"its rows and its output: {outcome.folder}/again")


def _headline(outcome: Outcome) -> str:
    return f"{outcome.judgement.verdict.upper()}: {outcome.judgement.reason}"


def _value(value: float | None) -> str:
    return "no value" if value is None else repr(value)


def _preflight(outcome: Outcome) -> Iterator[str]:
    rows = [("PREFLIGHT", "RECORDED", "HERE", "")]
    rows += [
        (c.what, c.recorded, c.here if c.here != c.recorded else "the same", _mark(c.state))
        for c in outcome.checks
    ]
    return _table(rows) if outcome.checks else iter(())


def _mark(state: str) -> str:
    return {"changed": "differs", "missing": "MISSING", "unknown": "not known"}.get(state, "")


def _metrics(outcome: Outcome) -> Iterator[str]:
    rows = [("METRIC", "COMPARED", "IDENTICAL", "LARGEST DIFFERENCE", "ONE SIDE ONLY")]
    rows += [
        (
            stream.name,
            f"{stream.compared:,}",
            f"{stream.identical:,}",
            f"{stream.largest:.3g}" if stream.identical < stream.compared else "-",
            f"{stream.missing + stream.extra:,}" if stream.missing + stream.extra else "-",
        )
        for stream in outcome.streams
    ]
    return _table(rows)


def _used(outcome: Outcome, then: Cost, now: Cost) -> list[tuple[str, ...]]:
    """What the run has cost, and what this execution did."""
    rows = [
        ("USED", "RECORDED", "NOW", ""),
        ("time", _seconds(then.wall_s), _seconds(now.wall_s), ""),
        ("CPU", _seconds(then.cpu_s), _seconds(now.cpu_s), ""),
    ]
    if outcome.gpus:
        shared = "of whole devices; others used them too: not attributable" if outcome.gpu_shared else ""
        rows.append(("GPU energy", energy(then.gpu_energy_j), energy(now.gpu_energy_j), shared))
    measured = (then.node_cpu_energy_j, now.node_cpu_energy_j) != (None, None)
    node = "of all the node's processors: not attributable" if measured else ""
    return [*rows, ("CPU energy", energy(then.node_cpu_energy_j), energy(now.node_cpu_energy_j), node)]


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{three(value)} s"


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    cut = [tuple(cell if len(cell) <= WIDEST else f"{cell[: WIDEST - 1]}…" for cell in row) for row in rows]
    return padded(cut)


def _rate(outcomes: Sequence[Outcome]) -> str:
    verdicts = [outcome.judgement.verdict for outcome in outcomes]
    counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in EXIT_CODES if verdict in verdicts]
    compared = sum(outcome.compared for outcome in outcomes)
    same = verdicts.count("identical")
    each = f" ({', '.join(counts)})" if len(counts) > 1 else ""
    return f"{same} of {len(verdicts)} runs identical{each}; {compared:,} values compared"


def _sample_report(outcomes: Sequence[Outcome]) -> dict[str, object]:
    verdicts = [outcome.judgement.verdict for outcome in outcomes]
    return {
        "runs": [report_of(outcome) for outcome in outcomes],
        "verdicts": {verdict: verdicts.count(verdict) for verdict in EXIT_CODES if verdict in verdicts},
        "compared": sum(outcome.compared for outcome in outcomes),
    }
