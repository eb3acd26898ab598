"""`sweep schema`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sweep.cli.common import command
from sweep.cli.main import UserMistake

FILE = "sweep.schema.json"


@command("schema", f"sweep schema -o {FILE}")
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to this file instead of printing it.",
)
def schema_command(out: Path | None) -> None:
    """Print the JSON Schema of sweep.yaml, for editors that complete and check while you type.

    With it in a file, the first line of sweep.yaml says so, for every editor with the YAML language server:

    \b
      # yaml-language-server: $schema=sweep.schema.json

    `sweep validate` checks more: bounds, names, the whole.
    """
    from sweep.spec import json_schema

    text = json.dumps(json_schema(), indent=2) + "\n"
    if out is None:
        click.echo(text, nl=False)
        click.echo(hint(FILE, f"`sweep schema -o {FILE}` writes it to a file; then"), err=True)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise UserMistake(f"cannot write {out}: {error.strerror or error}") from None
    click.echo(hint(str(out), f"{out} is written;"), err=True)


def hint(path: str, before: str) -> str:
    """How an editor learns of it."""
    return f"{before} begin sweep.yaml with the line:\n# yaml-language-server: $schema={path}"
