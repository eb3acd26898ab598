"""`sweep bundle`."""

from __future__ import annotations

from pathlib import Path

import click

from sweep.api import find_sweep
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.cli.main import UserMistake


@command("bundle", "sweep bundle latest -o paper.tar.gz")
@click.argument("sweep_id", metavar="ID")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The archive, a .tar.gz (default: sweep-ID.tar.gz).",
)
@click.option(
    "--artifacts",
    "which",
    type=click.Choice(["kept", "all", "none"]),
    default="kept",
    show_default=True,
    help="Those that the store keeps, all that can be had, or none.",
)
@click.option(
    "--artifact",
    "names",
    multiple=True,
    metavar="NAME[:VERSION]",
    help="Only this one, and what runs have used.",
)
@store_option
@json_option
def bundle_command(
    sweep_id: str, out: Path | None, which: str, names: tuple[str, ...], store_url: str | None, as_json: bool
) -> None:
    """Pack sweep ID into one archive: spec, journal, history, code, environment, report and artifacts.

    `sweep import FILE` opens it elsewhere, and `sweep reproduce` runs from it there.
    """
    from sweep.api import bundling
    from sweep.provenance.artifact import ArtifactError

    with opened(store_url) as store:
        sweep = find_sweep(store, sweep_id)
        path = out or Path(bundling.default_name(sweep))
        try:
            found = bundling.write_bundle(store, sweep, path, "named" if names else which, names, who())  # type: ignore[arg-type]
        except ArtifactError as error:
            raise UserMistake(f"{error}; --artifacts kept or none does without") from None
        except OSError as error:
            raise UserMistake(f"cannot write {path}: {error.strerror or error}") from None
    for name in found.left_out:
        click.echo(f"not in the archive: artifact {name}", err=True)
    if as_json:
        print_json({"id": sweep, "file": str(path), **bundling.describe(found)})
        return
    count = f", {found.artifacts} artifact{'s' if found.artifacts != 1 else ''}" if found.artifacts else ""
    click.echo(f"{found.size / 1e6:,.1f} MB{count}; elsewhere: sweep import {path.name}", err=True)
    click.echo(str(path))
