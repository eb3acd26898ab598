"""`WandbCallback` and `wandb_callback` for XGBoost: the evaluation of every round."""

from __future__ import annotations

from importlib import import_module

from sweep.sdk.wandb._init import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_base: Any = import_module("xgboost.callback").TrainingCallback


class WandbCallback(_base):  # type: ignore[misc]
    """Logs `<data>-<metric>` after each round, and the best score in the summary."""

    def __init__(
        self,
        log_model: bool = False,
        log_feature_importance: bool = True,
        importance_type: str = "gain",
        define_metric: bool = True,
    ) -> None:
        super().__init__()

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Log the round; False: go on."""
        run = current()
        if run is not None:
            values = {
                f"{data}-{metric}": series[-1] if not isinstance(series[-1], tuple) else series[-1][0]
                for data, metrics in evals_log.items()
                for metric, series in metrics.items()
            }
            run.log({**values, "epoch": epoch})
        return False

    def after_training(self, model: Any) -> Any:
        """Note the best round."""
        run = current()
        if run is not None and getattr(model, "best_iteration", None) is not None:
            run.summary.update(
                {"best_iteration": model.best_iteration, "best_score": float(model.best_score)}
            )
        return model


def wandb_callback() -> WandbCallback:
    """The callback."""
    return WandbCallback()
