"""`sweep log`: for shell scripts that run as a sweep's program."""

from __future__ import annotations

import sys

import click

from sweep.sdk.shell import log_from_args


@click.command(
    "log",
    epilog="\b\nExample:\n  sweep log loss=0.3 val/accuracy=0.91 step=4",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("metrics", nargs=-1, required=True, metavar="NAME=VALUE…")
def log_command(metrics: tuple[str, ...]) -> None:
    """Report each metric NAME=VALUE from inside a run, as `run.log` does in Python; `step=N` sets the step."""
    sys.exit(log_from_args(list(metrics)))
