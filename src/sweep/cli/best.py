"""How the best of a sweep is said in one line, wherever it is.

The rule of this file: where a config runs on several seeds, its mean and how far seeds spread it are said, never the luckiest one alone.
"""

from __future__ import annotations

from sweep.core.names import run_id
from sweep.core.views import SweepView


def best_number(view: SweepView) -> str:
    """`0.120`; with replicates `0.121 ± 0.005 (n=3)`; empty where there is none."""
    if view.best is None:
        return ""
    if not view.best_seeds:
        return f"{view.best:.6g}"
    return f"{_mean(view)} (n={len(view.best_seeds)})"


def best_words(view: SweepView, metric: str) -> str:
    """`loss 0.120 in abcd2345-7`; with replicates the mean, what the ± is, and the trial. There must be a best run."""
    assert view.best is not None and view.best_run is not None
    run = run_id(view.sweep, view.best_run)
    if not view.best_seeds:
        return f"{metric} {view.best:.6g} in {run}"
    n = len(view.best_seeds)
    over = f"mean and 95 % interval over n = {n} seeds" if n > 1 else "of one seed"
    return f"{metric} {_mean(view)} in trial {view.best_trial} ({over}); its best run is {run}"


def _mean(view: SweepView) -> str:
    from sweep.analysis.honest import with_spread  # who has no replicates does not pay for it
    from sweep.analysis.inference import mean_interval

    found = mean_interval(view.best_seeds)
    assert found is not None
    return with_spread(found)
