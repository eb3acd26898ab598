"""The searchers' conformance suite over all engines."""

import pytest

from sweep.search import engines, make_searcher
from sweep.testing.searcher_conformance import CHECKS, Subject

SUBJECTS = {
    "grid": Subject(make_searcher, "grid", continuous=False, seeded=False),
    "random": Subject(make_searcher, "random", asks=60),
    "blend": Subject(make_searcher, "bayes", "blend", asks=24),
    "optuna-tpe": Subject(make_searcher, "bayes", "optuna-tpe", asks=24),
    "skopt-et": Subject(make_searcher, "bayes", "skopt-et", asks=8),
}


def test_every_engine_is_here() -> None:
    assert set(SUBJECTS) == set(engines())


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("engine", SUBJECTS)
def test_searcher(engine: str, check: str) -> None:
    CHECKS[check](SUBJECTS[engine])
