"""Search quality: our engines and the peers over the same problems, seeds and budget, in one go.

    python benchmarks/search/run.py --work DIR [--peers auto,random,optuna-tpe,…] [--modes seq,async8] [--seeds 10] [--set networks]

What is in DIR already is not run again. Each peer gets an environment of its own there; one that cannot be installed is
named and left out. At the end a table and a picture (search.md, search.png) lie in DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
from intervals import interval
from peers import OVERRIDES, REQUIREMENTS
from problem import Problem, random_medians
from tables import write_tables

HERE = Path(__file__).parent
AT = (25, 50, 100)
CLIP = 5.0
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def python_for(peer: str, work: Path) -> str | None:
    """An interpreter that has the peer; None (with the reason printed) when it cannot be installed."""
    wanted = REQUIREMENTS.get(peer)
    if wanted is None:
        return sys.executable
    home = work / "environments" / peer
    python, mark, asked = home / "bin" / "python", home / "complete", " ".join(wanted)
    if not mark.exists() or mark.read_text() != asked:
        print(f"{peer}: installing", flush=True)
        venv.create(home, clear=True)
        (home / "overrides.txt").write_text("\n".join(OVERRIDES))
        command = [sys.executable, "-m", "uv", "pip", "install", "-q", "--python", str(python)]
        command += ["--override", str(home / "overrides.txt"), "numpy", *wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{peer}: left out, because it cannot be installed: {done.stderr.strip()[-300:]}")
            return None
        mark.write_text(asked)
    return str(python)


def levels(work: Path) -> dict[str, tuple[float, list[float]]]:
    """For each problem the best known loss, and random search's median by number of evaluations."""
    file = work / "levels.json"
    known = json.loads(file.read_text()) if file.exists() else {}
    for path in sorted((work / "tables").glob("*.npz")):
        if path.stem not in known:
            problem = Problem(path)
            known[path.stem] = (problem.best, random_medians(problem, max(AT)).tolist())
            file.write_text(json.dumps(known))
    return known


def scores(work: Path, mode: str) -> dict[str, dict[str, dict[int, list[float]]]]:
    """By peer, problem and seed: the regret at each of AT in units of random search's median regret."""
    reference, found = levels(work), {}  # type: ignore[var-annotated]
    for file in sorted((work / "results").glob(f"*-{mode}.jsonl")):
        for line in file.read_text().splitlines():
            run = json.loads(line)
            best, medians = reference[run["problem"]]
            floor = 0.01 * (
                medians[0] - best
            )  # where random search arrives, too, there is nothing left to measure
            score = [
                min(max(run["incumbents"][n - 1] - best, 0.0) / max(medians[n - 1] - best, floor), CLIP)
                for n in AT
            ]
            found.setdefault(run["peer"], {}).setdefault(run["problem"], {})[run["seed"]] = score
    return found


def table(work: Path, mode: str, ours: str) -> list[str]:
    """Lines of Markdown: every peer that was run, the best first, and how ours differs from it (paired)."""
    found = scores(work, mode)
    lines = [f"### {mode}", "", f"| searcher | runs | {' | '.join(f'score at {n}' for n in AT)} | {ours} minus it at {AT[1]} | at {AT[2]} |"]  # fmt: skip
    lines.append("| --- " * (len(AT) + 4) + "|")
    rows = []
    for peer, problems in found.items():
        cells = []
        for place in range(len(AT)):
            mean, low, high = interval(
                [np.array([s[place] for s in runs.values()]) for runs in problems.values()]
            )
            cells.append(f"{mean:.2f} [{low:.2f}, {high:.2f}]")
        for place in (1, 2):
            paired = []
            for problem, runs in problems.items():
                mine = found.get(ours, {}).get(problem, {})
                shared = sorted(set(mine) & set(runs))
                paired.append(np.array([mine[seed][place] - runs[seed][place] for seed in shared]))
            paired = [x for x in paired if len(x)]
            difference = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*interval(paired)) if paired else "–"
            cells.append("–" if peer == ours else difference)
        rows.append((cells[-3], f"| {peer} | {sum(map(len, problems.values()))} | {' | '.join(cells)} |"))
    return [*lines, *(line for _, line in sorted(rows)), ""]


def picture(work: Path, modes: list[str]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = {mode: scores(work, mode) for mode in modes}
    peers = sorted({peer for by_peer in found.values() for peer in by_peer})
    figure, axes = plt.subplots(1, len(modes), figsize=(5.5 * len(modes), 4.2), sharey=True, squeeze=False)
    for axis, mode in zip(axes[0], modes, strict=True):
        for place, peer in enumerate(peers):
            problems = found[mode].get(peer)
            if problems is None:
                continue
            stats = [
                interval([np.array([s[k] for s in runs.values()]) for runs in problems.values()])
                for k in range(len(AT))
            ]
            means, lows, highs = zip(*stats, strict=True)
            axis.errorbar(
                [
                    at + 1.2 * (place - len(peers) / 2) for at in AT
                ],  # beside each other, so that bars can be told apart
                means,
                [np.subtract(means, lows), np.subtract(highs, means)],
                label=peer,
                color=f"C{place}",
                marker="o",
                markersize=4,
                linewidth=2.2 if peer == "auto" else 1.2,
                capsize=2,
            )
        workers = mode.removeprefix("async")
        title = "one trial at a time" if mode == "seq" else f"{workers} at a time"
        axis.set(title=title, xlabel="trials", xticks=AT)
        axis.grid(axis="y", alpha=0.3)
    axes[0][0].set_ylim(bottom=0)
    axes[0][0].set_ylabel("regret; random search's median is 1")
    handles = {h.get_label(): h for axis in axes[0] for h in axis.get_legend_handles_labels()[0]}
    figure.legend(handles.values(), handles.keys(), loc="center right", fontsize=9, frameon=False)
    figure.tight_layout(rect=(0, 0, 0.87, 1))
    figure.savefig(work / "search.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peers", default=",".join(["auto", *REQUIREMENTS]))
    parser.add_argument("--modes", default="seq,async8")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--set",
        default="standard",
        choices=["standard", "conditional", "networks"],
        help="problems; each set in a folder of its own",
    )
    parser.add_argument("--ours", default="auto", help="which one the others are compared with")
    asked = parser.parse_args()
    (asked.work / "results").mkdir(parents=True, exist_ok=True)
    write_tables(asked.work / "tables", asked.set)
    for peer in asked.peers.split(","):
        python = python_for(peer, asked.work)
        for mode in asked.modes.split(",") if python else ():
            command = [python, str(HERE / "worker.py"), peer, str(asked.work / "tables"), str(asked.work / "results")]  # fmt: skip
            if subprocess.run(
                [*command, "--mode", mode, "--seeds", str(asked.seeds)],
                env={**os.environ, **ONE_THREAD},
                check=False,
            ).returncode:
                print(f"{peer} {mode}: ended early; what it had finished counts")
    modes = asked.modes.split(",")
    text = "\n".join(line for mode in modes for line in table(asked.work, mode, asked.ours))
    (asked.work / "search.md").write_text(text)
    picture(asked.work, modes)
    print(text)


if __name__ == "__main__":
    main()
