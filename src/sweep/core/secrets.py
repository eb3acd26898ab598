"""What looks like a secret, by its name or by its shape, so that none is recorded.

The rule of this file: pure text in, spans or booleans out. A name is judged by its words (`HF_TOKEN`, `apiKey`), so that
`max_tokens` and `TOKENIZERS_PARALLELISM` are none; a value is judged only by shapes that nothing else has, so that
a git commit or a checksum is never taken for a key.
"""

from __future__ import annotations

import re
from itertools import pairwise

Span = tuple[int, int]

REDACTED = "[redacted]"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_SECRET_WORDS = _words(
    "secret secrets password passwords passwd passphrase passcode credential credentials "
    "apikey apitoken authtoken accesskey secretkey privatekey"
)
_KEY_QUALIFIERS = _words("api private access secret auth signing encryption ssh deploy master")
# What a name says when it only points at a secret, or counts tokens of a text.
_HARMLESS_LAST = _words(
    "file files path dir directory folder name id ids url uri endpoint helper type count length size limit "
    "dropout embedding embeddings budget rate ratio ttl expiry timeout enabled disabled"
)
_HARMLESS_NAMES = _words("GOOGLE_APPLICATION_CREDENTIALS")  # the path of a file
_TEXT_TOKENS = _words(
    "pad mask cls sep eos bos unk special max min num n per class image audio video start end begin stop next "
    "new first last decoder encoder prompt word sub trigger"
)
_VERSION = re.compile(r"^v?\d*$")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z][a-z]+|[a-z]+|\d+")

# A token does not begin inside a longer word; that also keeps every scan linear.
_FRESH = r"(?<![A-Za-z0-9_\-])"
_SHAPES = re.compile(
    "|".join(
        (
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
            _FRESH + r"gh[pousr]_[A-Za-z0-9]{30,255}",
            _FRESH + r"github_pat_[A-Za-z0-9_]{22,255}",
            _FRESH + r"glpat-[A-Za-z0-9_\-]{20,}",
            _FRESH + r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
            _FRESH + r"hf_[A-Za-z0-9]{30,}",
            _FRESH + r"sk-(?:proj|svcacct|admin|ant-[a-z]+\d+|or-v1)-[A-Za-z0-9_\-]{20,}",
            _FRESH + r"sk-[A-Za-z0-9]{32,}",
            _FRESH + r"xox[abeoprs]-[A-Za-z0-9\-]{10,}",
            r"hooks\.slack\.com/services/[A-Za-z0-9/]{20,}",
            _FRESH + r"AIza[0-9A-Za-z_\-]{35}",
            _FRESH + r"ya29\.[0-9A-Za-z_\-]{20,}",
            _FRESH + r"[rs]k_(?:live|test)_[0-9A-Za-z]{16,}",
            _FRESH + r"npm_[A-Za-z0-9]{36}",
            _FRESH + r"pypi-AgE[A-Za-z0-9_\-]{40,}",
            _FRESH + r"dapi[0-9a-f]{32}(?![0-9a-f])",
            _FRESH + r"wandb_v\d+_[A-Za-z0-9_]{20,}",
            _FRESH + r"eyJ[A-Za-z0-9_\-]{10,}\.eyJ[A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]+",
            r"(?i:\bbearer) [A-Za-z0-9._~+/\-]{20,}=*",
            r"(?<=://)[^/\s:@\"']{0,255}:(?P<password>[^@\s/\"']{1,255})(?=@)",
        )
    ),
    re.DOTALL,
)
# What stands in an address where its password will be: an f-string's or a template's field, a variable of a shell or a settings file, or
# a word for a reader. Variables in small letters only with a name that says so: `$ecret1` is a password.
_PLACEHOLDER = re.compile(
    r"\{+[A-Za-z_][^{}]*\}+|\$\{[^{}]+\}|\$\([^()]+\)|\$[A-Z_][A-Z0-9_]*|\$(?P<small>[a-z_]+)|%s|%\([^()]+\)s|%[A-Z_]+%"
    r"|<[^<>]+>|\[[A-Za-z_ -]+\]|\*+|[xX]{3,}|\.{3}"
)
# `name=`, `"name": `, `--name `: what a value may follow. The value is read only under a name that counts.
_ASSIGNMENT = re.compile(
    r"(?<![A-Za-z0-9_\-.])(?P<name>-{0,2}\+{0,2}[A-Za-z_][A-Za-z0-9_\-.]{0,80})[\"']?(?P<sign>\s?[=:]\s?|\s)[\"']?"
)
_VALUE = re.compile(r"[^\s\"',;&]+")
_PLAIN = re.compile(
    r"(?i)^(?:true|false|yes|no|on|off|none|null|[+-]?\d{0,2}\.?\d|\*+|\$\w+|\$\{[^{}]*\}|<[^<>]*>|\[redacted\].*)?$"
)


def looks_secret_name(name: str) -> bool:
    """Whether what stands under this name (an environment variable, an argument, a key) is likely a secret."""
    if name in _HARMLESS_NAMES:
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _HARMLESS_LAST:
        return False
    if any(word in _SECRET_WORDS for word in words):
        return True
    if any(first in _KEY_QUALIFIERS and second == "key" for first, second in pairwise(words)):
        return True
    return _names_a_token(words, shouted=name.isupper())


def _names_a_token(words: list[str], *, shouted: bool) -> bool:
    """`token` as the thing itself: not a token of a text, and outside of environment variables at the end."""
    for index, word in enumerate(words):
        if word != "token" or (index and words[index - 1] in _TEXT_TOKENS):
            continue
        if shouted or all(_VERSION.match(later) or later == "value" for later in words[index + 1 :]):
            return True
    return False


def harmless_value(value: str) -> bool:
    """Whether a value says nothing even under a secret-looking name: empty, a flag, a short number, a reference to a
    variable (`${envvar:X}`, `$X`)."""
    return _PLAIN.match(value.strip()) is not None


def find_tokens(text: str, *, assignments: bool = False) -> list[Span]:
    """Where `text` holds a secret, as (start, end), in order and without overlaps: the shapes of well-known tokens, private
    keys, and the user and password of an address. With `assignments`, also the value in `--api-key=…`,
    `PASSWORD: …` or `--token …` (for command lines; in source code that finds too much)."""
    spans = [match.span() for match in _SHAPES.finditer(text) if not _is_placeholder(match["password"])]
    if assignments:
        spans += _assigned(text)
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _is_placeholder(password: str | None) -> bool:
    """Whether what stands as the password of an address only says where one will be."""
    match = _PLACEHOLDER.fullmatch(password or "")
    if match is None:
        return False
    return (
        match["small"] is None or looks_secret_name(match["small"]) or match["small"] in ("pw", "pwd", "pass")
    )


def _assigned(text: str) -> list[Span]:
    spans: list[Span] = []
    position = 0
    while match := _ASSIGNMENT.search(text, position):
        position = match.end("name")
        # A word before a word is a name only when it is an option: `--token x`, but not `secret garden`.
        is_name = match["name"].startswith("-") or not match["sign"].isspace()
        if not is_name or not looks_secret_name(match["name"]):
            continue
        value = _VALUE.match(text, match.end())
        if value and not harmless_value(value[0]) and not value[0].startswith("--"):
            spans.append(value.span())
            position = value.end()
    return spans


def redact(text: str) -> str:
    """`text` with `[redacted]` in place of everything that `find_tokens(text, assignments=True)` finds."""
    pieces: list[str] = []
    position = 0
    for start, end in find_tokens(text, assignments=True):
        pieces += (text[position:start], REDACTED)
        position = end
    return "".join((*pieces, text[position:]))
