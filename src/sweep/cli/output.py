"""`sweep logs`: a run's output, from its file where that is on this machine, else from what the store keeps of it."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click

from sweep.api import load_run, load_views
from sweep.api.choosing import find_one
from sweep.api.results import look_at_runs
from sweep.cli.common import command, opened, store_option, who
from sweep.cli.main import UserMistake
from sweep.core.names import output_cache, run_id, whole_output_cache
from sweep.core.rows import SPEC_KEY, decode_spec
from sweep.core.views import AttemptView, RunView
from sweep.stores import Store
from sweep.stores.output import Reader
from sweep.stores.whole import WholeError, read_whole

FOLLOW_S = 0.2


@command("logs", "sweep logs latest-3 -f")
@click.argument("run", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the run has ended.")
@click.option("--attempt", type=click.IntRange(1), help="Of this attempt (default: the last).")
@store_option
def logs_command(run: str, follow: bool, attempt: int | None, store_url: str | None) -> None:
    """Print what RUN has written to standard output and standard error.

    On another machine than the run's, that is what the store keeps: the first 16 KB and the last 112 KB of each attempt, at most a
    second or two behind; all of it, once the attempt has ended, where the spec's `outputs` says where it is put.
    """
    with opened(store_url) as store:
        sweep, number = find_one(store, run)
        spoken = Spoken(store, sweep, number, "logs")
        chosen = _log_attempt(load_run(store, sweep, number), attempt)
        source = source_of(store, sweep, number, chosen)
        some = _print(source, spoken)
        if not some and not follow:
            if isinstance(source, Reader) and chosen.host in ("", socket.gethostname()):
                raise UserMistake(_elsewhere(chosen))
            where = (
                "" if not isinstance(source, Reader) else f" that the store knows of ({_elsewhere(chosen)})"
            )
            click.echo(f"run {run_id(sweep, number)} has printed nothing{where}", err=True)
        while follow and load_run(store, sweep, number).attempts[chosen.attempt - 1].outcome is None:
            time.sleep(FOLLOW_S)
            _print(source, spoken)
        _print(source, spoken)


def _log_attempt(view: RunView, attempt: int | None) -> AttemptView:
    if not view.attempts:
        raise UserMistake(f"run {view.id} has not started yet")
    if attempt is not None and attempt > len(view.attempts):
        raise UserMistake(f"run {view.id} has {len(view.attempts)} attempts")
    return view.attempts[attempt - 1 if attempt else -1]


class _File:
    """An output file that grows."""

    def __init__(self, path: Path) -> None:
        self._path, self._position = path, 0

    def read(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self._position)
            while data := file.read(1 << 16):
                self._position = file.tell()
                yield data


class _Whole:
    """A whole output that was brought elsewhere. What cannot be had of it is taken from the store."""

    def __init__(self, address: str, kept: Reader) -> None:
        self._address, self._kept, self._some = address, kept, False

    def read(self) -> Iterator[bytes]:
        if self._some:  # its attempt has ended: nothing comes after it
            return
        try:
            for data in read_whole(self._address):
                self._some = True
                yield data
        except WholeError as error:
            click.echo(f"{error}; what follows is what the store keeps of it", err=True)
            self._some = True
            yield from self._kept.read()


def source_of(store: Store, sweep: str, run: int, attempt: AttemptView) -> _File | _Whole | Reader:
    """Where an attempt's output is to be had. Raises UserMistake when it never can be."""
    if not attempt.folder:
        if attempt.outcome is not None:
            raise UserMistake("it has no output: its process never started")
    elif (path := Path(attempt.folder) / f"output-{attempt.attempt}.log").is_file():
        return _File(path)
    kept = Reader(lambda place: store.get_cache(sweep, output_cache(run, attempt.attempt, place)))
    if whole := store.get_cache(sweep, whole_output_cache(run, attempt.attempt)):
        return _Whole(whole.decode("utf-8", "surrogateescape"), kept)
    return kept


def _elsewhere(attempt: AttemptView) -> str:
    path = f"{attempt.folder}/output-{attempt.attempt}.log"
    return (
        f"its output is not on this machine, but on {attempt.host}: {path}"
        if attempt.folder
        else "not started"
    )


class Spoken:
    """Output that a person sees: where it names the spec's `report_metric`, that counts as a look at it."""

    def __init__(self, store: Store, sweep: str, run: int, command: str) -> None:
        self._store, self._sweep, self._run, self._command = store, sweep, run, command
        row = store.read_index(sweep, SPEC_KEY).rows.get(SPEC_KEY)
        metric = None if row is None else decode_spec(row).spec.get("report_metric")
        self._name = metric.encode("utf-8", "surrogateescape") if isinstance(metric, str) else b""
        self._end = b""

    def hear(self, data: bytes) -> None:
        """So much more of it."""
        if not self._name:
            return
        text = self._end + data
        if self._name in text:
            self._name = b""
            views = load_views(self._store, self._sweep, (self._run,))
            look_at_runs(self._store, self._sweep, views.spec, views.runs, self._command, who())
        self._end = text[-len(self._name) :] if self._name else b""


def _print(source: _File | _Whole | Reader, spoken: Spoken) -> bool:
    """Print what has come since the last time; whether there was anything."""
    out, some = sys.stdout.buffer, False
    for data in source.read():
        out.write(data)
        spoken.hear(data)
        some = True
    out.flush()
    return some
