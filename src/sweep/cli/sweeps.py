"""`sweep ls`, and what is said of a sweep by its own row alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from sweep.analysis.records import iso_time
from sweep.api import load_sweep_views
from sweep.cli.best import best_number
from sweep.cli.common import command, json_option, opened, print_json, store_option
from sweep.cli.texts import local_text, print_columns
from sweep.core.names import run_id
from sweep.core.views import RunView, SweepView


@command("ls", "sweep ls")
@click.option("--tag", "tags", multiple=True, metavar="NAME", help="Only sweeps with this tag.")
@store_option
@json_option
def ls_command(tags: Sequence[str], store_url: str | None, as_json: bool) -> None:
    """List the sweeps that are recorded in this project, the latest last."""
    with opened(store_url) as store:
        sweeps = [view for view in load_sweep_views(store) if set(tags) <= set(view.tags)]
    if as_json:
        print_json([sweep_record(view) for view in sweeps])
        return
    if not sweeps:
        none = (
            f"no sweep is tagged {' and '.join(tags)}"
            if tags
            else "no sweeps yet; `sweep create FILE` records one"
        )
        click.echo(none, err=True)
        return
    columns = {
        "ID": [view.sweep for view in sweeps],
        "NAME": [view.name for view in sweeps],
        "STATE": [shown_state(view) for view in sweeps],
        "RUNS": [_progress(view) for view in sweeps],
        "BEST": [best_number(view) for view in sweeps],
        "CREATED": [local_text(view.created_s) for view in sweeps],
        **annotation_columns(sweeps),
    }
    print_columns(tuple(columns), tuple(columns.values()))


def annotation_columns(views: Sequence[SweepView | RunView]) -> dict[str, list[str]]:
    """Headers with cells for tags and notes; columns in which nothing would stand are left out."""
    found = {}
    if any(view.tags for view in views):
        found["TAGS"] = [", ".join(view.tags) for view in views]
    if any(view.note for view in views):
        found["NOTE"] = [_one_line(view.note) for view in views]
    return found


def _one_line(note: str) -> str:
    line = " ".join(note.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def sweep_record(view: SweepView) -> dict[str, Any]:
    return {
        "id": view.sweep,
        "name": view.name,
        "state": view.state,
        "confirming": view.confirming,
        "reason": view.reason,
        "created": iso_time(view.created_s),
        "ended": iso_time(view.ended_s),
        "trials": view.trials,
        "run_cap": view.run_cap,
        "runs": view.counts,
        "best": view.best,
        "best_run": None if view.best_run is None else run_id(view.sweep, view.best_run),
        "best_trial": view.best_trial,
        "best_seeds": list(view.best_seeds),
        "tags": list(view.tags),
        "note": view.note,
    }


def shown_state(view: SweepView) -> str:
    """The sweep's state, in one word: `confirming` is what it does while it is active."""
    return "confirming" if view.confirming and view.state == "active" else view.state


def _progress(view: SweepView) -> str:
    done = sum(view.counts.get(state, 0) for state in ("completed", "pruned", "failed", "cancelled"))
    busy = sum(view.counts.get(state, 0) for state in ("assigned", "running"))
    failed = view.counts.get("failed", 0)
    return f"{done} done" + (f" ({failed} failed)" if failed else "") + (f", {busy} running" if busy else "")
