"""`sweep confirm` and `sweep best`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
import msgspec

from sweep.analysis.records import record
from sweep.api import find_sweep, load_best, load_views
from sweep.cli.best import best_words
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.cli.main import UserMistake
from sweep.cli.results import has_result, print_result, seen_result, withheld
from sweep.cli.texts import flat_config, print_map, print_table
from sweep.core.rows import Views

if TYPE_CHECKING:  # what only lists does not pay for these
    from sweep.api.confirming import Asked


@command("confirm", "sweep confirm latest --top 3 --seeds 10")
@click.argument("sweep_id", metavar="ID")
@click.option(
    "--top", type=click.IntRange(min=1), help="So many of the best configs (spec's `confirm`, else 5)."
)
@click.option(
    "--seeds", type=click.IntRange(min=2), help="On so many fresh seeds each (spec's `confirm`, else 5)."
)
@click.option(
    "--choose",
    type=click.IntRange(min=1),
    help="So many of these seeds choose, the others report (default: half of them, rounded down).",
)
@store_option
@json_option
def confirm_command(
    sweep_id: str,
    top: int | None,
    seeds: int | None,
    choose: int | None,
    store_url: str | None,
    as_json: bool,
) -> None:
    """Run the best configs of sweep ID again on fresh seeds, to know how good they are: some seeds choose, the others report.

    While the search goes on this is done when it ends. A sweep that has ended is reopened for this alone; `sweep agent ID` works it
    off. Runs that are there already count; failed ones are tried again. `sweep best ID` shows the result.
    """
    from sweep.api.confirming import confirm

    with opened(store_url) as store:
        done = confirm(store, find_sweep(store, sweep_id), top, seeds, choose, who())
    view, asked = done.sweep, done.confirm
    if as_json:
        print_json(
            {
                "id": view.sweep,
                "top": asked.top,
                "seeds": asked.seeds,
                "choose": asked.choosing,
                "open": done.open,
                "state": view.state,
                "confirming": view.confirming,
            }
        )
        return
    configs, each = ("the best config", "") if asked.top == 1 else (f"the best {asked.top} configs", " each")
    reporting = asked.seeds - asked.choosing
    click.echo(
        f"sweep {view.sweep}: {configs} on {asked.seeds} fresh seeds{each}, of which {asked.choosing} "
        f"choose{'s' if asked.choosing == 1 else ''} and {reporting} report{'s' if reporting == 1 else ''}"
    )
    click.echo(_whereabouts(done))


def _whereabouts(done: Asked) -> str:
    view = done.sweep
    if done.open:
        return f"{done.open} run{'s are' if done.open != 1 else ' is'} to be done; `sweep agent {view.sweep}` works them off"
    if view.state == "ended":
        return f"all of it is done already; `sweep best {view.sweep}` shows the result"
    return f"the sweep is {view.state}; this is done when its search has ended"


# --- the best config ---


@command("best", "sweep best latest")
@click.argument("sweep_id", metavar="ID")
@click.option("--expected", is_flag=True, help="The expected best of m = 1, 2, … trials instead.")
@click.option("--command", "as_line", is_flag=True, help="Print the command line that repeats it, to copy.")
@store_option
@json_option
def best_command(sweep_id: str, expected: bool, as_line: bool, store_url: str | None, as_json: bool) -> None:
    """Show the best completed or pruned run of sweep ID and its config; with `confirm:` or `report_metric:`, the result table.

    The table has the score that the search saw, the mean on fresh seeds with its 95 % interval, and which configs are not told
    apart from the chosen one. --expected: how good the best of m trials is on average, where the search was random.
    """
    with opened(store_url) as store:
        views = load_best(store, find_sweep(store, sweep_id))
        if expected:
            print_expected(load_views(store, views.sweep.sweep), as_json)
            return
        result = None
        if has_result(views) and not as_line:
            result = seen_result(store, load_views(store, views.sweep.sweep), "best")
    best = next((run for run in views.runs if run.run == views.sweep.best_run), None)
    if best is None or views.spec.metric is None:
        why = (
            "it has no metric"
            if views.spec.metric is None
            else "no run has ended with a finite value of the metric yet"
        )
        raise UserMistake(f"sweep {views.sweep.sweep} has no best run: {why}")
    if as_line:
        from sweep.cli.rerunning import print_command_line

        print_command_line(views, best, as_json)
        return
    if as_json:
        found = withheld(record(best, time.time()), views)
        print_json(found if result is None else {**found, "result": msgspec.to_builtins(result)})
        return
    if views.sweep.best_seeds:
        click.echo(f"best trial: {best_words(views.sweep, views.spec.metric.name)}")
    click.echo(f"{best.id}: {views.spec.metric.name} {best.objective:.6g}, seed {best.seed}, {best.state}")
    print_map("config", dict(flat_config(best.config)))
    print_map("summary", withheld(record(best, time.time()), views)["summary"])
    if result is not None:
        print_result(result)
    elif views.sweep.state == "ended" and views.sweep.trials > 1:
        click.echo(
            f"the best of {views.sweep.trials} trials, which is too good; `sweep confirm {views.sweep.sweep}` runs the best again on "
            "fresh seeds"
        )


def print_expected(views: Views, as_json: bool) -> None:
    """The expected best of m trials. Raises UserMistake where it does not hold."""
    from sweep.analysis.expected import expected
    from sweep.analysis.table import SweepTable

    found = expected(SweepTable(views.spec, views.sweep, views.runs))
    if as_json:
        print_json(msgspec.to_builtins(found))
        return
    if found.refused:
        raise UserMistake(f"sweep {views.sweep.sweep} has no expected best of m trials: {found.refused}")
    shown = [row for row in found.rows if row.m in _told(found.n)]
    rows = [(str(row.m), f"{row.mean:.6g}", f"{row.low:.6g} to {row.high:.6g}") for row in shown]
    print_table(("M", f"EXPECTED BEST {found.metric}", "95 %"), rows)
    for note in found.notes:
        click.echo(note)


def _told(n: int) -> set[int]:
    """1, 2, 5, 10, 20, 50, … and n itself."""
    return {n, *(step * 10**power for power in range(7) for step in (1, 2, 5))}
