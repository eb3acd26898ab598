"""`sweep runs` into a file, as Parquet, or with all logged rows (`--history`)."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from sweep.analysis.columns import Column, history_columns, rows_of, run_columns
from sweep.analysis.comma import to_csv
from sweep.analysis.history import History
from sweep.analysis.records import Record, to_json
from sweep.analysis.tabular import MissingExtra, write_parquet
from sweep.analysis.text import padded
from sweep.cli.common import opened
from sweep.cli.main import UserMistake
from sweep.core.rows import Views

FORMATS = ("csv", "json", "parquet")


def export_runs(
    store_url: str | None,
    views: Views,
    records: Sequence[Record],
    how: str,
    history: bool,
    out: Path | None,
    usage: bool = False,
) -> None:
    """Write these runs, or with `history` every row that they logged, to `out` or standard output. `how`: table, csv,
    json or parquet; a table that goes into a file is what the file's name ends in. `usage`: with columns of what they used."""
    how = _format_of(out) if how == "table" and out is not None else how
    if how == "parquet" and out is None and sys.stdout.isatty():
        raise UserMistake(
            "Parquet is not for terminals; name a file: -o runs.parquet (or send the output on: > FILE)"
        )
    data = _encode(_history(store_url, views, records) if history else None, records, how, usage)
    if out is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    write_file(out, data)
    written = f"{len(records):,} run{'s' if len(records) != 1 else ''}"
    click.echo(f"{out}: {'all rows of ' if history else ''}{written} as {how}", err=True)


def _format_of(out: Path) -> str:
    """What the name of a file asks for."""
    ending = out.suffix.lower().lstrip(".")
    if ending in FORMATS:
        return ending
    raise UserMistake(
        f"{out}: which format? Say --format csv, json or parquet, or let the name end in .csv, .json or .parquet"
    )


def _history(store_url: str | None, views: Views, records: Sequence[Record]) -> list[Column]:
    by_number = {view.run: view for view in views.runs}
    with opened(store_url) as store:
        return history_columns(
            (by_number[row["run"]], History.from_chunks(store.read_history(row["sweep"], row["run"])))
            for row in records
        )


def _encode(history: list[Column] | None, records: Sequence[Record], how: str, usage: bool) -> bytes:
    if how == "parquet":
        buffer = io.BytesIO()
        try:
            write_parquet(run_columns(records, usage) if history is None else history, buffer)
        except MissingExtra as error:
            raise UserMistake(str(error)) from None
        return buffer.getvalue()
    if how == "json":
        return json_lines(records if history is None else rows_of(history)).encode("ascii")
    if history is None:
        return to_csv(records, usage).encode("utf-8", "backslashreplace")
    text = _csv(history) if how == "csv" else _table(history)
    return text.encode("utf-8", "backslashreplace")


def json_lines(rows: Iterable[dict[str, Any]]) -> str:
    """A JSON list with one row per line: millions of rows need no second copy."""
    return "[" + ",\n ".join(json.dumps(to_json(row)) for row in rows) + "]\n"


def _csv(columns: Sequence[Column]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(column.name for column in columns)
    writer.writerows(zip(*(column.values for column in columns), strict=True))
    return out.getvalue()


def _table(columns: Sequence[Column]) -> str:
    texts = [[column.name, *map(_cell, column.values)] for column in columns]
    return "".join(f"{line}\n" for line in padded(list(zip(*texts, strict=True))))


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def write_file(out: Path, data: bytes) -> None:
    """At once or not at all."""
    temporary = out.with_name(f".{out.name}.part")
    try:
        temporary.write_bytes(data)
        temporary.replace(out)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserMistake(f"cannot write {out}: {error.strerror or error}") from None
