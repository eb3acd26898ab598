"""Learning curves for the benchmark of stoppers: real trainings by scikit-learn on data that comes with it.

The rule of this file: a table depends on its name and on the libraries alone. Each is trained once and kept as CSV, so that the benchmark can
be interrupted and go on.
"""

from __future__ import annotations

import csv
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CONFIGS = 120
Curve = tuple[list[float], list[float]]
"""Values and seconds since the start, one a step."""


class Problem(NamedTuple):
    """A kind of training, and on what."""

    name: str
    train: Callable[[np.random.Generator], Curve]


def problems() -> list[Problem]:
    """All of them; the data is made or loaded here."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, make_classification

    digits = _split(*load_digits(return_X_y=True))
    cancer = _split(*load_breast_cancer(return_X_y=True))
    diabetes = _split(*load_diabetes(return_X_y=True), scale_target=True)
    noisy = _split(
        *make_classification(
            1500, 30, n_informative=8, n_redundant=6, flip_y=0.15, class_sep=0.7, random_state=3
        )
    )
    return [
        Problem("mlp_digits", lambda rng: _mlp(rng, digits, 40, classify=True)),
        Problem("mlp_diabetes", lambda rng: _mlp(rng, diabetes, 60, classify=False)),
        Problem("mlp_noisy", lambda rng: _mlp(rng, noisy, 40, classify=True)),
        Problem("sgd_cancer", lambda rng: _sgd(rng, cancer, 50)),
        Problem("sgd_noisy", lambda rng: _sgd(rng, noisy, 50)),
        Problem("boosting_diabetes", lambda rng: _boosting(rng, diabetes, 100, classify=False)),
        Problem("boosting_noisy", lambda rng: _boosting(rng, noisy, 60, classify=True)),
    ]


def held_out() -> list[Problem]:
    """Others of the same kinds, by which no default was chosen: what is measured on them is what a stranger may expect."""
    from sklearn.datasets import (
        load_breast_cancer,
        load_digits,
        load_wine,
        make_classification,
        make_friedman1,
    )

    digits = _split(*load_digits(return_X_y=True))
    cancer = _split(*load_breast_cancer(return_X_y=True))
    wine = _split(*load_wine(return_X_y=True))
    friedman = _split(*make_friedman1(800, 10, noise=1.0, random_state=5), scale_target=True)
    rare = _split(*make_classification(1500, 20, n_informative=6, weights=[0.9], flip_y=0.05, random_state=7))
    return [
        Problem("mlp_friedman", lambda rng: _mlp(rng, friedman, 50, classify=False)),
        Problem("mlp_wine", lambda rng: _mlp(rng, wine, 60, classify=True)),
        Problem("mlp_rare", lambda rng: _mlp(rng, rare, 40, classify=True)),
        Problem("sgd_digits", lambda rng: _sgd(rng, digits, 40)),
        Problem("boosting_friedman", lambda rng: _boosting(rng, friedman, 80, classify=False)),
        Problem("boosting_cancer", lambda rng: _boosting(rng, cancer, 60, classify=True)),
    ]


def tables(
    folder: Path, say: Callable[[str], None], make: Callable[[], list[Problem]] = problems
) -> list[Path]:
    """A CSV file (run, step, value, seconds) for each problem; what is there already is not trained again."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for problem in make():
        path = folder / f"{problem.name}.csv"
        if not path.exists():
            began = time.process_time()
            rows = list(_rows(problem, say))
            partial = path.with_suffix(".partial")
            with partial.open("w", newline="") as file:
                csv.writer(file).writerows([("run", "step", "value", "seconds"), *rows])
            partial.replace(path)
            say(f"{problem.name}: {CONFIGS} trainings in {time.process_time() - began:.0f} s of CPU time\n")
        paths.append(path)
    return paths


