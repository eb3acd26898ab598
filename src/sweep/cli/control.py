"""`sweep pause`, `resume`, `stop` and `cancel`: they write a request into the journal; the controller acts on it."""

from __future__ import annotations

from collections.abc import Callable

import click

from sweep.api import find_sweep, load_sweep_view, request
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.core import entries as e
from sweep.core.views import SweepView


def _control(
    name: str, text: str, make: Callable[[str], e.AnyEntry], done: Callable[[SweepView], str]
) -> click.Command:
    def run(sweep_id: str, store_url: str | None, as_json: bool) -> None:
        with opened(store_url) as store:
            sweep = find_sweep(store, sweep_id)
            before = load_sweep_view(store, sweep)
            request(store, sweep, make(who()))
            after = load_sweep_view(store, sweep)
        if as_json:
            print_json({"id": sweep, "state": after.state, "reason": after.reason, "was": before.state})
            return
        told = after.reason in ("", after.state)  # "is paused (paused)" says nothing more
        reason = "" if told else f" ({after.reason})"
        click.echo(f"sweep {sweep} {done(after) if after.state != before.state else _still(after)}{reason}")

    run.__doc__ = text
    decorated = click.argument("sweep_id", metavar="ID")(store_option(json_option(run)))
    return command(name, f"sweep {name} latest")(decorated)


def _still(view: SweepView) -> str:
    return "has ended already" if view.state == "ended" else f"is {view.state}, as before"


pause_command = _control(
    "pause",
    "Start no new runs of sweep ID until `sweep resume ID`; running ones go on.",
    e.PauseRequested,
    lambda view: f"is {view.state}; `sweep resume {view.sweep}` goes on",
)
resume_command = _control(
    "resume",
    """Go on with sweep ID: ends a pause, and reopens a sweep that was stopped or cancelled.

    Runs that had not started are started now; for runs that were ended, see `sweep runs ID --filter "state == 'cancelled'"`.
    """,
    e.ResumeRequested,
    lambda view: f"is {view.state}; `sweep agent {view.sweep}` works on it",
)
stop_command = _control(
    "stop",
    "Start no new runs of sweep ID and let running ones finish; then the sweep has ended.",
    e.StopRequested,
    lambda view: "has ended" if view.state == "ended" else "ends when its running runs do",
)
cancel_command = _control(
    "cancel",
    "Start no new runs of sweep ID and end running ones (SIGTERM, then SIGKILL after limits.kill_after).",
    e.CancelRequested,
    lambda view: "has ended" if view.state == "ended" else "is ending its runs",
)
