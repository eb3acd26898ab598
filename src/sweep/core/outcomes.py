"""How attempts end, what runs are for, and what they use: words that the journal and the listings share.

They are part of the journal's vocabulary (`sweep.core.entries` says what may change); here, so that a listing need not import all of it.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Outcome = Literal["completed", "failed", "pruned", "paused", "cancelled", "lost", "preempted"]
ErrorClass = Literal[
    "", "exit", "signal", "memory", "gpu_memory", "run_time", "no_progress", "start", "agent", "node"
]
"""What made an attempt fail: its own exit code; a signal from elsewhere; out of memory on the host or on the GPU; a time
limit; no report for too long; it could not be started; the agent's or the node's fault."""
Purpose = Literal["search", "confirm", "reproduce"]


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an attempt has used of its node, as its agent measured it; None: not measured, which is not zero. What a single
    process tree cannot be told from is what the whole device or node used meanwhile, and is named so."""

    memory_bytes: int | None = None
    """The largest resident memory of its process tree at one time; memory that processes share counts once for each."""
    read_bytes: int | None = None
    """From and to disks."""
    written_bytes: int | None = None
    gpu_percent: float | None = None
    """How busy its GPUs were, on average over them and over time."""
    gpu_memory_bytes: int | None = None
    """The most that was taken on its GPUs together, whoever took it."""
    gpu_celsius: float | None = None
    """The hottest that one of them was."""
    gpu_energy_j: float | None = None
    """By the counters of its GPUs, whoever used them."""
    gpu_shared: bool = False
    """Others had a part of its GPUs: what is said of them is the device's, and not attributable to this attempt."""
    node_cpu_energy_j: float | None = None
    """Of all the node's processors (RAPL)."""
    node_sent_bytes: int | None = None
    """Over all the node's network interfaces: Linux does not tell it by process."""
    node_received_bytes: int | None = None
    energy_j: float | None = None
    """Its part in sums: of each device the energy, divided evenly among those runs of the agent that had it at the time."""
    samples: int = 0
    """How often its processes were looked at: 0 for one that was over before."""
