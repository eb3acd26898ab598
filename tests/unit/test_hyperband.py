"""Hyperband against its words, and against a naive account of what upstream does."""

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core.space import Space
from sweep.core.spec import EarlyTerminate, Goal, Metric, SweepSpec
from sweep.stopping import make_stopper
from sweep.stopping._hyperband import Hyperband, bands
from sweep.stopping._ranks import Ranked

fixed = settings(max_examples=300)


def hyperband(goal: Goal = "minimize", **keys: object) -> Hyperband:
    return Hyperband(Metric(name="loss", goal=goal), EarlyTerminate(**({"min_iter": 3} | keys)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (EarlyTerminate(min_iter=30, eta=1.5), (30, 45, 67, 101)),
        (EarlyTerminate(min_iter=3), (3, 9, 27, 81)),
        (EarlyTerminate(min_iter=1, eta=1.1), (1, 2, 3, 4)),
        (EarlyTerminate(max_iter=27, s=2), (3, 9)),
        (EarlyTerminate(max_iter=27, s=9), (1, 3, 9)),
        (EarlyTerminate(max_iter=27), (1, 3, 9)),
        (EarlyTerminate(max_iter=100, s=3, eta=2), (12, 25, 50)),
        (EarlyTerminate(min_iter=2, max_iter=27), (2, 6, 18, 54)),
        (EarlyTerminate(max_iter=2, s=1), ()),
    ],
)
def test_bands(settings: EarlyTerminate, expected: tuple[int, ...]) -> None:
    assert bands(settings)[: len(expected)] == expected
    assert settings.min_iter is not None or bands(settings) == expected


