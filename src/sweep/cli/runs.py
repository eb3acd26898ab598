"""`sweep runs`: the runs of a sweep, filtered, sorted, as table, CSV, JSON or Parquet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from sweep.analysis.records import duration_s, records
from sweep.api import find_sweep, load_views
from sweep.cli.common import command, json_option, kept, opened, print_json_list, store_option, who
from sweep.cli.listing import error_class
from sweep.cli.main import UserMistake
from sweep.cli.results import print_groups
from sweep.cli.spending import HEADS, usage_cells
from sweep.cli.sweeps import annotation_columns
from sweep.cli.texts import duration_text, flat_config, number_texts, print_columns
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
    with opened(store_url) as store:
        views = kept(load_views(store, find_sweep(store, sweep_id)))
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
        from sweep.analysis.written import written

        parts = (runs[at : at + PART] for at in range(0, len(runs), PART))
        print_json_list(_with_grades(views, part, now) if graded else written(part, now) for part in parts)
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
    from sweep.analysis.grading import grade

    return [
        {**row, "reproducible": msgspec.to_builtins(grade(views, run))}
        for row, run in zip(records(runs, now), runs, strict=True)
    ]


def _grades(views: Views, runs: Sequence[RunView]) -> dict[str, list[Any]]:
    """Columns of a table; nothing for runs that have not begun."""
    from sweep.analysis.grading import grade

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
    shown: dict[str, list[str]] = {"RUN": [f"{run.sweep}-{run.run}" for run in runs]}
    parts, means = _grouped(views)
    if parts:
        shown["TRIAL"] = [str(run.trial) for run in runs]
        shown["REPLICATE"] = [str(run.replicate) for run in runs]
        shown["SEED"] = [_PARTS.get(parts[run.run], parts[run.run]) for run in runs]
    shown["STATE"] = [
        f"{run.state} ({error_class(run)})" if run.state == "failed" else run.state for run in runs
    ]
    lengths = [duration_s(run, now) for run in runs]
    heads, columns = list(shown), list(shown.values())
    metric = views.spec.metric.name if views.spec.metric is not None else "objective"
    heads.append(metric)
    columns.append(number_texts([run.objective for run in runs]))
    if parts:
        heads.append(f"MEAN {metric} OF ITS CONFIG")
        columns.append([means.get(run.run, "") for run in runs])
    heads.append("TIME")
    columns.append(["" if length_s is None else duration_text(length_s) for length_s in lengths])
    names = [p.name for p in views.spec.space.parameters if type(p.distribution).__name__ != "Constant"]
    heads += names
    columns += _config_columns(runs, names)
    more = {**(_grade_cells(views, runs) if graded else {}), **(_used_cells(runs, now) if usage else {})}
    more |= annotation_columns(runs)
    print_columns((*heads, *more), (*columns, *more.values()))
    if not runs:
        click.echo("no runs", err=True)
    if means:
        click.echo(
            "± is the half width of a 95 % confidence interval of the mean over n seeds; `sweep runs --group` has one row per config"
        )


def _config_columns(runs: Sequence[RunView], names: Sequence[str]) -> list[list[str]]:
    configs = [run.config for run in runs]
    if any(dict in map(type, config.values()) for config in configs):
        configs = [dict(flat_config(config)) for config in configs]
    return [number_texts([config.get(name) for config in configs]) for name in names]


def _used_cells(runs: Sequence[RunView], now: float) -> dict[str, list[str]]:
    cells = list(zip(*usage_cells(runs, now), strict=True))
    return dict(zip(HEADS, map(list, cells) if cells else ([] for _ in HEADS), strict=True))


def _grade_cells(views: Views, runs: Sequence[RunView]) -> dict[str, list[str]]:
    from sweep.analysis.grading import grade

    found = (grade(views, run) for run in runs)
    return {"GRADE": ["" if one is None else one.grade for one in found]}


_PARTS = {"chooses": "fresh, chooses", "reports": "fresh, reports"}


def _grouped(views: Views) -> tuple[dict[int, str], dict[int, str]]:
    """For a sweep whose configs run on several seeds: run -> what its seed is for, and the mean of its config on such seeds."""
    if views.spec.replicates == 1 and not any(run.purpose == "confirm" for run in views.runs):
        return {}, {}
    from sweep.analysis.groups import means_of_runs, seed_parts  # other listings do not pay for it
    from sweep.analysis.table import SweepTable

    table = SweepTable(views.spec, views.sweep, views.runs)
    return seed_parts(table), means_of_runs(table)
