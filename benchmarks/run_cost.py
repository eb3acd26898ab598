"""What a run costs besides its own work: `python benchmarks/run_cost.py [--rounds N] [--slots 1 2 8] [--json]`.

A free program that reports ten rows, run by `sweep agent` over a grid, against a bare loop that starts the same number of
programs of the fifty-line client, as many at a time. Cost of a run: the slope between two sizes of sweep, so that the start of the
agent drops out. CPU is that of the whole process tree; what the parent of the bare loop does is in its figure, too. All rows of a
table run once a round, in turn; a ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FLOOR, SOURCE = HERE / "floor", HERE.parent / "src"
SMALL, LARGE = 20, 120

TRAIN = "import sweep\nrun = sweep.init()\nfor i in range(10): run.log({'loss': 0.5}, step=i)\n"
BARE_TRAIN = "import socket_client as c\nc.init()\nfor i in range(10): c.report(i, loss=0.5)\nc.finish()\n"
BARE_LOOP = """
import os, sys
count, slots, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
started = ended = 0
while ended < count:
    while started < count and started - ended < slots:
        os.posix_spawn(sys.executable, [sys.executable, program], os.environ)
        started += 1
    os.wait()
    ended += 1
"""
SPEC = """
program: train.py
method: grid
metric: {{name: loss}}
parameters: {{x: {{distribution: int_uniform, min: 1, max: {count}}}}}
"""


def measured(command: list[str], folder: Path, env: dict[str, str]) -> tuple[float, float]:
    """(CPU seconds of the process tree, wall seconds) of a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


def sweep_cost(count: int, slots: int) -> tuple[float, float]:
    """CPU and wall time of an agent that works `count` runs off."""
    with tempfile.TemporaryDirectory(prefix="sweep-bench-") as name:
        folder = Path(name)
        (folder / "train.py").write_text(TRAIN)
        (folder / "sweep.yaml").write_text(SPEC.format(count=count))
        env = {k: v for k, v in os.environ.items() if not k.startswith("SWEEP_")} | {
            "PYTHONPATH": str(SOURCE)
        }
        measured([sys.executable, "-m", "sweep", "create", "sweep.yaml"], folder, env)
        return measured(
            [sys.executable, "-m", "sweep", "agent", "latest", "--slots", str(slots), "--gpus", "none"],
            folder,
            env,
        )


def bare_cost(count: int, slots: int, socket_path: str) -> tuple[float, float]:
    """CPU and wall time of a loop that starts `count` programs of the floor's client."""
    with tempfile.TemporaryDirectory(prefix="sweep-bench-") as name:
        folder = Path(name)
        (folder / "train.py").write_text(BARE_TRAIN)
        env = {**os.environ, "PYTHONPATH": str(FLOOR), "SWEEP_SOCKET": socket_path}
        return measured([sys.executable, "-c", BARE_LOOP, str(count), str(slots), "train.py"], folder, env)


def per_run(cost: object, slots: int, *more: str) -> tuple[float, float]:
    """(CPU, wall) milliseconds per run: the slope between two sizes."""
    small, large = cost(SMALL, slots, *more), cost(LARGE, slots, *more)  # type: ignore[operator]
    return tuple((b - a) * 1000 / (LARGE - SMALL) for a, b in zip(small, large, strict=True))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 2, 8])
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    drain = subprocess.Popen(
        [sys.executable, str(FLOOR / "drain.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert drain.stdin is not None and drain.stdout is not None
    path = drain.stdout.readline().strip()
    results = []
    try:
        for slots in arguments.slots:
            rounds = []
            for number in range(arguments.rounds):
                if sys.stderr.isatty():
                    print(
                        f"\r{slots} slots, round {number + 1} of {arguments.rounds}", end="", file=sys.stderr
                    )
                rounds.append((per_run(sweep_cost, slots), per_run(bare_cost, slots, path)))
            results.append(summary(slots, rounds))
    finally:
        drain.stdin.close()
        drain.wait()
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(
        f"\n{'slots':>5} {'CPU ms/run':>11} {'bare':>7} {'ratio':>6} {'wall ms/run':>12} {'bare':>7} {'ratio':>6}"
    )
    for row in results:
        print(
            f"{row['slots']:>5} {row['cpu_ms']:>11.1f} {row['bare_cpu_ms']:>7.1f} {row['cpu_ratio']:>6.2f}"
            f" {row['wall_ms']:>12.1f} {row['bare_wall_ms']:>7.1f} {row['wall_ratio']:>6.2f}"
        )


def summary(slots: int, rounds: list[tuple[tuple[float, float], tuple[float, float]]]) -> dict[str, float]:
    """Medians over the rounds."""
    median = statistics.median
    return {
        "slots": slots,
        "cpu_ms": median(ours[0] for ours, _ in rounds),
        "bare_cpu_ms": median(bare[0] for _, bare in rounds),
        "cpu_ratio": median(ours[0] / bare[0] for ours, bare in rounds),
        "wall_ms": median(ours[1] for ours, _ in rounds),
        "bare_wall_ms": median(bare[1] for _, bare in rounds),
        "wall_ratio": median(ours[1] / bare[1] for ours, bare in rounds),
    }


if __name__ == "__main__":
    main()
