"""`sweep report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sweep.api import find_sweep
from sweep.cli.common import command, json_option, opened, print_json, store_option, who
from sweep.cli.exporting import write_file
from sweep.cli.main import UserMistake

FORMATS = {"html": "html", "md": "md", "markdown": "md"}


@command("report", "sweep report latest --format html,md")
@click.argument("sweep_id", metavar="ID")
@click.option(
    "--format", "formats", metavar="html,md", help="What to write (default: what -o ends in, else html)."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    metavar="FILE",
    help="Where to write it; - for standard output (default: report.html in the folder sweep-ID, which git ignores).",
)
@store_option
@json_option
def report_command(
    sweep_id: str, formats: str | None, out: Path | None, store_url: str | None, as_json: bool
) -> None:
    """Write the report on sweep ID: one document with its question, space, method, results, compute, environment, the commands that
    reproduce it, and the reproducibility checklist with the evidence for each item.

    It says nothing that the record does not show; what only the author knows stands below `about:` in the spec.
    Showing `report_metric` is recorded as a look at it.
    """
    wanted = _formats(formats, out)
    if str(out) == "-" and (len(wanted) > 1 or as_json):
        raise UserMistake("standard output takes one document: say --format html or --format md")
    with opened(store_url) as store:
        from sweep.analysis.report import checklist, report
        from sweep.api.reporting import gather

        sweep = find_sweep(store, sweep_id)
        facts = gather(store, sweep, pictures="html" in wanted, by=who())
    texts = {kind: _render(report(facts), kind) for kind in wanted}
    if str(out) == "-":
        click.echo(texts[wanted[0]], nl=False)
        return
    paths = [
        _write(_path(out, sweep, kind, len(wanted)), content, out is None) for kind, content in texts.items()
    ]
    items = checklist(facts)
    if as_json:
        print_json(
            {
                "id": sweep,
                "files": [str(path) for path in paths],
                "checklist": [_item(item) for item in items],
            }
        )
        return
    for path in paths:
        click.echo(str(path))
    counts = [
        f"{sum(item.evidence == kind for item in items)} {kind}" for kind in ("complete", "partial", "none")
    ]
    click.echo(f"checklist: evidence for {len(items)} items: {', '.join(counts)}", err=True)
    asked = [item.asked.split(":")[0] for item in items if item.asked]
    if asked:
        click.echo(
            f"only you know these, in the spec (sweep edit {sweep} sweep.yaml): {', '.join(asked)}", err=True
        )


def _formats(text: str | None, out: Path | None) -> list[str]:
    if text is None:
        ending = out.suffix.lower().lstrip(".") if out is not None else ""
        return ["md" if ending in ("md", "markdown") or str(out) == "-" else "html"]
    asked = [part.strip() for part in text.split(",") if part.strip()]
    if not asked or any(part not in FORMATS for part in asked):
        raise UserMistake(f"--format takes html and md, separated by commas, not {text!r}")
    return list(dict.fromkeys(FORMATS[part] for part in asked))


def _render(document: Any, kind: str) -> str:
    if kind == "html":
        from sweep.analysis.report.page import to_html

        return to_html(document)
    from sweep.analysis.report.markdown import to_markdown

    return to_markdown(document)


def _path(out: Path | None, sweep: str, kind: str, count: int) -> Path:
    if out is None:
        return Path(f"sweep-{sweep}") / f"report.{kind}"
    return out.with_suffix(f".{kind}") if count > 1 else out


def _write(path: Path, content: str, own: bool) -> Path:
    try:
        if own:  # a folder of our own making: no code, which the next sweep would record
            path.parent.mkdir(exist_ok=True)
            (path.parent / ".gitignore").write_text("*\n")
    except OSError as error:
        raise UserMistake(f"cannot write {path}: {error.strerror or error}") from None
    write_file(path, content.encode("utf-8", "replace"))
    return path


def _item(item: Any) -> dict[str, Any]:
    return {
        "number": item.number,
        "item": item.title,
        "evidence": item.evidence,
        "answer": "".join(
            part if isinstance(part, str) else getattr(part, "text", "") for part in item.answer
        ),
        "sources": list(item.sources),
        "asked": item.asked,
    }
