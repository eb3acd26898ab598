"""`sweep agent` and `sweep run`."""

from __future__ import annotations

import datetime
import gc
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.api import find_sweep, load_outcome, load_views
from sweep.api.places import run_root
from sweep.cli.common import command, file_argument, opened, store_option
from sweep.cli.main import UserMistake
from sweep.core.errors import SweepError
from sweep.core.rows import Views
from sweep.core.views import SweepView
from sweep.stores import Store

if TYPE_CHECKING:
    from sweep.agents import End, Options
    from sweep.cli.live import PlainView

GAVE_UP, INTERRUPTED, TERMINATED = 3, 130, 143

count_option = click.option("--count", type=click.IntRange(1), metavar="N", help="Leave after N runs.")
slots_option = click.option(
    "--slots",
    type=click.IntRange(1),
    metavar="N",
    help="Run at most N at once (default: what the machine has room for).",
)
gpus_option = click.option(
    "--gpus",
    metavar="0,1|none",
    help="Use only these GPUs, or none (default: all that CUDA_VISIBLE_DEVICES allows).",
)
avoid_busy_option = click.option(
    "--avoid-busy",
    is_flag=True,
    help="Start nothing on a GPU while another program computes there.",
)
until_option = click.option(
    "--until",
    metavar="TIME|DURATION",
    help="Be gone by then (17:30, 2026-03-01T17:30, 90m): start nothing that could not end before, and end the rest in "
    "time, to go on elsewhere. In a Slurm job its end counts as well.",
)
wandb_option = click.option(
    "--wandb",
    is_flag=True,
    envvar="SWEEP_WANDB",
    help="Run scripts that are written for wandb as they are: `import wandb` finds sweep. Also: SWEEP_WANDB=1.",
)
link_option = click.option(
    "--link",
    "links",
    metavar="NAME=PATH",
    multiple=True,
    help="Where this node has a folder that the spec's `links` name; once for each.",
)


@command("agent", "sweep agent latest --slots 2")
@click.argument("sweep_ids", metavar="[ID]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Work on every sweep of the store that has not ended.")
@click.option("--wait", "stays", is_flag=True, help="With --all: stay for sweeps that are created later.")
@count_option
@slots_option
@gpus_option
@avoid_busy_option
@until_option
@wandb_option
@link_option
@click.option(
    "--no-controller",
    is_flag=True,
    help="Never lead the sweep: another agent does, or `sweep controller ID`.",
)
@click.option(
    "-d", "--detach", is_flag=True, help="Work in the background; `sweep agents` shows and ends it."
)
@click.option("--announce-to", type=int, hidden=True)
@click.option("--log-file", type=click.Path(path_type=Path), hidden=True)
@click.option("--cpus", type=click.FloatRange(0, min_open=True), hidden=True)
@click.option("--leave-with-stdin", is_flag=True, hidden=True)
@store_option
def agent_command(
    sweep_ids: Sequence[str],
    every: bool,
    stays: bool,
    count: int | None,
    slots: int | None,
    gpus: str | None,
    avoid_busy: bool,
    until: str | None,
    wandb: bool,
    links: Sequence[str],
    no_controller: bool,
    detach: bool,
    announce_to: int | None,
    log_file: Path | None,
    cpus: float | None,
    leave_with_stdin: bool,
    store_url: str | None,
) -> None:
    """Work sweep ID off on this machine: one run per slot, each pinned to its GPUs, until the sweep has ended.

    Several sweeps share the slots equally; those with the highest `priority` in their spec come first. With --all, sweeps that are
    created meanwhile take part. It leaves when all have ended.

    Runs start in the folder that the sweep was created in. A machine that has not got it needs no checkout: the recorded code is
    unpacked there.

    Start as many agents as you like. Kill anything at any time: nothing is lost.
    Ctrl-C once lets runs finish, twice ends them (they start again elsewhere), three times kills them.
    """
    from sweep.cli import detaching

    _check_ids(sweep_ids, every, stays)
    on_joined = None
    if announce_to is not None and log_file is not None:
        on_joined = detaching.announcer(announce_to, log_file)
    if leave_with_stdin:
        detaching.leave_with_stdin()
    with opened(store_url) as store:
        sweeps = list(dict.fromkeys(find_sweep(store, text) for text in sweep_ids))
        if detach:
            values = {"--count": count, "--slots": slots, "--gpus": gpus, "--until": fixed_time(until)}
            flags = {"--wandb": wandb, "--no-controller": no_controller, "--avoid-busy": avoid_busy}
            flags |= {"--all": every, "--wait": stays}
            code = detaching.detach(store, sweeps, _options_again(values, links, flags))
        else:
            common: dict[str, Any] = {
                "slots": slots,
                "gpus": gpus,
                "cpus": cpus,
                "wandb": wandb,
                "links": links,
            }
            common |= {"leads": not no_controller, "on_joined": on_joined}
            if len(sweeps) == 1:
                code = work(store, sweeps[0], count, until=until, avoid_busy=avoid_busy, **common)
            else:
                from sweep.cli.together import work_together

                options = agent_options(count, until, avoid_busy)
                code = work_together(store, sweeps, options, every=every, stays=stays, **common)
    sys.exit(code)