def test_bands_of_extreme_settings_are_finite() -> None:
    assert all(band <= 2**53 for band in bands(EarlyTerminate(min_iter=5, eta=1e200)))
    assert bands(EarlyTerminate(max_iter=10**6, s=10**9, eta=10)) == (1, 10, 100, 1000, 10_000, 100_000)
    assert len(bands(EarlyTerminate(min_iter=1000, eta=1.01))) == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (EarlyTerminate(), "needs min_iter, or max_iter and s"),
        (EarlyTerminate(min_iter=1, eta=1.0), "eta must be above 1, not 1"),
        (EarlyTerminate(min_iter=1, eta=math.nan), "eta must be above 1"),
    ],
)
def test_settings_without_bands_are_refused(settings: EarlyTerminate, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bands(settings)


def test_make_stopper() -> None:
    def made(metric: Metric | None, early: EarlyTerminate | None) -> object:
        space = Space(())
        return make_stopper(
            SweepSpec(method="random", space=space, seed=0, metric=metric, early_terminate=early)
        )

    assert isinstance(made(Metric(name="x"), EarlyTerminate(min_iter=1)), Hyperband)
    assert made(Metric(name="x"), None) is None
    assert made(Metric(name="x"), EarlyTerminate(type="none")) is None
    assert made(None, EarlyTerminate(min_iter=1)) is None


def test_the_reason_is_for_people() -> None:
    stopper = hyperband()
    for run in range(12):
        stopper.report(run, [9.0, 9.0, (run + 30) / 100])
    assert stopper.condemned(4) is None
    assert stopper.condemned(5) == "iteration 3: loss 0.35 is worse than the best third (0.34) of 12 runs"
    best = hyperband("maximize", strict=False, eta=2.0)
    for run, value in enumerate([1.0, 2.0, 3.0, 1.0 + 1e-12]):
        best.report(run, [0.0, value, 0.0])
    assert best.condemned(0) == (
        "iteration 3: best loss 1.0 is worse than the best half (1.000000000001) of 4 runs"
    )
    best.report(9, [math.nan] * 3)
    assert best.condemned(9) == "iteration 3: best loss not finite is worse than the best half (1) of 5 runs"


def test_a_spared_run_is_judged_again_when_others_arrive() -> None:
    stopper = hyperband()
    stopper.report(0, [5.0] * 3)
    assert stopper.condemned(0) is None
    for run in (1, 2):
        stopper.report(run, [1.0] * 3)
    assert stopper.condemned(0) is not None, "of three runs, element int(3 / 3) decides: 1.0"


def test_only_the_highest_band_counts() -> None:
    stopper = hyperband()
    for run in range(1, 4):
        stopper.report(run, [1.0] * 3)
    stopper.report(0, [5.0] * 3)
    assert stopper.condemned(0) is not None
    stopper.report(0, [5.0] * 9)
    assert stopper.condemned(0) is None, "alone at iteration 9"
    stopper.report(0, [5.0] * 8)
    assert stopper.condemned(0) is not None, "a restarted attempt is back at iteration 3"


class Naive:
    """What the dialect says, word by word, on all data at each question."""

    def __init__(self, bands: Sequence[int], eta: float, strict: bool, goal: Goal) -> None:
        self.bands, self.eta, self.strict = bands, eta, strict
        self.sign = 1 if goal == "minimize" else -1
        self.runs: dict[int, list[float]] = {}

    def value(self, run: int, band: int) -> float:
        bad = [self.sign * v if math.isfinite(v) else math.inf for v in self.runs[run][:band]]
        return bad[-1] if self.strict else min(bad)

    def condemned(self, run: int) -> bool:
        reached = [band for band in self.bands if band <= len(self.runs.get(run, []))]
        if not reached:
            return False
        band = max(reached)
        at_band = sorted(self.value(r, band) for r, values in self.runs.items() if len(values) >= band)
        return self.value(run, band) > at_band[int(len(at_band) / self.eta)]


scores = st.sampled_from([0.0, -0.0, 1.0, 2.0, -1.0, 0.5, 3.0, math.nan, math.inf, -math.inf])
reports = st.tuples(
    st.integers(0, 7), st.sampled_from(["more", "more", "more", "rewrite", "restart"]), st.lists(scores)
)


@given(
    st.lists(reports, max_size=40),
    st.sampled_from([1.2, 1.5, 2.0, 3.0, 4.7]),
    st.booleans(),
    st.sampled_from(["minimize", "maximize"]),
    st.booleans(),
)
@fixed
def test_like_the_naive_account(
    history: list[tuple[int, str, list[float]]], eta: float, strict: bool, goal: Goal, in_place: bool
) -> None:
    stopper = hyperband(goal, eta=eta, strict=strict, min_iter=2)
    naive = Naive(stopper.bands[:20], eta, strict, goal)
    for run, kind, values in history:
        known = naive.runs.setdefault(run, [])
        keep = {"more": len(known), "rewrite": len(known) // 2, "restart": 0}[kind]
        known[keep:] = values
        stopper.report(run, known if in_place else tuple(known))
        for other in range(8):
            assert (stopper.condemned(other) is not None) == naive.condemned(other)


@pytest.mark.parametrize("eta", [1.01, 2.0, 3.0])
def test_ranked_finds_the_rank_while_values_come_change_and_go(eta: float) -> None:
    chance, ranked, naive = random.Random(5), Ranked(eta), dict[int, float]()
    for _ in range(3000):
        owner, value = (
            chance.randrange(60),
            chance.choice([chance.random(), float(chance.randrange(4)), math.inf]),
        )
        if chance.random() < 0.3:
            ranked.discard(owner)
            naive.pop(owner, None)
        else:
            ranked.put(owner, value)
            naive[owner] = value
        assert len(ranked) == len(naive)
        assert ranked.get(owner) == naive.get(owner)
        if naive:
            assert ranked.threshold() == sorted(naive.values())[int(len(naive) / eta)]
    for owner in list(naive):
        ranked.discard(owner)
    with pytest.raises(ValueError, match="no values"):
        ranked.threshold()


def test_ranked_does_not_sort_at_each_report() -> None:
    ranked, comparisons = Ranked(3.0), 0

    class Counted(float):
        def __lt__(self, other: float) -> bool:
            nonlocal comparisons
            comparisons += 1
            return float.__lt__(self, other)

        def __neg__(self) -> "Counted":
            return Counted(-float(self))

    chance = random.Random(1)
    for owner in range(4000):
        ranked.put(owner, Counted(chance.random()))
    assert 4000 < comparisons < 4000 * 60
