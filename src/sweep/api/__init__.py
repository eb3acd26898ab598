"""Sweeps from Python: what the command line does, as functions over a store.

Names are resolved on first use, so that a listing does not pay for what records code and hardware.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweep.api.finding import NotFound, find_either, find_run, find_sweep
    from sweep.api.reading import (
        load_best,
        load_outcome,
        load_run,
        load_sweep_view,
        load_sweep_views,
        load_views,
        read_history,
    )
    from sweep.api.requests import Refused, extend, request, retry, to_retry
    from sweep.api.sweeps import Created, create_sweep, new_id
    from sweep.api.transfer import BadExport, export_lines, import_lines

_HOMES = {
    "BadExport": "transfer",
    "Created": "sweeps",
    "NotFound": "finding",
    "create_sweep": "sweeps",
    "export_lines": "transfer",
    "find_either": "finding",
    "find_run": "finding",
    "find_sweep": "finding",
    "import_lines": "transfer",
    "load_best": "reading",
    "load_outcome": "reading",
    "load_run": "reading",
    "load_sweep_view": "reading",
    "load_sweep_views": "reading",
    "load_views": "reading",
    "new_id": "sweeps",
    "extend": "requests",
    "read_history": "reading",
    "Refused": "requests",
    "request": "requests",
    "retry": "requests",
    "to_retry": "requests",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


__all__ = [
    "BadExport",
    "Created",
    "NotFound",
    "Refused",
    "create_sweep",
    "export_lines",
    "extend",
    "find_either",
    "find_run",
    "find_sweep",
    "import_lines",
    "load_best",
    "load_outcome",
    "load_run",
    "load_sweep_view",
    "load_sweep_views",
    "load_views",
    "new_id",
    "read_history",
    "request",
    "retry",
    "to_retry",
]
