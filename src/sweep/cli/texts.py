"""Values, configs, times and tables as text, for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import repeat
from typing import Any

import click


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Columns as wide as they need to be, two spaces apart."""
    columns = [list(map(str, column)) for column in zip(*rows, strict=True)] or [[] for _ in header]
    print_columns(header, columns, indent)


def print_columns(header: Sequence[str], columns: Sequence[list[str]], indent: str = "") -> None:
    """The same of whole columns, which is faster for many rows."""
    whole = [[head, *column] for head, column in zip(header, columns, strict=True)]
    padded = [map(str.ljust, column, repeat(max(map(len, column)))) for column in whole]
    lines = map(str.rstrip, map("  ".join, zip(*padded, strict=True)))
    click.echo("\n".join(lines if not indent else (indent + line for line in lines)))


def number_text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def number_texts(values: list[Any]) -> list[str]:
    """`number_text` of each."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return list(map("{:.6g}".format, values))
    if kinds == {int}:
        return list(map(str, values))
    return values if kinds == {str} else list(map(number_text, values))


def local_text(at_s: float) -> str:
    return datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M:%S")


def flat_config(config: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    items: list[tuple[str, Any]] = []
    for key, value in config.items():
        items += flat_config(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return items


def print_map(title: str, values: dict[str, Any]) -> None:
    if values:
        click.echo(f"  {title}")
        width = max(len(name) for name in values)
        for name, value in values.items():
            click.echo(f"    {name:<{width}}  {' '.join(number_text(value).split())}")


def config_text(config: dict[str, Any], limit: int) -> str:
    """`lr=0.01 optimizer.name=sgd`, cut to `limit` characters."""
    text = " ".join(f"{name}={_value(value)}" for name, value in flat_config(config))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def duration_text(seconds: float) -> str:
    """`0.8 s`, `45 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 100:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
