"""`sweep log loss=0.3 step=4`: one row from a shell script, in a process of its own.

Such a row has no number; the agent gives it one. Also `python -m sweep.sdk.shell loss=0.3` where only the SDK is installed.
"""

# ruff: noqa: PTH118
# pathlib: importing it costs more than everything else here together.

from __future__ import annotations

import os
import sys
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket
from time import monotonic, sleep

from sweep.sdk._file import RowFile
from sweep.sdk._wire import LARGEST, quote, row_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LIMIT_S = 5.0
_USAGE = "usage: sweep log NAME=VALUE... [step=NUMBER], for example: sweep log loss=0.3 step=4"


class _Mistake(Exception):
    """What the person typed cannot be meant."""


def log_from_args(args: Sequence[str]) -> int:
    """Record `NAME=VALUE` words as one row of the run that this process belongs to. Returns the exit code.

    A value that reads as a number (also `nan`, `inf`) is one, anything else is text; `step=` is the row's step. Exit code 2
    for words that make no row. Trouble with the agent is said on standard error with exit code 0: it must not end a
    script under `set -e`. Without an agent the row is shown on standard error.
    """
    try:
        step, values = _parse(args)
    except _Mistake as mistake:
        sys.stderr.write(f"sweep log: {mistake}\n{_USAGE}\n")
        return 2
    row = "{" + ("" if step is None else f'"s":{step!r},') + row_text(values) + "}\n"
    local = os.environ.get("SWEEP_LOCAL_DIR")  # `sweep rerun` collects the rows there
    if not os.environ.get("SWEEP_RUN_ID") and local:
        _keep(os.path.join(local, "rows.jsonl"), row.encode())
        return 0
    if not os.environ.get("SWEEP_RUN_ID"):
        sys.stderr.write(f"sweep log: no agent started this script: {' '.join(args)}\n")
        return 0
    _deliver(row.encode(), os.environ)
    return 0


def _parse(args: Sequence[str]) -> tuple[float | None, dict[str, float | str]]:
    step: float | None = None
    values: dict[str, float | str] = {}
    for word in args:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise _Mistake(f"{word!r} is not NAME=VALUE")
        if name == "step":
            number = _number(text)
            if number is None or not -LARGEST <= number <= LARGEST:
                raise _Mistake(f"step must be a finite number, not {text!r}")
            step = number
        elif name in values:
            raise _Mistake(f"{name!r} is given twice")
        else:
            number = _number(text)
            values[name] = text if number is None else number
    if not values:
        raise _Mistake("there is nothing to log")
    return step, values


def _number(text: str) -> float | None:
    """`text` as an int or float, None when it is no number. `1_000` is text: only Python reads it as a number."""
    if "_" in text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _deliver(row: bytes, environ: Mapping[str, str]) -> None:
    """To the agent, or else to the file that it takes in when the run ends."""
    path = environ.get("SWEEP_SOCKET")
    try:
        if not path:
            raise OSError("SWEEP_SOCKET is not set")
        _send(path, _hello(environ) + row)
    except OSError as error:
        folder, attempt = environ.get("SWEEP_RUN_DIR", "."), environ.get("SWEEP_ATTEMPT", "1")
        file_path = os.path.join(folder, f"unsent-{attempt}.jsonl")
        _say(f"the agent cannot be reached ({error.strerror or error}); the values go to {file_path}")
        _keep(file_path, row)


def _keep(file_path: str, row: bytes) -> None:
    file = RowFile(file_path, _say)
    file.write(row)
    file.close()


def _say(text: str) -> None:
    sys.stderr.write(f"sweep log: {text}\n")


def _hello(environ: Mapping[str, str]) -> bytes:
    run, attempt = quote(environ["SWEEP_RUN_ID"]), int(environ.get("SWEEP_ATTEMPT", "1"))
    return f'{{"op":"hello","run":{run},"attempt":{attempt},"pid":{os.getpid()}}}\n'.encode()


def _send(path: str, lines: bytes) -> None:
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(_LIMIT_S)
        until = monotonic() + _LIMIT_S
        while True:
            try:
                connection.connect(path)
                break
            except BlockingIOError:  # the agent's backlog is full
                if monotonic() > until:
                    raise
                sleep(0.01)
        connection.sendall(lines)
        connection.shutdown(SHUT_WR)
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(log_from_args(sys.argv[1:]))
