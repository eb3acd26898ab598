"""The searchers' conformance suite over all engines."""

from importlib.util import find_spec

import pytest

from sweep.search import engines, make_searcher
from sweep.testing.searcher_conformance import CHECKS, Subject

SUBJECTS = {
    "grid": Subject(make_searcher, "grid", continuous=False, seeded=False),
    "random": Subject(make_searcher, "random", asks=60),
    "auto": Subject(make_searcher, "bayes", "auto", asks=24),
    "blend": Subject(make_searcher, "bayes", "blend", asks=24),
    "optuna-gp": Subject(make_searcher, "bayes", "optuna-gp", asks=4),
    "optuna-cmaes": Subject(make_searcher, "bayes", "optuna-cmaes", asks=24),
    "skopt-rf": Subject(make_searcher, "bayes", "skopt-rf", asks=8),
    "skopt-gp": Subject(make_searcher, "bayes", "skopt-gp", asks=6),
    "sobol": Subject(make_searcher, "bayes", "sobol", asks=30),
    "optuna-tpe": Subject(make_searcher, "bayes", "optuna-tpe", asks=24),
    "skopt-et": Subject(make_searcher, "bayes", "skopt-et", asks=8),
}
NO_TORCH = pytest.mark.skipif(
    find_spec("torch") is None, reason="optuna-gp needs torch: pip install 'sweep[gp]'"
)
MARKS = {"skopt-gp": [pytest.mark.slow], "optuna-gp": [pytest.mark.slow, pytest.mark.timeout(600), NO_TORCH]}


def test_every_engine_is_here() -> None:
    assert set(SUBJECTS) == set(engines())


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("engine", [pytest.param(name, marks=MARKS.get(name, ())) for name in SUBJECTS])
def test_searcher(engine: str, check: str) -> None:
    CHECKS[check](SUBJECTS[engine])
