"""What people ask of a recorded sweep: requests in its journal, on which its controller acts.

The rule of this file: a request says what was asked, not what came of it. Who wants to know that reads the sweep afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

import msgspec

from sweep.api.finding import NotFound
from sweep.api.reading import load_views
from sweep.api.sweeps import new_id
from sweep.controller import settle
from sweep.core import entries as e
from sweep.core.codec import spec_from_builtins
from sweep.core.ending import (
    J_PER_KWH,
    words_of_cpu_hours,
    words_of_energy,
    words_of_gpu_hours,
    words_of_wall_time,
)
from sweep.core.errors import SweepError
from sweep.core.index import rebuild
from sweep.core.retries import RETRY_CLASS
from sweep.core.rows import SPEC_KEY, Views, decode_spec
from sweep.core.spec import RetryClass, SweepSpec
from sweep.core.state import State
from sweep.core.views import RunView, SweepView
from sweep.stopping import make_stopper
from sweep.stores import Store, SweepRemoved

_SPECS = (e.SweepCreated, e.SpecRevised, e.ExtendRequested, e.ConfirmRequested)
"""Entries that give a sweep a spec."""


class Refused(SweepError, ValueError):
    """What was asked makes no sense for this sweep; the message says why, and what to do."""


class Extended(msgspec.Struct, frozen=True):
    """What `extend` did."""

    old: int | None
    new: int
    sweep: SweepView
    """As it was found afterwards."""


class Retried(msgspec.Struct, frozen=True):
    """What `retry` did."""

    runs: tuple[int, ...]
    sweep: SweepView
    """As it was found afterwards."""


def request(store: Store, sweep: str, entry: e.AnyEntry) -> None:
    """Write a person's command into the journal; where no controller is at work, act on it at once. Raises NotFound when
    the sweep is not in the store."""
    with store.batch():
        append_request(store, sweep, entry)
    settle(store, sweep)


def append_request(store: Store, sweep: str, entry: e.AnyEntry) -> None:
    """Only write it. Raises NotFound when the sweep has been removed."""
    try:
        store.append(sweep, [entry], writer=f"person/{new_id(12)}", first_seq=1, existing=True)
    except SweepRemoved as error:
        raise NotFound(str(error)) from None


def spec_now(store: Store, sweep: str) -> SweepSpec:
    """The current spec, whether or not a controller has brought the index up to date. Raises NotFound."""
    index = store.read_index(sweep, SPEC_KEY)
    rows, later = index.rows, store.read(sweep, index.upto)
    if any(isinstance(found.entry, _SPECS) for found in later):
        rows = rebuild(State(make_stopper), store.read(sweep, 0))
    if SPEC_KEY not in rows:
        raise NotFound(f"there is no sweep {sweep}")
    return spec_from_builtins(decode_spec(rows[SPEC_KEY]).spec)


def extend(store: Store, sweep: str, cap: int, *, more: bool = False, by: str = "") -> Extended:
    """Raise `run_cap` to `cap` trials, or by as many with `more`. An ended sweep goes on. Raises Refused."""
    with store.batch():
        old = spec_now(store, sweep).run_cap
        new = _raised(sweep, old, cap, more)
        if new != old:
            append_request(store, sweep, e.ExtendRequested(new, by))
    if new != old:
        settle(store, sweep)
    return Extended(old, new, load_views(store, sweep).sweep)


def _raised(sweep: str, old: int | None, cap: int, more: bool) -> int:
    if old is None:
        raise Refused(f"sweep {sweep} has no run_cap to extend; `sweep edit {sweep}` can set one")
    new = old + cap if more else cap
    if new < old:
        raise Refused(
            f"sweep {sweep} has a run_cap of {old}, and {new} is less; `sweep edit {sweep}` can lower it"
        )
    return new


def retry(store: Store, sweep: str, runs: Collection[int], by: str = "") -> Retried:
    """Have these runs (each failed or cancelled; others are passed over) tried again. An ended sweep goes on; one that has
    reached its target or lost patience does just these runs, and ends again. Raises Refused."""
    check_retry(load_views(store, sweep), time.time())
    request(store, sweep, e.RetryRequested(tuple(sorted(set(runs))), by))
    return Retried(tuple(sorted(set(runs))), load_views(store, sweep).sweep)


def check_retry(views: Views, now_s: float) -> None:
    """Raise Refused where runs that are to be tried again would be cancelled at once. `now_s`: Unix time, in seconds."""
    sweep = views.sweep
    if sweep.state == "finishing":
        raise Refused(
            f"sweep {sweep.sweep} is finishing ({sweep.reason}) and starts no runs; wait until it has ended, or let it go on"
            f" with `sweep resume {sweep.sweep}`"
        )
    limit = limit_over(views, now_s)
    if limit:
        raise Refused(
            f"sweep {sweep.sweep} can try nothing again: {limit}; raise it in the spec with `sweep edit {sweep.sweep}`"
        )


def limit_over(views: Views, now_s: float) -> str:
    """Which of the sweep's limits is over at `now_s` (Unix seconds), in words; '' while none is."""
    limits = views.spec.limits
    joined = [agent.joined_s for agent in views.agents]
    if limits.wall_time_s is not None and joined and now_s >= min(joined) + limits.wall_time_s:
        return words_of_wall_time(limits)
    if limits.gpu_hours is not None:
        live = [run.attempts[-1].gpu_s(now_s) for run in views.runs if run.state == "running"]
        if views.sweep.gpu_s + sum(live) >= limits.gpu_hours * 3600 - 0.001:
            return words_of_gpu_hours(limits)
    last = [run.attempts[-1] for run in views.runs if run.state == "running"]
    if limits.cpu_hours is not None:
        spent_s = views.sweep.cpu_s + sum(attempt.cpu_s or 0.0 for attempt in last)
        if spent_s >= limits.cpu_hours * 3600:
            return words_of_cpu_hours(limits)
    if limits.energy_kwh is not None:
        spent_j = views.sweep.energy_j + sum(attempt.energy_j or 0.0 for attempt in last)
        if spent_j >= limits.energy_kwh * J_PER_KWH:
            return words_of_energy(limits)
    return ""


def to_retry(runs: Iterable[RunView], *, cancelled: bool, classes: Collection[RetryClass]) -> list[int]:
    """Which of a sweep's runs `retry` means: those that failed (by one of `classes`, where any are given), and with
    `cancelled` those that people had ended."""
    return [
        run.run
        for run in runs
        if (run.state == "failed" and (not classes or failure_class(run) in classes))
        or (cancelled and run.state == "cancelled")
    ]


def failure_class(run: RunView) -> RetryClass:
    """What the spec calls the failure of a failed run: `exit`, `oom`, `time` or `node`."""
    last = run.attempts[-1] if run.attempts else None
    if last is None or last.outcome != "failed":  # too many agents have vanished under it
        return "node"
    return RETRY_CLASS[last.error_class]
