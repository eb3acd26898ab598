"""`sweep fetch`: a run's checkpoint out of the store, into a folder."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import click

from sweep.api.choosing import find_one
from sweep.cli.common import command, opened, store_option
from sweep.cli.main import UserMistake
from sweep.core.names import run_id


@command("fetch", "sweep fetch best --out model")
@click.argument("run", metavar="RUN")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Write it into this folder, which must be empty or not exist.",
)
@store_option
def fetch_command(run: str, out: Path, store_url: str | None) -> None:
    """Write what the store keeps of RUN's checkpoint folder (`checkpoints: store` in the spec) into a folder of this machine.

    RUN may also be `best` or `ID-best`. While the run is at work, that is what was kept last.
    """
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
