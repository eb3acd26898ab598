"""A seed for a spec that gives none."""

from __future__ import annotations

import secrets


def draw_seed() -> int:
    """By chance; it is recorded, so that the sweep can be repeated."""
    return secrets.randbelow(2**31)
