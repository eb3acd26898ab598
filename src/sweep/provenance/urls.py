"""Addresses without anything that could be a password.

A token can stand as the user name, as the password, in the query, or (wrongly quoted) where a parser does not look for
it. So nothing here tries to keep a harmless user name: all of it goes, also from addresses that are not valid.
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
_HELPER = re.compile(r"^[A-Za-z0-9+.-]+::")
_PORT = re.compile(r"^(\[[^\]]*\]|[^:]*)(:\d*)?$")
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s\"'<>]+")


def strip_user_info(url: str) -> str:
    """`url` without user, password, query and fragment: `https://token@host/x?key=1` gives `https://host/x`,
    `git@host:x` gives `host:x`. Paths of this machine are returned as they are."""
    url = url.strip()
    if helper := _HELPER.match(url):
        return helper.group() + strip_user_info(url[helper.end() :])
    scheme = _SCHEME.match(url)
    if scheme is None:
        return url if url.startswith(("/", ".", "~")) else _after_user(url)
    rest = re.split(r"[?#]", _after_user(url[scheme.end() :]), maxsplit=1)[0]
    return scheme.group() + rest


def strip_urls(text: str) -> str:
    """`text` with `strip_user_info` applied to every address in it."""
    return _URL_IN_TEXT.sub(lambda match: strip_user_info(match.group()), text)


def _after_user(rest: str) -> str:
    """What follows the user info. `rest` is an address without its scheme."""
    authority, slash, path = rest.partition("/")
    host = authority.rpartition("@")[2]
    # "user:pa/ss@host": an unquoted slash in a password. Only then is an @ in the path not just a part of a name.
    if "@" in path and not _PORT.match(host):
        return path.rpartition("@")[2]
    return host + slash + path
