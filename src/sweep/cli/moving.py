"""`sweep export` and `sweep import`."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TextIO

import click

from sweep.api import BadExport, export_lines, find_sweep, import_lines
from sweep.api.reading import load_views
from sweep.api.results import look_at_runs
from sweep.cli.common import command, opened, store_option, who
from sweep.cli.main import UserMistake
from sweep.stores import Store


@command("export", "sweep export latest --out sweep.jsonl")
@click.argument("sweep_id", metavar="ID")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write (default: standard output)."
)
@store_option
def export_command(sweep_id: str, out: Path | None, store_url: str | None) -> None:
    """Write everything that is recorded about sweep ID as JSON lines: journal, history, code. Nothing is lost."""
    with opened(store_url) as store:
        sweep = find_sweep(store, sweep_id)
        _count_look(store, sweep)
        lines = export_lines(store, sweep)
        if out is None:
            for line in lines:
                click.echo(line)
            return
        partial = out.with_name(out.name + ".partial")
        try:
            with partial.open("w", encoding="utf-8") as file:
                count = sum(1 for line in lines if file.write(line + "\n"))
            partial.replace(out)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise UserMistake(f"cannot write {out}: {error.strerror}") from None
    click.echo(f"{count:,} lines in {out}", err=True)


def _count_look(store: Store, sweep: str) -> None:
    """An export holds the values of `report_metric`."""
    views = load_views(store, sweep, ())
    if views.spec.report_metric is not None:
        look_at_runs(store, sweep, views.spec, load_views(store, sweep).runs, "export", who())


@command("import", "sweep import sweep.jsonl")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@store_option
def import_command(file: Path, store_url: str | None) -> None:
    """Record the sweep that FILE holds, under its own ID. FILE was written by `sweep export` (- for standard input) or `sweep bundle`."""
    from sweep.api.bundling import import_bundle, is_bundle

    try:
        if str(file) != "-" and is_bundle(file):
            with opened(store_url, create=True) as store:
                click.echo(import_bundle(store, file))
            return
        with _lines(file) as lines, opened(store_url, create=True) as store:
            sweep = import_lines(store, lines)
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserMistake(f"cannot read {file}: {words}") from None
    except BadExport as error:
        raise UserMistake(f"{file}: {error}") from None
    click.echo(sweep)


def _lines(file: Path) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8")
