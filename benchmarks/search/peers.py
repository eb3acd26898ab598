"""The searchers that are compared. Each imports its library when it is made; a config is a plain dict.

ask() -> config          # inactive parameters may be in it
tell(config, loss)       # the same object
"""

from __future__ import annotations

import math
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from problem import Param, Problem

REQUIREMENTS = {
    "random": [],
    "optuna-tpe": ["optuna"],
    "optuna-gp": ["optuna", "scipy", "torch"],
    "optuna-cmaes": ["optuna", "cmaes"],
    "hyperopt": ["hyperopt", "setuptools<80"],
    "skopt-gp": ["scikit-optimize"],
    "skopt-et": ["scikit-optimize"],
    "wandb-bayes": ["sweeps"],
    "smac": ["smac"],
    "hebo": ["HEBO>=0.3.6"],
    "syne-tune-cqr": ["syne-tune[extra]"],
    "syne-tune-bore": ["syne-tune[extra]"],
    "ax": ["ax-platform"],
}
"""What is installed for each peer, into an environment of its own. Ours (`auto`, `blend`, …) run in the project's."""

OVERRIDES = ["gpy>=1.13"]
"""Put in the place of what a peer asks for: HEBO's GPy cannot be built for Python 3.11."""


class Random:
    def __init__(self, problem: Problem, seed: int, budget: int) -> None:  # noqa: ARG002
        self._problem, self._rng = problem, np.random.default_rng(seed)

    def ask(self) -> dict[str, Any]:
        return self._problem.draw(self._rng)

    def tell(self, config: dict[str, Any], loss: float) -> None: ...


class Ours:
    """An engine of this project, through the searcher that a sweep asks."""

    def __init__(self, problem: Problem, seed: int, budget: int, engine: str) -> None:
        from sweep.core.space import Categorical, Numeric, Parameter, Space
        from sweep.core.spec import Metric, SweepSpec
        from sweep.search import make_searcher

        def parameter(p: Param) -> Parameter:
            if p.kind == "choice":
                dist: Any = Categorical(tuple(p.values))
            else:
                scale: Any = "log" if p.log else "linear"
                dist = Numeric(p.values[0], p.values[-1], scale=scale, integer=p.kind == "int")
                if p.log and p.kind == "int":
                    dist = Numeric(p.values[0], p.values[-1], scale=scale, q=1, integer=True)
            when = _conditions(p)
            return Parameter((p.name,), dist, **({"when": when} if when else {}))

        space = Space(tuple(map(parameter, problem.params)))
        spec = SweepSpec(
            method="bayes", engine=engine, space=space, seed=seed, metric=Metric(name="loss"), run_cap=budget
        )
        self._searcher, self._seen, self._numbers = make_searcher(spec), [], {}  # type: ignore[var-annotated]

    def ask(self) -> dict[str, Any]:
        from sweep.core.plugins import Observation

        config = self._searcher.propose(self._seen, 1).configs[0]
        self._numbers[id(config)] = len(self._seen)
        self._seen.append(Observation(len(self._seen), config, "open"))
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        from sweep.core.plugins import Observation

        number = self._numbers.pop(id(config))
        self._seen[number] = Observation(number, config, "completed", loss)


def _conditions(p: Param) -> tuple[Any, ...]:
    """The parameter's condition, in versions of the project that have conditions."""
    from sweep.core import space

    if p.parent is None or not hasattr(space, "Condition"):
        return ()
    return (space.Condition((p.parent,), tuple(p.parent_values)),)


class Optuna:
    def __init__(self, problem: Problem, seed: int, budget: int, kind: str) -> None:  # noqa: ARG002
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        make: dict[str, Callable[[], Any]] = {
            "tpe": lambda: optuna.samplers.TPESampler(
                seed=seed, multivariate=True, group=True, constant_liar=True
            ),
            "gp": lambda: optuna.samplers.GPSampler(seed=seed),
            "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False),
        }
        self._problem, self._study = problem, optuna.create_study(sampler=make[kind]())
        self._trials: dict[int, Any] = {}

    def ask(self) -> dict[str, Any]:
        trial, config = self._study.ask(), dict[str, Any]()
        for p in self._problem.params:
            if p.parent is not None and config[p.parent] not in p.parent_values:
                continue
            if p.kind == "choice":
                config[p.name] = trial.suggest_categorical(p.name, p.values)
            elif p.kind == "int":
                config[p.name] = trial.suggest_int(p.name, p.values[0], p.values[-1], log=p.log)
            else:
                config[p.name] = trial.suggest_float(p.name, p.values[0], p.values[-1], log=p.log)
        self._trials[id(config)] = trial
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        self._study.tell(self._trials.pop(id(config)), loss)


