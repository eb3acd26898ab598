"""`sweep plot`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import click

from sweep.api import find_sweep, load_views, read_history
from sweep.api.reading import read_samples
from sweep.cli.best import best_words
from sweep.cli.common import command, json_option, opened, print_json, store_option
from sweep.cli.main import UserMistake
from sweep.cli.texts import config_text
from sweep.core.names import run_id
from sweep.core.rows import Views
from sweep.stores import Store

Format = Literal["html", "png"]
FORMATS: tuple[Format, ...] = ("html", "png")


@command("plot", "sweep plot latest --out pictures --format html,png")
@click.argument("sweep_id", metavar="ID")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the pictures (default: sweep-ID, which git ignores).",
)
@click.option(
    "--format", "formats", default="html,png", show_default=True, metavar="html,png", help="What to write."
)
@click.option("--expected", is_flag=True, help="Also the expected best of m trials, where it holds.")
@store_option
@json_option
def plot_command(
    sweep_id: str, out: Path | None, formats: str, expected: bool, store_url: str | None, as_json: bool
) -> None:
    """Draw sweep ID: which parameters mattered, best so far, learning curves, parallel coordinates, slices.

    Writes one self-contained page (index.html) and one PNG per picture, and prints the importance as text.
    """
    asked = {part.strip() for part in formats.split(",") if part.strip()}
    wanted = frozenset(known for known in FORMATS if known in asked)
    if not asked or asked - wanted:
        raise UserMistake(f"--format takes {' and '.join(FORMATS)}, separated by commas, not {formats!r}")
    with opened(store_url) as store:
        plot(store, find_sweep(store, sweep_id), out, wanted, as_json, expected)


def plot(
    store: Store,
    sweep: str,
    out: Path | None,
    formats: frozenset[Format],
    as_json: bool = False,
    expected: bool = False,
) -> None:
    """Write the pictures of `sweep` and print the best config, the importance, and where the pictures are."""
    from sweep.analysis.figures import write_plots
    from sweep.analysis.figures.usage import sample_of_runs
    from sweep.analysis.history import History
    from sweep.analysis.honest import honest, in_brief
    from sweep.analysis.importance import importance
    from sweep.analysis.table import SweepTable
    from sweep.analysis.terminal import importance_lines

    views = load_views(store, sweep)
    chunks = read_history(store, sweep, [run.run for run in views.runs])
    histories = {run: History.from_chunks(found) for run, found in chunks.items()}
    samples = {run.run: read_samples(store, run) for run in sample_of_runs(views.runs)}
    table = SweepTable(views.spec, views.sweep, views.runs, histories, samples)
    folder = out or Path(f"sweep-{sweep}")
    ranking = importance(table)
    try:
        paths = write_plots(table, folder, formats, ranking, expected)
        if out is None:  # a folder of our own making: no code, which the next sweep would record
            (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise UserMistake(f"cannot write to {folder}: {error.strerror}") from None
    if as_json:
        rows = [
            {
                "parameter": r.parameter,
                "importance": r.importance,
                "low": r.low,
                "high": r.high,
                "correlation": r.correlation,
            }
            for r in ranking.rows
        ]
        print_json(
            {
                "id": sweep,
                "method": ranking.method,
                "n": ranking.n,
                "interval": "90 % bootstrap over trials",
                "note": ranking.note,
                "importance": rows,
                "files": [str(p) for p in paths],
            }
        )
        return
    _print_best(views)
    for sentence in in_brief(honest(table)):
        click.echo(sentence)
    for line in importance_lines(ranking, encoding=sys.stdout.encoding or "ascii"):
        click.echo(line)
    click.echo("")
    for path in paths:
        click.echo(str(path))


def _print_best(views: Views) -> None:
    sweep = views.sweep
    best = next((run for run in views.runs if run.run == sweep.best_run), None)
    if best is None or views.spec.metric is None or sweep.best is None:
        return
    if sweep.best_seeds:
        click.echo(f"best of sweep {sweep.sweep}: {best_words(sweep, views.spec.metric.name)}")
    else:
        click.echo(
            f"best of sweep {sweep.sweep}: {run_id(sweep.sweep, best.run)}, {views.spec.metric.name} {sweep.best:.6g}"
        )
    click.echo(f"  {config_text(best.config, 2000)}\n")
