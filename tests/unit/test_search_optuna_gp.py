"""Optuna's Gaussian process: what it needs, and that it learns (where torch is installed)."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import pytest

from sweep.core.errors import SweepError
from sweep.core.plugins import Observation
from sweep.core.space import Categorical, Numeric, Parameter, Space
from sweep.core.spec import Metric, SweepSpec
from sweep.search import _optuna_gp, make_searcher
from sweep.search._optuna_gp import MOST_BEST, MOST_LATEST

SPACE = Space((Parameter(("x",), Numeric(0, 1)), Parameter(("kind",), Categorical(("a", "b", "c")))))
SPEC = SweepSpec(method="bayes", engine="optuna-gp", space=SPACE, seed=1, metric=Metric(name="l"), run_cap=16)
WITH_TORCH = pytest.mark.skipif(
    find_spec("torch") is None, reason="optuna-gp needs torch: pip install 'sweep[gp]'"
)


def loss(config: dict[str, Any]) -> float:
    return (config["x"] - 0.7) ** 2 + (config["kind"] != "b")


def played(trials: int) -> list[Observation]:
    searcher, seen = make_searcher(SPEC), list[Observation]()
    while len(seen) < trials:
        config = searcher.propose(seen, 1).configs[0]
        seen.append(Observation(len(seen), config, "completed", loss(config)))
    return seen


def test_without_torch_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_torch(package: str) -> str:
        if package == "torch":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr(_optuna_gp, "version", without_torch)
    with pytest.raises(SweepError, match=r"needs torch, .*pip install 'sweep\[gp\]'"):
        make_searcher(SPEC)


@WITH_TORCH
@pytest.mark.slow
def test_it_finds_the_best_of_a_smooth_function() -> None:
    seen = played(12)
    assert min(observation.score or 0.0 for observation in seen) < 1e-3
    assert "torch-" in make_searcher(SPEC).version


@WITH_TORCH
def test_of_a_long_history_it_sees_the_best_and_the_latest() -> None:
    searcher = make_searcher(SPEC)
    seen = [Observation(i, {"x": 0.5, "kind": "a"}, "completed", float(i)) for i in range(200)]
    study: Any = searcher._model  # type: ignore[attr-defined]
    study.update(seen)
    told = [score for _, score in study._thinned()]
    assert told == [*map(float, range(MOST_BEST)), *map(float, range(200 - MOST_LATEST, 200))]
