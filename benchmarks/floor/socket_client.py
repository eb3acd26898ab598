"""The floor: what anybody would write in fifty lines. Standard library, a unix socket, one JSON line per report."""

import atexit
import os
import socket

_connection = None


def init(path=None):
    """Connect and say which run this is."""
    global _connection
    _connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    _connection.connect(path or os.environ["SWEEP_SOCKET"])
    run = os.environ.get("SWEEP_RUN_ID", "")
    _connection.sendall(f'{{"op":"hello","run":"{run}","pid":{os.getpid()}}}\n'.encode())
    atexit.register(finish)


def _text(value):
    if isinstance(value, (float, int)):
        return repr(value)
    import json

    return json.dumps(value)


def report(step, **metrics):
    """One row. Formatted by hand: `json` is slow to import, and several times slower for one line."""
    body = ",".join(f'"{name}":{_text(value)}' for name, value in metrics.items())
    _connection.sendall(f'{{"s":{step},"m":{{{body}}}}}\n'.encode())


def finish():
    """Say that this was all."""
    global _connection
    if _connection is not None:
        _connection.sendall(b'{"op":"end"}\n')
        _connection.close()
        _connection = None
