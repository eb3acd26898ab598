"""`sweep.minimize`: a function of a config, made smaller; each call in a process of its own, recorded as a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.api.loading import Sweep, load
from sweep.api.working import agent, create
from sweep.core.errors import SweepError
from sweep.stores import Store

METRIC = "value"


def minimize(
    fn: Callable[[dict[str, Any]], float],
    space: Mapping[str, Any],
    n: int,
    *,
    workers: int = 1,
    method: str = "bayes",
    seed: int | None = None,
    initial: Sequence[Mapping[str, Any]] = (),
    constraints: Sequence[str] = (),
    name: str | None = None,
    store: Store | str | Path | None = None,
    **keys: Any,
) -> Sweep:
    """Call `fn` with `n` configs, `workers` at a time, and look for the one with the smallest value; the recorded sweep.

    `fn` gets the config as a dict and gives a number (NaN is the worst there is). An exception fails that call, and the others go on.
    `space`: what stands under `parameters` in a `sweep.yaml`. `keys`: further keys of one, such as `retry={"max": 1}` or
    `early_terminate={...}` with a function that calls `sweep.log({"value": ...})` itself. `store` as in `sweep.create`.

        found = sweep.minimize(lambda config: (config["x"] - 1) ** 2, {"x": {"min": -5.0, "max": 5.0}}, 30)
        found.best["config"]

    Each call is a run as with `sweep.agent(id, function)`: a fork of this process; Linux. Raises SpecError, StoreError, and SweepError
    where not one call gave a number.
    """
    if n < 1 or workers < 1:
        raise ValueError(f"n and workers must be at least 1, not {n} and {workers}")
    if not callable(fn):
        raise TypeError(f"fn must be callable, not {type(fn).__name__}")
    spec: dict[str, Any] = {
        "method": method,
        "metric": {"name": METRIC, "goal": "minimize"},
        "parameters": space,
        "run_cap": n,
        "resources": {"gpus": 0},
        **({"seed": seed} if seed is not None else {}),
        **({"initial": list(initial)} if initial else {}),
        **({"constraints": list(constraints)} if constraints else {}),
        **keys,
    }
    sweep = create(spec, store=store, name=name)
    end = agent(sweep, lambda: _call(fn), slots=workers, store=store)
    found = load(sweep, store)
    if found.best is None:
        raise SweepError(f"no call gave a number: {end.reason}; `sweep runs {sweep}` shows what happened")
    return found


def _call(fn: Callable[[dict[str, Any]], float]) -> None:
    """What a run does."""
    from sweep.sdk import init

    run = init()
    value = fn(run.config.as_dict())
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"the function must give a number, not {type(value).__name__}") from None
    run.log({METRIC: number})
