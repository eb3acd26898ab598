"""What the training side costs, against a client of fifty lines: `python benchmarks/sdk_cost.py [--rounds N] [--json]`.

All rows of a table run once a round, in turn, odd rounds backwards. A figure is the median over the rounds; a ratio is the
median of the rounds' ratios to the floor. CPU time is that of the measured process alone. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLOOR, SOURCE = HERE / "floor", HERE.parent / "src"

# Peak memory, read by the process itself: what wait4 tells includes the parent's before the exec.
PEAK = "\nwith open('/proc/self/status') as f: print(next(l.split()[1] for l in f if l.startswith('VmHWM')))"
IMPORTS = {
    "floor: import socket_client": "import socket_client",
    "python -c pass": "pass",
    "import sweep": "import sweep",
}
TEN = {
    "floor: import, init, 10 reports, end": (
        "import socket_client as c\nc.init()\nfor i in range(10): c.report(i, loss=0.5)\nc.finish()"
    ),
    "python -c pass": "pass",
    "sweep: import, init, 10 logs, end": (
        "import sweep\nrun = sweep.init()\nfor i in range(10): run.log({'loss': 0.5}, step=i)\nrun.finish()"
    ),
}
ONE = {"loss": 0.12345678901}
FIVE = {
    "loss": 0.12345678901,
    "accuracy": 0.98765432109,
    "lr": 0.001,
    "grad_norm": 3.21987654321,
    "seen": 51200,
}
CALLS = 100

Table = dict[str, list[float]]


def environment(socket_path: str, folder: str) -> dict[str, str]:
    """What an agent would set. Byte code is kept in a folder of the benchmark's own, whatever this environment says."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {
        **inherited,
        "PYTHONPYCACHEPREFIX": str(Path(socket_path).with_name("pycache")),
        "PYTHONPATH": os.pathsep.join([str(SOURCE), str(FLOOR)]),
        "SWEEP_RUN_ID": "bench/0",
        "SWEEP_ATTEMPT": "1",
        "SWEEP_SEED": "1",
        "SWEEP_RUN_DIR": folder,
        "SWEEP_SOCKET": socket_path,
    }


@contextmanager
def draining() -> Iterator[str]:
    """A process that reads; gives the path of its socket."""
    drain = subprocess.Popen(
        [sys.executable, str(FLOOR / "drain.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert drain.stdin is not None and drain.stdout is not None
    try:
        yield drain.stdout.readline().strip()
    finally:
        drain.stdin.close()
        drain.wait()
        drain.stdout.close()


def in_turn(names: list[str], rounds: int, measure: Callable[[str], tuple[float, ...]]) -> list[Table]:
    """One table per figure that `measure` gives. The first, unrecorded round fills caches."""
    for name in names:
        measure(name)
    tables: list[Table] = []
    for k in range(rounds):
        for name in names if k % 2 == 0 else reversed(names):
            for n, figure in enumerate(measure(name)):
                if n == len(tables):
                    tables.append({name: [] for name in names})
                tables[n][name].append(figure)
    return tables


def process_cost(program: str, socket_path: str) -> tuple[float, float]:
    """(CPU in ms, peak memory in MB) of a Python process, its start included."""
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [sys.executable, "-c", program + PEAK],
            env=environment(socket_path, folder),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        peak = process.stdout.read()
        process.stdout.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise SystemExit(f"exit code {process.returncode} of:\n{program}")
    return 1e3 * (usage.ru_utime + usage.ru_stime), int(peak) / 1024


def log_calls(socket_path: str, folder: str) -> dict[str, Callable[[int], object]]:
    """The same row, sent in three ways, from this process."""
    os.environ.update(environment(socket_path, folder))
    sys.path[:0] = [str(SOURCE), str(FLOOR)]
    import socket

    import socket_client

    import sweep

    bare = socket.socket(socket.AF_UNIX)
    bare.connect(socket_path)
    line = b'{"i":1234,"s":1234,"t":12.345,"m":{"loss":0.12345678901}}\n'
    socket_client.init(socket_path)
    run = sweep.init()
    return {
        "floor: one report, 1 metric": lambda i: socket_client.report(i, **ONE),
        "floor: one report, 5 metrics": lambda i: socket_client.report(i, **FIVE),
        "bare send of a ready line": lambda _: bare.send(line),
        "run.log, 1 metric": lambda i: run.log(ONE, step=i),
        "run.log, 5 metrics": lambda i: run.log(FIVE, step=i),
    }


def call_cost(call: Callable[[int], object]) -> tuple[float]:
    """CPU of this thread per call in microseconds: blocks of calls, with time for the reader between them."""
    spent = 0.0
    blocks = 10
    for _ in range(blocks):
        start = time.thread_time()
        for i in range(CALLS):
            call(i)
        spent += time.thread_time() - start
        time.sleep(0.003)
    return (1e6 * spent / blocks / CALLS,)


def work() -> int:
    """A training step of about a millisecond."""
    total = 0
    for i in range(12_000):
        total += i * i
    return total


def step_cost(call: Callable[[int], object] | None) -> tuple[float]:
    """CPU per step in microseconds, with one call a step."""
    start = time.thread_time()
    for i in range(50):
        work()
        if call is not None:
            call(i)
    return (1e6 * (time.thread_time() - start) / 50,)


def measure(rounds: int) -> dict[str, tuple[str, Table]]:
    """Title -> (unit, table); the first row of a table is its floor."""
    with draining() as path, tempfile.TemporaryDirectory() as folder:
        imports = in_turn(list(IMPORTS), rounds, lambda name: process_cost(IMPORTS[name], path))
        ten = in_turn(list(TEN), rounds, lambda name: process_cost(TEN[name], path))
        calls = log_calls(path, folder)
        [log] = in_turn(list(calls), 4 * rounds, lambda name: call_cost(calls[name]))
        steps = {
            "no call": None,
            "floor: one report a step": calls["floor: one report, 1 metric"],
            "run.log a step": calls["run.log, 1 metric"],
        }
        [step] = in_turn(list(steps), 4 * rounds, lambda name: step_cost(steps[name]))
        sys.modules["socket_client"].finish()
        sys.modules["sweep"].init().finish()
    return {
        "import: CPU": ("ms", imports[0]),
        "import: peak memory": ("MB", imports[1]),
        "a short run: CPU": ("ms", ten[0]),
        "a short run: peak memory": ("MB", ten[1]),
        "one row: CPU": ("µs", log),
        "a training step of 1 ms: CPU": ("µs", step),
    }


def summarise(table: Table) -> dict[str, dict[str, float]]:
    """Median, smallest, largest and ratio to the first row."""
    floor = table[next(iter(table))]
    return {
        name: {
            "median": statistics.median(figures),
            "min": min(figures),
            "max": max(figures),
            "ratio": statistics.median(map(float.__truediv__, figures, floor)),
        }
        for name, figures in table.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="how often everything runs (default 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    options = parser.parse_args()
    results = {
        title: {"unit": unit, "rows": summarise(table)}
        for title, (unit, table) in measure(options.rounds).items()
    }
    if options.json:
        print(json.dumps({"python": sys.version, "rounds": options.rounds, "results": results}, indent=1))
        return
    for title, result in results.items():
        print(f"\n{title} ({result['unit']})")
        for name, row in result["rows"].items():
            spread = f"({row['min']:.2f} to {row['max']:.2f})"
            print(f"  {name:40} {row['median']:9.2f} {spread:24} {row['ratio']:6.2f}x")


if __name__ == "__main__":
    main()
