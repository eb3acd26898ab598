"""`sweep agent --detach`: an agent without a terminal, with a log of its own.

The rule of this file: the person gets the prompt back only when the agent has joined the sweep. Whatever keeps it from that is
said on the terminal, with the exit code that the agent would have had.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from sweep.api.places import AGENTS, store_folder
from sweep.cli.main import UserMistake
from sweep.stores import Store, address_of

ENOUGH_S = 300.0
"""An agent that its starter's end has not made leave after so long is killed; its guard then ends what is left."""


def detach(store: Store, sweeps: Sequence[str], options: Sequence[str]) -> int:
    """Start `sweep agent` with these options in the background, wait until it has joined, and print its ID. The exit code."""
    if store.url == "memory:":
        raise UserMistake("an agent in the background needs a store in a file, not memory:")
    folder = store_folder(store) / AGENTS
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = folder / f"starting-{secrets.token_hex(4)}.log"
    reader, writer = os.pipe()
    try:
        words = ["agent", *sweeps, *options, "--announce-to", str(writer), "--log-file", str(log)]
        child = in_background(words, address_of(store), log, writer)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            agent = pipe.readline().strip()
    except BaseException:
        child.terminate()
        raise
    if not agent:
        return _failed(child, log)
    which = f"sweep {sweeps[0]}" if len(sweeps) == 1 else "several sweeps"
    listing = f"sweep agents {sweeps[0]}" if len(sweeps) == 1 else "sweep agents"
    click.echo(f"agent {agent} works on {which} in the background (process {child.pid})", err=True)
    click.echo(f"  its log    {folder / agent}.log", err=True)
    click.echo(f"  see it     {listing}", err=True)
    click.echo(f"  end it     sweep agents --end {agent}", err=True)
    click.echo(agent)
    child.returncode = 0  # it goes on without us
    return 0


def in_background(words: Sequence[str], address: str, log: Path, writer: int) -> subprocess.Popen[bytes]:
    """Start the command `sweep WORDS…` without a terminal, on the store at `address`; it says everything in `log`, a new file, and may
    write to the descriptor `writer`."""
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "sweep", *words],  # -P: a file sweep.py in this folder is not us
            env={**os.environ, "SWEEP_STORE": address},  # not an argument: everybody may read those
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(writer,),
            start_new_session=True,
        )


def _failed(child: subprocess.Popen[bytes], log: Path) -> int:
    code = child.wait()
    click.echo(log.read_text("utf-8", "replace"), nl=False, err=True)
    log.unlink(missing_ok=True)
    return code if code >= 0 else 1


def announcer(fd: int, log: Path) -> Callable[[str], None]:
    """What an agent in the background does when it joins: its log gets its name, and whoever started it is told. When it
    has to join anew, the log can be found under that name as well."""
    waiting = [fd]
    current = [log]

    def joined(agent: str) -> None:
        place = log.with_name(f"{agent}.log")
        if not waiting:
            place.symlink_to(current[0].name)
            return
        log.rename(place)
        current[0] = place
        os.set_inheritable(waiting[0], False)
        with os.fdopen(waiting.pop(), "w") as pipe:
            pipe.write(f"{agent}\n")

    return joined


def leave_with_stdin() -> None:
    """From now on this process ends its runs and leaves when its standard input closes: whoever started it is gone. Signals that
    were blocked there (SIGINT is in Ray's processes) are not blocked here."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(ENOUGH_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="leave-with-stdin", daemon=True).start()
