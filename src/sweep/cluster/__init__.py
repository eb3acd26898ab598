"""Agents onto a Ray cluster, or into Slurm's queue: `sweep launch`.

The rule of this package: Ray is imported here and nowhere else, inside functions, so that only who launches pays for it.
"""

from __future__ import annotations

from sweep.cluster.cluster import connected, starts_ray
from sweep.cluster.launch import (
    Launch,
    Watched,
    launch_order,
    look,
    reach,
    room_or_words,
    signals,
    start,
    take_down,
    wait_over,
    watch,
)
from sweep.cluster.order import LaunchReport, Order, SlotReport
from sweep.cluster.record import LaunchRecord, read_record, write_record
from sweep.cluster.shape import ClusterError
from sweep.cluster.slurm import reaches_only_here, slurm_script, submit

__all__ = [
    "ClusterError",
    "Launch",
    "LaunchRecord",
    "LaunchReport",
    "Order",
    "SlotReport",
    "Watched",
    "connected",
    "launch_order",
    "look",
    "reach",
    "reaches_only_here",
    "read_record",
    "room_or_words",
    "signals",
    "slurm_script",
    "start",
    "starts_ray",
    "submit",
    "take_down",
    "wait_over",
    "watch",
    "write_record",
]
