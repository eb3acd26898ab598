"""`sweep controller`: leading a sweep without working on it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import sys
from typing import TYPE_CHECKING, Literal

import click

from sweep.api import find_sweep, load_views
from sweep.cli.common import command, opened, store_option
from sweep.core import entries as e
from sweep.core.names import node_name, run_id

if TYPE_CHECKING:
    from sweep.stores import Store

INTERRUPTED, TERMINATED = 130, 143


@command("controller", "sweep controller latest")
@click.argument("sweep_id", metavar="ID")
@store_option
def controller_command(sweep_id: str, store_url: str | None) -> None:
    """Lead sweep ID without working on it: propose, assign, prune, and notice agents that vanish.

    No sweep needs this: agents lead by themselves, one at a time. It is for agents that should not (`sweep agent
    --no-controller`), on nodes that are taken away often, say. Start two, and one waits until the other one is gone.
    What it does is printed, until the sweep has ended (exit code 0), Ctrl-C (130) or SIGTERM (143).
    """
    with opened(store_url) as store:
        code = lead(store, find_sweep(store, sweep_id))
    sys.exit(code)


def lead(store: Store, sweep: str) -> int:
    """Be a controller of `sweep`; returns the exit code."""
    from sweep.agents.alone import Alone
    from sweep.agents.options import timing
    from sweep.controller import driver_maker

    views = load_views(store, sweep, ())
    if views.sweep.state == "ended":
        click.echo(f"sweep {sweep} has ended: {views.sweep.reason}", err=True)
        return 0
    watcher = Lines(sweep)
    make_driver = driver_maker(store, sweep, lambda text: watcher.say(text, "warning"))
    name = f"controller-{node_name(os.environ, socket.gethostname()).split('.')[0]}-{secrets.token_hex(4)}"
    alone = Alone(store, sweep, name, make_driver, watcher, timing(os.environ))
    watcher.say(f"{alone.name} for sweep {sweep}", "info")
    view, signal = alone.run()
    if signal:
        return INTERRUPTED if signal == 2 else TERMINATED
    if view is not None:
        watcher.say(f"sweep {sweep} has ended: {view.reason}", "info")
    return 0


class Lines:
    """One line for everything that a controller does, on standard error."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep

    def say(self, text: str, level: Literal["info", "warning", "error"]) -> None:
        """A message. When nobody reads it any more the work goes on."""
        with contextlib.suppress(OSError):
            click.echo(text if level == "info" else f"{level}: {text}", err=True)

    def recorded(self, recorded: e.Recorded) -> None:
        """An entry of the journal."""
        text = words(self._sweep, recorded.entry)
        if text:
            self.say(text, "info")


def words(sweep: str, entry: e.AnyEntry) -> str:
    """What an entry means to somebody who watches a controller; '' for what is of no interest there."""
    if isinstance(entry, e.TrialsProposed) and entry.configs:
        last = entry.first + len(entry.configs) - 1
        which = f"trial {entry.first}" if last == entry.first else f"trials {entry.first} to {last}"
        return f"{which} proposed by {entry.engine}"
    if isinstance(entry, e.RunAssigned):
        again = f", attempt {entry.attempt}" if entry.attempt > 1 else ""
        return f"{run_id(sweep, entry.run)} assigned to {entry.agent}, slot {entry.slot}{again}"
    if isinstance(entry, e.RunPruned | e.RunPaused | e.RunCancelled):
        kind = {e.RunPruned: "pruned", e.RunPaused: "paused", e.RunCancelled: "cancelled"}[type(entry)]
        return f"{run_id(sweep, entry.run)} to be {kind}: {entry.reason}"
    if isinstance(entry, e.AttemptEnded):
        why = f": {entry.reason}" if entry.reason else ""
        return f"{run_id(sweep, entry.run)} {entry.outcome}{why}"
    return _of_agents_and_sweep(entry)


def _of_agents_and_sweep(entry: e.AnyEntry) -> str:
    if isinstance(entry, e.AgentJoined):
        return (
            f"agent {entry.agent} joined: {entry.host}, {entry.slots} slot{'s' if entry.slots != 1 else ''}"
        )
    if isinstance(entry, e.AgentLeft):
        return f"agent {entry.agent} left" + (f": {entry.reason}" if entry.reason else "")
    if isinstance(entry, e.AgentLost):
        return f"agent {entry.agent} is lost: its lease ran out"
    if isinstance(entry, e.NodeSetAside):
        again = f"; {len(entry.runs)} runs go elsewhere" if entry.runs else ""
        return f"{entry.host} is set aside: {entry.reason}{again}" if entry.runs else ""
    if isinstance(entry, e.SlotKept):
        what = "is set aside" if entry.lasting else "waits"
        return f"agent {entry.agent}: slot {entry.slot} {f'{what}: {entry.reason}' if entry.reason else 'goes on'}"
    if isinstance(entry, e.SweepEnded):
        return f"ended: {entry.reason}"
    if isinstance(entry, e.SweepReopened):
        return f"reopened: {entry.reason}"
    if isinstance(entry, e.SpecRevised):
        return f"the spec is at revision {entry.revision}"
    return ""
