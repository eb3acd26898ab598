"""`sweep store`: a Redis server of one's own, for sweeps on several machines."""

from __future__ import annotations

import signal
import subprocess
from functools import partial
from pathlib import Path

import click

from sweep.api import serving as api
from sweep.cli.common import command, json_option, print_json
from sweep.cli.main import UserMistake
from sweep.stores._place import default_path

_dir_option = click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where its data, password and log are (.sweep/redis in the project folder).",
)


@click.group("store")
def store_command() -> None:
    """A store that several machines share: a Redis server with a password, whose data are on this machine's disk."""


_add = partial(command, group=store_command)


@_add("serve", "sweep store serve --detach")
@click.option("--port", type=click.IntRange(1, 65535), help=f"The port it listens on ({api.PORT}).")
@click.option(
    "--bind", metavar="ADDRESS", help="The address of this machine that it listens on (all: 0.0.0.0)."
)
@click.option(
    "--appendfsync",
    type=click.Choice(["always", "everysec"]),
    help="always (default): what is recorded survives a power cut; everysec: faster, and loses up to two seconds in one.",
)
@click.option("--detach", is_flag=True, help="Go on in the background, and return when it is ready.")
@_dir_option
def serve_command(
    port: int | None, bind: str | None, appendfsync: str | None, detach: bool, folder: Path | None
) -> None:
    """Start a Redis server for sweeps on several machines, and print the line that the others need.

    What was given once is remembered: started again, it has the same sweeps, port and password. The password is in a file that
    only you can read; the printed address names that file, so a machine that shares your home folder needs nothing else.
    """
    changes = {"port": port, "bind": bind, "appendfsync": appendfsync}
    place = _place(folder)
    ready = api.prepare(place, {name: value for name, value in changes.items() if value is not None})
    if slow := api.slow_place(place):
        click.echo(f"note: {slow}", err=True)
    process = api.start(ready, detach=detach)
    click.echo(f"serving {place} on port {ready.settings.port} (process {process.pid})", err=True)
    click.echo(_whose(ready), err=True)
    click.echo(f"export SWEEP_STORE='{ready.url}'")
    if detach:
        click.echo("`sweep store stop` ends it", err=True)
        process.returncode = 0  # it goes on without us
        return
    _wait(process)


def _whose(serving: api.Serving) -> str:
    """Who is to type the line that follows."""
    bind = serving.settings.bind
    if bind == "localhost" or bind == "::1" or bind.startswith("127."):
        return f"type this here (it listens on {bind}, where no other machine reaches it; `--bind 0.0.0.0` lets them):"
    return "type this on the other machines, or write it where their shells read it:"


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Until the server has ended; Ctrl-C and SIGTERM end it, with everything on the disk."""
    asked = False

    def pass_on(number: int, frame: object) -> None:  # noqa: ARG001
        nonlocal asked
        asked = True
        process.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not asked:
        raise UserMistake(f"the server has ended by itself (exit {code}); see its log")
    click.echo("the server has ended; `sweep store serve` starts it again with all it has", err=True)


@_add("stop", "sweep store stop")
@_dir_option
def stop_command(folder: Path | None) -> None:
    """End the server that `sweep store serve` has started here. Agents wait until it is there again."""
    place = _place(folder)
    found = api.look(place)
    if found is None:
        raise UserMistake(f"nothing has been served from {place}; `sweep store serve` starts a server")
    ended = api.stop(found)
    click.echo("the server has ended" if ended else "no server is running", err=True)


@_add("status", "sweep store status --json")
@_dir_option
@json_option
def status_command(folder: Path | None, as_json: bool) -> None:
    """Show whether the server of this folder is running, and the line that other machines need."""
    place = _place(folder)
    found = api.look(place)
    if found is None:
        raise UserMistake(f"nothing has been served from {place}; `sweep store serve` starts a server")
    if as_json:
        facts = {"running": found.pid is not None, "pid": found.pid, "url": found.url, "dir": str(place)}
        print_json({**facts, "appendfsync": found.settings.appendfsync, "port": found.settings.port})
        return
    running = "not running" if found.pid is None else f"running (process {found.pid})"
    click.echo(
        f"{place}: {running}, port {found.settings.port}, appendfsync {found.settings.appendfsync}", err=True
    )
    click.echo(f"export SWEEP_STORE='{found.url}'")


def _place(folder: Path | None) -> Path:
    return (folder or default_path(Path.cwd()).parent / "redis").expanduser().resolve()
