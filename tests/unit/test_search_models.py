"""What the conformance suite cannot see of the model-based searchers: that they learn, and from what."""

import math
import subprocess
import sys
import warnings
from collections import Counter
from statistics import median
from typing import Any

import msgspec
import optuna
import pytest

from sweep.core import domain
from sweep.core.plugins import Observation, Proposals
from sweep.core.space import Beta, Categorical, Config, Constant, Normal, Numeric, Parameter, Space
from sweep.core.spec import Metric, SweepSpec
from sweep.search import make_searcher
from sweep.search._axes import Axes
from sweep.search._design import BLOCK, start_count, start_point
from sweep.search._forest import MAX_BEST, MAX_LATEST, ForestSearcher, scaled
from sweep.testing.searcher_conformance import CHECKS, Subject, play

EASY = Space(
    (
        Parameter(("lr",), Numeric(1e-5, 1, scale="log")),
        Parameter(("opt", "x"), Numeric(-5, 5)),
        Parameter(("opt", "layers"), Numeric(1, 12, integer=True)),
        Parameter(("kind",), Categorical(("bad", ["good"], None))),
    )
)


def easy(config: Config) -> float:
    """Best at lr 1e-3, x 1, four layers, the good kind."""
    far = (
        (math.log10(config["lr"]) + 3) ** 2
        + (config["opt"]["x"] - 1) ** 2
        + (config["opt"]["layers"] - 4) ** 2 / 4
    )
    return far + 3 * (config["kind"] != ["good"])


def spec(engine: str, seed: int = 1, space: Space = EASY, run_cap: int | None = None) -> SweepSpec:
    method: Any = "random" if engine == "random" else "bayes"
    return SweepSpec(
        method=method, engine=engine, space=space, seed=seed, metric=Metric(name="l"), run_cap=run_cap
    )


def best_of(engine: str, seed: int, trials: int) -> float:
    searcher, seen = make_searcher(spec(engine, seed)), list[Observation]()
    while len(seen) < trials:
        config = searcher.propose(seen, 1).configs[0]
        seen.append(Observation(len(seen), config, "completed", easy(config)))
    return min(observation.score or 0.0 for observation in seen)


@pytest.mark.parametrize(
    ("engine", "trials", "seeds"),
    [
        ("optuna-tpe", 45, range(5)),
        ("skopt-et", 26, range(3)),
        ("blend", 26, range(3)),
        ("optuna-cmaes", 100, range(3)),
    ],
)
def test_models_beat_random_clearly(engine: str, trials: int, seeds: range) -> None:
    model = median(best_of(engine, seed, trials) for seed in seeds)
    chance = median(best_of("random", seed, trials) for seed in seeds)
    assert model < chance / 2


def test_start_points_are_spread_and_weighted() -> None:
    weighted = Categorical(("a", "b"), (2 / 3, 1 / 3))
    space = Space((*EASY.parameters, Parameter(("w",), weighted)))
    points = [start_point(space, 5, index) for index in range(1, 1 + BLOCK)]
    assert sorted(int((domain.to_unit(Numeric(-5, 5), p["opt"]["x"])) * BLOCK) for p in points) == list(
        range(BLOCK)
    )
    assert Counter(p["w"] for p in points) == {"a": 6, "b": 3}
    assert Counter(str(p["kind"]) for p in points) == {"bad": 3, "['good']": 3, "None": 3}
    assert start_point(space, 5, 0)["lr"] == pytest.approx(10**-2.5), "the centre comes first"
    assert start_point(space, 5, 1) != start_point(space, 6, 1)


def test_start_count() -> None:
    assert [start_count(3, cap) for cap in (None, 400, 30, 16, 2)] == [10, 10, 7, 4, 4]
    assert start_count(0, None) == 0


