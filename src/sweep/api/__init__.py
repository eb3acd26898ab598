"""Sweeps from Python: what the command line does, as functions over a store."""

from sweep.api.finding import NotFound, find_run, find_sweep
from sweep.api.reading import load_sweep_view, load_views, read_history
from sweep.api.sweeps import Created, create_sweep, new_id, request
from sweep.api.transfer import BadExport, export_lines, import_lines

__all__ = [
    "BadExport",
    "Created",
    "NotFound",
    "create_sweep",
    "export_lines",
    "find_run",
    "find_sweep",
    "import_lines",
    "load_sweep_view",
    "load_views",
    "new_id",
    "read_history",
    "request",
]
