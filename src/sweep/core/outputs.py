"""`outputs`: where whole outputs of runs go of which the store keeps the two ends only."""

from __future__ import annotations

from urllib.parse import urlsplit


def outputs_problem(place: str) -> str:
    """Why `place` cannot be one, in words; empty when it can: an absolute path, or a URL without a password."""
    if not place.isprintable():
        return "has characters that cannot be printed"
    if "://" not in place:
        if place.startswith("/"):
            return ""
        return "is neither an absolute path nor a URL; write, for example, `/mnt/shared/outputs` or `s3://bucket/outputs`"
    try:
        parts = urlsplit(place)
    except ValueError as error:
        return f"is no URL: {error}"
    if parts.password is not None:  # not shown: it would stand in the terminal
        return "has a password in it, and the spec is recorded; let fsspec find it (variables, its own config files)"
    if "?" in place or "#" in place:
        return "has a `?` or `#`; give the folder only, and let fsspec find the rest (variables, its own config files)"
    return ""


def whole_address(place: str, sweep: str, run: int, attempt: int) -> str:
    """The path or URL of an attempt's whole output."""
    return f"{place.rstrip('/')}/{sweep}/{run}/output-{attempt}.log"
