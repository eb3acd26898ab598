"""Many simulated worlds, one after the other, and what happened in them.

The rule of this file: a failure names its seed, and a fault or a transition that never happened is not taken for tested.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TextIO, get_args

import msgspec

from sweep.core import entries as e
from sweep.core.lifecycle import TABLE
from sweep.core.spec import StopperType
from sweep.testing.faults import CALLS, EVENTS, OF_CONTROLLERS
from sweep.testing.verify import Rows, verify
from sweep.testing.world import World

KINDS: tuple[str, ...] = (
    *EVENTS,
    *OF_CONTROLLERS,
    *CALLS,
    "failed call in a batch",
    "searcher failed",
    "lease lost",
    "guard ended everything",
    *(f"failed: {error}" for error in get_args(e.ErrorClass) if error not in ("", "agent")),
    *(f"ended by {key}" for key in ("wall_time", "gpu_hours", "target", "patience")),
    *(f"pruned by {rule}" for rule in get_args(StopperType) if rule != "none"),
    "run waited",
    "stop of a sweep about to go on",
    "tried again after the end",
    "ended again after a retry",
    "spec revised",
    "revision refused",
    "spec taken over",
    "request: annotate",
    "call during an outage",
    "signal from elsewhere",
    "agent set aside",
    "node set aside",
    "run forgiven",
    "failed on a node set aside",
    "controller took the lead",
    "controller lost the lead",
)
"""What must have happened in a campaign of some hundred seeds."""

NEVER: frozenset[tuple[str, str]] = frozenset(
    (
        # Nothing decides to pause a run yet, so no run is ever paused.
        ("running", "RunPaused"),
        ("paused", "RunAssigned"),
        ("paused", "RunCancelled"),
    )
)


CHUNK = 25
"""So many worlds are one piece of work for a process."""


class Failure(AssertionError):
    """A world in which something happened that must not; the message begins with its seed."""


class Campaign(msgspec.Struct):
    """The sum of many worlds."""

    worlds: int = 0
    entries: int = 0
    virtual_s: float = 0.0
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    rows: Rows = msgspec.field(default_factory=Counter)

    def add(self, seed: int) -> None:
        """Tell the story of one seed and check it. Raises Failure."""
        world = World(seed)
        try:
            world.run()
            self.rows += verify(world)
        except Exception as error:
            raise Failure(f"seed {seed}: {type(error).__name__}: {error}") from error
        self.worlds += 1
        self.entries += world.store.position(world.sweep)
        self.virtual_s += world.now
        self.counts += world.counts

    def merge(self, other: Campaign) -> None:
        """Count what happened in other worlds, too."""
        self.worlds += other.worlds
        self.entries += other.entries
        self.virtual_s += other.virtual_s
        self.counts += other.counts
        self.rows += other.rows

    def missing(self) -> list[str]:
        """Kinds of fault and rows of the table of transitions that have not happened."""
        done = {(was, kind) for was, kind, after in self.rows if after != "ignored"}
        rows = {(state, kind.__name__) for state, kind in TABLE} - NEVER
        return [kind for kind in KINDS if not self.counts[kind]] + [
            f"{was} + {kind}" for was, kind in sorted(rows - done)
        ]

    def report(self, out: TextIO) -> None:
        """Print everything that happened, by kind."""
        print(
            f"{self.worlds} worlds, {self.entries} entries, {self.virtual_s:.0f} s of virtual time", file=out
        )
        for name, count in sorted(self.counts.items()):
            print(f"  {name:30} {count:8}", file=out)
        for (was, kind, after), count in sorted(self.rows.items()):
            print(f"  {f'{was} + {kind} -> {after}':50} {count:8}", file=out)


def run_seeds(seeds: Iterable[int], until: float | None = None) -> Campaign:
    """The worlds of `seeds`; with `until` (by `time.monotonic`, in seconds) as many as fit. Raises Failure."""
    campaign = Campaign()
    for seed in seeds:
        if until is not None and time.monotonic() >= until:
            break
        campaign.add(seed)
    return campaign


def run_in_processes(jobs: int, seeds: range, until: float | None = None) -> Campaign:
    """`run_seeds` in so many processes at once; a Failure is that of the first seed of all that has one."""
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    campaign = Campaign()
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        for part in pool.imap(functools.partial(run_seeds, until=until), chunks):
            campaign.merge(part)
            if until is not None and time.monotonic() >= until:
                break
    return campaign


def main(arguments: Sequence[str], out: TextIO) -> int:
    """What `python -m sweep.testing.world` does. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sweep.testing.world", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many worlds")
    parser.add_argument("--start", type=int, default=0, help="the first seed")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument(
        "--jobs", type=int, default=_cores(), help="in so many processes (default: one a core)"
    )
    options = parser.parse_args(arguments)
    began = time.monotonic()
    until = began + 60 * options.minutes if options.minutes is not None else None
    try:
        seeds = range(options.start, options.start + options.seeds)
        jobs = min(options.jobs, -(-options.seeds // CHUNK))
        campaign = run_seeds(seeds, until) if jobs <= 1 else run_in_processes(jobs, seeds, until)
    except Failure as failure:
        print(failure, file=out)
        return 1
    campaign.report(out)
    print(f"{campaign.worlds / (time.monotonic() - began):.1f} worlds per second", file=out)
    if campaign.worlds >= 300 and campaign.missing():
        print(f"never happened: {', '.join(campaign.missing())}", file=out)
        return 1
    return 0


def _cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
