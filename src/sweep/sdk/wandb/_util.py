"""`wandb.util`: the few helpers that scripts call."""

from __future__ import annotations

import os

from sweep.sdk.wandb._values import friendly

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def generate_id(length: int = 8) -> str:
    """Random letters and digits, independent of the script's random generators."""
    found = ""
    while len(found) < length:
        found += "".join(_LETTERS[byte % 36] for byte in os.urandom(length) if byte < 252)
    return found[:length]


generate_fast_id = generate_id


def make_artifact_name_safe(name: str) -> str:
    """`name` with what an artifact's name may not have replaced by `_`; at most 128 characters."""
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "_-.") else "_" for c in name)
    return clean if len(clean) <= 128 else clean[:63] + ".." + clean[-63:]


def json_friendly_val(val: Any) -> Any:
    """A value as the config keeps it."""
    return friendly(val)


def json_friendly(obj: Any) -> tuple[Any, bool]:
    """A value as the config keeps it, and whether that is another one."""
    value = friendly(obj)
    return value, value is not obj


def to_forward_slash_path(path: str) -> str:
    """The path with `/`."""
    return path.replace(os.sep, "/")


def get_module(name: str, required: str | bool | None = None, lazy: bool = True) -> Any:
    """A module, or None when it cannot be imported; with `required` (a text) an ImportError."""
    try:
        from importlib import import_module

        return import_module(name)
    except ImportError:
        if required:
            raise ImportError(required if isinstance(required, str) else f"{name} is required") from None
        return None
