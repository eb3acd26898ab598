"""sweep: hyperparameter sweeps that you run yourself.

Training scripts import this module, so it must stay nearly free: public names are resolved when they are first used,
and nothing else is imported here. The file also works alone with `sweep/sdk` under Python 3.8.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # what type checkers take for `typing.TYPE_CHECKING`, without the cost of importing it
if TYPE_CHECKING:
    from sweep.api.asking import NothingToAsk as NothingToAsk
    from sweep.api.asking import Optimizer as Optimizer
    from sweep.api.asking import Trial as Trial
    from sweep.api.errors import NotFound as NotFound
    from sweep.api.errors import SpecError as SpecError
    from sweep.api.errors import StoreError as StoreError
    from sweep.api.errors import SweepError as SweepError
    from sweep.api.loading import load as load
    from sweep.api.minimizing import minimize as minimize
    from sweep.api.working import agent as agent
    from sweep.api.working import create as create
    from sweep.sdk import Config as Config
    from sweep.sdk import Pruned as Pruned
    from sweep.sdk import Run as Run
    from sweep.sdk import Summary as Summary
    from sweep.sdk import init as init
    from sweep.sdk import log as log

    config: Config
    summary: Summary

_HOME = {
    "Config": "sweep.sdk",
    "Pruned": "sweep.sdk",
    "Run": "sweep.sdk",
    "Summary": "sweep.sdk",
    "init": "sweep.sdk",
    "log": "sweep.sdk",
    "load": "sweep.api.loading",
    "create": "sweep.api.working",
    "agent": "sweep.api.working",
    "minimize": "sweep.api.minimizing",
    "Optimizer": "sweep.api.asking",
    "Trial": "sweep.api.asking",
    "NothingToAsk": "sweep.api.asking",
    "SweepError": "sweep.core.errors",
    "SpecError": "sweep.spec",
    "StoreError": "sweep.stores",
    "NotFound": "sweep.api.finding",
}
"""Public name -> the module it is imported from."""

_OF_THE_RUN = ("config", "summary")
"""Names that mean something else after the next `init`: looked up every time."""

__all__ = ["__version__", "Config", "Pruned", "Run", "Summary", "config", "init", "log", "summary"]


def __getattr__(name: str) -> object:
    if name in _OF_THE_RUN:
        return getattr(__import__("sweep.sdk", None, None, (name,)), name)
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'sweep' has no attribute {name!r}")
    value = getattr(__import__(home, None, None, (name,)), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_OF_THE_RUN})
