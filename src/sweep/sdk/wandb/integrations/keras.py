"""`WandbCallback`, `WandbMetricsLogger`, `WandbModelCheckpoint` for Keras 2 and 3."""

from __future__ import annotations

from importlib import import_module

from sweep.sdk.wandb._init import current
from sweep.sdk.wandb._say import nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _callbacks() -> Any:
    try:
        return import_module("keras.callbacks")
    except ImportError:
        return import_module("tensorflow.keras.callbacks")


def _log(logs: Any, prefix: str = "", **more: Any) -> None:
    run = current()
    if run is not None:
        run.log({**{prefix + name: value for name, value in (logs or {}).items()}, **more})


_base: Any = _callbacks()


class WandbMetricsLogger(_base.Callback):  # type: ignore[misc]
    """Logs `epoch/<name>` after each epoch, and `batch/<name>` every `log_freq` batches."""

    def __init__(
        self, log_freq: Any = "epoch", initial_global_step: int = 0, *args: Any, **kwargs: Any
    ) -> None:
        super().__init__()
        self._every = {"batch": 1, "epoch": None}.get(log_freq, log_freq)
        self._batch = initial_global_step

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the epoch's values."""
        _log(logs, "epoch/", **{"epoch/epoch": epoch})

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Log the batch's values, when it is its turn."""
        self._batch += 1
        if self._every and batch % self._every == 0:
            _log(logs, "batch/", **{"batch/batch_step": self._batch})


class WandbCallback(_base.Callback):  # type: ignore[misc]
    """Logs each epoch's values, and the best of `monitor` as `best_<name>` and `best_epoch` in the summary."""

    def __init__(
        self, monitor: str = "val_loss", verbose: int = 0, mode: str = "auto", **options: Any
    ) -> None:
        super().__init__()
        self._monitor = monitor
        self._sign = -1 if mode == "max" or (mode == "auto" and ("acc" in monitor or "auc" in monitor)) else 1
        self._best: float | None = None
        if options:
            nothing(f"WandbCallback({', '.join(options)})", "it logs the values of every epoch")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Log the epoch's values."""
        _log(logs, epoch=epoch)
        run, value = current(), (logs or {}).get(self._monitor)
        if run is not None and value is not None and (self._best is None or self._sign * value < self._best):
            self._best = self._sign * float(value)
            run.summary.update({f"best_{self._monitor}": float(value), "best_epoch": epoch})


class WandbModelCheckpoint(_base.ModelCheckpoint):  # type: ignore[misc]
    """Keras's own ModelCheckpoint: it writes where the script says."""


class WandbEvalCallback(_base.Callback):  # type: ignore[misc]
    """Calls the methods of the script's subclass; the tables it makes are its own."""

    def __init__(self, data_table_columns: Any = None, pred_table_columns: Any = None, **more: Any) -> None:
        super().__init__()
        nothing("WandbEvalCallback", "log a wandb.Table in a callback of your own")
