"""A small neural network on scikit-learn's handwritten digits, trained epoch by epoch.

Runs alone (`python train.py`) with the defaults below, or as a run of `sweep.yaml`.
"""

import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import sweep

DEFAULTS = {
    "learning_rate": 0.01,
    "hidden": 64,
    "layers": 1,
    "batch_size": 32,
    "alpha": 0.0001,
    "activation": "relu",
    "epochs": 60,
}


def load_data():
    """Train, validation and test parts of the digits; always the same split, whatever the run's seed."""
    pixels, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    train, val = train_test_split(rest, test_size=0.25, random_state=0, stratify=labels[rest])
    pixels = pixels / 16.0
    return [(pixels[part], labels[part]) for part in (train, val, test)]


def main():
    run = sweep.init(config=DEFAULTS)
    config = run.config
    (x_train, y_train), (x_val, y_val), (x_test, y_test) = load_data()
    model = MLPClassifier(
        hidden_layer_sizes=(config.hidden,) * config.layers,
        activation=config.activation,
        solver="sgd",
        momentum=0.9,
        alpha=config.alpha,
        batch_size=config.batch_size,
        learning_rate_init=config.learning_rate,
        random_state=run.seed,
    )
    warnings.simplefilter("ignore", ConvergenceWarning)
    for epoch in range(config.epochs):
        model.partial_fit(x_train, y_train, classes=np.arange(10))
        probabilities = np.nan_to_num(model.predict_proba(x_val), nan=0.1)
        accuracy = float(np.mean(probabilities.argmax(axis=1) == y_val))
        loss = float(log_loss(y_val, probabilities, labels=np.arange(10)))
        run.log({"loss": model.loss_, "val": {"loss": loss, "accuracy": accuracy}}, step=epoch)
        print(f"epoch {epoch:2d}  loss {model.loss_:.4f}  val/accuracy {accuracy:.4f}")
    run.summary["test/accuracy"] = float(model.score(x_test, y_test))


if __name__ == "__main__":
    main()
