"""`sweep launch`: agents onto a Ray cluster, or into Slurm's queue."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sweep.api import find_sweep, load_outcome
from sweep.api.places import AGENTS, store_folder
from sweep.cli.common import command, json_option, opened, print_json, store_option
from sweep.cli.detaching import in_background
from sweep.cli.main import UserMistake
from sweep.cli.working import GAVE_UP, avoid_busy_option, check_work, signal_code, wandb_option
from sweep.stores import Store, address_of

if TYPE_CHECKING:
    from sweep.cluster import LaunchRecord, LaunchReport

READY_S = 60.0
"""How long `--detach` waits for a first agent before it says that it goes on waiting in the background."""

DOWN_S = 60.0
"""How long `--down --now` waits for the end."""

ray_option = click.option(
    "--ray",
    "where",
    metavar="auto|local|ADDRESS",
    help="The Ray cluster: RAY_ADDRESS, else one that runs on this machine, else a new one (auto); a new one on this machine (local); "
    "or host:port of its head.",
)
max_slots_option = click.option(
    "--max-slots", type=click.IntRange(1), metavar="N", help="At most N slots on the cluster."
)


@command("launch", "sweep launch latest --ray auto")
@click.argument("sweep_id", metavar="ID")
@click.argument("sbatch", metavar="[-- SBATCH OPTIONS]", nargs=-1, type=click.UNPROCESSED)
@ray_option
@max_slots_option
@click.option("-d", "--detach", is_flag=True, help="Give the terminal back; the launch goes on by itself.")
@click.option("--status", is_flag=True, help="Show the launch: its slots, what it waits for.")
@click.option("--down", is_flag=True, help="Have all its agents leave when their runs have ended.")
@click.option("--now", is_flag=True, help="With --down: end the runs; they start again with the next agent.")
@click.option("--slurm", is_flag=True, help="Submit agents to Slurm, as an array of jobs.")
@click.option(
    "--array", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="With --slurm: N jobs."
)
@click.option("--dry-run", is_flag=True, help="With --slurm: print the script, and submit nothing.")
@avoid_busy_option
@wandb_option
@click.option("--ready-to", type=int, hidden=True)
@store_option
@json_option
def launch_command(
    sweep_id: str,
    sbatch: tuple[str, ...],
    where: str | None,
    max_slots: int | None,
    detach: bool,
    status: bool,
    down: bool,
    now: bool,
    slurm: bool,
    array: int,
    dry_run: bool,
    avoid_busy: bool,
    wandb: bool,
    ready_to: int | None,
    store_url: str | None,
    as_json: bool,
) -> None:
    """Work sweep ID off on a Ray cluster: an agent on every slot that its runs can use, until the sweep has ended.

    Slots are added when nodes join and started again when their node or worker dies; a cluster that grows is asked for what the runs
    that are left can use. With --slurm, agents go into Slurm's queue instead; what stands behind -- (SBATCH OPTIONS) is for sbatch.
    """
    _check_options(
        sbatch, where, slurm=slurm, dry_run=dry_run, status=status, down=down, now=now, as_json=as_json
    )
    options = passed_on(wandb, avoid_busy)
    with opened(store_url) as store:
        sweep = find_sweep(store, sweep_id)
        if status:
            _status(store, sweep, where, as_json)
            code = 0
        elif down:
            code = _down(store, sweep, where, now)
        elif slurm:
            code = _slurm(store, sweep, array, sbatch, options, dry_run)
        elif detach:
            code = _detach(store, sweep, where or "auto", max_slots, options)
        else:
            code = launch(store, sweep, where or "auto", max_slots, options, _announcer(ready_to))
    sys.exit(code)


def passed_on(wandb: bool, avoid_busy: bool) -> tuple[str, ...]:
    """What every agent of a launch is told."""
    return (*["--wandb"] * wandb, *["--avoid-busy"] * avoid_busy)


def launch(
    store: Store,
    sweep: str,
    where: str,
    max_slots: int | None,
    options: tuple[str, ...] = (),
    on_joined: Callable[[str], None] | None = None,
) -> int:
    """Launch the sweep and show it to its end; the exit code. `on_joined` is told of each agent."""
    from sweep import cluster
    from sweep.api.failing import nothing_succeeded
    from sweep.cli.live import make_view

    views = check_work(store, sweep)
    if views is None:
        return 0
    order = cluster.launch_order(
        store, views, cwd=Path.cwd(), environ=os.environ, max_slots=max_slots, options=options
    )
    view = make_view(sweep, views.spec)
    view.on_joined = on_joined
    if cluster.starts_ray(where):
        view.line("starting Ray on this machine; it ends with this command")
    with cluster.connected(where, store_folder(store)) as connection, cluster.signals() as arrived:
        if words := cluster.room_or_words(order, views.spec.resources, connection):
            view.say(words, "warning")
        started = cluster.start(store, order, views.spec.resources, connection, store_folder(store), arrived)
        if started.found:
            view.line(f"sweep {sweep} is launched there already: showing it")
        with view:
            view.begin_launch(views, connection.address)
            watched = cluster.watch(
                store, order, started.keeper, view, lambda text: view.say(text, "warning"), arrived
            )
    outcome = load_outcome(store, sweep)
    view.finish(outcome)
    if watched.broken:
        view.say(f"the launch is over: {watched.reason}", "error")
        return GAVE_UP
    if words := nothing_succeeded(outcome.sweep, view.failed_runs):
        view.say(words, "error")
    return signal_code(watched.signal) or (GAVE_UP if words else 0)


def _check_options(
    sbatch: tuple[str, ...],
    where: str | None,
    *,
    slurm: bool,
    dry_run: bool,
    status: bool,
    down: bool,
    now: bool,
    as_json: bool,
) -> None:
    if sbatch and not slurm:
        raise UserMistake(f"{sbatch[0]}: options behind -- are for sbatch, with --slurm")
    if dry_run and not slurm:
        raise UserMistake("--dry-run prints the script of --slurm")
    if slurm and where is not None:
        raise UserMistake("--ray and --slurm exclude each other")
    if now and not down:
        raise UserMistake("--now goes with --down")
    if as_json and not status:
        raise UserMistake("--json goes with --status")
    if sum((status, down, slurm)) > 1:
        raise UserMistake("give one of --status, --down and --slurm")


# --- in the background -----------------------------------------------------------------------------------------


def _detach(store: Store, sweep: str, where: str, max_slots: int | None, options: tuple[str, ...]) -> int:
    from sweep import cluster

    views = check_work(store, sweep)
    if views is None:
        return 0
    if cluster.starts_ray(where):
        return _detach_with_ray(store, sweep, max_slots, options)
    order = cluster.launch_order(
        store, views, cwd=Path.cwd(), environ=os.environ, max_slots=max_slots, options=options
    )
    with cluster.connected(where, store_folder(store)) as connection:
        if words := cluster.room_or_words(order, views.spec.resources, connection):
            click.echo(f"warning: {words.removesuffix(' (Ctrl-C ends it)')}", err=True)
        started = cluster.start(store, order, views.spec.resources, connection, store_folder(store))
        return _wait_for_agent(sweep, started.keeper, bool(words))


def _wait_for_agent(sweep: str, keeper: Any, waiting: bool) -> int:
    """Until an agent has joined, or there is a reason not to wait for it; the exit code."""
    from sweep.cluster import look

    until_s = time.monotonic() + (0 if waiting else READY_S)
    noted = 0
    while True:
        report = look(keeper)
        for number, text in report.notes if report is not None else ():
            if number > noted:
                click.echo(text, err=True)
                noted = number
        if report is None or (report.state == "ended" and report.broken):
            reason = report.reason if report is not None else "its keeper is gone from the cluster"
            click.echo(f"the launch is over: {reason}", err=True)
            return GAVE_UP
        agents = [slot.agent for slot in report.slots if slot.agent]
        if agents or report.state == "ended" or time.monotonic() >= until_s:
            break
        time.sleep(0.5)
    how_many = f"{len(report.slots)} slot{'s' if len(report.slots) != 1 else ''}"
    click.echo(f"sweep {sweep} is launched: {how_many}, {len(agents)} at work so far", err=True)
    _tell_how(sweep)
    return 0


def _tell_how(sweep: str) -> None:
    click.echo(f"  see it     sweep launch --status {sweep}", err=True)
    click.echo(f"  end it     sweep launch --down {sweep}", err=True)


def _detach_with_ray(store: Store, sweep: str, max_slots: int | None, options: tuple[str, ...]) -> int:
    """Ray ends with the process that started it: that one goes into the background."""
    folder = store_folder(store) / AGENTS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / f"launch-{sweep}-{secrets.token_hex(2)}.log"
    words = ["launch", sweep, "--ray", "local", *options]
    words += ["--max-slots", str(max_slots)] if max_slots is not None else []
    reader, writer = os.pipe()
    try:
        child = in_background([*words, "--ready-to", str(writer)], address_of(store), log, writer)
    finally:
        os.close(writer)
    with os.fdopen(reader) as pipe:
        agent = pipe.readline().strip()
    if not agent:
        code = child.wait()
        click.echo(log.read_text("utf-8", "replace"), nl=False, err=True)
        return code if code >= 0 else 1
    child.returncode = 0  # it goes on without us
    click.echo(
        f"sweep {sweep} is launched on a Ray of its own on this machine (process {child.pid})", err=True
    )
    click.echo(f"  its log    {log}", err=True)
    _tell_how(sweep)
    return 0


def _announcer(fd: int | None) -> Callable[[str], None] | None:
    """Tells whoever started this process in the background of the first agent."""
    if fd is None:
        return None
    waiting = [fd]

    def joined(agent: str) -> None:
        if waiting:
            with os.fdopen(waiting.pop(), "w") as pipe:
                pipe.write(f"{agent}\n")

    return joined


# --- a launch that is at work ----------------------------------------------------------------------------------


def _place(store: Store, sweep: str, where: str | None) -> tuple[LaunchRecord | None, str | None]:
    """(what is known of the launch, the address of its cluster unless it is over)."""
    from sweep.cluster import read_record

    record = read_record(store, sweep)
    if where is not None and where != "auto":
        return record, where
    if record is None:
        raise UserMistake(
            f"nothing is known of a launch of sweep {sweep}; where it was launched elsewhere, say --ray ADDRESS"
        )
    if record.ended:
        return record, None
    if record.ours and record.host != socket.gethostname():
        raise UserMistake(f"sweep {sweep} is launched on a Ray of its own on {record.host}: type this there")
    return record, record.address


def _status(store: Store, sweep: str, where: str | None, as_json: bool) -> None:
    from sweep import cluster

    record, address = _place(store, sweep, where)
    report = None
    if address is not None and not _gone(record):
        folder = Path(record.folder) if record is not None else store_folder(store)
        with cluster.connected(address, folder, ours=record is not None and record.ours):
            keeper = cluster.reach(sweep)
            report = cluster.look(keeper) if keeper is not None else None
    if as_json:
        print_json(_record(sweep, record, report))
    elif report is None:
        why = record.reason if record is not None and record.ended else "its keeper, or its cluster, is gone"
        click.echo(f"sweep {sweep} is not launched at present: {why}")
    else:
        _show(report)


def _gone(record: LaunchRecord | None) -> bool:
    """Whether the process that a Ray of our own ended with is gone."""
    if record is None or not record.ours:
        return False
    try:
        os.kill(record.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _show(report: LaunchReport) -> None:
    from sweep.cli.texts import print_table

    shape = f", each with {report.shape.words}" if report.shape is not None else ""
    told = {"leaving": "; it was told to leave", "ended": f"; it is over: {report.reason}"}.get(
        report.state, ""
    )
    click.echo(
        f"sweep {report.sweep}: {len(report.slots)} slots of {report.wanted} that its runs can use{shape}; the cluster has room for "
        f"{report.room}{told}"
    )
    click.echo(f"the cluster has {report.cluster}")
    if report.slots:
        rows = [(s.host, s.gpus, s.agent, str(s.pid or ""), s.state, s.problem) for s in report.slots]
        print_table(("HOST", "GPUS", "AGENT", "PID", "STATE", ""), rows)
    for _, text in report.notes[-5:]:
        click.echo(f"  {text}")


def _record(sweep: str, record: LaunchRecord | None, report: LaunchReport | None) -> dict[str, Any]:
    over = record.reason if record is not None else ""
    return {
        "id": sweep,
        "state": report.state
        if report is not None
        else "ended"
        if record is not None and record.ended
        else "gone",
        "reason": report.reason if report is not None else over,
        "address": record.address if record is not None else "",
        "wanted": report.wanted if report is not None else 0,
        "room": report.room if report is not None else 0,
        "slots": [
            {
                "host": slot.host,
                "node": slot.node,
                "gpus": slot.gpus,
                "agent": slot.agent,
                "pid": slot.pid,
                "state": slot.state,
                "problem": slot.problem,
            }
            for slot in (report.slots if report is not None else ())
        ],
        "notes": [text for _, text in report.notes] if report is not None else [],
    }


def _down(store: Store, sweep: str, where: str | None, now: bool) -> int:
    from sweep import cluster

    record, address = _place(store, sweep, where)
    found = False
    if address is not None and not _gone(record):
        folder = Path(record.folder) if record is not None else store_folder(store)
        with cluster.connected(address, folder, ours=record is not None and record.ours):
            found = cluster.take_down(sweep, now=now)
    over = found and now and cluster.wait_over(store, sweep, DOWN_S)
    if not found:
        words = f"sweep {sweep} is not launched at present"
    elif over:
        words = f"the launch of sweep {sweep} has ended; its runs start again with the next agent"
    elif now:
        words = (
            f"the agents of sweep {sweep} end their runs and leave; `sweep launch --status {sweep}` shows it"
        )
    else:
        words = f"the agents of sweep {sweep} leave when their runs have ended (--now ends them)"
    click.echo(words, err=True)
    return 0


# --- Slurm -----------------------------------------------------------------------------------------------------


def _slurm(
    store: Store, sweep: str, array: int, sbatch: tuple[str, ...], options: tuple[str, ...], dry_run: bool
) -> int:
    from sweep import cluster

    views = check_work(store, sweep)
    if views is None:
        return 0
    logs = store_folder(store) / AGENTS
    text = cluster.slurm_script(
        sweep, views.spec, array=array, cwd=Path.cwd(), logs=logs, options=sbatch, agent_options=options
    )
    problem = cluster.reaches_only_here(store.url, sbatch, socket.gethostname())
    if dry_run:
        if problem:
            click.echo(f"warning: {problem}", err=True)
        click.echo(text, nl=False)
        return 0
    if problem:
        raise UserMistake(problem)
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    script = logs / f"slurm-{sweep}-{secrets.token_hex(2)}.sh"
    script.write_text(text, "utf-8")
    click.echo(cluster.submit(script, {**os.environ, "SWEEP_STORE": address_of(store)}))
    click.echo(f"  the script   {script}", err=True)
    click.echo(f"  its agents   sweep agents {sweep}", err=True)
    return 0
