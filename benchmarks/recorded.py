"""A recorded sweep of any size: the real controller leads, an agent that runs nothing writes what a real one would."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from sweep.controller import Driver, driver_maker
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.names import agent_lease, controller_lease
from sweep.core.space import Numeric, Parameter, Space
from sweep.core.spec import EarlyTerminate, Metric, SweepSpec
from sweep.core.state import State
from sweep.stopping import make_stopper
from sweep.stores import HistoryChunk, Index, Store

AGENT = "bench-agent"
SPACE = Space(
    (
        Parameter(("lr",), Numeric(1e-5, 1e-1, scale="log")),
        Parameter(("n",), Numeric(1, 8, integer=True)),
        Parameter(("x",), Numeric(-5.0, 5.0)),
    )
)


def spec(runs: int, *, stopper: bool = False, method: str = "random") -> SweepSpec:
    """One metric, `runs` trials of three parameters (random), of one (grid); with `stopper` hyperband."""
    early = EarlyTerminate(min_iter=3, eta=3.0) if stopper else None
    counted = Space((Parameter(("x",), Numeric(0, runs - 1, integer=True)),))
    return SweepSpec(
        method=method,  # type: ignore[arg-type]
        space=SPACE if method == "random" else counted,
        seed=7,
        metric=Metric(name="loss"),
        program="train.py",
        run_cap=runs,
        early_terminate=early,
    )


def create(store: Store, sweep: str, what: SweepSpec) -> None:
    """What `sweep create` writes, without code and packages."""
    entry = e.SweepCreated(sweep, spec_to_builtins(what), "", "sweep.yaml", {"workdir": "/bench"})
    appended = store.append(sweep, [entry], writer="create", first_seq=1)
    store.write_index(sweep, Index(appended.last, rebuild(State(make_stopper), appended.recorded)))


class Worker:
    """An agent on `slots` slots whose runs are done as soon as they are assigned."""

    def __init__(
        self,
        store: Store,
        sweep: str,
        slots: int,
        reports: int,
        *,
        together: int = 1,
        history: int = 0,
        folder: str = "/bench",
        varied: bool = False,
    ) -> None:
        """`reports`: values of the objective per run, `together` of them in one entry, as an agent writes those that come
        within 50 ms; `history`: logged rows per run. `varied`: each run has values, a command line and an environment of
        its own, in full length; else most is the same in all, which costs less here and compresses too well."""
        self.store, self.sweep, self.history, self.folder = store, sweep, history, folder
        self.reports, self.together, self.varied = reports, together, varied
        self._rows = b"\n".join(
            json.dumps({"i": i, "s": i, "t": i / 10, "m": {"loss": 1.0 / (i + 1)}}).encode()
            for i in range(history)
        )
        self._seq = self._cursor = 0
        self._written: list[e.Recorded] = []
        self._offers = slots
        self.lease = store.acquire(agent_lease(AGENT), AGENT, 3600.0)
        self._append(
            [
                e.AgentJoined(AGENT, "host", 1, slots),
                *(e.SlotOffered(AGENT, slot, slot + 1) for slot in range(slots)),
            ]
        )

    def orders(self) -> list[e.RunAssigned]:
        """Runs newly assigned to this agent."""
        found = self.store.read(self.sweep, self._cursor, addressee=AGENT)
        if found:
            self._cursor = found[-1].position
        return [r.entry for r in found if isinstance(r.entry, e.RunAssigned)]

    def work(self, orders: list[e.RunAssigned]) -> None:
        """Write all that happens to these runs, report by report, and offer their slots again."""
        self._append([self._started(order) for order in orders])
        for first in range(0, self.reports, self.together):
            steps = tuple(map(float, range(first, min(first + self.together, self.reports))))
            self._append([self._reported(order, first, steps) for order in orders])
        if self.history:
            chunks = [HistoryChunk(o.run, o.attempt, 0, self.history, self._history_of(o)) for o in orders]
            self.store.append_history(self.sweep, chunks)
        self._append([entry for order in orders for entry in self._ended(order)])

    def written(self) -> list[e.Recorded]:
        """What was appended since the last call: an agent that leads hands it to its controller."""
        found, self._written = self._written, []
        return found

    def leave(self) -> None:
        """The last entry of the agent."""
        self._append([e.AgentLeft(AGENT, "done")])
        if self.lease is not None:
            self.store.release(self.lease)

    def _history_of(self, order: e.RunAssigned) -> bytes:
        if not self.varied:
            return self._rows
        logged = [
            (i, {"loss": _value(order.run, i), "accuracy": _value(3 * order.run, i) / 2})
            for i in range(self.history)
        ]
        return b"\n".join(
            json.dumps({"i": i, "t": i + round(m["loss"], 3), "m": m}).encode() for i, m in logged
        )

    def _started_varied(self, order: e.RunAssigned) -> e.RunStarted:
        folder = f"/home/somebody/project/.sweep/runs/{self.sweep}/{order.run}"
        threads = ("PYTHONHASHSEED", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        facts = {
            "ID": self.sweep,
            "RUN_ID": f"{self.sweep}-{order.run}",
            "ATTEMPT": "1",
            "TRIAL": str(order.trial),
        }
        facts |= {
            "REPLICATE": "0",
            "SEED": str(order.seed),
            "CONFIG": f"{folder}/config.json",
            "RUN_DIR": folder,
        }
        facts |= {
            "CHECKPOINT_DIR": f"{folder}/checkpoint",
            "SOCKET": "/tmp/sweep-1000/4638-1df099.sock",
            "AGENT": AGENT,
        }
        env = dict.fromkeys(threads, "1") | {"CUDA_VISIBLE_DEVICES": "", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        env |= {f"SWEEP_{name}": value for name, value in facts.items()}
        words = tuple(f"--{name}={value}" for name, value in order.config.items())
        command = ("/usr/bin/env", "/home/somebody/project/.venv/bin/python3", "train.py", *words)
        return e.RunStarted(
            order.run, order.attempt, AGENT, 1000 + order.run, "host", order.slot, (), command, env, folder
        )

    def _started(self, order: e.RunAssigned) -> e.RunStarted:
        if self.varied:
            return self._started_varied(order)
        return e.RunStarted(
            order.run,
            order.attempt,
            AGENT,
            1000 + order.run,
            "host",
            order.slot,
            command=("/usr/bin/env", "python3", "train.py", "--lr=0.01", "--n=4", "--x=1.5"),
            env={"SWEEP_RUN_ID": f"{self.sweep}/{order.run}", "SWEEP_SEED": str(order.seed)},
            folder=f"{self.folder}/{order.run}",
        )

    def _reported(self, order: e.RunAssigned, first: int, steps: tuple[float, ...]) -> e.ObjectiveReported:
        values = tuple(_value(order.run, int(step)) for step in steps)
        return e.ObjectiveReported(order.run, order.attempt, first, steps, values)

    def _ended(self, order: e.RunAssigned) -> Iterator[e.AnyEntry]:
        score = min((_value(order.run, step) for step in range(self.reports)), default=None)
        self._offers += 1
        yield e.AttemptEnded(
            order.run,
            order.attempt,
            AGENT,
            "completed",
            exit_code=0,
            score=score,
            summary={"loss": score, "accuracy": 0.5},
            rows=self.history,
            cpu_s=0.1,
            maxrss_bytes=1 << 24,
        )
        yield e.SlotOffered(AGENT, order.slot, self._offers)

    def _append(self, entries: list[e.AnyEntry]) -> None:
        self._written += self.store.append(
            self.sweep, entries, writer=AGENT, first_seq=self._seq + 1
        ).recorded
        self._seq += len(entries)


def _value(run: int, step: int) -> float:
    return (run * 7919 % 10007) / 10007 + 1.0 / (step + 1)


def lead(store: Store, sweep: str) -> Driver:
    """The sweep's real controller."""
    lease = store.acquire(controller_lease(sweep), "bench", 3600.0)
    assert lease is not None, "somebody leads this sweep already"
    return driver_maker(store, sweep, print)(lease)


def record(
    store: Store,
    sweep: str,
    what: SweepSpec,
    reports: int,
    *,
    slots: int = 200,
    together: int = 1,
    history: int = 0,
    folder: str = "/bench",
    varied: bool = False,
) -> None:
    """Create the sweep and work it off."""
    create(store, sweep, what)
    worker = Worker(
        store, sweep, slots, reports, together=together, history=history, folder=folder, varied=varied
    )
    driver = lead(store, sweep)
    orders: list[e.RunAssigned] | None = None
    while orders != []:
        with store.batch():
            driver.step(time.time(), worker.written())
            orders = worker.orders()
            worker.work(orders)
    with store.batch():
        worker.leave()
        driver.step(time.time(), worker.written())
    driver.close()
    store.release(driver.lease)
