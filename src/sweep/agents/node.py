"""What a machine gives to a sweep, and why an agent has left."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from sweep.agents.gpus import Gpu, NotEnough, Slot, cpu_count, plan_slots, select, usable
from sweep.core.spec import SweepSpec


class Node(msgspec.Struct, frozen=True):
    """What this machine gives to a sweep."""

    slots: tuple[Slot, ...]
    gpus: tuple[Gpu, ...]
    cpus: float
    doubt: str = ""
    """What a person should know about its GPUs."""

    @classmethod
    def plan(
        cls,
        spec: SweepSpec,
        *,
        slots: int | None,
        gpus: str | None,
        environ: Mapping[str, str],
        cpus: float | None = None,
    ) -> Node:
        """As many slots as the machine has room for, or as fit into `cpus` of its CPUs. Raises NotEnough."""
        found, doubt = usable(environ)
        cpus = cpu_count() if cpus is None else cpus
        try:
            chosen = select(found, gpus)
            planned = plan_slots(cpus, chosen, spec.resources, slots)
        except NotEnough as error:
            allowed = environ.get("CUDA_VISIBLE_DEVICES")
            if allowed is None or "GPU" not in str(error):
                raise
            raise NotEnough(
                f"{error}, where CUDA_VISIBLE_DEVICES={allowed or '(empty)'} was inherited"
            ) from None
        return cls(tuple(planned), tuple(chosen), cpus, doubt)


def whole(gpus: str | None, environ: Mapping[str, str], cpus: float | None = None) -> tuple[float, list[Gpu]]:
    """All that this machine gives, whatever runs ask for. Raises NotEnough."""
    found, _ = usable(environ)
    return cpu_count() if cpus is None else cpus, select(found, gpus)


class End(msgspec.Struct, frozen=True):
    """Why an agent has left."""

    reason: str
    broken: bool = False
    """It gave up because its first runs all failed."""
    set_aside: bool = False
    """The controller has set this node aside: runs fail here as they do not elsewhere."""
    signal: int = 0
    """The signal that ended it, 0 for none."""
    failed: tuple[int, ...] = ()
    """The runs that failed here, by number, where none has succeeded; empty as soon as one has."""