class Skopt:
    """scikit-optimize's optimiser over the flat space; open points with the constant liar on a copy."""

    def __init__(self, problem: Problem, seed: int, budget: int, kind: str) -> None:  # noqa: ARG002
        from skopt import Optimizer
        from skopt.space import Categorical, Integer, Real

        def dimension(p: Param) -> Any:
            if p.kind == "choice":
                return Categorical(p.values)
            kind = Integer if p.kind == "int" else Real
            return kind(p.values[0], p.values[-1], prior="log-uniform" if p.log else "uniform")

        self._names = [p.name for p in problem.params]
        self._optimizer = Optimizer(
            [dimension(p) for p in problem.params], kind, random_state=seed, n_initial_points=10
        )
        self._open: dict[int, list[Any]] = {}

    def ask(self) -> dict[str, Any]:
        asked = self._optimizer
        if self._open:
            asked = asked.copy()
            lie = max(asked.yi, default=0.0)
            asked.tell(list(self._open.values()), [lie] * len(self._open))
        point = asked.ask()
        config = {
            n: v.item() if isinstance(v, np.generic) else v for n, v in zip(self._names, point, strict=True)
        }
        self._open[id(config)] = point
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        self._optimizer.tell(self._open.pop(id(config)), loss)


class Hyperopt:
    def __init__(self, problem: Problem, seed: int, budget: int) -> None:  # noqa: ARG002
        from hyperopt import Trials, hp
        from hyperopt.base import Domain

        def node(p: Param) -> Any:
            if p.kind == "choice":
                below = [q for q in problem.params if q.parent == p.name]
                branches = [
                    {"is": value, **{q.name: node(q) for q in below if value in q.parent_values}}
                    for value in p.values
                ]
                return hp.choice(p.name, branches)
            low, high = p.values[0], p.values[-1]
            if p.log:
                low, high = math.log(low), math.log(high)
            if p.kind == "int":
                return (hp.qloguniform if p.log else hp.quniform)(p.name, low, high, 1)
            return (hp.loguniform if p.log else hp.uniform)(p.name, low, high)

        self._params = {p.name: p for p in problem.params}
        space = {p.name: node(p) for p in problem.params if p.parent is None}
        self._trials, self._domain = Trials(), Domain(lambda _: 0.0, space)
        self._rng = np.random.default_rng(seed)
        self._documents: dict[int, Any] = {}

    def ask(self) -> dict[str, Any]:
        from hyperopt import JOB_STATE_RUNNING, space_eval, tpe

        number = self._trials.new_trial_ids(1)
        self._trials.refresh()
        document = tpe.suggest(number, self._domain, self._trials, int(self._rng.integers(2**31)))[0]
        document["state"] = JOB_STATE_RUNNING
        self._trials.insert_trial_docs([document])
        self._trials.refresh()
        values = {name: value[0] for name, value in document["misc"]["vals"].items() if value}
        config: dict[str, Any] = {}
        self._flatten(space_eval(self._domain.expr, values), config)
        self._documents[id(config)] = next(d for d in self._trials._dynamic_trials if d["tid"] == number[0])
        return config

    def _flatten(self, found: dict[str, Any], config: dict[str, Any]) -> None:
        for name, value in found.items():
            if name == "is":
                continue
            if isinstance(value, dict):
                config[name] = value["is"]
                self._flatten(value, config)
            else:
                p = self._params[name]
                bounded = min(max(value, p.values[0]), p.values[-1])
                config[name] = int(bounded) if p.kind == "int" else float(bounded)

    def tell(self, config: dict[str, Any], loss: float) -> None:
        from hyperopt import JOB_STATE_DONE

        document = self._documents.pop(id(config))
        document["result"] = {"loss": loss, "status": "ok"}
        document["state"] = JOB_STATE_DONE
        self._trials.refresh()


