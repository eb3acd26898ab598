"""`sweep compare`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import click

from sweep.analysis.comparing import Line, Side
from sweep.analysis.records import to_json
from sweep.analysis.text import padded
from sweep.api.choosing import find_runs
from sweep.api.comparing import compare_runs
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.cli.main import UserMistake
from sweep.core.names import run_id

WIDEST = 40
MOST_FILES = 20
MOST_RUNS = 200
_DIGESTS = ("files", "data")


@command("compare", "sweep compare best latest-3 --format markdown")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="Also what is the same in all of them.")
@click.option(
    "--format",
    "how",
    type=click.Choice(["table", "markdown", "json"]),
    default="table",
    show_default=True,
    help="How to print it.",
)
@store_option
@json_option
def compare_command(
    runs: tuple[str, ...], everything: bool, how: str, store_url: str | None, as_json: bool
) -> None:
    """Show two or more RUNs side by side: outcome, config, metrics, seeds, code and its files, packages, Python, hardware.

    Only what differs is shown, unless --all is given; `sweep diff` shows of two how their code and their metrics differ. A RUN may also be `best` or `ID-best`, and a range: `ID-3..7`.
    The code is that of the sweep as it was created.
    """
    with opened(store_url) as store:
        found = find_runs(store, runs)
        _check(found)
        sides, lines = compare_runs(store, found, by=who())
    shown = lines if everything else [line for line in lines if not line.same]
    if as_json or how == "json":
        print_json(_as_json(sides, shown, lines))
    elif how == "markdown":
        click.echo("\n".join(_markdown(sides, shown)))
    else:
        _print_table(sides, shown, everything)
    if not as_json and how != "json":
        click.echo(("\n" if shown else "") + _same_text(lines))


def _check(found: Sequence[tuple[str, int]]) -> None:
    if len(found) < 2:
        only = run_id(*found[0])
        raise UserMistake(f"name at least two different runs; these words name only {only}")
    if len(found) > MOST_RUNS:
        raise UserMistake(
            f"{len(found)} runs side by side are more than anybody can read ({MOST_RUNS} at most); "
            "`sweep runs` lists as many as you like"
        )


def _as_json(sides: Sequence[Side], shown: Sequence[Line], lines: Sequence[Line]) -> dict[str, Any]:
    return {
        "runs": [side.id for side in sides],
        "sections": {
            section: {line.name: {"values": to_json(line.values), "same": line.same} for line in group}
            for section, group in groupby(shown, key=lambda line: line.section)
        },
        "same": _same_counts(lines),
    }


def _same_counts(lines: Sequence[Line]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for line in lines:
        counts[line.section] = counts.get(line.section, 0) + line.same
    return counts


def _same_text(lines: Sequence[Line]) -> str:
    """`the same in all of them: code (13 files), 96 packages, python, hardware`."""
    differs = {line.section for line in lines if not line.same}
    counts = _same_counts(lines)
    words = []
    for section, count in counts.items():
        if section in ("files", "packages") and count:
            words.append(f"{count} {section if count != 1 else section[:-1]}")
        elif section not in differs and count and section not in ("outcome", "metrics", "summary"):
            words.append(section)
    return f"the same in all of them: {', '.join(words)}" if words else "nothing is the same in all of them"


def _print_table(sides: Sequence[Side], lines: Sequence[Line], everything: bool) -> None:
    rows = [("", *(side.id for side in sides)), *_rows(lines, None if everything else MOST_FILES)]
    for row in padded(rows):
        click.echo(row)


def _rows(lines: Sequence[Line], most_files: int | None) -> Iterator[tuple[str, ...]]:
    for section, found in groupby(lines, key=lambda line: line.section):
        group = list(found)
        blank = ("",) * len(group[0].values)
        yield (section, *blank)
        most = most_files if section == "files" else None
        for line in group[:most]:
            yield (f"  {_cut(line.name)}", *(_cut(cell(value, section, line.name)) for value in line.values))
        if most is not None and len(group) > most:
            yield (f"  ... and {len(group) - most} more files (--all shows them)", *blank)


def _markdown(sides: Sequence[Side], lines: Sequence[Line]) -> Iterator[str]:
    yield "| | " + " | ".join(f"`{side.id}`" for side in sides) + " |"
    yield "| --- |" + " --- |" * len(sides)
    for section, group in groupby(lines, key=lambda line: line.section):
        yield f"| **{section}** |" + " |" * len(sides)
        for line in group:
            cells = (
                _escaped(line.name),
                *(_escaped(cell(value, section, line.name)) for value in line.values),
            )
            yield "| " + " | ".join(cells) + " |"


def cell(value: Any, section: str, name: str) -> str:
    """A fact of a comparison, for a person."""
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value[:12] if section in _DIGESTS or name in ("tree", "commit") else value
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return json.dumps(value)


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else line[: WIDEST - 3] + "..."


def _escaped(text: str) -> str:
    return " ".join(text.split()).replace("\\", "\\\\").replace("|", "\\|")