def _rows(problem: Problem, say: Callable[[str], None]) -> Iterator[tuple[str, int, float, float]]:
    for number in range(CONFIGS):
        say(f"{problem.name}: training {number + 1} of {CONFIGS}\r")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of trainings that do not converge, which is what is wanted
            values, seconds = problem.train(np.random.default_rng([number, *problem.name.encode()]))
        for step, (value, second) in enumerate(zip(values, seconds, strict=True), 1):
            yield f"{problem.name}-{number}", step, value, round(second, 6)


def _split(x: Any, y: Any, scale_target: bool = False) -> tuple[Any, ...]:
    from sklearn.model_selection import train_test_split

    x = (x - x.mean(0)) / (x.std(0) + 1e-9)
    y = (y - y.mean()) / y.std() if scale_target else y
    return tuple(train_test_split(x, y, test_size=0.4, random_state=1))


def _log(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _mlp(rng: np.random.Generator, data: tuple[Any, ...], epochs: int, classify: bool) -> Curve:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    model = (MLPClassifier if classify else MLPRegressor)(
        hidden_layer_sizes=(int(_log(rng, 4, 96)),) * int(rng.integers(1, 4)),
        activation=str(rng.choice(["relu", "tanh"])),
        solver=str(rng.choice(["adam", "sgd"])),
        learning_rate_init=_log(rng, 1e-4, 0.3),
        alpha=_log(rng, 1e-6, 1.0),
        batch_size=int(rng.choice([16, 32, 64, 128])),
        momentum=float(rng.uniform(0.0, 0.98)),
        random_state=int(rng.integers(2**31)),
    )
    return _epochs(model, data, epochs, classify)


def _sgd(rng: np.random.Generator, data: tuple[Any, ...], epochs: int) -> Curve:
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(
        loss="log_loss",
        penalty=str(rng.choice(["l1", "l2", "elasticnet"])),
        alpha=_log(rng, 1e-6, 1.0),
        learning_rate=str(rng.choice(["constant", "invscaling", "adaptive"])),
        eta0=_log(rng, 1e-4, 1.0),
        random_state=int(rng.integers(2**31)),
    )
    return _epochs(model, data, epochs, classify=True)


def _epochs(model: Any, data: tuple[Any, ...], epochs: int, classify: bool) -> Curve:
    """One pass over the data a step; the loss on the rest after each."""
    x, test_x, y, test_y = data
    rng, classes = np.random.default_rng(0), np.unique(y) if classify else None
    values, seconds, began = list[float](), list[float](), time.process_time()
    for _ in range(epochs):
        order = rng.permutation(len(x))
        try:
            if classify:
                model.partial_fit(x[order], y[order], classes=classes)
            else:
                model.partial_fit(x[order], y[order])
            values.append(_loss(model, test_x, test_y, classify))
        except ValueError:  # weights that are not finite any more
            values.append(float("nan"))
        seconds.append(time.process_time() - began)
    return values, seconds


def _loss(model: Any, x: Any, y: Any, classify: bool) -> float:
    from sklearn.metrics import log_loss

    if not classify:
        return float(np.mean((model.predict(x) - y) ** 2))
    return float(log_loss(y, model.predict_proba(x), labels=model.classes_))


def _boosting(rng: np.random.Generator, data: tuple[Any, ...], stages: int, classify: bool) -> Curve:
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
    from sklearn.metrics import log_loss

    x, test_x, y, test_y = data
    model = (GradientBoostingClassifier if classify else GradientBoostingRegressor)(
        n_estimators=stages,
        learning_rate=_log(rng, 0.005, 1.0),
        max_depth=int(rng.integers(1, 7)),
        subsample=float(rng.uniform(0.3, 1.0)),
        max_features=float(rng.uniform(0.1, 1.0)),
        min_samples_leaf=int(_log(rng, 1, 40)),
        random_state=int(rng.integers(2**31)),
    )
    began = time.process_time()
    model.fit(x, y)
    pace = (time.process_time() - began) / stages
    if classify:
        values = [float(log_loss(test_y, p)) for p in model.staged_predict_proba(test_x)]
    else:
        values = [float(np.mean((p - test_y) ** 2)) for p in model.staged_predict(test_x)]
    return values, [pace * (step + 1) for step in range(stages)]
