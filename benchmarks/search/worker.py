"""Runs one searcher over problems and seeds, in the environment that has its library; a JSON line per run, to be resumed.

python benchmarks/search/worker.py PEER TABLES OUT --mode seq|async8 --seeds 10 --budget 100
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from peers import make
from problem import Problem, incumbents


def simulate(problem: Problem, searcher: Any, budget: int, workers: int, seed: int) -> dict[str, Any]:
    """`budget` trials, `workers` at a time, each lasting its own training time."""
    rng = np.random.default_rng([seed, zlib.crc32(problem.name.encode())])
    running: list[tuple[float, int, Any, float, float]] = []
    now, started, told, cpu = 0.0, 0, list[tuple[float, float]](), 0.0
    while len(told) < budget:
        while started < budget and len(running) < workers:
            begun = time.process_time()
            config = searcher.ask()
            cpu += time.process_time() - begun
            observed, true, seconds = problem.evaluate(problem.active(config), rng)
            heapq.heappush(running, (now + seconds, started, config, observed, true))
            started += 1
        now, _, config, observed, true = heapq.heappop(running)
        begun = time.process_time()
        searcher.tell(config, observed)
        cpu += time.process_time() - begun
        told.append((observed, true))
    return {"incumbents": [float(f"{x:.7g}") for x in incumbents(told)], "cpu_s": round(cpu, 4)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("tables", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mode", default="seq")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=100)
    asked = parser.parse_args()
    workers = 1 if asked.mode == "seq" else int(asked.mode.removeprefix("async"))
    file = asked.out / f"{asked.peer}-{asked.mode}.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(run["problem"], run["seed"]) for run in known}
    problems = [Problem(path) for path in sorted(asked.tables.glob("*.npz"))]
    for seed in range(asked.seeds):
        for problem in problems:
            if (problem.name, seed) in done:
                continue
            searcher = make(asked.peer, problem, seed, asked.budget)
            run = {"peer": asked.peer, "mode": asked.mode, "problem": problem.name, "seed": seed}
            run |= simulate(problem, searcher, asked.budget, workers, seed)
            with file.open("a") as lines:
                lines.write(json.dumps(run) + "\n")
        print(f"{asked.peer} {asked.mode}: seed {seed + 1} of {asked.seeds}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
