"""`wandb_callback` for LightGBM: the evaluation of every round."""

from __future__ import annotations

from sweep.sdk.wandb._init import current
from sweep.sdk.wandb._say import nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def wandb_callback(log_params: bool = True, define_metric: bool = True) -> Callable[[Any], None]:
    """Logs `<data>_<metric>` after each round; the parameters go to the config."""

    def callback(env: Any) -> None:
        run = current()
        if run is None:
            return
        if log_params and env.iteration == env.begin_iteration:
            run.config.setdefaults(env.params)
        values = {f"{item[0]}_{item[1]}": item[2] for item in env.evaluation_result_list or ()}
        run.log({**values, "iteration": env.iteration})

    return callback


def log_summary(model: Any, feature_importance: bool = True, save_model_checkpoint: bool = False) -> None:
    """The best round and its scores, in the summary."""
    run = current()
    if run is not None:
        scores = {
            f"{data}_{metric}": value
            for data, found in model.best_score.items()
            for metric, value in found.items()
        }
        run.summary.update({"best_iteration": model.best_iteration, **scores})
    if save_model_checkpoint:
        nothing("wandb.lightgbm.log_summary(save_model_checkpoint=…)", "save the model to run.dir")
