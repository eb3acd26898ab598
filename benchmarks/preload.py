"""A run: forked from a warm process (`preload`), against a spawn that imports the same and against a bare spawn."""

from __future__ import annotations

import importlib.util
import os
import select
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measure import Context, Figures, Goal, Row, Table, environment

TORCH_STEP = """
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model(torch.ones(2, 4)).sum().backward()
optimizer.step()
"""
SETS = {("numpy", "sklearn"): "", ("torch",): TORCH_STEP, ("torch", "torch._dynamo"): TORCH_STEP}
"""What is imported in advance -> what a run does besides importing the first of them. PyTorch's optimizers import a large part of
it when they are first used."""
BARE, SPAWNED, FORKED = "bare spawn", "spawn that imports", "forked"
RUNS = {BARE: 40, SPAWNED: 4, FORKED: 40}
"""So many runs, one after another, in each measurement."""


def tables(context: Context) -> Iterator[Table]:
    """One table for each set of modules that this Python has."""
    for modules in SETS:
        if all(importlib.util.find_spec(name.partition(".")[0]) is not None for name in modules):
            with bench(context, modules) as measured:
                yield Table(
                    f"a run that imports {' and '.join(modules)}{' and takes one step' if SETS[modules] else ''}",
                    [Row(label, lambda label=label: measured.take(label)) for label in RUNS],  # type: ignore[misc]
                    [
                        Goal(FORKED, "CPU ms", ratio=1.0),
                        Goal(FORKED, "CPU ms", to=SPAWNED, at_least=40.0),
                    ]
                    if "numpy" in modules
                    else [],
                    note="CPU of a run and of what starts it: the guard, for a forked run also the warm process; its own "
                    "imports, once for an agent, are not in it",
                )


class Bench:
    """A guard that starts runs of two scripts."""

    def __init__(self, folder: Path, env: dict[str, str], modules: tuple[str, ...]) -> None:
        from sweep.agents.guardian import Guardian
        from sweep.agents.warming import Warming
        from sweep.core.space import Space
        from sweep.core.spec import SweepSpec

        (folder / "bare.py").write_text("pass\n")
        (folder / "work.py").write_text(
            "".join(f"import {name}\n" for name in modules if "." not in name) + SETS[modules]
        )
        self.folder, self.env = folder, env
        spec = SweepSpec(method="grid", space=Space(()), seed=1, program="work.py", preload=modules)
        self.warming = Warming("benchmark", spec)
        self.guardian = Guardian()
        self.guardian.start()
        self.number = 0

    def take(self, label: str) -> Figures:
        """CPU and wall milliseconds of one run."""
        import time

        self._run(label)  # a warm process that is not there yet starts now
        before, began = self._cpu(), time.perf_counter()
        cpu = sum(self._run(label) for _ in range(RUNS[label]))
        wall = time.perf_counter() - began
        own = self._cpu() - before
        return {"CPU ms": 1e3 * (cpu + own) / RUNS[label], "wall ms": 1e3 * wall / RUNS[label]}

    def _run(self, label: str) -> float:
        """CPU seconds of one run."""
        from sweep.agents.guardian import Exited, WarmGone

        self.number += 1
        env = {**self.env, "SWEEP_RUN_ID": f"run-{self.number}", "SWEEP_SEED": str(self.number)}
        argv = [sys.executable, "bare.py" if label == BARE else "work.py"]
        warm = self.warming.start_for(argv, env, self.folder, ()) if label == FORKED else None
        self.guardian.spawn(str(self.number), argv, env, self.folder, self.folder / "output", warm)
        while True:
            select.select([self.guardian], [], [])
            for event in self.guardian.poll():
                if isinstance(event, WarmGone):
                    raise SystemExit(f"preload: {event.problem}")
                if isinstance(event, Exited):
                    if event.status != 0:
                        raise SystemExit((self.folder / "output").read_text())
                    return event.utime_s + event.stime_s

    def _cpu(self) -> float:
        """CPU seconds so far of the guard and the warm process, which both have one thread."""
        from sweep.agents import trees

        assert self.guardian.pid is not None
        pids = [self.guardian.pid, *trees.descendants([self.guardian.pid])]
        return sum(int(trees.read_bytes(f"/proc/{pid}/schedstat").split()[0]) for pid in pids) / 1e9


@contextmanager
def bench(context: Context, modules: tuple[str, ...]) -> Iterator[Bench]:
    """In a folder of its own, ended afterwards."""
    with tempfile.TemporaryDirectory(dir=context.folder) as name:
        env = environment(context.folder, PYTHONHASHSEED="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        measured = Bench(Path(name), env, modules)
        try:
            yield measured
        finally:
            measured.guardian.close(timeout_s=5)


if __name__ == "__main__":
    os.execv(
        sys.executable,
        [sys.executable, str(Path(__file__).with_name("run.py")), "preload", *sys.argv[1:]],
    )
