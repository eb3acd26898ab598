"""Names in `links`: paths below the folder that runs start in, which each node provides."""

from __future__ import annotations

from collections.abc import Sequence


def link_problem(name: str, others: Sequence[str] = ()) -> str:
    """Why `name` cannot be a link beside the `others`, in words; empty when it can. A recorded spec may come from anywhere, so
    this is asked again before anything is made on a disk."""
    parts = name.split("/")
    if name.startswith(("/", "~")) or any(part in ("", ".", "..") for part in parts) or "\0" in name:
        return f"{name!r} is not a path below the folder that runs start in; write, for example, `data` or `data/raw`"
    if any(part.casefold() in (".git", ".sweep") for part in parts):
        return f"{name!r} cannot be a link: {name} is not for runs"
    if "=" in name or any(not char.isprintable() for char in name):
        return f"{name!r} cannot be a link: a name has no `=` and no control characters"
    for other in others:
        if name == other:
            return f"{name!r} is named twice"
        if name.startswith(f"{other}/") or other.startswith(f"{name}/"):
            return f"{name!r} and {other!r} lie within each other; name the outer one only"
    return ""
