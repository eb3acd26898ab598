"""When an agent must be gone: read from `--until` and from what Slurm tells its jobs.

The rule of this file: the clock and the environment are arguments.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Mapping

from sweep.core.errors import SweepError
from sweep.core.spec import Limits
from sweep.core.until import Until

SLURM_END = "SLURM_JOB_END_TIME"
"""Slurm's variable for when it will end a job: Unix seconds."""

_DAY_S = 86400.0
_UNITS = {"d": _DAY_S, "h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in _UNITS), re.IGNORECASE)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")


class BadTime(SweepError):
    """`--until` names no time."""


def leave_at(text: str | None, environ: Mapping[str, str], unix_s: float) -> float | None:
    """When the agent must be gone (Unix seconds): the earlier of what `--until` says and of the end of its Slurm job; None
    when neither says anything. An end of the job that has passed already is no end: somebody gave it more time.

    Raises BadTime.
    """
    times = [] if text is None else [read_time(text, unix_s)]
    try:
        job_s = float(environ.get(SLURM_END, ""))
    except ValueError:
        job_s = math.nan
    if unix_s < job_s < math.inf:
        times.append(job_s)
    return min(times, default=None)


def read_time(text: str, unix_s: float) -> float:
    """The Unix time that `90m`, `1h30m`, `17:30` (the next one) or `2026-03-01T17:30` means. Times without a zone are those
    of this machine's clock. Raises BadTime."""
    given = text.strip()
    duration = _DURATION.fullmatch(given) if given else None
    if duration is not None:
        return unix_s + sum(float(n) * _UNITS[unit] for unit, n in duration.groupdict().items() if n)
    clock = _CLOCK.fullmatch(given)
    now = datetime.datetime.fromtimestamp(unix_s)
    if clock is not None:
        today = now.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        if today <= now:
            today += datetime.timedelta(days=1)
        return today.timestamp()
    try:
        at_s = datetime.datetime.fromisoformat(given.replace(" ", "T", 1)).timestamp()
    except (ValueError, OverflowError, OSError):
        raise BadTime(
            f"--until must be a time (17:30, 2026-03-01T17:30) or how long from now (90m, 1h30m), not {text!r}"
        ) from None
    if at_s <= unix_s:
        raise BadTime(f"--until {text} has passed already")
    return at_s


def until(at_s: float | None, unix_s: float, monotonic_s: float) -> Until | None:
    """The same for the agent, whose clock never goes back. None for None."""
    if at_s is None:
        return None
    return Until(monotonic_s + at_s - unix_s, clock_text(at_s, unix_s))


def clock_text(at_s: float, unix_s: float) -> str:
    """`17:30`, and with the date where that is another day's."""
    then, now = datetime.datetime.fromtimestamp(at_s), datetime.datetime.fromtimestamp(unix_s)
    return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def announcement(leaving: Until, limits: Limits, monotonic_s: float, unix_s: float) -> str:
    """What the person is told at the start."""
    starts = clock_text(leaving.last_start_s(limits) - monotonic_s + unix_s, unix_s)
    if limits.run_time_s is not None:
        return f"this agent leaves at {leaving.text}; no run starts after {starts} (limits.run_time)"
    return f"this agent leaves at {leaving.text}; what runs at {starts} is ended, and starts again elsewhere"