def test_axes_keep_scales_and_leave_out_what_is_fixed() -> None:
    distributions = {
        "constant": Constant([1]),
        "one": Categorical(("a", "b"), (0.0, 1.0)),
        "log": Numeric(1e-4, 1, scale="log"),
        "step": Numeric(0, 1, q=0.25),
        "int": Numeric(3, 9, integer=True),
        "qlog": Numeric(1, 100, scale="log", q=1, integer=True),
        "normal": Normal(),
        "beta": Beta(q=0.1),
        "choice": Categorical((None, [1], True, 1)),
        "huge": Numeric(0, 2.0**60, integer=True),
        "far": Numeric(1e16, 1e16 + 1000, integer=True),
    }
    axes = Axes(Space(tuple(Parameter((name,), dist) for name, dist in distributions.items())))
    shown = {axis.parameter.name: (axis.kind, axis.low, axis.high, axis.log) for axis in axes.axes}
    assert shown == {
        "log": ("float", 1e-4, 1.0, True),
        "step": ("int", 0, 4, False),
        "int": ("int", 3, 9, False),
        "qlog": ("float", 0.0, 1.0, False),
        "normal": ("float", 0.0, 1.0, False),
        "beta": ("float", 0.0, 1.0, False),
        "choice": ("choice", 0, 3, False),
        "huge": ("float", 0.0, 1.0, False),
        "far": ("int", 0, 1000, False),
    }
    config = axes.decode([2.0, 3, 99, 0.5, 0.5, 0.0, 2, 1.0, 5])
    assert config["one"] == "b" and config["log"] == 1.0 and config["step"] == 0.75 and config["int"] == 9
    assert config["qlog"] == 10 and config["normal"] == 0.0 and config["choice"] is True
    assert config["huge"] == 2**60 and config["far"] == 10**16 + 5
    point = axes.encode(config)
    assert point is not None and axes.decode(point) == config


def test_observations_of_another_revision_are_left_out() -> None:
    axes = Axes(EASY)
    config: Config = {"lr": 1.0, "opt": {"x": -5, "layers": 12}, "kind": "bad"}
    assert axes.encode(config) == [1.0, -5.0, 12, 0]
    for strange in (
        {},
        config | {"lr": 1.001},
        config | {"opt": {"x": -5.001, "layers": 12}},
        config | {"opt": {"x": -5, "layers": 13}},
        config | {"kind": "gone"},
        config | {"lr": "high"},
        config | {"lr": math.nan},
        {"opt": 3},
    ):
        assert axes.encode(strange) is None
    for engine in ("optuna-tpe", "skopt-et"):
        seen = [Observation(i, {"lr": 0.1}, "completed", 1.0) for i in range(12)]
        answer = make_searcher(spec(engine)).propose(seen, 2)
        assert len({domain.canonical(config) for config in answer.configs}) == 2


