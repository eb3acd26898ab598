"""Our own model code against references: scikit-learn's Gaussian process, finite differences, plain counting."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sweep.search import _blended
from sweep.search._blended import (
    DRAWN,
    LATE,
    NEAR,
    NEAR_LATE,
    Told,
    log_discount,
    log_improvement,
    ranked,
    thinned,
)
from sweep.search._frame import INACTIVE, Array, Column, Frame
from sweep.search._gaussian import NOISE, PSEUDO, Process, loss_and_gradient
from sweep.search._marginals import Marginals
from sweep.search._sameness import MOST, sameness_of, tied_share
from sweep.search._sameness import loss_and_gradient as sameness_loss
from sweep.search._scores import power_scores

BRANCHED = Frame(
    [
        Column(choices=3),
        Column(when=((0, frozenset({0, 2})),)),
        Column(choices=2, when=((0, frozenset({1})),)),
        Column(levels=np.array([0.1, 0.5, 0.9]), when=((2, frozenset({1})),)),
        Column(choices=2, weights=np.array([0.9, 0.1])),
        Column(),
    ]
)
NUMBERS = Frame([Column(), Column(), Column()])


def sample(frame: Frame, count: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    rows = frame.canonical(frame.draw(rng, count))
    scores = np.sin(4 * rows).sum(1) + 0.1 * rng.standard_normal(count)
    return rows, (scores - scores.mean()) / scores.std()


def test_process_predicts_what_scikit_learn_predicts() -> None:
    rows, scores = sample(NUMBERS, 40)
    process = Process(NUMBERS)
    process.fit(rows, scores, 3.0)
    process.condition(rows, scores)
    kernel = ConstantKernel(process.variance) * Matern(process.length, nu=2.5) + WhiteKernel(
        process.variance * (process.noise + 1e-9)
    )
    reference = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(rows, scores)
    asked = np.random.default_rng(1).random((50, 3))
    mean, spread = process.predict(asked)
    expected, with_noise = reference.predict(asked, return_std=True)
    assert mean == pytest.approx(expected, abs=1e-6)
    noise = process.variance * (process.noise + 1e-9)
    assert spread == pytest.approx(np.sqrt(np.maximum(with_noise**2 - noise, 0)), abs=1e-4)


def test_loss_is_scikit_learns_likelihood_with_the_variance_at_its_best() -> None:
    rows, scores = sample(NUMBERS, 30)
    process = Process(NUMBERS)
    gaps = process._gaps(rows)
    middle = np.log([1.0, 1.0, 1.0, NOISE])

    def loss(theta: Array) -> float:
        away = (theta - middle) / np.array([0.75, 0.75, 0.75, 1.5])
        return loss_and_gradient(theta, gaps, scores, middle)[0] - 0.5 * float(away @ away)

    def likelihood(theta: Array) -> float:
        process.length, process.noise = np.exp(theta[:-1]), float(np.exp(theta[-1]))
        process.condition(rows, scores)
        variance = process.variance
        kernel = ConstantKernel(variance) * Matern(process.length, nu=2.5) + WhiteKernel(
            variance * (process.noise + 1e-9)
        )
        model = GaussianProcessRegressor(kernel, optimizer=None, alpha=0.0).fit(rows, scores)
        # the pseudo scores' own part of the likelihood, which scikit-learn's lacks
        extra = -0.5 * PSEUDO * np.log(variance) - 0.5 * PSEUDO / variance
        return float(model.log_marginal_likelihood_value_) + float(extra)

    thetas = [np.log([0.5, 1.0, 2.0, 0.01]), np.log([0.2, 3.0, 1.0, 0.1])]
    assert loss(thetas[0]) - loss(thetas[1]) == pytest.approx(
        likelihood(thetas[1]) - likelihood(thetas[0]), abs=1e-6
    )


@pytest.mark.parametrize("frame", [NUMBERS, BRANCHED])
def test_gradient_is_that_of_finite_differences(frame: Frame) -> None:
    rows, scores = sample(frame, 25)
    gaps = Process(frame)._gaps(rows)
    middle = np.append(np.full(len(frame), 0.3), np.log(NOISE))
    theta = middle + 0.3 * np.random.default_rng(2).standard_normal(len(middle))
    found = loss_and_gradient(theta, gaps, scores, middle)[1]
    expected = approx_fprime(theta, lambda at: loss_and_gradient(at, gaps, scores, middle)[0], 1e-7)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)


def test_process_measures_distance_as_it_was_fitted() -> None:
    rows, _ = sample(BRANCHED, 20)
    process = Process(BRANCHED)
    process.length = np.linspace(0.3, 2.0, len(BRANCHED))
    features = process._features(rows)
    squares = ((features[:, None] - features[None]) ** 2).sum(2)
    assert squares == pytest.approx(np.tensordot(process.length**-2.0, process._gaps(rows), 1))


def test_rows_are_active_where_their_parents_say() -> None:
    rows = np.array([[0, 0.3, 1, 0.1, 0, 0.5], [1, 0.3, 1, 0.1, 0, 0.5], [1, 0.3, 0, 0.1, 0, 0.5]])
    i = INACTIVE
    assert BRANCHED.canonical(rows).tolist() == [
        [0, 0.3, i, i, 0, 0.5],
        [1, i, 1, 0.1, 0, 0.5],
        [1, i, 0, i, 0, 0.5],
    ]


def test_mutations_stay_in_bounds_on_levels_and_change_something() -> None:
    rng = np.random.default_rng(3)
    rows = BRANCHED.draw(rng, 500)
    moved = BRANCHED.mutated(rng, rows, 0.05, 0.2)
    assert np.all((moved >= 0) & (moved[:, [1, 3, 5]].max() <= 1))
    assert set(moved[:, 3]) <= {0.1, 0.5, 0.9}
    assert np.all(moved[:, 0] < 3) and np.all(moved[:, 2] < 2)
    changed = np.any(BRANCHED.canonical(moved) != BRANCHED.canonical(rows), axis=1)
    assert changed.mean() > 0.7, "only a choice that is drawn anew may come out the same"


def test_draws_follow_the_weights() -> None:
    rows = BRANCHED.draw(np.random.default_rng(0), 2000)
    assert (rows[:, 4] == 0).mean() == pytest.approx(0.9, abs=0.03)
    assert [(rows[:, 0] == k).mean() for k in range(3)] == pytest.approx([1 / 3] * 3, abs=0.05)


def test_distance_is_the_largest_difference() -> None:
    rows = BRANCHED.canonical(np.array([[0, 0.3, 0, 0.1, 0, 0.5], [0, 0.4, 0, 0.9, 0, 0.1]]))
    other = BRANCHED.canonical(np.array([[1, 0.3, 0, 0.1, 0, 0.5]]))
    assert BRANCHED.distances(rows, rows).tolist() == [[0, 0.4], [0.4, 0]]
    assert BRANCHED.distances(rows, other).tolist() == [[1], [1]]


def test_log_improvement_is_the_log_of_the_expected_improvement() -> None:
    z = np.array([-30.0, -5.0, -1.5, -1.0, -0.5, 0.0, 2.0])
    expected = norm.logpdf(z) + np.log1p(z * np.exp(norm.logcdf(z) - norm.logpdf(z)))
    found = log_improvement(-2.0 * z, np.full(len(z), 2.0), 0.0)
    assert found[1:] == pytest.approx(expected[1:] + np.log(2.0), rel=1e-6)
    far = log_improvement(np.array([10.0, 1e3, 1e6, 1e12]), np.ones(4), 0.0)
    assert np.all(np.isfinite(far)) and np.all(np.diff(far) < 0)


def test_what_is_known_to_the_noise_is_discounted() -> None:
    share = np.exp(log_discount(np.array([1e-6, 1.0, 1e3]), 1.0))
    assert share == pytest.approx([0.0, 1 - np.sqrt(0.5), 1.0], abs=1e-3)
    assert np.exp(log_discount(np.array([0.5]), 0.0)) == pytest.approx([1.0])


def test_marginals_combine_what_is_good_column_by_column() -> None:
    rng = np.random.default_rng(0)
    rows = BRANCHED.canonical(BRANCHED.draw(rng, 200))
    order = np.argsort((rows[:, 0] != 1) + np.abs(rows[:, 5] - 0.7), kind="stable")
    marginals = Marginals(BRANCHED, rows[order], 10)
    drawn = marginals.draw(rng, 2000)
    assert (drawn[:, 0] == 1).mean() == pytest.approx(10 / 11 + 1 / 33, abs=0.03)
    assert np.unique(drawn[:, 0]).tolist() == [0, 1, 2], "the space's own draws are among them"
    assert set(drawn[:, 3]) <= {0.1, 0.5, 0.9}
    assert np.all((drawn >= 0) & (drawn[:, [1, 3, 5]].max() <= 1))
    asked = BRANCHED.canonical(np.array([[1, 0, 1, 0.5, 0, 0.7], [0, 0.5, 0, 0, 0, 0.1]]))
    preference = marginals.preference(asked)
    assert preference[0] > preference[1] + 1
    alone = Marginals(BRANCHED, rows[:1], 1)
    assert np.all(np.isfinite(alone.preference(BRANCHED.canonical(alone.draw(rng, 50)))))


def cells(rows: Array) -> Array:
    """A table: four levels of the first column, two of the second, the third by itself."""
    scores: Array = np.floor(4 * rows[:, 0]) + 10 * np.floor(2 * rows[:, 1]) + 0.1 * rows[:, 2]
    return scores


def test_sameness_learns_how_wide_the_cells_of_a_table_are() -> None:
    rows = NUMBERS.draw(np.random.default_rng(0), 100)
    assert sameness_of(NUMBERS, rows, cells(rows)) is None, "the third column makes every score another one"
    rows[:, 2] = 0.5
    same = sameness_of(NUMBERS, rows, cells(rows))
    assert same is not None
    assert same.rates[0] > same.rates[1], "narrow cells are left sooner"
    asked = np.array([[0.1, 0.2, 0.5], [0.15, 0.3, 0.5], [0.6, 0.9, 0.5]])
    novelty = same.log_novelty(asked, np.array([[0.12, 0.2, 0.5]]))
    assert novelty[0] < novelty[1] < novelty[2] < 0


def test_sameness_says_nothing_where_nothing_is_equal() -> None:
    rows, scores = sample(BRANCHED, 60)
    assert sameness_of(BRANCHED, rows, scores) is None
    scores[5] = scores[6] = np.nan
    assert sameness_of(BRANCHED, rows, scores) is None, "no score is none to compare"
    choices = Frame([Column(choices=2), Column(choices=3)])
    assert sameness_of(choices, choices.draw(np.random.default_rng(0), 6), np.zeros(6)) is None
    assert sameness_of(NUMBERS, np.empty((0, 3)), np.empty(0)) is None


def test_sameness_holds_within_a_branch_and_a_choice_only() -> None:
    rng = np.random.default_rng(1)
    rows = BRANCHED.canonical(BRANCHED.draw(rng, MOST + 20))
    same = sameness_of(BRANCHED, rows, np.round(rows[:, 5], 1))
    assert same is not None
    tried = BRANCHED.canonical(np.array([[0, 0.5, 0, 0.1, 0, 0.5]]))
    asked = BRANCHED.canonical(
        np.array([[0, 0.5, 0, 0.1, 0, 0.5], [1, 0.5, 0, 0.1, 0, 0.5], [2, 0.5, 0, 0.1, 0, 0.5]])
    )
    novelty = same.log_novelty(asked, tried)
    assert novelty[0] < -3 and novelty[1:] == pytest.approx([0, 0])


def test_sameness_gradient_is_that_of_finite_differences() -> None:
    rng = np.random.default_rng(2)
    gaps, theta = rng.random((300, 3)) * 0.3, np.array([2.0, 1.0, 0.5, 0.7])
    equal = rng.random(300) < np.exp(-3 * gaps.sum(1))
    expected = approx_fprime(theta, lambda at: sameness_loss(at, gaps, equal, 0.05)[0], 1e-7)
    assert sameness_loss(theta, gaps, equal, 0.05)[1] == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_share_of_ties() -> None:
    assert tied_share(np.array([1.0, 2.0, 1.0, 1.0, np.nan, np.nan])) == 0.5
    assert tied_share(np.array([np.nan])) == 0.0


def test_a_table_is_explored_when_nothing_better_comes() -> None:
    rng = np.random.default_rng(4)
    rows = NUMBERS.draw(rng, 40)
    none = np.empty((0, 3))
    stepped = np.floor(5 * rows[:, 0])
    stepped[3] = -1.0

    def proposals(scores: Array, seeds: range) -> Array:
        return np.array([ranked(NUMBERS, Told(rows, scores, none), seed)[0] for seed in seeds])

    smooth = stepped + 1e-6 * rows[:, 1]
    spread = proposals(stepped, range(12)).std(0).mean()
    assert spread > 1.5 * proposals(smooth, range(12)).std(0).mean()


def neglected() -> tuple[Frame, Told]:
    """A branch of one number, good and well known, and one of two numbers whose eight trials were all bad."""
    frame = Frame(
        [
            Column(choices=2),
            Column(when=((0, frozenset({0})),)),
            Column(when=((0, frozenset({1})),)),
            Column(when=((0, frozenset({1})),)),
        ]
    )
    rows = frame.draw(np.random.default_rng(5), 32)
    rows[:, 0] = np.arange(32) >= 24
    scores = np.where(rows[:, 0] == 0, np.sin(40 * rows[:, 1]), 5.0 + rows[:, 2])
    return frame, Told(frame.canonical(rows), scores, np.empty((0, 4)))


def test_a_branch_whose_first_trials_were_bad_gets_its_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, told = neglected()

    def share() -> float:
        return float(np.mean([ranked(frame, told, seed)[0, 0] for seed in range(60)]))

    assert 0.2 < share() < 0.5
    monkeypatch.setattr(_blended, "BRANCH_TURNS", 0.0)
    assert share() == 0.0


def test_a_turn_is_for_the_branch_with_many_parameters_and_few_trials() -> None:
    frame, told = neglected()
    rng = np.random.default_rng(0)
    none = np.empty((0, 4))
    # A branch is named by its inactive cells, and in the neglected one the number of the other is inactive.
    for known, expected in ((told.rows, (3 / 9) / (3 / 9 + 2 / 25)), (none, 3 / 5)):
        due = [bool(_blended._due(frame, known, rng)[1]) for _ in range(400)]
        assert np.mean(due) == pytest.approx(expected, abs=0.08)


def test_what_counts_in_a_turn_is_to_be_better_than_the_best_of_the_branch() -> None:
    frame, (rows, scores, none) = neglected()
    asked = frame.canonical(frame.draw(np.random.default_rng(1), 50))
    own = rows[rows[:, 0] == 1]
    improvements = [_blended._by_process(frame, rows, scores, none, rivals)(asked) for rivals in (own, rows)]
    assert np.all(improvements[0] > improvements[1])


def test_scores_keep_their_order_and_bad_ones_do_not_decide() -> None:
    scores = np.array([3.0, 1.0, 2.0, 1e9, 1.5, 2.5, 4.0, 1.2])
    out = power_scores(scores)
    assert np.argsort(out, kind="stable").tolist()[:6] == np.argsort(scores, kind="stable").tolist()[:6]
    assert out.std() == pytest.approx(1) and abs(out.mean()) < 1e-9
    assert out[3] < 4
    assert power_scores(np.zeros(5)).tolist() == [0.0] * 5
    assert np.all(np.isfinite(power_scores(np.array([-1e308, 1e308, 0.0, 1.0]))))


def test_thinning_keeps_the_best_and_the_latest() -> None:
    scores = np.arange(1000.0)[::-1]
    kept = thinned(scores, 90)
    assert len(kept) <= 90 and set(range(970, 1000)) <= set(kept) and kept.min() == 0
    assert thinned(scores, 1000).tolist() == list(range(1000))


@pytest.mark.parametrize("stepped", [False, True])
def test_rows_that_are_new_come_first(*, stepped: bool) -> None:
    rows, scores = sample(BRANCHED, 30)
    scores = np.round(scores) if stepped else scores
    scores[0], scores[3] = -9.0, np.nan
    told = Told(rows[:28], scores[:28], rows[28:])
    for seed in range(6):  # on steps both the process and the explorer are asked
        found = BRANCHED.canonical(ranked(BRANCHED, told, seed))
        assert len(found) >= 20
        assert np.all(ranked(BRANCHED, told, seed) == ranked(BRANCHED, told, seed))
        assert BRANCHED.distances(found[:1], rows).min() > 0


def test_late_proposals_may_lie_closer_to_what_was_tried_unless_there_are_steps() -> None:
    frame = Frame([Column()])
    rows = np.linspace(0, 1, LATE)[:, None] ** 2

    def gap(scores: Array) -> float:
        told = Told(rows, scores, np.empty((0, 1)))
        return min(float(frame.distances(ranked(frame, told, seed)[:1], rows).min()) for seed in range(20))

    valley = (rows[:, 0] - 0.8) ** 2
    assert NEAR_LATE <= gap(valley) < NEAR / 2


def test_without_scores_draws_come() -> None:
    none = Told(np.empty((0, 6)), np.empty(0), np.empty((0, 6)))
    assert ranked(BRANCHED, none, 1).shape == (DRAWN, 6)
