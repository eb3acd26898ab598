"""The training side: importing, a short run, one row, a training step; against a client of fifty lines, and peers."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from measure import FLOOR, SOURCE, Context, Figures, Goal, Row, Table, draining, environment, process

# Peak memory is read by the process itself: what wait4 tells includes the parent's before the exec.
PEAK = "\nwith open('/proc/self/status') as f: print(next(l.split()[1] for l in f if l.startswith('VmHWM')))"
TEN_FLOOR = "import socket_client as c\nc.init()\nfor i in range(10): c.report(i, loss=0.5)\nc.finish()"
TEN_SWEEP = (
    "import sweep\nrun = sweep.init()\nfor i in range(10): run.log({'loss': 0.5}, step=i)\nrun.finish()"
)
TEN_WANDB = (
    "import wandb\nrun = wandb.init(project='p', mode='offline')\n"
    "for i in range(10): run.log({'loss': 0.5}, step=i)\nrun.finish()"
)
ONE = {"loss": 0.12345678901}
FIVE = {
    "loss": 0.12345678901,
    "accuracy": 0.98765432109,
    "lr": 0.001,
    "grad_norm": 3.21987654321,
    "seen": 51200,
}
CALLS = 100
ON_DISK = "a call returns when the row is with the agent, which has it on disk within a second, the objective's at once"


def tables(context: Context) -> Iterator[Table]:
    """Import, a short run, a row, a step."""
    with draining() as socket_path:
        run = _Programs(context, socket_path)
        wandb, optuna = context.peer("wandb"), context.peer("optuna")
        imports = [
            run.row("client of 50 lines", "import socket_client"),
            run.row("python -c pass", "pass"),
            run.row("sweep", "import sweep"),
            *([run.row("wandb", "import wandb", wandb)] if wandb else []),
            *([run.row("optuna", "import optuna", optuna)] if optuna else []),
        ]
        yield Table(
            "importing",
            imports,
            [
                Goal("sweep", "CPU ms", ratio=0.7),
                Goal("sweep", "peak MB", ratio=0.95),
                Goal("sweep", "CPU ms", at_least=35, to="wandb"),
            ],
        )
        yield Table(
            "import, init, 10 logs and end",
            [
                run.row("client of 50 lines", TEN_FLOOR),
                run.row("sweep", TEN_SWEEP),
                *([run.row("wandb, offline", TEN_WANDB, wandb)] if wandb else []),
            ],
            [Goal("sweep", "CPU ms", ratio=0.8), Goal("sweep", "CPU ms", at_least=40, to="wandb, offline")],
            ON_DISK,
        )
        with tempfile.TemporaryDirectory(dir=context.folder) as folder:
            yield from _calls(_log_calls(socket_path, Path(folder)))
            sys.modules["socket_client"].finish()
            sys.modules["sweep"].init().finish()


class _Programs:
    """Whole Python processes, their start included."""

    def __init__(self, context: Context, socket_path: str) -> None:
        self._folder, self._socket = context.folder, socket_path

    def row(self, label: str, program: str, python: str = sys.executable) -> Row:
        """CPU and peak memory of `program`, run once beforehand so that byte code is cached."""

        def measure() -> Figures:
            with tempfile.TemporaryDirectory(dir=self._folder) as name:
                env = _run_environment(self._folder, self._socket, Path(name))
                if python != sys.executable:
                    del env["PYTHONPATH"]
                figures, text = process([python, "-c", program + PEAK], Path(name), env)
            return {"CPU ms": figures["CPU ms"], "peak MB": int(text.split()[-1]) / 1024}

        return Row(label, measure)


def _run_environment(folder: Path, socket_path: str, run_folder: Path) -> dict[str, str]:
    return environment(
        folder,
        PYTHONPATH=os.pathsep.join([str(SOURCE), str(FLOOR)]),
        SWEEP_RUN_ID="bench/0",
        SWEEP_ATTEMPT="1",
        SWEEP_SEED="1",
        SWEEP_RUN_DIR=str(run_folder),
        SWEEP_SOCKET=socket_path,
    )


def _log_calls(socket_path: str, folder: Path) -> dict[str, Callable[[int], object]]:
    """The same row, sent in several ways, from this process."""
    os.environ.update(_run_environment(folder, socket_path, folder))
    sys.path[:0] = [str(FLOOR)]
    import socket

    import socket_client

    import sweep

    bare = socket.socket(socket.AF_UNIX)
    bare.connect(socket_path)
    line = b'{"i":1234,"s":1234,"t":12.345,"m":{"loss":0.12345678901}}\n'
    socket_client.init(socket_path)
    run = sweep.init()
    return {
        "client of 50 lines, 1 metric": lambda i: socket_client.report(i, **ONE),
        "client of 50 lines, 5 metrics": lambda i: socket_client.report(i, **FIVE),
        "send of a ready line": lambda _: bare.send(line),
        "run.log, 1 metric": lambda i: run.log(ONE, step=i),
        "run.log, 5 metrics": lambda i: run.log(FIVE, step=i),
    }


def _calls(calls: dict[str, Callable[[int], object]]) -> Iterator[Table]:
    yield Table(
        "one row (CPU of the training thread)",
        [Row(label, lambda call=call: _call_cost(call)) for label, call in calls.items()],  # type: ignore[misc]
        [Goal("run.log, 1 metric", "µs", ratio=2), Goal("run.log, 5 metrics", "µs", ratio=2.5)],
        ON_DISK,
        rounds=4,
    )
    steps = {
        "no call": None,
        "client of 50 lines": calls["client of 50 lines, 1 metric"],
        "run.log": calls["run.log, 1 metric"],
    }
    yield Table(
        "a training step of about a millisecond with one row",
        [Row(label, lambda call=call: _step_cost(call)) for label, call in steps.items()],  # type: ignore[misc]
        [Goal("run.log", "µs", ratio=1.03, to="client of 50 lines")],  # the floor's slowdown + 0.03
        ON_DISK,
        rounds=4,
    )


def _call_cost(call: Callable[[int], object]) -> Figures:
    """CPU of this thread per call: blocks of calls, with time for the reader between them."""
    spent, blocks = 0.0, 10
    for _ in range(blocks):
        start = time.thread_time()
        for i in range(CALLS):
            call(i)
        spent += time.thread_time() - start
        time.sleep(0.003)
    return {"µs": 1e6 * spent / blocks / CALLS}


def _work() -> int:
    total = 0
    for i in range(12_000):
        total += i * i
    return total


def _step_cost(call: Callable[[int], object] | None) -> Figures:
    start = time.thread_time()
    for i in range(50):
        _work()
        if call is not None:
            call(i)
    return {"µs": 1e6 * (time.thread_time() - start) / 50}
