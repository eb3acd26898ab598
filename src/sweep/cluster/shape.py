"""What one slot asks of a Ray cluster, and how many slots its nodes have room for.

The rule of this file: it computes; Ray is not asked, and not imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec

from sweep.core.errors import SweepError
from sweep.core.spec import Resources

_EPSILON = 1e-9
_PLACE = 0.0001
"""So much of Ray's resource `node:<address>` pins a slot to that machine."""


class ClusterError(SweepError):
    """The cluster cannot do what was asked; the message says what to do about it."""


class ClusterNode(msgspec.Struct, frozen=True, kw_only=True):
    """A living node, as Ray describes it."""

    id: str
    """Another one each time that the node comes back."""
    host: str
    address: str
    resources: dict[str, float]
    """`CPU`, `GPU` and custom ones: all that it has, also what is taken."""
    labels: dict[str, str] = {}


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What Ray sets aside for one slot."""

    cpus: float
    gpus: float
    custom: dict[str, float] = {}
    labels: dict[str, str] = {}

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray's resources."""
        amounts = {"CPU": self.cpus, "GPU": self.gpus, **self.custom}
        return {name: amount for name, amount in amounts.items() if amount}

    @property
    def words(self) -> str:
        """`1 GPU, 4 CPUs, gpu=h100`."""
        parts = [_amount("GPU", self.gpus)] if self.gpus else []
        parts += [_amount("CPU", self.cpus)] if self.cpus else []
        parts += [
            f"{amount:g} {name}" for name, amount in self.custom.items() if not name.startswith("node:")
        ]
        return ", ".join([*parts, *(f"{name}={value}" for name, value in self.labels.items())]) or "nothing"


def shape_of(resources: Resources, nodes: Iterable[ClusterNode], pinned_to: str | None = None) -> Shape:
    """What one run's `resources` are on a cluster. What the spec leaves open is chosen: a GPU where any node with these labels
    has GPUs, else none; a CPU where there is no GPU, and beside a GPU none that Ray counts (the node's CPUs are shared out
    evenly). `pinned_to`: the address of the only machine that will do."""
    gpus = resources.gpus
    if gpus is None:
        gpus = float(
            any(node.resources.get("GPU", 0) >= 1 and _labelled(node, resources.labels) for node in nodes)
        )
    cpus = resources.cpus if resources.cpus is not None else float(not gpus)
    place = {} if pinned_to is None else {f"node:{pinned_to}": _PLACE}
    return Shape(cpus=cpus, gpus=gpus, custom={**resources.custom, **place}, labels=resources.labels)


def room_on(shape: Shape, node: ClusterNode) -> int:
    """How many such slots fit on `node` when nothing else is there."""
    if not _labelled(node, shape.labels):
        return 0
    return min(
        (_fits(name, need, node.resources.get(name, 0.0)) for name, need in shape.bundle.items()), default=1
    )


def cpus_each(shape: Shape, node: ClusterNode, named: float | None) -> float:
    """How many CPUs a slot on `node` may use: what the spec names, else an even share beside GPUs, else one."""
    if named is not None:
        return named
    have = node.resources.get("CPU", 0.0) or 1.0
    return have / max(1, room_on(shape, node)) if shape.gpus else min(1.0, have)


def describe(nodes: Sequence[ClusterNode]) -> str:
    """`2 nodes: a with 8 CPUs; b with 8 CPUs, 4 GPUs, gpu=h100`; equal ones together."""
    kinds: dict[str, list[str]] = {}
    for node in nodes:
        kinds.setdefault(_inventory(node), []).append(node.host)
    parts = []
    for inventory, hosts in kinds.items():
        names = sorted(set(hosts))
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        times = f" ({len(hosts)} nodes)" if len(hosts) > len(names) else ""
        parts.append(f"{shown}{times} with {inventory}")
    return f"{len(nodes)} node{'s' if len(nodes) != 1 else ''}: {'; '.join(parts)}" if nodes else "no node"


def _inventory(node: ClusterNode) -> str:
    hidden = ("memory", "object_store_memory")
    amounts = {name: have for name, have in node.resources.items() if name not in hidden and ":" not in name}
    parts = [
        _amount(name, have) if name in ("CPU", "GPU") else f"{have:g} {name}"
        for name, have in sorted(amounts.items())
    ]
    parts += [
        f"{name}={value}" for name, value in sorted(node.labels.items()) if not name.startswith("ray.io/")
    ]
    return ", ".join(parts) or "nothing"


def _labelled(node: ClusterNode, labels: dict[str, str]) -> bool:
    return all(node.labels.get(name) == value for name, value in labels.items())


def _fits(name: str, need: float, have: float) -> int:
    if name == "GPU" and need < 1:  # shares of one GPU are never put together from two
        return math.floor(have + _EPSILON) * math.floor(1 / need + _EPSILON)
    return math.floor(have / need + _EPSILON)


def _amount(what: str, number: float) -> str:
    return f"{number:g} {what}{'' if number <= 1 else 's'}"
