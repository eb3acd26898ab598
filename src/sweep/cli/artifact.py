"""`sweep artifact`: what runs have logged by name."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import click

from sweep.api import find_sweep
from sweep.cli.common import command, json_option, opened, print_json, store_option
from sweep.cli.exporting import write_file
from sweep.cli.main import UserMistake
from sweep.core.names import run_id
from sweep.core.views import ArtifactView, VersionView

DIFFERENT = 5
"""Exit code, as that of `sweep audit`."""


@click.group("artifact")
def artifact_command() -> None:
    """What runs have logged by name: datasets, models and other files, version by version."""


_add = partial(command, group=artifact_command)


@_add("ls", "sweep artifact ls latest")
@click.argument("sweep_id", metavar="ID")
@store_option
@json_option
def ls_command(sweep_id: str, store_url: str | None, as_json: bool) -> None:
    """List the artifacts of sweep ID: every version with its aliases, size, digest, and the runs that logged it."""
    from sweep.api.artifacts import load_artifacts

    with opened(store_url) as store:
        sweep = find_sweep(store, sweep_id)
        known = load_artifacts(store, sweep)
    rows = [_row(sweep, view, version) for view in known.values() for version in view.versions]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(f"no run of sweep {sweep} has logged an artifact", err=True)
    else:
        _print(rows)


def _row(sweep: str, view: ArtifactView, version: VersionView) -> dict[str, Any]:
    return {
        "name": view.name,
        "version": f"v{version.version}",
        "type": view.type,
        "aliases": [alias for alias, number in view.aliases.items() if number == version.version],
        "files": version.files,
        "size_bytes": version.size,
        "digest": version.digest,
        "runs": [run_id(sweep, run) for run in version.runs],
        "place": version.place,
        "description": version.description,
        "metadata": version.metadata,
        "doubt": version.doubt,
    }


def _print(rows: list[dict[str, Any]]) -> None:
    lines = [("ARTIFACT", "TYPE", "ALIASES", "FILES", "SIZE", "DIGEST", "LOGGED BY")]
    lines += [
        (
            f"{row['name']}:{row['version']}",
            row["type"],
            ",".join(row["aliases"]) or "-",
            f"{row['files']:,}",
            _size(row["size_bytes"]),
            row["digest"][:12],
            row["runs"][0] + (f" and {len(row['runs']) - 1} more" if len(row["runs"]) > 1 else ""),
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        if row["doubt"]:
            click.echo(f"{row['name']}:{row['version']} {row['doubt']}")


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"


@_add("get", "sweep artifact get latest model:best --out model")
@click.argument("sweep_id", metavar="ID")
@click.argument("name", metavar="NAME[:VERSION]")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Write it into this folder, which must be empty or not exist.",
)
@store_option
def get_command(sweep_id: str, name: str, out: Path, store_url: str | None) -> None:
    """Write an artifact of sweep ID into a folder. NAME alone is its latest version; NAME:VERSION, where VERSION is v3 or an alias, another one.

    Every file is checked against the digest that was logged; when one is not what it was, nothing is written.
    """
    from sweep.api.artifacts import fetch, find_version
    from sweep.provenance.artifact import ArtifactError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserMistake(f"{out} is there already, and not an empty folder: name another one")
    with opened(store_url) as store:
        sweep = find_sweep(store, sweep_id)
        view, version = find_version(store, sweep, name)
        which = f"{view.name}:v{version.version}"
        try:
            listed = fetch(store, version, out)
        except ArtifactError as error:
            raise UserMistake(f"artifact {which}: {error}") from None
        except OSError as error:
            raise UserMistake(f"cannot write {out}: {error.strerror or error}") from None
    for path, uri in listed.references:
        click.echo(f"{path} is a reference to {uri}: it is not fetched", err=True)
    count = len(listed.files)
    click.echo(f"{which}: {count} file{'s' if count != 1 else ''}, {_size(listed.size)}", err=True)
    click.echo(str(out))


@_add("verify", "sweep artifact verify latest")
@click.argument("sweep_id", metavar="ID")
@click.argument("names", metavar="[NAME[:VERSION]]...", nargs=-1)
@store_option
@json_option
def verify_command(sweep_id: str, names: tuple[str, ...], store_url: str | None, as_json: bool) -> None:
    """Read every byte of the artifacts of sweep ID (or of each NAME, with or without a VERSION) and compare it with what was logged.

    Exit code 5 when something is missing or is not what it was, down to a single bit.
    """
    from sweep.api.artifacts import verify

    found = []
    with opened(store_url) as store:
        for verdict in verify(store, find_sweep(store, sweep_id), names):
            found.append(verdict)
            if not as_json:
                which = f"{verdict.name}:v{verdict.version}"
                said = "; ".join(verdict.problems[:5]) or f"as it was logged ({_size(verdict.size)})"
                click.echo(f"{which}: {said}")
    if as_json:
        print_json(
            [
                {
                    "name": verdict.name,
                    "version": f"v{verdict.version}",
                    "digest": verdict.digest,
                    "size_bytes": verdict.size,
                    "problems": list(verdict.problems),
                }
                for verdict in found
            ]
        )
    elif not found:
        click.echo("there are no artifacts", err=True)
    sys.exit(DIFFERENT if any(verdict.problems for verdict in found) else 0)


@_add("lineage", "sweep artifact lineage latest model:best -o lineage.html")
@click.argument("sweep_id", metavar="ID")
@click.argument("names", metavar="[NAME[:VERSION]]...", nargs=-1)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A picture: a file that ends in .html or .svg; or .json.",
)
@store_option
@json_option
def lineage_command(
    sweep_id: str, names: tuple[str, ...], out: Path | None, store_url: str | None, as_json: bool
) -> None:
    """Show which run read which data, and used and logged which artifact: all of sweep ID, or what leads to and from
    each NAME (its latest version, or the VERSION given)."""
    from sweep.analysis.figures.lineage import page, svg
    from sweep.api import artifacts
    from sweep.cli.common import json_text

    ending = out.suffix.lower() if out is not None else ""
    if out is not None and ending not in (".html", ".svg", ".json"):
        raise UserMistake(f"{out}: let the name end in .html, .svg or .json")
    with opened(store_url) as store:
        graph = artifacts.lineage(store, find_sweep(store, sweep_id), names)
    if out is not None:
        picture = svg([(n.key, n.kind, n.label, n.detail) for n in graph.nodes], graph.edges)
        texts = {
            ".json": lambda: json_text(artifacts.as_json(graph), ascii_only=False) + "\n",
            ".svg": lambda: picture,
            ".html": lambda: page(f"Lineage of sweep {graph.sweep}", picture),
        }
        write_file(out, texts[ending]().encode("utf-8", "replace"))
        click.echo(str(out))
    elif as_json:
        print_json(artifacts.as_json(graph))
    elif not graph.edges:
        click.echo("no run has named data (`inputs`, `run.use`), or logged or used an artifact", err=True)
    else:
        for one, other in graph.edges:
            click.echo(f"{one} -> {other}")
