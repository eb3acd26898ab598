"""Sweeps made up for the tests of the analysis: a plain formula instead of training, chance from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from sweep.analysis.history import History
from sweep.analysis.table import SweepTable
from sweep.core.domain import assemble, from_unit
from sweep.core.space import Categorical, Config, Constant, Distribution, Numeric, Parameter, Space
from sweep.core.spec import Goal, Metric, SweepSpec
from sweep.core.views import AttemptView, RunState, RunView, SweepView


class Chunk(NamedTuple):
    attempt: int
    first_row: int
    count: int
    data: bytes


def rows(*items: dict[str, Any]) -> bytes:
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)


def history(values: Sequence[Any], metric: str = "loss", first: int = 0) -> History:
    """One attempt that logged `values` at the steps first, first+1, …"""
    data = rows(
        *({"i": i, "s": first + i, "t": 0.5 * i, "m": {metric: v}, "x": {}} for i, v in enumerate(values))
    )
    return History.from_chunks([Chunk(1, 0, len(values), data)])


def parameter(path: str, distribution: Distribution) -> Parameter:
    return Parameter(tuple(path.split(".")), distribution)


SPACE = Space(
    (
        parameter("lr", Numeric(1e-5, 0.1, "log")),
        parameter("batch", Categorical((16, 32, 64))),
        parameter("optimizer.name", Categorical(("adam", "sgd", "rmsprop"))),
        parameter("dropout", Numeric(0.0, 0.6)),
        parameter("layers", Numeric(1, 8, integer=True)),
        parameter("epochs", Constant(8)),
    )
)


def loss_of(config: Config) -> float:
    """lr (around 1e-3) and the optimizer decide, the rest does nothing."""
    return (
        0.1
        + 0.2 * (math.log10(config["lr"]) + 3) ** 2
        + (0.5 if config["optimizer"]["name"] == "sgd" else 0.0)
    )


def run_view(
    number: int, config: Config, state: RunState = "completed", objective: float | None = 0.5, **more: Any
) -> RunView:
    """A run with one attempt of ten seconds; runs begin every five seconds."""
    start_s = 1_700_000_000.0 + 5.0 * number
    ended = state in ("completed", "pruned", "failed", "cancelled")
    attempt = AttemptView(
        attempt=1, agent="a1", host="node1", slot=0, gpus=("0",), command=("python", "train.py"), folder="runs/1",
        started_s=start_s, ended_s=start_s + 10.0 if ended else None, exit_code={"failed": 1, "completed": 0}.get(state),
    )  # fmt: skip
    fields: dict[str, Any] = {
        "sweep": "swp1", "run": number, "trial": number - 1, "replicate": 0, "purpose": "search", "seed": 100 + number,
        "config": config, "state": state, "objective": objective, "attempts": [attempt],
    }  # fmt: skip
    return RunView(**(fields | more))


def spec_of(
    space: Space = SPACE, goal: Goal = "minimize", metric: str | None = "loss", **more: Any
) -> SweepSpec:
    return SweepSpec(
        method="random",
        space=space,
        seed=7,
        metric=Metric(name=metric, goal=goal) if metric else None,
        **more,
    )


def table_of(runs: list[RunView], histories: dict[int, History] | None = None, **spec: Any) -> SweepTable:
    view = SweepView(
        sweep="swp1", name="example", state="ended", reason="run_cap of runs reached", created_s=1.7e9
    )
    return SweepTable(spec_of(**spec), view, runs, histories)


def draw(space: Space, chance: random.Random) -> Config:
    return assemble(space, [from_unit(p.distribution, chance.random()) for p in space.parameters])


def sweep(
    n: int,
    *,
    space: Space = SPACE,
    seed: int = 0,
    objective: Callable[[Config], float] = loss_of,
    state: Callable[[int], RunState] = lambda _: "completed",
    steps: int = 8,
    **spec: Any,
) -> SweepTable:
    """A table of `n` trials with learning curves that fall to the objective; failed ones have no objective."""
    chance = random.Random(seed)
    runs, histories = [], {}
    for number in range(1, n + 1):
        config = draw(space, chance)
        final, how = objective(config), state(number)
        length = steps if how == "completed" else steps // 2
        curve = [final + 1.0 / (step + 1) - 1.0 / length for step in range(length)]
        runs.append(run_view(number, config, how, None if how == "failed" else final))
        histories[number] = history(curve)
    return table_of(runs, histories, space=space, **spec)
