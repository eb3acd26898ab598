"""`sweep diff`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import click

from sweep.analysis.differing import FileChange
from sweep.analysis.records import to_json
from sweep.analysis.reproduction import Stream
from sweep.analysis.text import padded, plural
from sweep.api.choosing import find_runs
from sweep.api.differing import RunDiff, diff_runs
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.cli.comparing import cell
from sweep.cli.main import UserMistake

MOST_LINES = 200
"""So many lines of the code's difference are printed unless all are asked for."""


@command("diff", "sweep diff 3 best")
@click.argument("runs", metavar="RUN RUN", nargs=-1, required=True)
@click.option(
    "--all", "everything", is_flag=True, help=f"Every changed line of code, not only the first {MOST_LINES}."
)
@click.option("--no-code", is_flag=True, help="Which files changed, but not how.")
@store_option
@json_option
def diff_command(
    runs: tuple[str, ...], everything: bool, no_code: bool, store_url: str | None, as_json: bool
) -> None:
    """Show what differs between two RUNs: config, seeds, code line by line, packages, hardware, and every metric value by value.

    Metrics are compared to the last bit: the first step at which they part is named. `sweep compare` shows more than two side by side.
    """
    with opened(store_url) as store:
        found = find_runs(store, runs)
        if len(found) != 2:
            raise UserMistake(f"name two different runs: these words name {len(found)}")
        diff = diff_runs(store, found[0], found[1], who())
    if as_json:
        print_json(_as_json(diff))
        return
    for part in (_facts(diff), _files(diff), _metrics(diff), () if no_code else _code(diff, everything)):
        for line in part:
            click.echo(line)
    click.echo(_same(diff))


def _facts(diff: RunDiff) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [("", *diff.runs)]
    differing = [line for line in diff.facts if not line.same]
    for section, group in groupby(differing, key=lambda line: line.section):
        rows.append((section, "", ""))
        rows += [
            (f"  {line.name}", *(cell(value, section, line.name) for value in line.values)) for line in group
        ]
    yield from padded(rows) if differing else ("nothing in their records differs",)
    yield ""


def _files(diff: RunDiff) -> Iterator[str]:
    if diff.files:
        yield from padded([("FILE", "", ""), *((file.path, file.kind, _extent(file)) for file in diff.files)])
        yield ""


def _extent(file: FileChange) -> str:
    return file.why or f"+{file.added:,} -{file.deleted:,} lines"


def _metrics(diff: RunDiff) -> Iterator[str]:
    if diff.streams:
        rows = [("METRIC", "IN BOTH", "IDENTICAL", "LARGEST DIFFERENCE", "FIRST DIFFERS", "")]
        yield from padded([*rows, *(_metric(stream) for stream in diff.streams)])
        yield ""


def _metric(stream: Stream) -> tuple[str, ...]:
    largest = f"{stream.largest:.3g}" if stream.identical < stream.compared else "-"
    row = (stream.name, f"{stream.compared:,}", f"{stream.identical:,}", largest)
    first = stream.first
    if first is None:
        return (*row, "-", "")
    values = " and ".join("none" if value is None else repr(value) for value in (first.recorded, first.again))
    return (*row, f"step {first.step:g}", values)


def _code(diff: RunDiff, everything: bool) -> Iterator[str]:
    lines = [line for file in diff.files for line in file.lines]
    yield from lines if everything else lines[:MOST_LINES]
    if len(lines) > MOST_LINES and not everything:
        yield f"... and {len(lines) - MOST_LINES:,} more lines (--all shows them)"
    if lines:
        yield ""


def _same(diff: RunDiff) -> str:
    """`the same: 13 files, config, 96 packages, python, hardware`."""
    sections: dict[str, list[bool]] = {}
    for line in diff.facts:
        sections.setdefault(line.section, []).append(line.same)
    words = [plural(diff.same_files, "file")] if diff.same_files else []
    for section, same in sections.items():
        if section == "packages" and any(same):
            words.append(f"{sum(same)} packages")
        elif all(same) and section not in ("outcome", "summary"):
            words.append(section)
    metrics = sum(stream.first is None for stream in diff.streams)
    words += [f"{metrics} of {len(diff.streams)} metrics"] if metrics else []
    return f"the same: {', '.join(words) or 'nothing'}"


def _as_json(diff: RunDiff) -> dict[str, Any]:
    sections = {
        section: {line.name: to_json(line.values) for line in group}
        for section, group in groupby(
            (line for line in diff.facts if not line.same), key=lambda line: line.section
        )
    }
    return {
        "runs": list(diff.runs),
        "sections": sections,
        "files": [
            {"path": file.path, "change": file.kind, "added": file.added, "deleted": file.deleted, "why": file.why or None,
             "diff": "\n".join(file.lines) or None}
            for file in diff.files
        ],
        "same_files": diff.same_files,
        "metrics": {stream.name: _stream_json(stream) for stream in diff.streams},
    }  # fmt: skip


def _stream_json(stream: Stream) -> dict[str, Any]:
    first = stream.first
    return {
        "in_both": stream.compared,
        "identical": stream.identical,
        "only_first": stream.missing,
        "only_second": stream.extra,
        "largest_difference": to_json(stream.largest),
        "first_difference": None
        if first is None
        else {"step": first.step, "values": to_json((first.recorded, first.again))},
    }
