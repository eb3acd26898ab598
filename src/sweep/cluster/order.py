"""What the parts of a launch tell each other: plain data that Ray carries from process to process.

The rule of this file: what holds a store's address is never shown. Ray does not print the arguments of actors, and `repr` here
does not either.
"""

from __future__ import annotations

import msgspec

from sweep.cluster.shape import Shape

NAMESPACE = "sweep"
"""Ray's namespace of all our actors."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a launch is to do."""

    sweep: str
    store_url: str
    cwd: str
    """Where the launch was typed: agents start there, where that folder exists."""
    workdir: str
    """Where runs start."""
    kill_after_s: float
    cpus: float | None = None
    """CPUs of a run as the spec names them."""
    labels: dict[str, str] = {}
    host: str = ""
    """The only machine that will do, because the store is a file there; empty for any."""
    environ: dict[str, str] = {}
    """Variables of ours for the agents; the store's address among them."""
    options: tuple[str, ...] = ()
    """Further options of `sweep agent`."""
    max_slots: int | None = None

    def __repr__(self) -> str:
        return f"Order({self.sweep})"


class SlotReport(msgspec.Struct, frozen=True, kw_only=True):
    """One slot as it is now."""

    name: str
    state: str = "waiting"
    """`waiting` for room on the cluster, `starting`, `working`, `leaving`, `ended`."""
    node: str = ""
    """Ray's ID of its node, the host's name, and the agent's process there."""
    host: str = ""
    pid: int = 0
    gpus: str = ""
    """CUDA_VISIBLE_DEVICES as Ray set it, where it did."""
    agent: str = ""
    problem: str = ""


class SlotEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a slot's agent has ended."""

    code: int
    """Its exit code, negative for a signal."""
    joined: bool
    told: bool
    """It was told to leave, by us."""
    words: str = ""
    """The end of what it said."""
    last: SlotReport | None = None
    """The slot as it was then."""


class LaunchReport(msgspec.Struct, frozen=True, kw_only=True):
    """A launch as it is now."""

    sweep: str
    state: str
    """`working`, `leaving`, `ended`."""
    reason: str = ""
    broken: bool = False
    """It gave up."""
    wanted: int = 0
    """How many slots the runs that are left can use, at most as many as allowed."""
    room: int = 0
    """How many slots the cluster has room for."""
    shape: Shape | None = None
    cluster: str = ""
    """The cluster in words."""
    slots: tuple[SlotReport, ...] = ()
    notes: tuple[tuple[int, str], ...] = ()
    """What a person should know, numbered, the latest last."""