def test_tpe_is_told_what_each_result_means(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Spy(optuna.samplers.TPESampler):
        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            told[:] = [
                (t.state.name, t.value, t.params["000001"])
                for t in study.get_trials(deepcopy=False)
                if t.number != trial.number and t.state.name != "FAIL"
            ]
            return super().sample_relative(study, trial, search_space)

    monkeypatch.setattr(optuna.samplers, "TPESampler", Spy)
    searcher = make_searcher(spec("optuna-tpe"))
    seen: list[Observation] = []
    for i, config in enumerate(searcher.propose([], 14).configs):
        seen.append(Observation(i, config, "completed", float(i)))
    seen[3] = Observation(3, seen[3].config, "pruned", 3.0)
    seen[4] = Observation(4, seen[4].config, "failed")
    seen[5] = Observation(5, seen[5].config, "completed", math.nan)
    seen[6] = Observation(6, seen[6].config, "open")
    expected = [("COMPLETE", float(i)) for i in range(14)]
    expected[4] = expected[5] = ("PRUNED", None)  # type: ignore[assignment]
    expected[6] = ("RUNNING", None)  # type: ignore[assignment]
    answer = searcher.propose(seen, 2)
    xs = [observation.config["opt"]["x"] for observation in seen]
    first = [(state, value, x) for (state, value), x in zip(expected, xs, strict=True)]
    assert told == [*first, ("RUNNING", None, answer.configs[0]["opt"]["x"])], (
        "the liar sees the first of the answer"
    )
    seen[6] = Observation(6, seen[6].config, "completed", 6.0)
    searcher.propose(seen, 1)
    first[6] = ("COMPLETE", 6.0, xs[6])
    assert told == first, "what was only proposed is forgotten"


def test_optuna_is_left_as_it_was() -> None:
    verbosity = optuna.logging.get_verbosity()
    filters = list(warnings.filters)
    play(make_searcher(spec("optuna-tpe", run_cap=16)), 8)
    assert optuna.logging.get_verbosity() == verbosity
    assert list(warnings.filters) == filters


def test_forest_scores_are_finite_ordered_and_clipped() -> None:
    assert scaled([]) == []
    assert scaled([None, None]) == [0.0, 0.0]
    assert scaled([1.0, 1.0, None]) == [0.0, 0.0, 0.0]
    assert scaled([0.0, 1.0, 2.0, 3.0, 4.0, 1e9, None]) == [-1.5, -1.0, -0.5, 0.0, 0.0, 0.0, 0.0]
    extreme = scaled([-1e308, 1e308, 0.0, 1.0, None])
    assert all(map(math.isfinite, extreme))
    assert extreme[0] < extreme[2] <= extreme[3] <= extreme[1] == extreme[4]


def test_forest_sees_the_best_and_the_latest_of_a_long_history() -> None:
    searcher = ForestSearcher(spec("skopt-et"))
    configs = make_searcher(spec("random")).propose([], 1000).configs
    seen = [Observation(i, config, "completed", float(1000 - i)) for i, config in enumerate(configs[:900])]
    seen += [Observation(900 + i, config, "open") for i, config in enumerate(configs[900:])]
    model: Any = searcher._model
    model.update(seen)
    points, scores = model._told()
    assert len(points) == len(scores) == MAX_BEST + MAX_LATEST + 100
    assert points[-101] == Axes(EASY, quantiles=True).encode(configs[899])


class Faulty:
    """Random search with one planted fault."""

    version, heavy = "1", False

    def __init__(self, spec: SweepSpec, fault: str) -> None:
        self.name, self._fault, self._calls = "faulty", fault, 0
        self._inner, self._kept = make_searcher(spec), None

    def propose(self, seen: Any, n: int) -> Proposals:
        self._calls += 1
        fault = self._fault
        if fault == "rejects failures" and any(o.status == "failed" for o in seen):
            raise ValueError("failed")
        if fault == "forgets the history":
            return self._inner.propose([], n)
        answer = self._inner.propose(seen, n)
        if fault == "remembers calls" and self._calls % 2 == 0 and answer.configs and len(seen) > 2:
            return msgspec.structs.replace(
                answer, configs=answer.configs[::-1][:1] * 0 + self._shift(seen, n)
            )
        if fault == "never ends":
            return msgspec.structs.replace(answer, exhausted=False)
        if fault == "ends too early":
            return msgspec.structs.replace(answer, exhausted=answer.exhausted or len(seen) > 5)
        for config in answer.configs if fault in _SPOILING else ():
            _SPOILING[fault](config)
        return answer

    def _shift(self, seen: Any, n: int) -> tuple[Config, ...]:
        return self._inner.propose(seen, n + 1).configs[1:]


_SPOILING: dict[str, Any] = {
    "leaves the bounds": lambda config: config["net"].update(layers=99) if "net" in config else None,
    "gives floats for ints": lambda config: config["net"].update(layers=2.0) if "net" in config else None,
    "leaves a parameter out": lambda config: config.pop("constant", None),
}


@pytest.mark.parametrize(
    "fault",
    [
        *("rejects failures", "forgets the history", "remembers calls", "never ends", "ends too early"),
        *_SPOILING,
    ],
)
def test_the_conformance_suite_catches_planted_faults(fault: str) -> None:
    subject = Subject(lambda spec: Faulty(spec, fault), "random", asks=12)
    caught = []
    for name, check in CHECKS.items():
        try:
            check(subject)
        except (AssertionError, ValueError, KeyError):
            caught.append(name)
    assert caught


def test_making_searchers_imports_nothing_heavy() -> None:
    code = """
import contextlib, sys
from sweep.core.space import Categorical, Parameter, Space
from sweep.core.spec import SweepSpec
from sweep.search import engines, make_searcher
from sweep.search._optuna_gp import EngineMissing
import sweep.search.parent
space = Space((Parameter(("a",), Categorical((1, 2))),))
for engine in engines():
    method = engine if engine in ("grid", "random") else "bayes"
    with contextlib.suppress(EngineMissing):  # optuna-gp, where torch is not installed
        make_searcher(SweepSpec(method=method, engine=engine, space=space, seed=1))
heavy = {"optuna", "skopt", "sklearn", "scipy", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
