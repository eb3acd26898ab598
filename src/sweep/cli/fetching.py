"""`sweep fetch`: a run's checkpoint out of the store into a folder, or its output into a file."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import click

from sweep.api.choosing import find_one
from sweep.cli.common import command, opened, store_option
from sweep.cli.main import UserMistake
from sweep.core.names import run_id
from sweep.stores import Store


@command("fetch", "sweep fetch best --out model")
@click.argument("run", metavar="RUN")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Write it into this folder, which must be empty or not exist; with --output into this file, which must not.",
)
@click.option(
    "--output",
    is_flag=True,
    help="What the run has printed, of its last attempt, in place of its checkpoint.",
)
@store_option
def fetch_command(run: str, out: Path, output: bool, store_url: str | None) -> None:
    """Write what the store keeps of RUN's checkpoint folder (`checkpoints: store` in the spec) into a folder of this machine.

    RUN may also be `best` or `ID-best`. While the run is at work, that is what was kept last.
    """
    if output:
        with opened(store_url) as store:
            _fetch_output(store, *find_one(store, run), out)
        return
    from sweep.api import load_run
    from sweep.provenance import TreeError, checkpoint
    from sweep.stores.pointers import kept_copies

    place = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserMistake(f"{out} is there already, and not an empty folder: name another one")
    with opened(store_url) as store:
        sweep, number = find_one(store, run)
        name = run_id(sweep, number)
        kept = next(kept_copies(store, sweep, number, load_run(store, sweep, number).attempt), None)
        if kept is None:
            raise UserMistake(
                f"the store keeps no checkpoint of run {name}: it has written none, the spec does not say "
                "`checkpoints: store`, or `sweep gc` has freed it"
            )
        attempt, digest = kept
        new = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            for _ in checkpoint.write(digest, name, store.get_blob, new):
                pass
            new.rename(place)  # also onto an empty folder
        except TreeError as error:
            raise UserMistake(f"run {name}: {error}") from None
        except OSError as error:
            raise UserMistake(f"cannot write {out}: {error.strerror or error}") from None
        finally:
            shutil.rmtree(new, ignore_errors=True)
    files = sum(path.is_file() for path in out.rglob("*"))
    click.echo(
        f"the checkpoint of run {name}, attempt {attempt}: {files} file{'s' if files != 1 else ''}", err=True
    )
    click.echo(str(out))


def _fetch_output(store: Store, sweep: str, number: int, out: Path) -> None:
    """All that `sweep logs` would print."""
    from sweep.api import load_run
    from sweep.cli.output import Spoken, source_of

    view = load_run(store, sweep, number)
    if not view.attempts:
        raise UserMistake(f"run {view.id} has not started yet")
    source, spoken = source_of(store, sweep, number, view.attempts[-1]), Spoken(store, sweep, number, "fetch")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("xb") as file:
            for part in source.read():
                file.write(part)
                spoken.hear(part)
            size = file.tell()
    except FileExistsError:
        raise UserMistake(f"{out} is there already: name another file") from None
    except OSError as error:
        raise UserMistake(f"cannot write {out}: {error.strerror or error}") from None
    click.echo(f"the output of run {view.id}, attempt {view.attempt}: {size:,} bytes", err=True)
    click.echo(str(out))
