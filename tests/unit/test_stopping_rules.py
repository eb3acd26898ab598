"""Our own rules against their words, and against the oracle's naive account of them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.core.plugins import Stopper
from sweep.core.space import Space
from sweep.core.spec import EarlyTerminate, Goal, Metric, SweepSpec
from sweep.spec import parse
from sweep.stopping import first_rung, kept_eta, make_stopper, rungs
from sweep.testing.naive import effective_curve, naive_condemned

fixed = settings(max_examples=400)


def stopper_of(early: EarlyTerminate, goal: Goal = "minimize") -> Stopper:
    spec = SweepSpec(
        method="random", space=Space(()), seed=0, metric=Metric(name="loss", goal=goal), early_terminate=early
    )
    made = make_stopper(spec)
    assert made is not None
    return made


def own(kind: str, **keys: object) -> EarlyTerminate:
    return EarlyTerminate(type=kind, **keys)  # type: ignore[arg-type]


# --- what a file means


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("asha", own("asha", eta=2.0, trend=True)),
        ("asha, trend: false", own("asha", eta=2.0)),
        ("asha, eta: 4, min_runs: 9", own("asha", eta=4.0, min_runs=9, trend=True)),
        ("median, step: 'metric: epoch'", own("median", step="metric:epoch", trend=True)),
        (
            "percentile, percentile: 25, step: count",
            own("percentile", percentile=25.0, step="count", trend=True),
        ),
        ("plateau, patience: 7, min_delta: 1e-3", own("plateau", patience=7, min_delta=0.001)),
        ("plateau", own("plateau", patience_share=0.65)),
        ("plateau, patience_share: 0.8", own("plateau", patience_share=0.8)),
        ("threshold, threshold: 2, min_iter: 3", own("threshold", threshold=2.0, min_iter=3)),
    ],
)
def test_what_a_file_means(written: str, expected: EarlyTerminate) -> None:
    text = (
        "method: random\nprogram: t.py\nparameters: {x: {value: 1}}\nmetric: {name: l}\n"
        f"early_terminate: {{type: {written}}}\n"
    )
    parsed = parse(text, draw_seed=lambda: 1)
    assert parsed.spec.early_terminate == expected
    assert parsed.warnings == ()


def test_where_runs_are_judged() -> None:
    assert rungs(5, 2.0, None, True)[:4] == (5, 10, 20, 40)
    assert rungs(5, 1.1, 14, True) == (5, 6, 7, 8, 9, 10, 11, 12, 13)
    assert rungs(60, 1.1, 75, False) == pytest.approx((60, 66, 72.6))
    assert rungs(1, 1.5, 9, True) == (1, 2, 3, 5, 7)
    assert [first_rung(own("asha", max_iter=m)) for m in (4, 27, 100)] == [1, 3, 10]
    assert (first_rung(own("median")), first_rung(own("threshold", max_iter=90))) == (8, 1)
    assert kept_eta(own("percentile", percentile=25)) == 4
    assert all(rung < 2**54 for rung in rungs(1, 1.1, None, True))


@pytest.mark.parametrize("early", [own("asha", eta=1.0), own("percentile", percentile=0), own("threshold")])
def test_numbers_that_make_no_rule_are_refused(early: EarlyTerminate) -> None:
    with pytest.raises(ValueError, match="early_terminate"):
        stopper_of(early)


# --- reasons


def test_reasons_are_for_people() -> None:
    asha = stopper_of(own("asha", min_iter=3, eta=2.0, min_runs=4))
    for run in range(12):
        asha.report(run, [9.0, 8.0, (run + 30) / 100], [1.0, 2.0, 4.0])
    assert asha.condemned(11) == (
        "iteration 4 (rung 3): best loss 0.41 is worse than the best half (0.36) of 12 runs"
    )
    median = stopper_of(own("median", min_iter=2, min_runs=2, step="metric:epoch"), "maximize")
    for run in range(4):
        median.report(run, [0.5, 0.6 + run / 10], [0.0, 1.0])
    assert median.condemned(0) == "epoch 2: best loss 0.6 is worse than the best half (0.7) of 4 runs"
    percentile = stopper_of(own("percentile", percentile=25, min_iter=60, min_runs=1, step="time"))
    for run in range(8):
        percentile.report(run, [run / 10], [61.5])
    assert percentile.condemned(7) == (
        "second 61.5 (rung 60): best loss 0.7 is worse than the best quarter (0.2) of 8 runs"
    )
    plateau = stopper_of(own("plateau", patience=3, min_iter=2, min_delta=0.01))
    plateau.report(0, [1.0, 0.5, 0.6, 0.495, 0.5])
    assert plateau.condemned(0) == (
        "iteration 5: loss is no better by more than 0.01 than it was at iteration 2 (0.5)"
    )
    plateau.report(1, [math.nan] * 5)
    assert plateau.condemned(1) == "iteration 5: loss has not had a finite value"
    threshold = stopper_of(own("threshold", threshold=0.7, min_iter=2), "maximize")
    threshold.report(0, [0.2, 0.69])
    threshold.report(1, [0.9, 0.1])
    assert threshold.condemned(0) == "iteration 2: best loss 0.69 is worse than the threshold (0.7)"
    assert threshold.condemned(1) is None


def test_a_run_that_becomes_better_fast_goes_on() -> None:
    """It is among the worst, but by as much again as it has gained since half of its way it would be among the best."""
    asha = stopper_of(own("asha", min_iter=4, eta=2.0, min_runs=4, trend=True))
    for run in range(8):
        asha.report(run, [0.9, 0.5 + run / 100, 0.5 + run / 100, 0.5 + run / 100])
    asha.report(8, [2.0, 1.2, 1.0, 0.8])
    asha.report(9, [2.0, 1.2, 1.15, 1.1])
    assert asha.condemned(8) is None
    assert asha.condemned(9) == (
        "iteration 4: best loss 1.1 is worse than the best half (0.55) of 10 runs, and its trend 1 is worse than the best half (0.54)"
    )
    assert asha.spared([(8, None), (9, None), (7, None)]) == [8]
    assert asha.condemned(7) is not None, "it has gained nothing"
    plain = stopper_of(own("asha", min_iter=4, eta=2.0, min_runs=4))
    for run in range(8):
        plain.report(run, [0.9, 0.5 + run / 100, 0.5 + run / 100, 0.5 + run / 100])
    plain.report(8, [2.0, 1.2, 1.0, 0.8])
    assert plain.condemned(8) is not None


def test_fewer_runs_are_enough_where_they_are_judged_again() -> None:
    asha = stopper_of(own("asha", min_iter=2, eta=2.0, trend=True))
    for run in range(4):
        asha.report(run, [1.0 + run] * 4)
    assert asha.condemned(3) is not None, "of four at iteration 4"
    for run in range(4, 7):
        asha.report(run, [9.0 + run] * 2)
    assert asha.condemned(6) is None, "of seven at iteration 2"
    asha.report(7, [20.0] * 2)
    assert asha.condemned(7) is not None
    assert stopper_of(own("asha", min_iter=2, eta=2.0, trend=True, min_runs=5)).condemned(3) is None


# --- steps


def test_a_run_that_stands_still_has_longer_in_a_file_than_in_old_sweeps() -> None:
    still = [1.0] * 8 + [0.5] + [0.6] * 11  # no better since iteration 9 of 20
    before = stopper_of(own("plateau"))
    before.report(0, still)
    assert before.condemned(0) == "iteration 20: loss is no better than it was at iteration 10 (0.5)"
    now = stopper_of(own("plateau", patience_share=0.65))
    now.report(0, still)
    assert now.condemned(0) is None
    now.report(0, still + [0.6] * 6)  # 65 % of 26 are 16.9
    assert now.condemned(0) == "iteration 26: loss is no better than it was at iteration 9 (0.5)"


def test_a_skipped_rung_is_judged_at_the_next_report() -> None:
    asha = stopper_of(own("asha", min_iter=3, eta=2.0, min_runs=4))
    for run in range(6):
        asha.report(run, [1.0, 1.0, run / 10], [1.0, 2.0, 3.0])
    asha.report(9, [5.0], [2.0])
    assert asha.condemned(9) is None
    asha.report(9, [5.0, 4.0], [2.0, 5.0])
    assert asha.condemned(9) is not None
    assert asha.condemned(0) is None


def test_steps_may_begin_at_0_or_at_1() -> None:
    zero, one = (stopper_of(own("asha", min_iter=3, eta=2.0, min_runs=4)) for _ in range(2))
    for run in range(6):
        zero.report(run, [run, run, run], [0.0, 1.0, 2.0])
        one.report(run, [run, run, run], [1.0, 2.0, 3.0])
    assert [zero.condemned(run) for run in range(6)] == [one.condemned(run) for run in range(6)]
    assert zero.condemned(5) is not None


def test_nobody_is_ended_at_the_first_few_runs_nor_at_the_end() -> None:
    asha = stopper_of(own("asha", min_iter=2, max_iter=4, eta=2.0, min_runs=4))
    for run in range(3):
        asha.report(run, [run, run])
    assert asha.condemned(2) is None, "of three runs"
    asha.report(3, [0.5, 0.5])
    assert asha.condemned(2) is not None
    plateau = stopper_of(own("plateau", max_iter=4, min_iter=1, patience=1))
    plateau.report(0, [1.0, 1.0, 1.0])
    assert plateau.condemned(0) is not None
    plateau.report(0, [1.0, 1.0, 1.0, 1.0])
    assert plateau.condemned(0) is None, "it is about to end by itself"


def test_the_best_of_all_is_spared_whatever_it_was_at_its_rung() -> None:
    asha = stopper_of(own("asha", min_iter=2, eta=2.0, min_runs=4))
    for run in range(8):
        asha.report(run, [run, run])
    assert asha.condemned(7) is not None
    asha.report(7, [7.0, 7.0, -1.0])
    assert asha.condemned(7) is None


def test_a_run_that_is_not_finite_at_a_rung_is_the_worst_there() -> None:
    asha = stopper_of(own("asha", min_iter=2, eta=2.0, min_runs=4))
    for run in range(8):
        asha.report(run, [run + 1, run + 1])
    asha.report(8, [0.5, math.nan])
    asha.report(0, [0.4, 0.4])
    assert asha.condemned(8) == (
        "iteration 2: best loss not finite is worse than the best half (5) of 9 runs"
    )


# --- against the naive account

numbers = st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5, 3.0, 0.75, math.nan, math.inf, -math.inf])
places = st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0, 13.0, 20.0, math.nan])
RULES = [
    own("asha", eta=2.0, min_iter=2, min_runs=2),
    own("asha", eta=1.5, max_iter=12, min_runs=1, step="metric:epoch"),
    own("asha", eta=3.0, min_iter=1, step="count"),
    own("median", min_iter=1, min_runs=3),
    own("median", min_iter=2, max_iter=9, min_runs=1, step="time"),
    own("percentile", percentile=30.0, min_iter=1, min_runs=2),
    own("asha", eta=2.0, min_iter=2, min_runs=2, trend=True),
    own("asha", eta=2.0, min_iter=1, trend=True),
    own("asha", eta=1.5, min_iter=3, max_iter=12, min_runs=1, step="count", trend=True),
    own("median", min_iter=1, min_runs=2, trend=True),
    own("percentile", min_iter=2, min_runs=1, step="time", trend=True),
    own("plateau", min_iter=1),
    own("plateau", min_iter=2, patience=2, min_delta=0.5, step="count"),
    own("plateau", min_iter=1, patience_share=0.65),
    own("threshold", threshold=0.75, min_iter=2),
    EarlyTerminate(min_iter=2, eta=2.0, step="logged"),
    EarlyTerminate(min_iter=1, eta=3.0, strict=False),
]
history = st.lists(
    st.tuples(
        st.integers(0, 6),
        st.sampled_from(["more", "more", "more", "back", "anew"]),
        st.lists(st.tuples(places, numbers), max_size=5),
    ),
    max_size=30,
)


@given(history, st.sampled_from(RULES), st.sampled_from(["minimize", "maximize"]))
@fixed
def test_like_the_naive_account(
    story: list[tuple[int, str, list[tuple[float, float]]]], early: EarlyTerminate, goal: Goal
) -> None:
    stopper, told = stopper_of(early, goal), dict[int, list[tuple[float, float]]]()
    for run, kind, points in story:
        known = told.setdefault(run, [])
        known[{"more": len(known), "back": len(known) // 2, "anew": 0}[kind] :] = points
        stopper.report(run, [value for _, value in known], [at for at, _ in known])
        curves = {one: naive_curve(points, early) for one, points in told.items()}
        for other in told:
            assert (stopper.condemned(other) is not None) == naive_condemned(early, goal, curves, other)
    restarted = stopper_of(early, goal)
    for run in sorted(told):
        restarted.report(run, [value for _, value in told[run]], [at for at, _ in told[run]])
    assert [restarted.condemned(run) for run in told] == [stopper.condemned(run) for run in told]


def naive_curve(points: list[tuple[float, float]], early: EarlyTerminate) -> list[tuple[float, float]]:
    """The curve as the oracle makes it, of one attempt whose rows are counted."""
    report = SimpleNamespace(
        first=0,
        steps=list(range(len(points))),
        values=[value for _, value in points],
        progress=[at for at, _ in points],
    )
    return effective_curve([SimpleNamespace(reports=[report], timed=early.step == "time")], early)


def test_nobody_is_ended_from_the_length_of_a_whole_run_on() -> None:
    rule = EarlyTerminate(type="asha", min_iter=1, max_iter=4, eta=2.0, min_runs=1)
    stopper = stopper_of(rule)
    stopper.report(0, [1.0, 1.0, 1.0])
    stopper.report(1, [2.0, 2.0, 2.0])
    stopper.report(2, [1.5, 1.5, 1.5])
    assert stopper.condemned(1) is not None
    stopper.report(1, [2.0, 2.0, 2.0, 2.0])
    assert stopper.condemned(1) is None
    assert stopper.spared([(1, None)]) == [1]
