"""A launch from outside: starting its keeper, watching it, taking it down."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from sweep.agents.view import View
from sweep.cluster.cluster import Connection, living_nodes
from sweep.cluster.following import Following
from sweep.cluster.keeper import Keeper
from sweep.cluster.order import NAMESPACE, LaunchReport, Order
from sweep.cluster.record import LaunchRecord, read_record, write_record
from sweep.cluster.shape import ClusterError, ClusterNode, describe, room_on, shape_of
from sweep.cluster.slots import Slot, check_options, keeper_name, named_actor
from sweep.core.rows import Views
from sweep.core.spec import Resources
from sweep.stores import Store, StoreError, address_of

ANSWER_S = 30.0
"""How long a keeper may take to answer; it may have to be placed first."""
TURN_S = 0.25
LOOK_S = 1.0
PASSED_ON = ("SWEEP_LEASE_S",)
_HERE = ("localhost", "127.0.0.1", "::1", "[::1]", "")


class Launch(msgspec.Struct, frozen=True):
    """A keeper that was found or started."""

    keeper: Any
    found: bool
    """It was at work already."""


class Watched(msgspec.Struct, frozen=True):
    """How watching a launch came to its end."""

    reason: str
    broken: bool = False
    signal: int = 0
    """The first signal that told it to leave, 0 for none."""


def launch_order(
    store: Store,
    views: Views,
    *,
    cwd: Path,
    environ: Mapping[str, str],
    max_slots: int | None,
    options: tuple[str, ...],
) -> Order:
    """What the sweep's keeper and slots are told. Raises ClusterError for a store that ends with this process."""
    if store.url == "memory:":
        raise ClusterError("a launch needs a store that other processes can open, not memory:")
    passed = {name: environ[name] for name in PASSED_ON if name in environ}
    address = address_of(store)
    return Order(
        sweep=views.sweep.sweep,
        store_url=address,
        cwd=str(cwd),
        workdir=str(views.created.record.get("workdir") or cwd),
        kill_after_s=views.spec.limits.kill_after_s,
        cpus=views.spec.resources.cpus,
        labels=views.spec.resources.labels,
        host=socket.gethostname() if store.url.startswith("sqlite:") else "",
        environ={"SWEEP_STORE": address, **passed},
        options=options,
        max_slots=max_slots,
    )


def room_or_words(order: Order, resources: Resources, connection: Connection) -> str:
    """What stands in the way of a first slot, in words, where only waiting or another cluster helps; empty when one fits now.
    Raises ClusterError for what cannot work."""
    nodes = living_nodes()
    _check_store(order, nodes)
    shape = shape_of(resources, nodes)
    check_options(shape)
    if any(room_on(shape, node) for node in nodes):
        return ""
    text = f"no node has room for a slot, which takes {shape.words}; the cluster has {describe(nodes)}"
    if connection.ours:
        raise ClusterError(
            f"{text}. Ask for less in the spec's `resources`, or launch on a larger cluster: --ray ADDRESS"
        )
    return f"{text}; asking the autoscaler for one, and waiting (Ctrl-C ends it)"


def start(
    store: Store,
    order: Order,
    resources: Resources,
    connection: Connection,
    folder: Path,
    arrived: Sequence[int] = (),
) -> Launch:
    """Start the sweep's keeper on the cluster, or find the one that is at work there. `arrived`: signals, of which any ends the
    attempt. Raises ClusterError, KeyboardInterrupt."""
    import ray
    from ray.exceptions import RayError

    name = keeper_name(order.sweep)
    keeper = named_actor(name)
    if keeper is not None:
        if order.max_slots is not None:
            keeper.allow.remote(order.max_slots)
        return Launch(keeper, True)
    record = LaunchRecord(
        address=connection.address,
        ours=connection.ours,
        host=socket.gethostname(),
        folder=str(folder),
        pid=os.getpid(),
        began_s=time.time(),
    )
    write_record(store, order.sweep, record)
    address = next((node.address for node in living_nodes() if node.host == order.host), None)
    options: dict[str, Any] = {"resources": {f"node:{address}": 0.0001}} if address is not None else {}
    keeper = (
        ray.remote(Keeper)
        .options(
            name=name,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            max_concurrency=16,
            get_if_exists=True,
            **options,
        )
        .remote(order, resources)
    )
    answer, until_s = keeper.look.remote(), time.monotonic() + 4 * ANSWER_S
    while not ray.wait([answer], timeout=TURN_S)[0] and time.monotonic() < until_s and not arrived:
        pass
    try:
        ray.get(answer, timeout=0 if arrived else TURN_S)
    except RayError as error:
        ray.kill(keeper, no_restart=True)
        if arrived:
            raise KeyboardInterrupt from None
        raise ClusterError(_why_not(error)) from None
    return Launch(keeper, False)


def reach(sweep: str) -> Any | None:
    """The sweep's keeper on the cluster that this process is connected to; None when there is none."""
    return named_actor(keeper_name(sweep))


