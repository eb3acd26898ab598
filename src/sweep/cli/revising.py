"""`sweep retry`, `extend` and `edit`: a recorded sweep is given more to do, or another spec."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from sweep.api import extend, find_either, find_sweep, load_views, retry, to_retry
from sweep.api.requests import check_retry
from sweep.cli.common import (
    command,
    confirmed,
    json_option,
    opened,
    print_json,
    store_option,
    who,
    yes_option,
)
from sweep.cli.main import UserMistake
from sweep.core.names import run_id
from sweep.core.rows import Views
from sweep.core.spec import RETRY_CLASSES, RetryClass
from sweep.core.views import RunView, SweepView
from sweep.stores import Store

dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would be done.")


# --- retry -----------------------------------------------------------------------------------------------------


@command("retry", "sweep retry latest --class oom")
@click.argument("names", metavar="ID|RUN...", nargs=-1, required=True)
@click.option("--cancelled", is_flag=True, help="Also runs that were cancelled.")
@click.option(
    "--class",
    "classes",
    type=click.Choice(RETRY_CLASSES),
    multiple=True,
    help="Only runs that failed by this: an exit code or signal, out of memory, a time limit, the node.",
)
@dry_run_option
@store_option
@json_option
def retry_command(
    names: Sequence[str],
    cancelled: bool,
    classes: Sequence[RetryClass],
    dry_run: bool,
    store_url: str | None,
    as_json: bool,
) -> None:
    """Try failed runs again: all those of sweep ID, or exactly the RUNs that are named (these may be cancelled ones).

    Each gets a new attempt with its config, seed and checkpoint, and as many further ones as `retry.max` allows. An ended
    sweep goes on; `sweep agent ID` works on it. One that has reached its target or lost patience does just these runs.
    """
    done = []
    with opened(store_url) as store:
        wanted = _wanted(store, names, cancelled, classes)
        for sweep, runs in wanted.items():
            after = load_views(store, sweep).sweep
            if runs and not dry_run:
                after = retry(store, sweep, runs, who()).sweep
            done.append((after, runs))
    if as_json:
        rows = [
            {"id": view.sweep, "runs": [run_id(view.sweep, run) for run in runs], "state": view.state}
            for view, runs in done
        ]
        print_json(rows)
        return
    for view, runs in done:
        _say_retried(view, runs, dry_run, _which(cancelled, classes))


def _wanted(
    store: Store, names: Sequence[str], cancelled: bool, classes: Sequence[RetryClass]
) -> dict[str, list[int]]:
    found: dict[str, set[int]] = {}
    for name in names:
        sweep, number = find_either(store, name)
        views = load_views(store, sweep)
        runs = views.runs
        if number is None:
            more = to_retry(runs, cancelled=cancelled, classes=classes)
        else:
            more = [_checked(next(run for run in runs if run.run == number))]
        if more:
            check_retry(views, time.time())  # of every sweep, before any is changed
        found.setdefault(sweep, set()).update(more)
    return {sweep: sorted(runs) for sweep, runs in found.items()}


def _checked(run: RunView) -> int:
    if run.state not in ("failed", "cancelled"):
        raise UserMistake(f"run {run.id} is {run.state}: only failed and cancelled runs can be tried again")
    return run.run


def _which(cancelled: bool, classes: Sequence[RetryClass]) -> str:
    """What `to_retry` looked for: `failed`, `failed (oom, node) or cancelled`."""
    named = f" ({', '.join(dict.fromkeys(classes))})" if classes else ""
    return f"failed{named}{' or cancelled' if cancelled else ''}"


def _say_retried(view: SweepView, runs: Sequence[int], dry_run: bool, which: str) -> None:
    """`which`: the kind of run that was looked for."""
    if not runs:
        click.echo(f"sweep {view.sweep} has no {which} run: nothing to try again", err=True)
        return
    some = ", ".join(run_id(view.sweep, run) for run in runs[:5]) + (", …" if len(runs) > 5 else "")
    count = f"{len(runs)} run{'s' if len(runs) != 1 else ''}"
    if dry_run:
        click.echo(f"sweep {view.sweep}: {count} would be tried again: {some}")
        return
    click.echo(f"sweep {view.sweep}: {count} to be tried again: {some}")
    click.echo(whereabouts(view))


def whereabouts(view: SweepView) -> str:
    """What a sweep does after something was asked of it, and what to type next."""
    name = view.sweep
    if view.state == "active":
        return f"sweep {name} is active; `sweep agent {name}` works on it"
    if view.state == "ended":
        return f"sweep {name} has ended: {view.reason}"
    return f"sweep {name} is {view.state} ({view.reason}); `sweep resume {name}` goes on"


# --- extend ----------------------------------------------------------------------------------------------------


class _Cap(click.ParamType):  # type: ignore[type-arg, unused-ignore]  # generic in newer versions only
    """`40`, or `+20` for twenty more."""

    name = "N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, bool]:
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"\+?[1-9][0-9]{0,17}", str(value)):
            self.fail(f"{value!r} is no number of trials: write 40, or +20 for 20 more", param, ctx)
        return int(str(value)), str(value).startswith("+")


@command("extend", "sweep extend latest --run-cap +20")
@click.argument("sweep_id", metavar="ID")
@click.option("--run-cap", "cap", type=_Cap(), required=True, help="So many trials in all; +N: N more.")
@store_option
@json_option
def extend_command(sweep_id: str, cap: tuple[int, bool], store_url: str | None, as_json: bool) -> None:
    """Give sweep ID more trials: raises its run_cap. One that has ended goes on where it stopped."""
    with opened(store_url) as store:
        done = extend(store, find_sweep(store, sweep_id), cap[0], more=cap[1], by=who())
    view = done.sweep
    if as_json:
        print_json({"id": view.sweep, "run_cap": done.new, "was": done.old, "state": view.state})
        return
    same = ", as before" if done.old == done.new else f" (was {done.old})"
    click.echo(f"sweep {view.sweep}: run_cap is {done.new}{same}; {view.trials} trials proposed so far")
    click.echo(whereabouts(view))


# --- edit ------------------------------------------------------------------------------------------------------


@command("edit", "sweep edit latest sweep.yaml --dry-run")
@click.argument("sweep_id", metavar="ID")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@yes_option
@dry_run_option
@store_option
@json_option
def edit_command(
    sweep_id: str, file: Path | None, yes: bool, dry_run: bool, store_url: str | None, as_json: bool
) -> None:
    """Give sweep ID the spec in FILE (without FILE: opens the recorded one in $EDITOR). Recorded trials stay.

    Shows what changes and what that means, and asks before it is done. May change: run_cap, patience, limits, retry,
    early_terminate, metric.target, the parameters, engine, env, command and so on; method, seed, replicates and the
    metric may not, because recorded and new results could not be compared.
    """
    with opened(store_url) as store:
        sweep = find_sweep(store, sweep_id)
        views = load_views(store, sweep)
        if file is None:
            file = _edited(views)
        if file is None:
            click.echo(f"sweep {sweep}: nothing was edited, nothing was changed", err=True)
            return
        _edit(store, views, file, yes, dry_run, as_json)


def _edit(store: Store, views: Views, file: Path, yes: bool, dry_run: bool, as_json: bool) -> None:
    from sweep.api.learning import with_knowledge
    from sweep.api.revising import plan_revision, revise
    from sweep.cli.creating import tell_warnings
    from sweep.spec import load

    sweep = views.sweep.sweep
    parsed = load(file, draw_seed=lambda: views.spec.seed)
    new, learnt = with_knowledge(store, parsed.spec, file.resolve().parent, views.spec)
    plan = plan_revision(views, new)
    if not as_json:
        tell_warnings(parsed)
        for text in learnt:
            click.echo(f"warning: {text}", err=True)
    if plan.refused:
        refused = "\n".join(f"  {text}" for text in plan.refused)
        raise UserMistake(f"sweep {sweep} cannot be given this spec; nothing was changed\n{refused}")
    show = not as_json
    if not plan.changes:
        if show:
            click.echo(f"sweep {sweep} has exactly this spec; nothing to change")
    elif show:
        click.echo(f"sweep {sweep}, revision {plan.number}:")
        for line in (*map(str, plan.changes), *plan.effects):
            click.echo(f"  {line}")
    after, applied = views.sweep, False
    if plan.changes and not dry_run and confirmed("change it?", yes):
        after, applied = revise(store, sweep, new, parsed.source, plan.number, who()), True
    if as_json:
        changes = [{"key": change.key, "old": change.old, "new": change.new} for change in plan.changes]
        print_json(
            {
                "id": sweep,
                "revision": after.revision,
                "applied": applied,
                "changes": changes,
                "effects": list(plan.effects),
            }
        )
    elif applied:
        click.echo(whereabouts(after))


def _edited(views: Views) -> Path | None:
    """The recorded spec after a person has edited it, in a file that stays when something is wrong with it; None when the
    text is as it was."""
    import tempfile

    if not sys.stdin.isatty():
        raise UserMistake(
            f"an editor needs a terminal; name a file: `sweep edit {views.sweep.sweep} sweep.yaml`"
        )
    folder = Path(tempfile.mkdtemp(prefix="sweep-edit-"))
    path = folder / f"{views.sweep.sweep}.yaml"
    source = current_source(views)
    path.write_text(source, encoding="utf-8")
    try:
        click.edit(filename=str(path))
    finally:
        same = path.is_file() and path.read_text(encoding="utf-8", errors="replace") == source
        if same:
            path.unlink()
            folder.rmdir()
    if same:
        return None
    click.echo(f"your edit is kept in {path}", err=True)
    return path


def current_source(views: Views) -> str:
    """The recorded YAML text, with the run_cap that `sweep extend` has given the sweep since."""
    from sweep.spec import SpecError, parse

    text, cap = views.created.source, views.spec.run_cap
    try:
        recorded = parse(text, draw_seed=lambda: views.spec.seed).spec
    except SpecError:  # an older version's dialect: a person will see to it
        return text
    if recorded.run_cap == cap or cap is None:
        return text
    line = f"run_cap: {cap}  # was {recorded.run_cap} before `sweep extend`"
    changed, count = re.subn(r"(?m)^run_cap:.*$", line, text, count=1)
    return changed if count else f"{line}\n{text}"
