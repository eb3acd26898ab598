"""The lease clock of stores that live on one machine: it stops while the machine sleeps, and starts anew at a boot."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path

monotonic_s = time.monotonic
"""CLOCK_MONOTONIC on Linux, mach_absolute_time on macOS: the same for all processes of one boot, and neither counts
the time that the machine was suspended, so that closing a laptop's lid loses no lease."""


@functools.cache
def boot_id() -> str:
    """Names the machine's current boot: readings of the clock from another one mean nothing. Empty when unknown."""
    if sys.platform == "darwin":
        return _output_of("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except (OSError, ValueError):
        return ""


def _output_of(*command: str) -> str:
    import subprocess  # costly, and for macOS only

    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
