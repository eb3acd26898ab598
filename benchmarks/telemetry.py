"""What sampling runs costs: CPU time per sample and per run, and how late the agent's loop wakes beside it.

    python benchmarks/telemetry.py

CPU time is that of this process (user and system), so a busy machine changes it little; lateness is wall time, and is worth something only
beside its own control (the same loop, nothing sampled), measured in turns.
"""

from __future__ import annotations

import selectors
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

from sweep.agents import telemetry
from sweep.agents.gpus import Slot
from sweep.agents.meters import NodeMeter, TreeMeter
from sweep.agents.telemetry import Sampler, Telemetry
from sweep.core.samples import MOST, Samples
from sweep.core.spec import Limits

IDLE = "import subprocess, sys\nn = int(sys.argv[1])\nc = n and subprocess.Popen([sys.executable, '-S', '-c', sys.argv[2], str(n - 1), sys.argv[2]], stdin=subprocess.PIPE)\nprint('up', flush=True) if not n else None\nsys.stdin.read()\n"
REPEATS, RUNS = 300, 8


@contextmanager
def trees_of(count: int, processes: int) -> Iterator[list[int]]:
    """So many runs, each a chain of so many processes that do nothing."""
    command = [sys.executable, "-S", "-c", IDLE, str(processes - 1), IDLE]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(count)]
    try:
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.communicate()


def cost_us(act: object, repeats: int = REPEATS) -> float:
    """CPU time of one call, the median of five rounds."""
    rounds = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(repeats // 5):
            act()  # type: ignore[operator]
        rounds.append((time.process_time() - begun) / (repeats // 5) * 1e6)
    return statistics.median(rounds)


def late_us(seconds: float, wakes_s: float = 0.001) -> tuple[float, float, float]:
    """A loop that wants to wake every millisecond: how late it does so (median, 99th percentile, most)."""
    late, selector = [], selectors.DefaultSelector()
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        selector.select(wakes_s)
        late.append((time.monotonic() - now - wakes_s) * 1e6)
    selector.close()
    late.sort()
    return late[len(late) // 2], late[len(late) * 99 // 100], late[-1]


@contextmanager
def sampled(pids: list[int]) -> Iterator[Telemetry]:
    selector = selectors.DefaultSelector()
    made = Telemetry(selector, "agent", Sampler())
    for run, pid in enumerate(pids):
        made.begin((run, 1), pid, Slot(run, 1.0), set(), time.monotonic())
    try:
        yield made
    finally:
        made.close()
        selector.close()


def main() -> None:
    node = NodeMeter()
    node.read()
    print(f"node's network counters: {cost_us(node.read):.0f} µs of CPU")
    per_sample = 0.0
    for processes in (1, 3, 10):
        with trees_of(1, processes) as [pid]:
            meter = TreeMeter(pid)
            meter.read()
            per_sample = cost_us(meter.read)
            print(f"a run of {processes} process(es): {per_sample:.0f} µs of CPU per sample")
    samples = Samples()
    for at in range(2 * MOST):
        samples.add(
            at + 1.0, dict.fromkeys(("cpu.percent", "memory.bytes", "gpu.watts", "gpu.percent"), 1.5 * at)
        )
    print(
        f"packing {len(samples)} points for the store: {cost_us(samples.pack):.0f} µs, {len(samples.pack())} bytes"
    )

    with sampled([]) as made:
        slot, numbers = Slot(0, 1.0), iter(range(10**6))

        def short() -> None:
            key = (next(numbers), 1)
            made.begin(key, 2**22 + 1, slot, set(), time.monotonic())
            made.step(0.0, Limits(), lambda _: None, lambda _, __: None)
            made.ended(key, lambda: None)
            made.last(key, (0, 0), lambda _, __: None)

        short()
        print(f"a run that is over at once: {cost_us(short, 2000):.0f} µs of CPU")

    with trees_of(RUNS, 3) as pids:
        with sampled(pids):
            time.sleep(6.5)  # past the first seconds, in which it looks every second
            begun, cpu = time.monotonic(), time.process_time()
            time.sleep(20)
            share = (time.process_time() - cpu) / (time.monotonic() - begun)
        print(f"{RUNS} runs of 3 processes, every {telemetry.EVERY_S:g} s: {100 * share:.3f}% of one CPU")
        print("how late a loop wakes that wants to every millisecond, in µs: median, 99%, most")
        for _ in range(2):
            print("  nothing sampled           ", *(f"{x:8.0f}" for x in late_us(10)))
            with sampled(pids):
                time.sleep(6.5)
                print(
                    f"  {RUNS} runs, every {telemetry.EVERY_S:g} s       ",
                    *(f"{x:8.0f}" for x in late_us(10)),
                )
        usual, telemetry.EVERY_S, telemetry.FIRST_S = telemetry.EVERY_S, 0.1, 0.1
        with sampled(pids):
            print(f"  {RUNS} runs, every 0.1 s (x{usual / 0.1:.0f})", *(f"{x:8.0f}" for x in late_us(10)))


if __name__ == "__main__":
    main()
