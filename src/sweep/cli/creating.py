"""`sweep create` and `sweep validate`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace

from sweep.api import Created, create_sweep
from sweep.api.revising import when_text
from sweep.api.seeds import draw_seed
from sweep.cli.common import command, file_argument, json_option, opened, print_json, store_option
from sweep.core.sizes import points, trials
from sweep.core.space import Space
from sweep.core.spec import SweepSpec
from sweep.spec import Parsed, load
from sweep.stores import Store


def tell_warnings(parsed: Parsed) -> None:
    """The spec's warnings, one line each."""
    for warning in parsed.warnings:
        click.echo(f"warning: {warning}", err=True)


def record(store: Store, parsed: Parsed, file: Path) -> Created:
    """Create the sweep and say on standard error what was recorded."""
    created = create_sweep(
        store, parsed.spec, parsed.source, file, cwd=Path.cwd(), environ=os.environ, argv=sys.argv
    )
    for warning in created.warnings:
        click.echo(f"warning: {warning}", err=True)
    name = f" ({parsed.spec.name})" if parsed.spec.name else ""
    click.echo(f"sweep {created.sweep}{name}: {describe(parsed.spec)}, seed {parsed.spec.seed}", err=True)
    click.echo(f"runs start in {created.workdir}", err=True)
    return created


def describe(spec: SweepSpec) -> str:
    """Method and size in a few words: `bayes search, 30 trials`."""
    total = trials(spec, spec.run_cap)
    how_many = "no end (set run_cap)" if total is None else f"{total:,} trial{'s' if total != 1 else ''}"
    if spec.replicates > 1:
        how_many += f" × {spec.replicates} replicates"
    return f"{spec.method} search, {how_many}"


@command("create", "sweep create sweep.yaml")
@file_argument
@store_option
@json_option
def create_command(file: Path, store_url: str | None, as_json: bool) -> None:
    """Record the sweep that FILE describes, and print its ID on the last line of standard output.

    Records the spec, the code as it is (with uncommitted and untracked files), packages and hardware. Nothing runs yet:
    `sweep agent ID` does that, in as many terminals as you like.
    """
    parsed = load(file, draw_seed=draw_seed)
    tell_warnings(parsed)
    with opened(store_url, create=True) as store:
        created = record(store, parsed, file)
    if as_json:
        print_json({"id": created.sweep, "workdir": str(created.workdir), "warnings": list(created.warnings)})
    else:
        click.echo(f"work it off:  sweep agent {created.sweep}", err=True)
        click.echo(created.sweep)


@command("validate", "sweep validate sweep.yaml")
@file_argument
@json_option
def validate_command(file: Path, as_json: bool) -> None:
    """Check FILE without recording anything: every error and warning with its line, and how large the sweep is."""
    parsed = load(file, draw_seed=draw_seed)
    if as_json:
        print_json(_facts(parsed))
        return
    tell_warnings(parsed)
    spec = parsed.spec
    click.echo(f"{file}: {describe(spec)}")
    for parameter in spec.space.parameters:
        count = points(spec.method, Space((replace(parameter, when=()),)))
        values = "" if count is None else f", {count:,} value{'s' if count != 1 else ''}"
        click.echo(f"  {parameter.name}: {parameter.declared}{values}{when_text(parameter)}")
    for text in spec.space.constraints:
        click.echo(f"  constraint: {' '.join(text.split())}")
    if spec.initial:
        click.echo(
            f"  initial: {len(spec.initial)} config{'s' if len(spec.initial) != 1 else ''} to be tried first"
        )


def _facts(parsed: Parsed) -> dict[str, Any]:
    spec = parsed.spec
    total = trials(spec, spec.run_cap)
    return {
        "valid": True,
        "method": spec.method,
        "points": points(spec.method, spec.space),
        "trials": total,
        "runs": None if total is None else total * spec.replicates,
        "parameters": [parameter.name for parameter in spec.space.parameters],
        "constraints": list(spec.space.constraints),
        "initial": len(spec.initial),
        "warnings": [str(warning) for warning in parsed.warnings],
    }
