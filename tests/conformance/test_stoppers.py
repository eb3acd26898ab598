"""The stoppers' conformance suite over all stoppers."""

import pytest

from sweep.core.plugins import Stopper
from sweep.core.space import Space
from sweep.core.spec import EarlyTerminate, Goal, Metric, SweepSpec
from sweep.stopping import make_stopper
from sweep.testing.stopper_conformance import CHECKS, COMPARING

SETTINGS = {
    "min_iter": EarlyTerminate(min_iter=1),
    "max_iter": EarlyTerminate(max_iter=27, s=3),
    "best so far": EarlyTerminate(min_iter=2, strict=False, eta=2),
    "hyperband by step": EarlyTerminate(min_iter=2, step="logged"),
    "asha": EarlyTerminate(type="asha", min_iter=1, min_runs=1),
    "asha as it is": EarlyTerminate(type="asha", eta=2),
    "asha by trend": EarlyTerminate(type="asha", min_iter=1, min_runs=1, trend=True),
    "asha by trend as it is": EarlyTerminate(type="asha", eta=2, trend=True),
    "median by trend": EarlyTerminate(type="median", trend=True),
    "percentile by trend": EarlyTerminate(type="percentile", percentile=30, min_iter=2, trend=True),
    "asha by count": EarlyTerminate(type="asha", min_iter=2, min_runs=2, step="count"),
    "median": EarlyTerminate(type="median", min_iter=1, min_runs=2),
    "median as it is": EarlyTerminate(type="median"),
    "percentile": EarlyTerminate(type="percentile", percentile=30, min_iter=2, min_runs=1),
    "percentile as it is": EarlyTerminate(type="percentile"),
    "plateau": EarlyTerminate(type="plateau", patience=3, min_iter=2, min_delta=0.001),
    "plateau as it is": EarlyTerminate(type="plateau", patience_share=0.65),
    "plateau as it was": EarlyTerminate(type="plateau"),
    "threshold": EarlyTerminate(type="threshold", threshold=1.5),
}
ALONE = frozenset(("plateau", "plateau as it is", "plateau as it was", "threshold"))


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_stopper(settings: str, check: str) -> None:
    if settings in ALONE and check in COMPARING:
        pytest.skip("it looks at each run alone")

    def make(goal: Goal) -> Stopper:
        metric = Metric(name="loss", goal=goal)
        spec = SweepSpec(
            method="random", space=Space(()), seed=0, metric=metric, early_terminate=SETTINGS[settings]
        )
        stopper = make_stopper(spec)
        assert stopper is not None
        return stopper

    CHECKS[check](make)
