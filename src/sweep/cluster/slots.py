"""A slot on the cluster: the actor that Ray places, and the keeper's hold of it."""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Any

import msgspec

from sweep.cluster.cluster import living_nodes
from sweep.cluster.order import NAMESPACE, Order, SlotEnd, SlotReport
from sweep.cluster.process import AgentProcess
from sweep.cluster.shape import ClusterError, Shape, cpus_each

ENDING_S = 5.0
"""For how long an actor that ends may keep its name."""

PREFIX = "sweep/"


def keeper_name(sweep: str) -> str:
    """The name of a launch's keeper among Ray's actors."""
    return f"{PREFIX}{sweep}"


def slots_prefix(sweep: str) -> str:
    """What the names of its slots begin with."""
    return f"{PREFIX}{sweep}/"


class SlotActor:
    """Lives on one node with what Ray has set aside there, and has one agent with one slot. It never starts a second one:
    when the agent has ended the keeper decides what follows."""

    def __init__(self, name: str, order: Order, shape: Shape) -> None:
        import ray

        self._name = name
        self._node = ray.get_runtime_context().get_node_id()
        node = next((node for node in living_nodes() if node.id == self._node), None)
        cpus = shape.cpus or 1.0 if node is None else cpus_each(shape, node, order.cpus)
        self._devices = os.environ.get("CUDA_VISIBLE_DEVICES") if shape.gpus else None
        self._agent = AgentProcess(
            order, gpus=shape.gpus, cpus=cpus, devices=self._devices, alone=shape.gpus >= 1
        )

    def work(self) -> SlotEnd:
        """Returns when the agent has ended. May be called by several."""
        return msgspec.structs.replace(self._agent.wait(), last=self.look())

    def look(self) -> SlotReport:
        """How it is now."""
        agent = self._agent
        return SlotReport(
            name=self._name,
            state=agent.state,
            node=self._node,
            host=socket.gethostname(),
            pid=agent.pid,
            gpus=self._devices or "",
            agent=agent.agent,
            problem=agent.problem,
        )

    def leave(self, now: bool) -> None:
        """Let the run finish and leave, or with `now` end it."""
        self._agent.leave(now=now)


class Slot:
    """What the keeper holds of a slot actor. Nothing here waits."""

    def __init__(self, name: str, handle: Any) -> None:
        self.name, self.handle = name, handle
        self.began_s = time.monotonic()
        self.report = SlotReport(name=name)
        self.idle_since_s: float | None = None
        self.told = self.told_now = False
        self._work = handle.work.remote()
        self._look: Any = handle.look.remote()

    @classmethod
    def start(cls, order: Order, shape: Shape) -> Slot:
        """A new actor, wherever Ray finds room for it, now or later."""
        name = slots_prefix(order.sweep) + secrets.token_hex(4)
        return cls(name, _placed(shape, name).remote(name, order, shape))

    @classmethod
    def found(cls, sweep: str) -> list[Slot]:
        """Those that an earlier life of the keeper has started."""
        handles = ((name, named_actor(name)) for name in _names(slots_prefix(sweep)))
        return [cls(name, handle) for name, handle in handles if handle is not None]

    def poll(self) -> SlotEnd | Exception | None:
        """How it ended, or what took it away; None while it is there."""
        import ray
        from ray.exceptions import RayError

        if self._look is not None and ray.wait([self._look], timeout=0)[0]:
            look, self._look = self._look, None
            try:
                self.report = ray.get(look)
            except RayError:
                pass  # `work` tells
        elif self._look is None:
            self._look = self.handle.look.remote()
        if not ray.wait([self._work], timeout=0)[0]:
            return None
        try:
            end: SlotEnd = ray.get(self._work)
            self.report = end.last or self.report
            return end
        except RayError as error:
            failed: Exception = error
            if type(error).__name__ == "ActorUnavailableError":  # out of reach for a moment: ask it again
                self._work = self.handle.work.remote()
                return None
            return failed

    def leave(self, *, now: bool) -> None:
        """Have its agent leave; one that has no place yet is given up."""
        if not self.report.node:
            self.kill()
        elif not self.told or (now and not self.told_now):
            self.handle.leave.remote(now)
        self.told, self.told_now = True, self.told_now or now

    def kill(self) -> None:
        """Take the actor away; what its agent has running is ended by the agent, which sees it."""
        import ray
        from ray.exceptions import RayError

        try:
            ray.kill(self.handle, no_restart=True)
        except (RayError, ValueError):
            pass  # it is gone


def check_options(shape: Shape) -> None:
    """Raise ClusterError when this Ray cannot place such slots."""
    try:
        _placed(shape, "unused")
    except ValueError as error:
        raise ClusterError(
            f"this Ray cannot place a slot with {shape.words}: {error} (a newer one may)"
        ) from None


def _placed(shape: Shape, name: str) -> Any:
    import ray

    options: dict[str, Any] = {"resources": shape.custom} if shape.custom else {}
    if shape.labels:
        options["label_selector"] = shape.labels
    return ray.remote(SlotActor).options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",  # the keeper may die and come back: training goes on meanwhile
        num_cpus=shape.cpus,
        num_gpus=shape.gpus,
        max_restarts=0,
        max_concurrency=8,
        **options,
    )


def named_actor(name: str) -> Any | None:
    """A handle to the actor of that name; None when there is none. One that is just ending may have its name still while Ray has
    already thrown its class away; Ray then fails an assertion of its own: wait until the name is gone, too."""
    import ray

    until_s = time.monotonic() + ENDING_S
    while True:
        try:
            return ray.get_actor(name, NAMESPACE)
        except ValueError:
            return None
        except (AssertionError, TypeError):
            if time.monotonic() > until_s:
                return None
            time.sleep(0.05)


def keepers() -> list[str]:
    """Sweeps that have a keeper on this cluster."""
    return [name.removeprefix(PREFIX) for name in _names(PREFIX) if "/" not in name.removeprefix(PREFIX)]


def _names(prefix: str) -> list[str]:
    import ray

    found = ray.util.list_named_actors(all_namespaces=True)
    return sorted(a["name"] for a in found if a["namespace"] == NAMESPACE and a["name"].startswith(prefix))
