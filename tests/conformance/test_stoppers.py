"""The stoppers' conformance suite over all stoppers."""

import pytest

from sweep.core.plugins import Stopper
from sweep.core.space import Space
from sweep.core.spec import EarlyTerminate, Goal, Metric, SweepSpec
from sweep.stopping import make_stopper
from sweep.testing.stopper_conformance import CHECKS

SETTINGS = {
    "min_iter": EarlyTerminate(min_iter=1),
    "max_iter": EarlyTerminate(max_iter=27, s=3),
    "best so far": EarlyTerminate(min_iter=2, strict=False, eta=2),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("settings", SETTINGS)
def test_stopper(settings: str, check: str) -> None:
    def make(goal: Goal) -> Stopper:
        metric = Metric(name="loss", goal=goal)
        spec = SweepSpec(
            method="random", space=Space(()), seed=0, metric=metric, early_terminate=SETTINGS[settings]
        )
        stopper = make_stopper(spec)
        assert stopper is not None
        return stopper

    CHECKS[check](make)
