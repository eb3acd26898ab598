"""What a run rests on, for people: the data that it read, and how far the record goes."""

from __future__ import annotations

import click

from sweep.analysis.grading import Graded
from sweep.core.views import DataView, RunView

MOST = 10
"""So many pieces of data are shown; `--json` has them all."""


def print_grounds(run: RunView, graded: Graded | None) -> None:
    """Lines for `sweep show`."""
    pieces = [one for one in run.data if one.attempt == run.attempt]
    for one in pieces[:MOST]:
        click.echo(f"  data      {one.path}: {_data_text(one)}")
    if len(pieces) > MOST:
        click.echo(f"  data      and {len(pieces) - MOST:,} more (--json has all)")
    if run.tainted:
        click.echo("  tainted   data changed while it ran: nobody can say which content it read")
    if graded is None:
        return
    grades = {"reproducible": "reproducible", "partly": "reproducible in part", "not": "not reproducible"}
    click.echo(f"  record    {grades[graded.grade]}" + (": not in it:" if graded.lacks else ""))
    for text in graded.lacks:
        click.echo(f"            - {text}")


def _data_text(one: DataView) -> str:
    """`blake3 1f2e3d4c5b6a, 12 files, 3.4 MB, the same at the end`."""
    if not one.digest:
        return f"could not be read: {one.problem}"
    files = f", {one.files:,} file{'s' if one.files != 1 else ''}" if one.listing else ""
    ends = {None: "", False: ", the same at the end", True: ", ANOTHER ONE at the end"}
    return f"blake3 {one.digest[:12]}{files}, {_size(one.size)}{ends[one.changed]}"


def _size(size: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
