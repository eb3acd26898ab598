"""The address of a Redis store: what its URL means, and how it is shown.

The rule of this file: a password goes into `Address.password` and nowhere else. Whatever is shown, stored or raised names the
address as `shown` does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from sweep.stores.base import StoreError

PORT = 6379

_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "password_file")
_CHOICES = {
    "ssl_cert_reqs": ("required", "none"),
    "ssl_check_hostname": ("true", "false"),
}
_FORMS = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], rediss://… for TLS, or unix:///path/of/socket[?db=DATABASE]"


class Address(NamedTuple):
    """Where a Redis server is, and as whom to speak to it."""

    host: str
    port: int
    path: str
    """Of a unix socket; empty for TCP."""
    db: int
    user: str
    password: str
    tls: dict[str, str] | None
    """redis-py's options for TLS; None without TLS."""
    shown: str
    """The URL without a password."""


def shown(url: str) -> str:
    """`url` without its password and options (but for the database), also one that is not well formed."""
    database = re.search(r"[?&](db=\d+)", url)
    without = re.sub(r"(?<=//)([^/@?#]*:)?[^/@?#]*(?:/[^@?#]*)*@", _user_only, url, count=1)
    return re.sub(r"[?#].*", "", without, flags=re.S) + (f"?{database[1]}" if database else "")


def _user_only(match: re.Match[str]) -> str:
    user = (match[1] or "").rstrip(":")
    return f"{user}@" if user else ""


def parse(url: str, cwd: Path) -> Address:
    """What `url` means; files in it are found from the folder `cwd`. Raises StoreError."""
    try:
        parts = urlsplit(url)
        port = parts.port or PORT
        given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:  # which may name the password
        raise StoreError(
            f"{shown(url)}: this is no address of a Redis server; use {_FORMS} (in a password, write / as %2F, @ as %40, : as %3A)"
        ) from None
    options = _options(url, given, cwd)
    local = parts.scheme == "unix"
    if local and not parts.path.strip("/"):
        raise StoreError(f"{shown(url)}: this names no socket; use unix:///path/of/socket")
    if parts.fragment:
        raise StoreError(f"{shown(url)}: `#` must be written %23 in an address; use {_FORMS}")
    password = unquote(parts.password or "") or _from_file(url, options.pop("password_file", ""))
    return Address(
        host=parts.hostname or "localhost",
        port=port,
        path=unquote(parts.path) if local else "",
        db=_database(url, given.get("db", "") if local else parts.path.strip("/") or given.get("db", "")),
        user=unquote(parts.username or ""),
        password=password,
        tls=options if parts.scheme == "rediss" else None,
        shown=shown(url),
    )


def from_anywhere(url: str, cwd: Path) -> str:
    """`url`, which `parse` has taken, with the files that it names as seen from any folder."""
    head, mark, query = url.partition("?")
    named = [
        (name, str(cwd / Path(value).expanduser()) if name in _FILES else value)
        for name, value in parse_qsl(query, keep_blank_values=True)
    ]
    return f"{head}{mark}{urlencode(named, safe='/')}"


def _options(url: str, given: dict[str, str], cwd: Path) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in given.items():
        if name == "db":
            continue
        if name == "password":
            raise StoreError(
                f"{shown(url)}: write the password before the host (redis://USER:PASSWORD@HOST), or name a file that holds "
                "it: ?password_file=PATH"
            )
        if name in _FILES:
            options[name] = str(cwd / Path(value).expanduser())
        elif name in _CHOICES and value in _CHOICES[name]:
            options[name] = value
        elif name in _CHOICES:
            raise StoreError(f"{shown(url)}: {name} must be {' or '.join(_CHOICES[name])}, not {value!r}")
        else:
            known = ", ".join(sorted([*_FILES, *_CHOICES, "db"]))
            raise StoreError(
                f"{shown(url)}: there is no option {name!r} of a Redis address; there are {known}"
            )
    if url.lower().startswith("rediss:"):
        _check_files(url, options)
    elif any(name.startswith("ssl_") for name in options):
        raise StoreError(
            f"{shown(url)}: options that begin with ssl_ need TLS: write rediss:// in place of redis://"
        )
    return options


def _check_files(url: str, options: dict[str, str]) -> None:
    for name, value in options.items():
        if name.startswith("ssl_") and name in _FILES and not Path(value).is_file():
            raise StoreError(f"{shown(url)}: {name} names no file: {value}")


def _from_file(url: str, path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise StoreError(f"{shown(url)}: the password cannot be read from {path}: {reason}") from None


def _database(url: str, number: str) -> int:
    if number and not number.isdigit():
        raise StoreError(f"{shown(url)}: a database is named by its number: redis://HOST:PORT/0")
    return int(number or 0)