class Wandb:
    """W&B's `sweeps` package, method bayes, over the flat space."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:  # noqa: ARG002
        np.random.seed(seed)  # the package draws from the global generator

        def parameter(p: Param) -> dict[str, Any]:
            if p.kind == "choice":
                return {"values": p.values}
            kind = "q_log_uniform_values" if p.log else "int_uniform"
            if p.kind == "float":
                kind = "log_uniform_values" if p.log else "uniform"
            return {"distribution": kind, "min": p.values[0], "max": p.values[-1]}

        self._config = {
            "method": "bayes",
            "metric": {"name": "loss", "goal": "minimize"},
            "parameters": {p.name: parameter(p) for p in problem.params},
        }
        self._runs: list[Any] = []
        self._places: dict[int, int] = {}

    def ask(self) -> dict[str, Any]:
        from sweeps import RunState, next_run

        run = next_run(self._config, self._runs)
        run.state = RunState.running
        config = {name: entry["value"] for name, entry in run.config.items()}
        self._places[id(config)] = len(self._runs)
        self._runs.append(run)
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        from sweeps import RunState

        run = self._runs[self._places.pop(id(config))]
        run.state, run.summary_metrics, run.history = RunState.finished, {"loss": loss}, [{"loss": loss}]


class Smac:
    """SMAC3's facade for hyperparameters, one training seed a config, conditions through ConfigSpace."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:
        from ConfigSpace import Categorical, ConfigurationSpace, Float, InCondition, Integer
        from smac import HyperparameterOptimizationFacade, Scenario

        def parameter(p: Param) -> Any:
            if p.kind == "choice":
                return Categorical(p.name, [str(number) for number in range(len(p.values))])
            kind = Integer if p.kind == "int" else Float
            return kind(p.name, (p.values[0], p.values[-1]), log=p.log)

        self._params = {p.name: p for p in problem.params}
        space, made = ConfigurationSpace(seed=seed), {p.name: parameter(p) for p in problem.params}
        space.add(*made.values())
        for p in problem.params:
            if p.parent is not None:
                values = self._params[p.parent].values
                active = [str(values.index(value)) for value in p.parent_values]
                space.add(InCondition(made[p.name], made[p.parent], active))
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            space, output_directory=Path(self._folder.name), deterministic=True, n_trials=budget, seed=seed
        )
        self._facade = HyperparameterOptimizationFacade(
            scenario,
            lambda config, seed=0: 0.0,  # noqa: ARG005
            overwrite=True,
            logging_level=False,
        )
        self._asked: dict[int, Any] = {}

    def ask(self) -> dict[str, Any]:
        asked = self._facade.ask()
        config = {}
        for name, value in dict(asked.config).items():
            p = self._params[name]
            config[name] = p.values[int(value)] if p.kind == "choice" else value
        self._asked[id(config)] = asked
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        from smac.runhistory.dataclasses import TrialValue

        self._facade.tell(self._asked.pop(id(config)), TrialValue(cost=loss))


