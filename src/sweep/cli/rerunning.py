"""`sweep rerun`, and the command line that `sweep best --command` prints."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import click
import msgspec

from sweep.api import load_views
from sweep.api.artifacts import give_used
from sweep.api.changing import CodeChange, code_change
from sweep.api.choosing import find_one
from sweep.api.places import LOCAL, run_root, store_folder
from sweep.api.placing import change_words, find_place
from sweep.api.repeating import (
    CannotRepeat,
    Recipe,
    can_name,
    check_place,
    command_line,
    executable,
    recipe_of,
)
from sweep.cli.common import command, opened, print_json, store_option
from sweep.cli.main import UserMistake
from sweep.cli.working import link_option, parse_links
from sweep.core.ran import code_of
from sweep.core.rows import Views
from sweep.core.spec import Metric
from sweep.core.views import RunView
from sweep.stores import Store

MOST_KEPT_BYTES = 1 << 20


@command("rerun", "sweep rerun latest-3 -- --epochs=100")
@click.argument("run", metavar="RUN")
@click.argument("extra", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
@link_option
@store_option
def rerun_command(run: str, extra: tuple[str, ...], links: Sequence[str], store_url: str | None) -> None:
    """Execute RUN (`best` and `ID-best`, too) once more, here and now: same command, config, seed and variables, its output on
    this terminal.

    ARGS are added to its command line. Where the folder that it was started in is not on this machine, the recorded code is unpacked
    and used. It reports into a folder of its own below .sweep/local, never to the recorded
    sweep. Says whether the code has changed since the sweep was created. The exit code is the program's (128 + N when
    signal N ended it).
    """
    with opened(store_url) as store:
        sweep, number = find_one(store, run)
        views = load_views(store, sweep, (number,))
        [view] = views.runs
        recipe = _here(store, views, recipe_of(views, view), parse_links(links))
        root, workdir = store_folder(store), Path(recipe.workdir)
        left_out = [workdir / name for name in views.spec.links]
        recorded = {**views.created.record, "code": code_of(views, view)}
        change = code_change(store, recorded, os.environ, folder=workdir, exclude=left_out)
    folder = root / LOCAL / f"{view.id}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    _tell(f"run {view.id} again, seed {view.seed}, in {recipe.workdir}")
    _tell_change(change)
    try:
        argv, env = executable(recipe, folder, os.environ, extra)
        with opened(store_url) as store:
            give_used(store, view, folder)
        code = _execute(argv, env, recipe.workdir)
    except CannotRepeat as error:
        raise UserMistake(str(error)) from None
    except OSError as error:
        raise UserMistake(_why(error, folder)) from None
    _tell_rows(folder, views, view)
    sys.exit(code)


def _here(store: Store, views: Views, recipe: Recipe, links: Mapping[str, str]) -> Recipe:
    """The recipe with the folder that it was written for, or, where that is not on this machine, with what an agent here would take
    in its place, and with this Python for one that is not here either."""
    try:
        check_place(recipe)
        return recipe
    except CannotRepeat as error:
        if not (views.created.record.get("code") or {}).get("tree") or not can_name(recipe.workdir):
            raise UserMistake(str(error)) from None
    place = find_place(
        store, views, root=run_root(store), cwd=Path.cwd(), environ=os.environ, links=links, say=_tell
    )
    argv = recipe.argv
    if argv and "${interpreter}" in views.spec.command[:1] and not Path(argv[0]).exists():
        _tell(f"the Python of the run, {argv[0]}, is not here: {sys.executable} takes its place")
        argv = (sys.executable, *argv[1:])
    return msgspec.structs.replace(recipe, workdir=str(place.workdir), argv=argv)


def print_command_line(views: Views, run: RunView, as_json: bool) -> None:
    """The command line of a run, for copying; with JSON also its parts."""
    recipe = recipe_of(views, run)
    line = command_line(recipe)
    if not as_json:
        click.echo(line)
        return
    parts = {"id": run.id, "command": line, "argv": list(recipe.argv), "cwd": recipe.workdir}
    print_json({**parts, "env": {**recipe.env, "SWEEP_SEED": str(run.seed)}, "config": run.config})


def _tell(text: str) -> None:
    click.echo(f"sweep: {text}", err=True)


def _tell_change(change: CodeChange) -> None:
    if not change.recorded:
        _tell("the sweep has no record of its code: whether it has changed is not known")
    elif not change:
        _tell("the code is as it was when the sweep was created")
    else:
        _tell(f"the code is not what it was when the sweep was created ({change_words(change)})")


def _execute(argv: Sequence[str], env: dict[str, str], workdir: str) -> int:
    """The program's exit code. Ctrl-C reaches it from the terminal; what else would end us is handed on to it."""
    child: subprocess.Popen[bytes] | None = None

    def hand_on(number: int, _: FrameType | None) -> None:
        if child is not None and number != signal.SIGINT:
            child.send_signal(number)

    # Handlers, not SIG_IGN: the program would inherit that.
    before = {
        number: signal.signal(number, hand_on) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        child = subprocess.Popen(argv, env=env, cwd=workdir)
        code = child.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return code if code >= 0 else 128 - code


def _why(error: OSError, folder: Path) -> str:
    if str(error.filename or "").startswith(str(folder)):
        return f"cannot make {folder}: {error.strerror}"
    return f"cannot start {error.filename}: {error.strerror}; the run was started by it then, maybe on another machine"


def _read_rows(path: Path, metric: Metric | None) -> tuple[int, float | None]:
    """How many rows a program has logged into a file, and the best value of the metric in it, as an agent would judge it."""
    from sweep.agents.inbox import RunInbox  # not for those who only want the command line

    inbox = RunInbox(0, 1, None if metric is None else metric.name)
    with path.open("rb") as file:
        for line in file:
            inbox.feed(line.strip())
            if inbox.pending_bytes > MOST_KEPT_BYTES:
                inbox.take()
    return inbox.rows, None if metric is None else inbox.score(metric.goal)


def _tell_rows(folder: Path, views: Views, run: RunView) -> None:
    rows = folder / "rows.jsonl"
    metric = views.spec.metric
    try:
        count, value = _read_rows(rows, metric)
    except OSError:
        _tell(f"it logged no rows; its folder is {folder}")
        return
    _tell(f"{count} row{'s' if count != 1 else ''} of it: {rows}")
    if metric is None or run.objective is None:
        return
    recorded = f"the recorded run had {run.objective:.6g}"
    if run.state == "pruned":
        recorded += f" after {run.steps} values, when it was pruned"
    if value is None:
        _tell(f"it has logged no {metric.name}; {recorded}")
    else:
        _tell(f"its {metric.name} is {value:.6g}; {recorded}")