def look(keeper: Any, timeout_s: float = ANSWER_S) -> LaunchReport | None:
    """How a launch is; None when its keeper is gone or does not answer."""
    import ray
    from ray.exceptions import RayError

    try:
        report: LaunchReport = ray.get(keeper.look.remote(), timeout=timeout_s)
        return report
    except RayError:  # a timeout is one, too
        return None


def take_down(sweep: str, *, now: bool) -> bool:
    """Have all agents of a launch leave: when their runs have ended, or with `now` at once. Does not wait for it. Whether there was
    anything."""
    import ray

    keeper = reach(sweep)
    left = Slot.found(sweep)
    told = (
        [keeper] if keeper is not None else [slot.handle for slot in left]
    )  # slots may have outlived their keeper
    if told:
        ray.wait([one.leave.remote(now) for one in told], num_returns=len(told), timeout=ANSWER_S)
    return bool(told)


def wait_over(store: Store, sweep: str, timeout_s: float) -> bool:
    """Wait until the launch says in the store that it is over. Not connected to Ray: where Ray ends with the launch, it would end
    this process, too."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        record = read_record(store, sweep)
        if record is None or record.ended:
            return True
        time.sleep(TURN_S)
    return False


def watch(
    store: Store, order: Order, keeper: Any, view: View, say: Callable[[str], None], arrived: Sequence[int]
) -> Watched:
    """Show a launch to a person until it is over. Ctrl-C has its agents leave when their runs have ended; again: ends the runs, which
    start again elsewhere; SIGTERM ends them at once. `say`: a line about what a signal does; `arrived`: as `signals` gives it."""
    following = Following(store, order.sweep)
    noted, looked_s, missing, told = 0, 0.0, 0, 0
    while True:
        _follow(following, view)
        draining = "the agents leave" if told else ""
        view.show(following.snapshot(draining))
        while told < len(arrived):
            told += 1
            _pass_on(keeper, arrived[:told], say)
        if time.monotonic() - looked_s >= LOOK_S:
            looked_s = time.monotonic()
            report = look(keeper, 10.0)
            missing = missing + 1 if report is None else 0
            for number, text in report.notes if report is not None else ():
                if number > noted:
                    view.say(text, "info")
                    noted = number
            over = _over(store, order.sweep, report, missing)
            if over is not None:
                _follow(following, view)
                return msgspec.structs.replace(over, signal=arrived[0] if arrived else 0)
        time.sleep(TURN_S)


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """The signals that have arrived, in order. After Ray, which has handlers of its own."""
    arrived: list[int] = []
    heeded = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in heeded}
    try:
        yield arrived
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


# --- inside -----------------------------------------------------------------------------------------------------


def _check_store(order: Order, nodes: list[ClusterNode]) -> None:
    others = sorted({node.host for node in nodes} - {socket.gethostname()})
    if not others:
        return
    where = order.store_url.removeprefix("sqlite:///") if order.host else ""
    if not where and (urlsplit(order.store_url).hostname or "") not in _HERE:
        return
    what = f"is in a file of this machine ({where})" if where else "has an address that means this machine"
    raise ClusterError(
        f"the store {what}, and the cluster has other machines ({', '.join(others[:3])}{', …' if len(others) > 3 else ''}). Start one "
        "that all can reach with `sweep store serve`, set SWEEP_STORE=redis://… to what it prints, and create the sweep there "
        "(or take it along: `sweep export ID`, `sweep import`); `--ray local` uses this machine alone"
    )


def _why_not(error: Exception) -> str:
    text = str(error)
    if "No module named 'sweep'" in text:
        return (
            "the cluster's nodes have no package sweep: type pip install 'sweep[ray]' there, in the Python that Ray runs in, in the "
            "version that is installed here"
        )
    if type(error).__name__ == "GetTimeoutError":
        return "the cluster did not start the launch's keeper in time; `ray status` on its head tells what it is doing"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"the cluster cannot start the launch's keeper: {lines[-1] if lines else type(error).__name__}"


def _follow(following: Following, view: View) -> None:
    try:
        following.turn(view)
    except StoreError as error:
        view.say(f"{error} (trying again)", "error")


def _over(store: Store, sweep: str, report: LaunchReport | None, missing: int) -> Watched | None:
    """How the launch has ended, None while it goes on."""
    if report is not None:
        return Watched(report.reason, report.broken) if report.state == "ended" else None
    record = read_record(store, sweep)
    if record is not None and record.ended:
        return Watched(record.reason, record.broken)
    if missing >= 6:
        return Watched("its keeper is gone from the cluster, or the cluster is", True)
    return None


def _pass_on(keeper: Any, arrived: Sequence[int], say: Callable[[str], None]) -> None:
    now = len(arrived) > 1 or arrived[-1] != signal.SIGINT
    keeper.leave.remote(now)
    if now:
        say("ending all runs; they start again with the next agent")
    else:
        say(
            "running runs finish, then the agents leave; Ctrl-C again ends them (they start again with the next agent)"
        )
