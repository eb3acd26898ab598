"""The exception under all that sweep's Python functions raise on purpose."""

from __future__ import annotations


class SweepError(Exception):
    """Something is to be mended by the caller: a spec, an ID, a store. The message says what, for a person."""
