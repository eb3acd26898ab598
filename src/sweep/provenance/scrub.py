"""Text without secrets: every string that a record takes from outside passes through here.

Three nets: the shapes of well-known tokens and `password=…` (`sweep.core.secrets`), the user info of addresses, and
the very values that stand in variables with secret-looking names, wherever else they turn up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import unquote

from sweep.core.secrets import REDACTED, find_tokens, harmless_value, looks_secret_name, redact
from sweep.provenance.urls import strip_urls

_MIN_KNOWN_LENGTH = 8
"""Shorter values of secret variables (`yes`, `root`) would be found everywhere by chance."""

# What the tokens that `find_tokens` knows begin with, in lower case. Looking for these first makes a scan many times as
# fast; a test draws examples from its patterns, so that none of them goes without a hint.
_BEGINNINGS = (
    *(
        b"ghp_",
        b"gho_",
        b"ghu_",
        b"ghs_",
        b"ghr_",
        b"github_pat_",
        b"glpat-",
        b"akia",
        b"asia",
        b"hf_",
        b"sk-",
        b"xox",
    ),
    *(b"aiza", b"ya29.", b"sk_", b"rk_", b"npm_", b"pypi-", b"dapi", b"wandb_v", b"eyj"),
)
_ANYWHERE = (b"bearer ", b"private key-----", b"hooks.slack.com")
_WORD = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_USER_INFO = re.compile(rb"://[^/\s@]{0,600}@")
_PASSWORD = re.compile(r"://[^/\s@:]{0,600}:([^/\s@]{1,600})@|[?&]password=([^&\s]{1,600})")
_BEFORE, _AFTER = 200, 4000


def known_secrets(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The values of variables that sound secret, and the passwords in addresses (such as SWEEP_STORE's) in any, the longest
    first."""
    values = _passwords(environ.values()) | {
        value.strip()
        for name, value in environ.items()
        if looks_secret_name(name) and len(value.strip()) >= _MIN_KNOWN_LENGTH and not harmless_value(value)
    }
    return tuple(sorted(values, key=lambda value: (-len(value), value)))


def _passwords(values: Iterable[str]) -> set[str]:
    """What stands as a password in addresses, as it is written and as it is meant."""
    found = {
        part for value in values if "://" in value for match in _PASSWORD.findall(value) for part in match
    }
    found |= {unquote(part) for part in found if "%" in part}
    return {part for part in found if len(part) >= _MIN_KNOWN_LENGTH and not harmless_value(part)}


def scrub(text: str, known: Sequence[str] = (), *, assignments: bool = True) -> str:
    """`text` without tokens, user info of addresses, and the values in `known`; always valid UTF-8. Without
    `assignments` what follows `password:` stays, for sentences of our own about secrets."""
    for value in known:
        text = text.replace(value, REDACTED)
    text = strip_urls(text)
    if assignments:
        text = redact(text)
    else:
        for start, end in reversed(find_tokens(text)):
            text = text[:start] + REDACTED + text[end:]
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def scrub_arguments(arguments: Sequence[str], known: Sequence[str] = ()) -> list[str]:
    """A command line without secrets: also the argument after `--api-key` goes."""
    scrubbed: list[str] = []
    secret_follows = False
    for argument in arguments:
        if secret_follows and not argument.startswith("--"):
            scrubbed.append(argument if harmless_value(argument) else REDACTED)
        else:
            scrubbed.append(scrub(argument, known))
        secret_follows = argument.startswith("-") and "=" not in argument and looks_secret_name(argument)
    return scrubbed


def holds_secret(data: bytes, known: Sequence[str] = ()) -> str:
    """What secret a file's content holds, in words without the secret itself; empty for none."""
    for start, end in _suspicious(data):
        # Latin-1 never fails, and every shape of a token is ASCII.
        if spans := find_tokens(data[start:end].decode("latin-1")):
            line = data.count(b"\n", 0, start + spans[0][0]) + 1
            return f"line {line} looks like a token or a key"
    if any(value.encode("utf-8", "surrogateescape") in data for value in known):
        return "it holds the value of a secret environment variable"
    return ""


def _suspicious(data: bytes) -> Iterator[tuple[int, int]]:
    """The stretches of `data` worth looking at closely: the surroundings, within the line, of what tokens begin with."""
    seen: set[tuple[int, int]] = set()
    for position in _hints(data):
        start = max(data.rfind(b"\n", 0, position) + 1, position - _BEFORE)
        end = data.find(b"\n", position, position + _AFTER)
        stretch = (start, end if end >= 0 else min(len(data), position + _AFTER))
        if stretch not in seen:
            seen.add(stretch)
            yield stretch


def _hints(data: bytes) -> Iterator[int]:
    lowered = data.lower()
    for hint in _BEGINNINGS:
        position = lowered.find(hint)
        while position >= 0:
            if not position or lowered[position - 1] not in _WORD:
                yield position
            position = lowered.find(hint, position + 1)
    for hint in _ANYWHERE:
        position = lowered.find(hint)
        while position >= 0:
            yield position
            position = lowered.find(hint, position + 1)
    for match in _USER_INFO.finditer(data):
        yield match.start()
