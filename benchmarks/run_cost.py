"""A run: what agent, controller and store cost besides the program, against a bare loop that starts the same programs."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from measure import (
    DECISIONS_FIRST,
    FLOOR,
    SOURCE,
    Context,
    Figures,
    Goal,
    Row,
    Table,
    draining,
    environment,
    process,
)

SMALL, LARGE = 20, 120
"""The cost of a run is the slope between two sizes of sweep: the agent's own start drops out."""

STAMP = "import time, os\nwith open(os.environ['STAMPS'], 'a') as f: f.write(f'{begun} {time.time()}\\n')\n"
TRAIN = (
    "import time\nbegun = time.time()\nimport sweep\nrun = sweep.init()\n"
    "for i in range(10): run.log({'loss': 0.5}, step=i)\n" + STAMP
)
BARE_TRAIN = (
    "import time\nbegun = time.time()\nimport socket_client as c\nc.init()\n"
    "for i in range(10): c.report(i, loss=0.5)\nc.finish()\n" + STAMP
)
BARE_LOOP = """
import os, resource, sys
count, slots, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
started = ended = 0
while ended < count:
    while started < count and started - ended < slots:
        os.posix_spawn(sys.executable, [sys.executable, program], os.environ)
        started += 1
    os.wait()
    ended += 1
own = resource.getrusage(resource.RUSAGE_SELF)
print(own.ru_utime + own.ru_stime)
"""
AGENT = """
import resource, sys
from sweep.cli import main
sys.argv = ["sweep", "agent", "latest", "--slots", sys.argv[1], "--gpus", "none"]
try:
    main()
finally:
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(own.ru_utime + own.ru_stime)
"""
SPEC = """
program: train.py
method: grid
metric: {{name: loss}}
parameters: {{x: {{distribution: int_uniform, min: 1, max: {count}}}}}
"""


def tables(context: Context) -> Iterator[Table]:
    """One table for each number of slots, and what eight slots cost against one."""
    with draining() as socket_path:
        for slots in (1, 2, 8):
            yield Table(
                f"a free program that reports 10 rows, {slots} slot{'s' if slots > 1 else ''}, per run",
                [
                    Row("bare loop", lambda slots=slots: _bare(context, slots, socket_path)),  # type: ignore[misc]
                    Row("sweep agent", lambda slots=slots: _sweep(context, slots)),  # type: ignore[misc]
                ],
                [
                    Goal("sweep agent", "agent CPU ms", most=2),
                    Goal("sweep agent", "tree CPU ms", ratio=1.4),
                    Goal("sweep agent", "gap p50 ms", ratio=1.5),
                ],
                f"synchronous=FULL: {DECISIONS_FIRST}",
                "agent: the agent's process with the controller in it; the guard is in the tree's figure; "
                "gap: end of a program to the start of the one that follows on its slot, stamped by the programs",
            )
        yield Table(
            "eight slots against one, per run",
            [
                Row("1 slot", lambda: _sweep(context, 1)),
                Row("8 slots", lambda: _sweep(context, 8)),
            ],
            [Goal("8 slots", "tree CPU ms", ratio=1.2)],
            f"synchronous=FULL: {DECISIONS_FIRST}",
        )


def _sweep(context: Context, slots: int) -> Figures:
    small, large = _agent(context, SMALL, slots), _agent(context, LARGE, slots)
    return _slope(small, large)


def _bare(context: Context, slots: int, socket_path: str) -> Figures:
    small, large = _loop(context, SMALL, slots, socket_path), _loop(context, LARGE, slots, socket_path)
    return _slope(small, large)


def _slope(small: Figures, large: Figures) -> Figures:
    per_run = {name: (large[name] - small[name]) / (LARGE - SMALL) for name in large if name != "gap p50 ms"}
    return {**per_run, "gap p50 ms": large["gap p50 ms"]}


def _agent(context: Context, count: int, slots: int) -> Figures:
    folder = _folder(context)
    (folder / "train.py").write_text(TRAIN)
    (folder / "sweep.yaml").write_text(SPEC.format(count=count))
    env = environment(context.folder, PYTHONPATH=str(SOURCE), STAMPS=str(folder / "stamps"))
    process([sys.executable, "-m", "sweep", "create", "sweep.yaml"], folder, env)
    figures, text = process([sys.executable, "-c", AGENT, str(slots)], folder, env)
    return _figures(figures, text, folder / "stamps", slots, "agent CPU ms")


def _loop(context: Context, count: int, slots: int, socket_path: str) -> Figures:
    folder = _folder(context)
    (folder / "train.py").write_text(BARE_TRAIN)
    env = environment(
        context.folder, PYTHONPATH=str(FLOOR), SWEEP_SOCKET=socket_path, STAMPS=str(folder / "stamps")
    )
    command = [sys.executable, "-c", BARE_LOOP, str(count), str(slots), "train.py"]
    figures, text = process(command, folder, env)
    return _figures(figures, text, folder / "stamps", slots, "loop CPU ms")


def _folder(context: Context) -> Path:
    """A new folder, which stays until the end: within some minutes of many deletions ext4 takes ten times as long to make a
    file or a folder (it passes over what was freed a moment ago), and that would be the benchmark's own doing."""
    return Path(tempfile.mkdtemp(dir=context.folder))


def _figures(figures: Figures, text: str, stamps: Path, slots: int, own: str) -> Figures:
    runs = [tuple(map(float, line.split())) for line in stamps.read_text().splitlines()]
    starts, ends = sorted(begun for begun, _ in runs), sorted(ended for _, ended in runs)
    gaps = [1e3 * (start - end) for start, end in zip(starts[slots:], ends, strict=False)]
    return {
        "tree CPU ms": figures["CPU ms"],
        own: 1e3 * float(text.split()[-1]),
        "wall ms": figures["wall ms"],
        "gap p50 ms": statistics.median(gaps),
    }