def _options_again(
    values: Mapping[str, object], links: Sequence[str], flags: Mapping[str, bool]
) -> list[str]:
    """The options of this command for the agent in the background."""
    given = [text for name, value in values.items() if value is not None for text in (name, str(value))]
    given += [text for link in links for text in ("--link", link)]
    return [*given, *(name for name, wanted in flags.items() if wanted)]


def _check_ids(sweep_ids: Sequence[str], every: bool, stays: bool) -> None:
    """Raise UserMistake unless it is clear which sweeps are meant."""
    if every and sweep_ids:
        raise UserMistake(f"--all means every sweep: leave out {' '.join(sweep_ids)}, or --all")
    if stays and not every:
        raise UserMistake(
            "--wait goes with --all: an agent of sweeps that are named leaves when they have ended"
        )
    if not every and not sweep_ids:
        raise UserMistake("name a sweep (`sweep ls` lists them), several, or --all")


def agent_options(count: int | None, until: str | None, avoid_busy: bool) -> Options:
    """What the command line and the environment say of an agent."""
    from sweep.agents.options import asked

    return asked(os.environ, time.time(), time.monotonic(), count=count, until=until, avoid_busy=avoid_busy)


@command("run", "sweep run sweep.yaml")
@file_argument
@slots_option
@gpus_option
@avoid_busy_option
@click.option(
    "--ray",
    metavar="auto|local|ADDRESS",
    help="Work it off on a Ray cluster, as `sweep launch` does: --slots is then how many slots at most.",
)
@wandb_option
@store_option
def run_command(
    file: Path,
    slots: int | None,
    gpus: str | None,
    avoid_busy: bool,
    ray: str | None,
    wandb: bool,
    store_url: str | None,
) -> None:
    """Create the sweep in FILE, work it off here or on a Ray cluster, and plot it."""
    if ray is not None and gpus is not None:
        raise UserMistake(
            "--gpus is for this machine; on a Ray cluster the spec says what a run gets (`resources`)"
        )
    from sweep.api.seeds import draw_seed
    from sweep.cli.creating import record, tell_warnings
    from sweep.cli.plotting import FORMATS, plot
    from sweep.spec import load

    parsed = load(file, draw_seed=draw_seed)
    tell_warnings(parsed)
    with opened(store_url, create=True) as store:
        sweep = record(store, parsed, file).sweep
        click.echo(sweep)
        if ray is None:
            code = work(store, sweep, None, slots, gpus, wandb, avoid_busy=avoid_busy)
        else:
            from sweep.cli.launching import launch, passed_on

            code = launch(store, sweep, ray, slots, passed_on(wandb, avoid_busy))
        if code == 0:
            plot(store, sweep, None, frozenset(FORMATS))
    sys.exit(code)


