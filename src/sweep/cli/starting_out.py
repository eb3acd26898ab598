"""`sweep init`: a sweep and a training script to start from."""

from __future__ import annotations

import shlex
from importlib import resources
from pathlib import Path

import click

from sweep.cli.common import command
from sweep.cli.main import UserMistake

FILES = {"sweep.yaml": "sweep.yaml", "train.py": "train.py.txt"}
"""What is written -> the template."""


@command("init", "sweep init first-sweep")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--force", is_flag=True, help="Replace files that are there already.")
def init_command(folder: Path, force: bool) -> None:
    """Write a commented sweep.yaml and train.py into DIR (default: this folder), to run as they are and then to change.

    train.py needs nothing but Python; it shows the config, logging, seeds, and checkpoints to go on from.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there and not force:
        raise UserMistake(
            f"{' and '.join(there)} in {folder.resolve()} would be replaced; name another folder, or say --force"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, template in FILES.items():
            (folder / name).write_text(template_text(template), encoding="utf-8")
    except OSError as error:
        raise UserMistake(f"cannot write to {folder}: {error.strerror or error}") from None
    click.echo(f"wrote {' and '.join(FILES)} in {folder.resolve()}; now type:\n")
    steps = ["sweep create sweep.yaml", "sweep agent latest", "sweep plot latest"]
    if folder.resolve() != Path.cwd():
        steps.insert(0, f"cd {shlex.quote(str(folder))}")
    for step in steps:
        click.echo(f"    {step}")


def template_text(name: str) -> str:
    """A file that this package brings along. Raises OSError when the installation is damaged."""
    return resources.files("sweep.cli").joinpath("templates", name).read_text("utf-8")
