"""`sweep wandb`: a script that makes its own sweep with wandb.sweep and wandb.agent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from sweep.cli.common import command
from sweep.cli.main import UserMistake


@command("wandb", "sweep wandb train.py --epochs 5")
@click.argument("script", type=click.Path(path_type=Path))
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
def wandb_command(script: Path, args: tuple[str, ...]) -> None:
    """Run SCRIPT with ARGS so that `import wandb` finds sweep: wandb.sweep records a sweep in this project's store, and
    wandb.agent(function=...) works it off here.

    A script that only trains needs a sweep.yaml and `sweep agent --wandb`; by itself it leaves a local run.
    """
    from sweep.agents.standing_in import in_front

    if not script.is_file():
        raise UserMistake(f"there is no script {script}")
    env = {**os.environ, "PYTHONPATH": in_front(os.environ.get("PYTHONPATH"))}
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, str(script), *args], env)


wandb_command.context_settings["ignore_unknown_options"] = True
wandb_command.allow_interspersed_args = False  # what follows SCRIPT is the script's