def work(
    store: Store,
    sweep: str,
    count: int | None,
    slots: int | None,
    gpus: str | None,
    wandb: bool = False,
    on_joined: Callable[[str], None] | None = None,
    leads: bool = True,
    until: str | None = None,
    cpus: float | None = None,
    links: Sequence[str] = (),
    avoid_busy: bool = False,
) -> int:
    """Be an agent of `sweep`; returns the exit code. `on_joined` is told the agent's ID; `leads`: it may be the controller;
    `until`: as `--until`; `cpus`: what it may use of this machine's; `links`: `NAME=PATH`, of the spec's `links`;
    `avoid_busy`: no run on a GPU while another program computes there."""
    from sweep.agents import Node, NotEnough, run_agent
    from sweep.agents.leaving import announcement
    from sweep.agents.options import asked
    from sweep.api.placing import find_place
    from sweep.cli.live import make_view
    from sweep.controller import driver_maker

    views = check_work(store, sweep)
    if views is None:
        return 0
    root = run_root(store)
    place = find_place(
        store,
        views,
        root=root,
        cwd=Path.cwd(),
        environ=os.environ,
        links=parse_links(links),
        say=lambda text: click.echo(text, err=True),
    )
    view = make_view(sweep, views.spec)
    view.on_joined = on_joined
    try:
        node = Node.plan(views.spec, slots=slots, gpus=gpus, environ=os.environ, cpus=cpus)
    except NotEnough as error:
        advice = "; what runs ask for is `resources` in the spec: `sweep edit` changes it"
        raise UserMistake(f"{error}{advice if 'each run needs' in str(error) else ''}") from None
    unix_s, monotonic_s = time.time(), time.monotonic()
    options = asked(os.environ, unix_s, monotonic_s, count=count, until=until, avoid_busy=avoid_busy)
    with view:
        view.begin(node, views)
        if options.until is not None:
            view.line(announcement(options.until, views.spec.limits, monotonic_s, unix_s))
        gc.freeze()  # what is imported stays: not to be looked at again and again
        end = run_agent(
            store,
            sweep,
            views.spec,
            node,
            root=root,
            workdir=place.workdir,
            place=place,
            count=count,
            until=options.until,
            timing=options.timing,
            checkpoint_every_s=options.checkpoint_every_s,
            wandb=wandb,
            avoid_busy=avoid_busy,
            view=view,
            make_driver=driver_maker(store, sweep, lambda text: view.say(text, "warning")) if leads else None,
        )
    outcome = load_outcome(store, sweep)
    view.finish(outcome)
    return exit_code(end, outcome.sweep, view)


def exit_code(end: End, outcome: SweepView, view: PlainView) -> int:
    """Of an agent that has left; what is to be done where it gave up, or where nothing has succeeded, is said."""
    from sweep.api.failing import nothing_succeeded

    sweep = outcome.sweep
    if end.broken:
        view.line(
            f"when that is mended: `sweep retry {sweep}` for the failed runs, and `sweep agent {sweep}` to go on"
        )
        return GAVE_UP
    if end.set_aside:
        view.line(f"when that is mended: `sweep agent {sweep}` takes this node back")
        return GAVE_UP
    if words := nothing_succeeded(outcome, end.failed):
        view.say(words, "error")
    return signal_code(end.signal) or (GAVE_UP if words else 0)


def signal_code(number: int) -> int:
    """The exit code of an agent that a signal has ended, 0 for none."""
    return {0: 0, 2: INTERRUPTED}.get(number, TERMINATED)


def fixed_time(text: str | None) -> str | None:
    """`--until` for another process, which reads it a little later: `90m` is counted from now."""
    from sweep.agents.leaving import read_time

    if text is None:
        return None
    return datetime.datetime.fromtimestamp(read_time(text, time.time())).astimezone().isoformat()


def check_work(store: Store, sweep: str) -> Views | None:
    """The sweep without its runs; None, with a word about it, when it has ended. Raises UserMistake when agents cannot work on it."""
    from sweep.agents.functions import check_program

    views = load_views(store, sweep, ())
    if views.sweep.state == "ended":
        click.echo(f"sweep {sweep} has ended: {views.sweep.reason}", err=True)
        return None
    try:
        check_program(sweep, views.spec)
    except SweepError as error:
        raise UserMistake(str(error)) from None
    return views


def parse_links(texts: Sequence[str]) -> dict[str, str]:
    """`NAME=PATH` as name -> path. Raises UserMistake."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not name or not path:
            raise UserMistake(f"--link {text}: write NAME=PATH, for example --link data=/mnt/data")
        if name in found:
            raise UserMistake(f"--link {name} is given twice")
        found[name.removesuffix("/")] = path
    return found
