"""A search together with a rule that ends poor runs early, eight workers at a virtual clock: how good it is in the end, and how soon it is
as good as random search ever gets.

    python benchmarks/stopping/together.py --work DIR [--seeds 10] [--rows "auto;auto + asha;…"]

The curves are those of small networks on five data sets; they are trained the first time (ten minutes of CPU time). What is in DIR already is
not run again. The clock ends when 50 trainings of average length would have been done. Ours run through `sweep.Optimizer`, Optuna's as its own
loop does; the best value of any epoch counts.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import sys
import time
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "search"))
from intervals import interval
from peers import Optuna
from problem import Param
from tables import NETWORKS, log_loss_of, network, network_data, param

STEPS, FULL, WORKERS = 27, 50, 8
GRID: dict[str, list[Any]] = {
    "solver": ["adam", "sgd"], "activation": ["relu", "tanh"], "rate": np.geomspace(1e-4, 0.3, 8).tolist(),
    "width": [4, 12, 36, 108], "decay": [1e-5, 1.0], "batch": [16, 64],
}  # fmt: skip
RULES: dict[str, dict[str, Any] | None] = {
    "": None,
    " + asha": {"type": "asha"},
    " + hyperband, min_iter 3": {"type": "hyperband", "min_iter": 3},
    " + hyperband, min_iter 1": {"type": "hyperband", "min_iter": 1},
}
ROWS = [
    *(kind + rule for kind in ("random", "auto") for rule in RULES),
    *("optuna TPE" + rule for rule in ("", " + MedianPruner", " + SuccessiveHalvingPruner", " + HyperbandPruner")),
]  # fmt: skip


class Curves:
    """One data set: values after each epoch, and seconds of an epoch, of each config of the grid."""

    def __init__(self, path: Path) -> None:
        stored = np.load(path)
        self.name, self.values, self.seconds = (
            path.stem,
            stored["values"].astype(float),
            stored["seconds"].astype(float),
        )
        self.params = [Param(**param(name, values)) for name, values in GRID.items()]
        self.best = float(self.values.min())
        self.horizon_s = FULL * STEPS * float(self.seconds.mean()) / WORKERS

    def curve(self, config: dict[str, Any]) -> tuple[np.ndarray, float]:
        at = tuple(p.index(config[p.name]) for p in self.params)
        return self.values[at], float(self.seconds[at])


def train(folder: Path) -> list[Path]:
    """Train what is missing; the files of all data sets."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.npz" for name in NETWORKS]
    for path in paths:
        if path.exists():
            continue
        print(f"curves: {path.stem} (training)", file=sys.stderr, flush=True)
        inputs, held_out, targets, expected = network_data(path.stem)
        cells = list(itertools.product(*GRID.values()))
        values, seconds = np.full((len(cells), STEPS), 5.0, np.float32), np.empty(len(cells), np.float32)
        for number, cell in enumerate(cells):
            begun, made = time.process_time(), network(dict(zip(GRID, cell, strict=True)), number)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for step in range(STEPS):
                    try:
                        made.partial_fit(inputs, targets, classes=np.unique(targets))
                    except ValueError:  # the weights have overflowed
                        break
                    values[number, step] = log_loss_of(made, held_out, expected)
            seconds[number] = (time.process_time() - begun) / STEPS
        shape = [len(levels) for levels in GRID.values()]
        np.savez_compressed(path, values=values.reshape(*shape, STEPS), seconds=seconds.reshape(shape))
    return paths


class Ours:
    """`auto` or random search, with a rule or none."""

    def __init__(self, problem: Curves, seed: int, row: str) -> None:
        import sweep

        kind, _, rule = row.partition(" + ")
        spec: dict[str, Any] = {
            "program": "train.py",
            "method": "bayes" if kind == "auto" else "random",
            "seed": seed,
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {p.name: _dialect(p) for p in problem.params},
        }
        if early := RULES[f" + {rule}" if rule else ""]:
            spec["early_terminate"] = {**early, "max_iter": STEPS}
        self._optimizer, self._trials = sweep.Optimizer(spec), dict[int, Any]()

    def ask(self) -> dict[str, Any]:
        trial = self._optimizer.ask()
        config = dict(trial.config)
        self._trials[id(config)] = (config, trial)
        return config

    def report(self, config: dict[str, Any], step: int, value: float) -> bool:
        return bool(self._optimizer.report(self._trials[id(config)][1], step, value))

    def tell(self, config: dict[str, Any], value: float, whole: bool) -> None:  # noqa: ARG002
        self._optimizer.tell(self._trials.pop(id(config))[1], value)


def _dialect(p: Param) -> dict[str, Any]:
    low, high = p.values[0], p.values[-1]
    if p.kind == "choice":
        return {"values": p.values}
    if p.kind == "int":
        return {"distribution": "q_log_uniform_values", "q": 1, "min": low, "max": high}
    return {"distribution": "log_uniform_values", "min": low, "max": high}


