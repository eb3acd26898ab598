"""`sweep tag` and `sweep note`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from sweep.api import find_either, load_views
from sweep.api.annotating import LONGEST_NOTE, Annotation, annotate, annotation
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.core.names import run_id


@command("tag", "sweep tag latest-3 good --remove unsure")
@click.argument("name", metavar="ID|RUN")
@click.argument("tags", metavar="[NAME]...", nargs=-1)
@click.option("--remove", multiple=True, metavar="NAME", help="Take this tag away.")
@store_option
@json_option
def tag_command(
    name: str, tags: Sequence[str], remove: Sequence[str], store_url: str | None, as_json: bool
) -> None:
    """Tag a sweep ID, or one RUN, with each NAME. Without any, print its tags.

    `sweep ls --tag NAME` and `sweep runs ID --filter "'NAME' in tags"` find them again.
    """
    with opened(store_url) as store:
        sweep, run = find_either(store, name)
        if tags or remove:
            found = annotate(store, sweep, run, add=tags, remove=remove, by=who())
        else:
            found = annotation(load_views(store, sweep), run)
    if as_json:
        print_json(_record(sweep, run, found))
    elif found.tags:
        click.echo("\n".join(found.tags))
    else:
        click.echo(f"{_name(sweep, run)} has no tags", err=True)


@command("note", 'sweep note latest-3 "diverges after step 900"')
@click.argument("name", metavar="ID|RUN")
@click.argument("text", required=False)
@store_option
@json_option
def note_command(name: str, text: str | None, store_url: str | None, as_json: bool) -> None:
    """Write TEXT as the note of a sweep ID, or of one RUN, in place of an older one. Without TEXT, print the note.

    TEXT - reads standard input; an empty TEXT removes the note.
    """
    with opened(store_url) as store:
        sweep, run = find_either(store, name)
        if text == "-":
            text = _from_stdin()
        if text is None:
            found = annotation(load_views(store, sweep), run)
        else:
            found = annotate(store, sweep, run, note=text, by=who())
    if as_json:
        print_json(_record(sweep, run, found))
    elif text is not None:
        click.echo(f"{_name(sweep, run)}: {'noted' if text else 'the note is gone'}", err=True)
    elif found.note:
        click.echo(found.note)
    else:
        click.echo(f"{_name(sweep, run)} has no note", err=True)


def _from_stdin() -> str:
    """What is piped in, up to a little more than a note may hold; nothing where standard input is closed."""
    data = sys.stdin.buffer.read(8 * LONGEST_NOTE) if sys.stdin is not None else b""
    return data.decode("utf-8", "replace").strip()


def _name(sweep: str, run: int | None) -> str:
    return f"sweep {sweep}" if run is None else f"run {run_id(sweep, run)}"


def _record(sweep: str, run: int | None, found: Annotation) -> dict[str, object]:
    name = sweep if run is None else run_id(sweep, run)
    return {"id": name, "tags": list(found.tags), "note": found.note}
