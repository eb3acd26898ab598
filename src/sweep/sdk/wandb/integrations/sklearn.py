"""`wandb.sklearn`: what its plots draw is not made here; each function says so once and goes on."""

from __future__ import annotations

from sweep.sdk.wandb._say import nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def __getattr__(name: str) -> Callable[..., None]:
    if not name.startswith("plot_"):
        raise AttributeError(f"wandb.sklearn has no {name}")

    def plot(*args: Any, **kwargs: Any) -> None:
        nothing(f"wandb.sklearn.{name}", "log wandb.plot.confusion_matrix, roc_curve or pr_curve")

    return plot
