"""A run on Ray: what `sweep launch` costs for a program that does nothing, against Ray Tune with fresh and with reused actors."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from measure import DECISIONS_FIRST, SOURCE, Context, Figures, Goal, Row, Table, environment

LAUNCH, WARM = "sweep launch", "sweep launch, `preload: [sweep.sdk]`"
FRESH, REUSED = "Ray Tune, an actor for each trial (default)", "Ray Tune, reused actors"
SIZES = {LAUNCH: (40, 340), WARM: (40, 640), FRESH: (4, 12), REUSED: (20, 320)}
"""The cost of a run is the slope between two sizes of sweep: starting Ray and the actors drops out."""

TRAIN = """
import sweep
run = sweep.init()
for step in range({reports}):
    run.log({{'loss': run.config.x / (step + 1)}})
"""
SPEC = """
program: train.py
method: grid
metric: {{name: loss}}
parameters: {{x: {{distribution: int_uniform, min: 1, max: {count}}}}}
resources: {{gpus: 0}}
preload: {preload}
"""
TUNE = """
import sys
import ray
from ray import tune

count, reuse, cpus, folder, reports = int(sys.argv[1]), sys.argv[2] == "reuse", int(sys.argv[3]), sys.argv[4], int(sys.argv[5])

def train(config):
    for step in range(reports):
        tune.report({"loss": config["x"] / (step + 1)})

ray.init(address="local", num_cpus=cpus, num_gpus=0, include_dashboard=False, log_to_driver=False)
tuner = tune.Tuner(
    train,
    param_space={"x": tune.grid_search(list(range(count)))},
    tune_config=tune.TuneConfig(reuse_actors=reuse),
    run_config=tune.RunConfig(storage_path=folder, verbose=0),
)
results = tuner.fit()
assert len(results) == count and not results.errors
"""


def tables(context: Context) -> Iterator[Table]:
    """One table a number of reports; nothing without Ray."""
    try:
        import ray  # noqa: F401
    except ImportError:
        context.missing.add("ray, where sweep is")
        return
    yield _table(context, 10)
    yield _table(context, 1)


def _table(context: Context, reports: int) -> Table:
    """With ten reports Ray Tune is as it comes; with one its loggers are off, which is the least that it can cost."""
    rows = [
        Row(LAUNCH, lambda: _slope(LAUNCH, lambda count: _launch(context, count, reports, "[]"))),
        Row(WARM, lambda: _slope(WARM, lambda count: _launch(context, count, reports, "[sweep.sdk]"))),
    ]
    python = context.peer("ray")
    if python is not None:
        for label, word in ((FRESH, "fresh"), (REUSED, "reuse"))[reports == 1 :]:
            rows.append(
                Row(
                    label,
                    lambda label=label, word=word: _slope(label, lambda n: _tune(python, n, reports, word)),
                )
            )  # type: ignore[misc]
    goals = [
        Goal(label, figure, to=to, at_least=times)
        for label, to, times in ((LAUNCH, FRESH, 60), (WARM, REUSED, 4))
        for figure in ("wall ms", "CPU ms")
    ]
    loggers = "as they come" if reports > 1 else "off"
    return Table(
        f"a program that does nothing but report {reports} times, on a local Ray with {os.cpu_count()} CPUs, per run",
        rows,
        goals if reports > 1 else [],
        f"sweep: {DECISIONS_FIRST}; Ray Tune: a snapshot of its state now and then",
        "Our runs are processes of their own, with a folder, a record and a guard, started anew or (`preload`) forked from a warm one; Ray "
        f"Tune's are calls of a function, in a process of its own or (reused) in one that stays, its loggers {loggers}. CPU: of all "
        "processes together, Ray's too (from a control group; missing where none can be made).",
        rounds=3 / 7,
    )


def _slope(label: str, measure: Callable[[int], Figures]) -> Figures:
    small, large = SIZES[label]
    first, second = measure(small), measure(large)
    return {name: (second[name] - first[name]) / (large - small) for name in first if name in second}


def _launch(context: Context, count: int, reports: int, preload: str) -> Figures:
    with tempfile.TemporaryDirectory(dir=context.folder) as name:
        folder = Path(name)
        (folder / "train.py").write_text(TRAIN.format(reports=reports))
        (folder / "sweep.yaml").write_text(SPEC.format(count=count, preload=preload))
        env = environment(context.folder, PYTHONPATH=str(SOURCE))
        sweep = [sys.executable, "-m", "sweep"]
        subprocess.run([*sweep, "create", "sweep.yaml"], cwd=folder, env=env, check=True, capture_output=True)
        return _measure([*sweep, "launch", "latest", "--ray", "local"], folder, env)


def _tune(python: str, count: int, reports: int, word: str) -> Figures:
    with tempfile.TemporaryDirectory() as name:
        env = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        if reports == 1:
            env["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
        command = [python, "-c", TUNE, str(count), word, str(os.cpu_count()), name, str(reports)]
        return _measure(command, Path(name), env)


def _measure(command: list[str], cwd: Path, env: dict[str, str]) -> Figures:
    """Of a command and all that it starts."""
    with _group() as group:
        began = time.perf_counter()
        done = subprocess.run(
            ["/bin/sh", "-c", f'{group.enter} exec "$0" "$@"', *command],
            cwd=cwd,
            env=env,
            capture_output=True,
            check=False,
        )
        figures = {"wall ms": 1e3 * (time.perf_counter() - began)}
        if done.returncode != 0:
            raise SystemExit(f"exit code {done.returncode} of {command[:3]}:\n{done.stderr.decode()[-2000:]}")
        cpu_s = group.cpu_s()
    return figures if cpu_s is None else {**figures, "CPU ms": 1e3 * cpu_s}


class Group:
    """A control group: it counts the CPU time of everything in it, processes that nobody waits for included."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.enter = "" if folder is None else f"echo $$ > {folder}/cgroup.procs;"

    def cpu_s(self) -> float | None:
        if self.folder is None:
            return None
        with suppress(OSError):  # version 1
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        text = (self.folder / "cpu.stat").read_text()
        return int(dict(line.split() for line in text.splitlines())["usage_usec"]) / 1e6


@contextmanager
def _group() -> Iterator[Group]:
    root = Path("/sys/fs/cgroup")
    folder = (
        root / "cpuacct" if (root / "cpuacct").is_dir() else root
    ) / f"sweep-bench-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError:
        yield Group(None)
        return
    try:
        yield Group(folder)
    finally:
        for _ in range(100):
            with suppress(OSError):  # until its last process is gone
                folder.rmdir()
                break
            time.sleep(0.1)
