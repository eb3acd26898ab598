"""`sweep audit`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click
import msgspec

from sweep.api import find_sweep
from sweep.api.auditing import Audit, Finding, audit
from sweep.cli.common import command, json_option, opened, print_json, store_option

DIFFERS, INCONCLUSIVE = 5, 6
"""The exit codes when a decision differs, and when some could not be derived here."""
_SHOWN = 5
_EVERY_S = 1.0


@command("audit", "sweep audit latest")
@click.argument("sweep", metavar="ID")
@store_option
@json_option
def audit_command(sweep: str, store_url: str | None, as_json: bool) -> None:
    """Derive every proposal and every pruning of sweep ID again from its journal, and report the first that differs.

    What searchers proposed follows from the spec, the seed and the results that stood in the journal then; what was pruned from what had been
    reported. Seeds and configs of the runs are compared, too. Nothing is changed. Exit code 0 when everything is the same, 5 when something differs, 6 when
    something could not be derived here: made by another version of the engine, or different on another processor or numeric library.
    """
    with opened(store_url) as store:
        found = audit(store, find_sweep(store, sweep), None if as_json else _progress())
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        _print(found)
    code = {"same": 0, "differs": DIFFERS, "inconclusive": INCONCLUSIVE}[found.verdict]
    if code:
        sys.exit(code)


def _progress() -> Callable[[int, int], None]:
    """Says how far it is, once a second, where somebody watches."""
    last = time.monotonic()

    def say(done: int, total: int) -> None:
        nonlocal last
        if sys.stderr.isatty() and time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            click.echo(f"\r{done:,} of {total:,} entries", nl=False, err=True)

    return say


def _print(found: Audit) -> None:
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    counts = f"{_count(found.proposals, 'proposal')} and {_count(found.prunings, 'pruning')}"
    if found.difference is not None:
        click.echo(f"sweep {found.sweep}: entry {found.difference.position} of the journal differs")
        _print_difference(found.difference)
        click.echo(f"before it, {counts} came out as recorded")
    else:
        click.echo(
            f"sweep {found.sweep}: {counts} derived again, all as recorded ({found.entries:,} entries)"
        )
    if found.unknown:
        click.echo(f"{_count(len(found.unknown), 'decision')} could not be derived here:")
        for finding in found.unknown[:_SHOWN]:
            click.echo(f"  entry {finding.position}: {finding.what}")
        if len(found.unknown) > _SHOWN:
            click.echo(f"  … and {len(found.unknown) - _SHOWN} more")


def _print_difference(difference: Finding) -> None:
    click.echo(f"  {difference.what}")
    if difference.recorded or difference.derived:
        click.echo(f"  recorded: {difference.recorded}")
        click.echo(f"  derived:  {difference.derived}")


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
