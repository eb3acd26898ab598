"""What the stand-in says on standard error: once for each subject, so that a loop does not fill the screen."""

from __future__ import annotations

import os
import sys

_said: set[str] = set()


def silent() -> bool:
    """Whether the script's user has asked wandb to print nothing (WANDB_SILENT)."""
    return os.environ.get("WANDB_SILENT", "").lower() in ("true", "1", "yes")


def once(subject: str, text: str) -> None:
    """Say `text`, unless something was said about `subject` before."""
    if subject not in _said:
        _said.add(subject)
        _write(f"sweep: {text}\n")


def nothing(feature: str, instead: str = "") -> None:
    """Say once that `feature` does nothing here, and what there is instead."""
    once(feature, f"{feature} does nothing here" + (f"; {instead}" if instead else ""))


def _write(text: str) -> None:
    if silent():
        return
    try:
        sys.stderr.write(text)
    except Exception:  # closed, or None in a program without a terminal
        pass


def _print(text: str, newline: bool, repeat: bool, prefix: bool) -> None:
    if not repeat:
        if text in _said:
            return
        _said.add(text)
    _write(("wandb: " if prefix else "") + text + ("\n" if newline else ""))


def termlog(string: str = "", newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Print a line; with `repeat=False` only the first time."""
    _print(str(string), newline, repeat, prefix)


def termwarn(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Print a warning; with `repeat=False` only the first time."""
    _print(f"WARNING {string}", newline, repeat, prefix)


def termerror(string: str, newline: bool = True, repeat: bool = True, prefix: bool = True) -> None:
    """Print an error; with `repeat=False` only the first time."""
    _print(f"ERROR {string}", newline, repeat, prefix)


def termsetup(settings: object = None, logger: object = None) -> None:
    """Accepted: there is nothing to set up."""