class Hebo:
    """HEBO over the flat space; it is not told what is open."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:  # noqa: ARG002
        import torch
        from hebo.design_space.design_space import DesignSpace
        from hebo.optimizers.hebo import HEBO

        np.random.seed(seed)  # it draws from the global generators
        torch.manual_seed(seed)

        def parameter(p: Param) -> dict[str, Any]:
            if p.kind == "choice":
                return {
                    "name": p.name,
                    "type": "cat",
                    "categories": [str(number) for number in range(len(p.values))],
                }
            kind = {"int": ("int", "pow_int"), "float": ("num", "pow")}[p.kind][p.log]
            return {"name": p.name, "type": kind, "lb": p.values[0], "ub": p.values[-1]}

        self._params = {p.name: p for p in problem.params}
        self._optimizer = HEBO(
            DesignSpace().parse([parameter(p) for p in problem.params]), scramble_seed=seed
        )
        self._asked: dict[int, Any] = {}

    def ask(self) -> dict[str, Any]:
        asked = self._optimizer.suggest(n_suggestions=1)
        config: dict[str, Any] = {}
        for name, value in asked.iloc[0].items():
            p = self._params[str(name)]
            if p.kind == "choice":
                config[p.name] = p.values[int(value)]
            else:
                bounded = min(max(float(value), p.values[0]), p.values[-1])
                config[p.name] = round(bounded) if p.kind == "int" else bounded
        self._asked[id(config)] = asked
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        self._optimizer.observe(self._asked.pop(id(config)), np.array([[loss]]))


class SyneTune:
    """A baseline of Syne Tune over the flat space."""

    def __init__(self, problem: Problem, seed: int, budget: int, kind: str) -> None:  # noqa: ARG002
        from syne_tune.config_space import choice, lograndint, loguniform, randint, uniform
        from syne_tune.optimizer import baselines

        def parameter(p: Param) -> Any:
            if p.kind == "choice":
                return choice(list(p.values))
            make = {"int": (randint, lograndint), "float": (uniform, loguniform)}[p.kind][p.log]
            return make(p.values[0], p.values[-1])

        self._scheduler = getattr(baselines, kind)(
            {p.name: parameter(p) for p in problem.params}, metric="loss", do_minimize=True, random_seed=seed
        )
        self._trials: dict[int, Any] = {}
        self._count = 0

    def ask(self) -> dict[str, Any]:
        from datetime import datetime

        from syne_tune.backend.trial_status import Trial

        suggested = self._scheduler.suggest()
        config = dict(suggested.config)
        trial = Trial(trial_id=self._count, config=config, creation_time=datetime.now())
        self._count += 1
        self._scheduler.on_trial_add(trial)
        self._trials[id(config)] = trial
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        trial = self._trials.pop(id(config))
        self._scheduler.on_trial_complete(trial, {"loss": loss})


class Ax:
    """Ax's client with its default generation strategy, over the flat space."""

    def __init__(self, problem: Problem, seed: int, budget: int) -> None:  # noqa: ARG002
        import logging

        from ax.api.client import Client
        from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig

        logging.disable(logging.WARNING)

        def parameter(p: Param) -> Any:
            if p.kind == "choice":
                names = [str(number) for number in range(len(p.values))]
                return ChoiceParameterConfig(
                    name=p.name, values=names, parameter_type="str", is_ordered=False
                )
            return RangeParameterConfig(
                name=p.name,
                bounds=(p.values[0], p.values[-1]),
                parameter_type="int" if p.kind == "int" else "float",
                scaling="log" if p.log else "linear",
            )

        self._params = {p.name: p for p in problem.params}
        self._client = Client(random_seed=seed)
        self._client.configure_experiment(parameters=[parameter(p) for p in problem.params])
        self._client.configure_optimization(objective="-loss")
        self._numbers: dict[int, int] = {}

    def ask(self) -> dict[str, Any]:
        ((number, found),) = self._client.get_next_trials(max_trials=1).items()
        config: dict[str, Any] = {}
        for name, value in found.items():
            p = self._params[name]
            config[name] = p.values[int(value)] if p.kind == "choice" else value
        self._numbers[id(config)] = number
        return config

    def tell(self, config: dict[str, Any], loss: float) -> None:
        self._client.complete_trial(self._numbers.pop(id(config)), raw_data={"loss": loss})


def make(peer: str, problem: Problem, seed: int, budget: int) -> Any:
    """The searcher of that name; a name that is no peer's is an engine of ours."""
    warnings.filterwarnings("ignore")
    makers: dict[str, Callable[[], Any]] = {
        "random": lambda: Random(problem, seed, budget),
        "optuna-tpe": lambda: Optuna(problem, seed, budget, "tpe"),
        "optuna-gp": lambda: Optuna(problem, seed, budget, "gp"),
        "optuna-cmaes": lambda: Optuna(problem, seed, budget, "cmaes"),
        "skopt-gp": lambda: Skopt(problem, seed, budget, "GP"),
        "skopt-et": lambda: Skopt(problem, seed, budget, "ET"),
        "hyperopt": lambda: Hyperopt(problem, seed, budget),
        "wandb-bayes": lambda: Wandb(problem, seed, budget),
        "smac": lambda: Smac(problem, seed, budget),
        "hebo": lambda: Hebo(problem, seed, budget),
        "syne-tune-cqr": lambda: SyneTune(problem, seed, budget, "CQR"),
        "syne-tune-bore": lambda: SyneTune(problem, seed, budget, "BORE"),
        "ax": lambda: Ax(problem, seed, budget),
    }
    return makers[peer]() if peer in makers else Ours(problem, seed, budget, peer)