class Pruned(Optuna):
    """Optuna's TPE with one of its pruners, or none."""

    def __init__(self, problem: Any, seed: int, row: str) -> None:
        import optuna

        super().__init__(problem, seed, 0, "tpe")
        pruner = row.partition(" + ")[2]
        given = {"max_resource": STEPS} if pruner == "HyperbandPruner" else {}
        self._study.pruner = (
            getattr(optuna.pruners, pruner)(**given) if pruner else optuna.pruners.NopPruner()
        )

    def report(self, config: dict[str, Any], step: int, value: float) -> bool:
        trial = self._trials[id(config)]
        trial.report(value, step)
        return bool(trial.should_prune())

    def tell(self, config: dict[str, Any], value: float, whole: bool) -> None:  # type: ignore[override]
        from optuna.trial import TrialState

        state = TrialState.COMPLETE if whole else TrialState.PRUNED
        self._study.tell(self._trials.pop(id(config)), value if whole else None, state=state)


def simulate(path: Path, row: str, seed: int) -> dict[str, Any]:
    """One search until the clock ends: each improvement as (share of the clock, value)."""
    problem = Curves(path)
    mixed = zlib.crc32(f"{problem.name} {seed}".encode())
    searcher: Any = (Pruned if row.startswith("optuna") else Ours)(problem, mixed, row)
    events: list[tuple[float, int, int, Any, Any, float]] = []
    started = itertools.count()

    def start(now_s: float) -> None:
        config = searcher.ask()
        values, second = problem.curve(config)
        heapq.heappush(events, (now_s + second, next(started), 1, config, values, second))

    for _ in range(WORKERS):
        start(0.0)
    best, found = float("inf"), []
    while True:
        now_s, number, step, config, values, second = heapq.heappop(events)
        if now_s > problem.horizon_s:
            return {"row": row, "problem": problem.name, "seed": seed, "found": found}
        value = float(values[step - 1])
        if value < best:
            best = value
            found.append((round(now_s / problem.horizon_s, 5), best))
        ends = searcher.report(config, step, value)
        if ends or step == STEPS:
            searcher.tell(config, value, step == STEPS)
            start(now_s)
        else:
            heapq.heappush(events, (now_s + second, number, step + 1, config, values, second))


def table(runs: list[dict[str, Any]], problems: dict[str, Curves]) -> Iterator[str]:
    """Lines of Markdown."""
    by_row: dict[str, dict[str, dict[int, Any]]] = {}
    for run in runs:
        by_row.setdefault(run["row"], {}).setdefault(run["problem"], {})[run["seed"]] = run["found"]
    level = {
        name: float(np.median([found[-1][1] for found in seeds.values()]))
        for name, seeds in by_row["random"].items()
    }
    yield "| search and rule | searches | score at the end | clock until random search's level, median | there by .12 |"
    yield "| --- | --- | --- | --- | --- |"
    for row in [row for row in ROWS if row in by_row]:
        scores, times = [], list[float]()
        for name, seeds in by_row[row].items():
            scale = level[name] - problems[name].best
            scores.append(
                np.array([min((found[-1][1] - problems[name].best) / scale, 5.0) for found in seeds.values()])
            )
            times += [
                next((share for share, value in found if value <= level[name]), 1.0)
                for found in seeds.values()
            ]
        mean, low, high = interval(scores)
        early = np.mean(np.array(times) <= 0.12)
        yield f"| {row} | {len(times)} | {mean:.2f} [{low:.2f}, {high:.2f}] | {np.median(times):.3f} | {early:.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--rows", default=";".join(ROWS), help="separated by semicolons; random is always run"
    )
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    paths = train(asked.work / "curves")
    file = asked.work / "together.jsonl"
    runs = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(run["row"], run["problem"], run["seed"]) for run in runs}
    rows = ["random", *(row for row in asked.rows.split(";") if row != "random")]
    if unknown := set(rows) - set(ROWS):
        sys.exit(f"no such rows: {', '.join(sorted(unknown))}; there are {'; '.join(ROWS)}")
    todo = [(path, row, seed) for seed in range(asked.seeds) for row in rows for path in paths]
    todo = [one for one in todo if (one[1], one[0].stem, one[2]) not in done]
    with ProcessPoolExecutor(asked.processes) as pool, file.open("a") as lines:
        for number, run in enumerate(pool.map(simulate, *zip(*todo, strict=True)) if todo else (), 1):
            lines.write(json.dumps(run) + "\n")
            lines.flush()
            runs.append(run)
            print(f"{number} of {len(todo)}: {run['row']}, {run['problem']}, seed {run['seed']}", file=sys.stderr)  # fmt: skip
    print("\n".join(table(runs, {path.stem: Curves(path) for path in paths})))


if __name__ == "__main__":
    main()
