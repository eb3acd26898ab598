"""What all commands share: the store, IDs, JSON output, and errors as one line."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from sweep.cli.main import UserMistake
from sweep.stores import Store, open_store

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

store_option = click.option(
    "--store",
    "store_url",
    envvar="SWEEP_STORE",
    metavar="URL",
    help="Where sweeps are recorded: sqlite:///path (default: .sweep/store.db in the project folder) or redis://host. Also: SWEEP_STORE.",
)
file_argument = click.argument("file", type=click.Path(path_type=Path))
yes_option = click.option("-y", "--yes", is_flag=True, help="Do it without asking.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def command(
    name: str, example: str, group: click.Group | None = None
) -> Callable[[Callable[..., Any]], click.Command]:
    """A click command called `name`, one of `group`'s if it is given, whose help ends with an example."""

    def make(function: Callable[..., Any]) -> click.Command:
        made = click.command(name, epilog=f"\b\nExample:\n  {example}")(_one_line_errors(function))
        if group is not None:
            group.add_command(made)
        return made

    return make


def _one_line_errors(function: F) -> F:
    """What a person must mend comes as one line and exit code 2."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            message = _in_words(error)
            if message is None:
                raise
            raise UserMistake(message) from None

    return wrapped  # type: ignore[return-value]


def _in_words(error: Exception) -> str | None:
    """What to say about a person's mistake; None when the mistake is ours. Only here do commands pay for these imports."""
    from sweep.api import BadExport
    from sweep.core.errors import SweepError
    from sweep.spec import SpecError

    if isinstance(error, SpecError):
        click.echo(str(error), err=True)
        count = len(error.problems)
        return f"{count} problem{'s' if count > 1 else ''}; nothing was recorded"
    return str(error) if isinstance(error, SweepError | BadExport) else None


_kept: list[Any] = []


def kept(value: T) -> T:
    """The same, which is never taken apart: of thousands of runs that costs as much as reading them, in a process that is about to
    end."""
    _kept[:] = [value]
    return value


@contextmanager
def opened(store_url: str | None, create: bool = False) -> Iterator[Store]:
    """The store that the options name, closed at the end."""
    store = open_store(store_url, Path.cwd(), create=create)
    try:
        yield store
    finally:
        store.close()


def print_json(value: Any, *, finite: bool = False) -> None:
    """JSON for programs: numbers that are not finite as strings."""
    click.echo(json_text(value, ascii_only=not speaks_utf8(), finite=finite))


def print_json_list(parts: Iterable[list[Any]]) -> None:
    """`print_json` of one list that comes in parts, none of them empty, without numbers that are not finite. Structs are written as
    maps."""
    utf8, begin = speaks_utf8(), b"["
    for part in parts:
        if utf8 and (data := _json_bytes(part)) is not None:
            sys.stdout.flush()
            sys.stdout.buffer.write(begin + data[1:-2])
        else:
            import msgspec

            plain = msgspec.to_builtins(part)
            click.echo(begin.decode() + json_text(plain, ascii_only=not utf8, finite=True)[1:-2], nl=False)
        begin = b","
    click.echo("[]" if begin == b"[" else "\n]")


def json_text(value: Any, *, ascii_only: bool, finite: bool = False) -> str:
    """As `json.dumps(…, indent=2)` writes it, which is ten times slower; numbers that are not finite as strings.
    `finite`: there are none."""
    import json

    import msgspec

    if finite and not ascii_only and (data := _json_bytes(value)) is not None:
        return data.decode()
    try:
        text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:  # not finite, or nested in itself
        text = json.dumps(_finite(value), ensure_ascii=ascii_only, allow_nan=False)
    try:
        return msgspec.json.format(text.encode(), indent=2).decode()
    except (msgspec.DecodeError, UnicodeEncodeError):  # text that is no Unicode
        return json.dumps(_finite(value), indent=2, ensure_ascii=ascii_only)


def _json_bytes(value: Any) -> bytes | None:
    """A value without numbers that are not finite; None for what only something slower can say."""
    import msgspec

    try:
        return msgspec.json.format(msgspec.json.encode(value), indent=2)
    except (ValueError, TypeError, OverflowError):
        return None


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "nan" if value != value else "inf" if value > 0 else "-inf"
    return value


def speaks_utf8() -> bool:
    """Whether standard output takes every character."""
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def confirmed(question: str, yes: bool) -> bool:
    """Whether to go on: with `--yes`, or when the person at the terminal says so. Raises UserMistake where nobody can be
    asked."""
    if yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise UserMistake(
            "nobody can be asked here (no terminal): say --yes to do it, or --dry-run to see it"
        )
    if click.confirm(question, err=True):
        return True
    click.echo("nothing was changed", err=True)
    return False


def who() -> str:
    """The person at the terminal, for the record."""
    return os.environ.get("USER") or os.environ.get("LOGNAME") or ""
