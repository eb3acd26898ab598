"""`sweep runs`: the runs of a sweep, filtered, sorted, as table, CSV, JSON or Parquet."""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sweep.analysis.grading import grade
from sweep.analysis.records import duration_s, records
from sweep.api import find_sweep, load_views
from sweep.cli.common import command, json_option, opened, print_json_list, store_option, who
from sweep.cli.confirming import print_groups
from sweep.cli.listing import annotation_columns, error_class, flat_config, number_text, print_table
from sweep.cli.live import duration_text
from sweep.cli.main import UserMistake
from sweep.cli.spending import HEADS, usage_cells
from sweep.core.rows import Views
from sweep.core.views import RunView
from sweep.stores import Store

PART = 500
"""Runs are printed as JSON so many at a time: they need little memory, which is fast memory."""


@command("runs", "sweep runs latest --filter 'state == \"completed\" and lr < 0.1' --sort -objective")
@click.argument("sweep_id", metavar="ID")
@click.option(
    "--filter",
    "where",
    metavar="EXPR",
    help="Only runs for which this holds: state, objective, lr, summary.x, …",
)
@click.option("--sort", metavar="KEY", help="Order by this field; -KEY for descending.")
@click.option(
    "--format",
    "how",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="How to print them. Parquet needs `pip install pyarrow`.",
)
@click.option(
    "--group",
    is_flag=True,
    help="One row per config: mean and 95 % interval over its seeds, and every value.",
)
@click.option("--history", is_flag=True, help="Every row that they logged instead of one row per run.")
@click.option(
    "--usage", is_flag=True, help="With columns of what they used: CPU time, memory, disks, GPUs, energy."
)
@click.option(
    "--grade",
    "graded",
    is_flag=True,
    help="With whether each could be executed again from its record. As table, CSV or JSON.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to this file (.csv, .json, .parquet).",
)
@store_option
@json_option
def runs_command(
    sweep_id: str,
    where: str | None,
    sort: str | None,
    how: str,
    group: bool,
    history: bool,
    usage: bool,
    graded: bool,
    out: Path | None,
    store_url: str | None,
    as_json: bool,
) -> None:
    """List the runs of sweep ID: state, objective, config; filtered, sorted, as table, CSV, JSON or Parquet."""
    gc.disable()  # many objects and no garbage, in a process that ends
    with opened(store_url) as store:
        views = load_views(store, find_sweep(store, sweep_id))
        _count_look(
            store, views, f"{where} {sort}", raw=as_json or how != "table" or history or out is not None
        )
    if group:
        if (
            where is not None
            or sort is not None
            or history
            or out is not None
            or how not in ("table", "json")
        ):
            raise UserMistake("--group goes with --json or --format json only")
        print_groups(views, as_json or how == "json")
        return
    now = time.time()
    if graded and (history or out is not None or how == "parquet"):
        raise UserMistake(
            "--grade goes with a table, CSV or JSON that is printed: leave out --history, --out and Parquet"
        )
    table = not as_json and how == "table" and not history and out is None
    runs = views.runs if where is None and sort is None else _selected(views.runs, where, sort, now)
    if table:
        _print_runs(views, runs, now, usage, graded)
        return
    if history or out is not None or how == "parquet":
        from sweep.cli.exporting import export_runs

        found = records(runs, now)
        export_runs(store_url, views, found, "json" if as_json else how, history, out, usage)
    elif as_json or how == "json":
        parts = (runs[at : at + PART] for at in range(0, len(runs), PART))
        print_json_list(_with_grades(views, part, now) if graded else records(part, now) for part in parts)
    elif how == "csv":
        from sweep.analysis.comma import runs_to_csv

        click.echo(runs_to_csv(runs, now, usage, _grades(views, runs) if graded else {}), nl=False)
    else:
        _print_runs(views, runs, now, usage, graded)


def _count_look(store: Store, views: Views, asked: str, raw: bool) -> None:
    """Raw data hold the values of `report_metric`, and who filters or sorts by it sees of it: both are looks at it."""
    name = views.spec.report_metric
    if name is None or not (raw or name in asked):
        return
    from sweep.api.results import look_at_runs  # the most frequent listing does not pay for it

    look_at_runs(store, views.sweep.sweep, views.spec, views.runs, "runs", who())


def _with_grades(views: Views, runs: Sequence[RunView], now: float) -> list[dict[str, Any]]:
    """Their records, each with its grade as `sweep show --json` has it."""
    return [
        {**row, "reproducible": msgspec.to_builtins(grade(views, run))}
        for row, run in zip(records(runs, now), runs, strict=True)
    ]


def _grades(views: Views, runs: Sequence[RunView]) -> dict[str, list[Any]]:
    """Columns of a table; nothing for runs that have not begun."""
    found = [grade(views, run) for run in runs]
    return {
        "reproducible.grade": [None if one is None else one.grade for one in found],
        "reproducible.lacks": [None if one is None else list(one.lacks) for one in found],
    }


def _selected(runs: list[RunView], where: str | None, sort: str | None, now: float) -> list[RunView]:
    from sweep.analysis.query import QueryError, select_runs

    try:
        return select_runs(runs, where, sort, now)
    except QueryError as error:
        raise UserMistake(str(error)) from None


def _print_runs(views: Views, runs: Sequence[RunView], now: float, usage: bool, graded: bool) -> None:
    names = [p.name for p in views.spec.space.parameters if type(p.distribution).__name__ != "Constant"]
    metric = views.spec.metric.name if views.spec.metric is not None else "objective"
    replicates = views.spec.replicates > 1 or any(run.purpose == "confirm" for run in runs)
    heads, cells = annotation_columns(runs)
    if usage:
        heads = (*HEADS, *heads)
        cells = [(*used, *more) for used, more in zip(usage_cells(runs, now), cells, strict=True)]
    if graded:
        heads = ("GRADE", *heads)
        found = (grade(views, run) for run in runs)
        cells = [("" if one is None else one.grade, *more) for one, more in zip(found, cells, strict=True)]
    rows = []
    for run, more in zip(runs, cells, strict=True):
        flat = dict(flat_config(run.config))
        fresh = " (fresh seed)" if run.purpose == "confirm" else ""
        seed = (f"{run.replicate}{fresh}",) if replicates else ()
        length_s = duration_s(run, now)
        rows.append(
            (
                run.id,
                *seed,
                run.state + (f" ({error_class(run)})" if run.state == "failed" else ""),
                number_text(run.objective),
                "" if length_s is None else duration_text(length_s),
                *(number_text(flat.get(n)) for n in names),
                *more,
            )
        )
    print_table(
        ("RUN", *(("REPLICATE",) if replicates else ()), "STATE", metric, "TIME", *names, *heads), rows
    )
    if not rows:
        click.echo("no runs", err=True)
