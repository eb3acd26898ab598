"""Several runs side by side: their records out of the store, compared by `sweep.analysis.comparing`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from sweep.analysis.comparing import Line, Origin, Side, compare, side_of
from sweep.analysis.differing import RUNS
from sweep.analysis.history import History
from sweep.api.reading import load_views
from sweep.api.results import look_at_runs
from sweep.core.ran import code_of
from sweep.core.rows import Views
from sweep.core.views import RunView
from sweep.provenance import TreeError
from sweep.provenance.tree import EXECUTABLE, parse_manifest
from sweep.stores import Store


def compare_runs(
    store: Store, runs: Sequence[tuple[str, int]], command: str = "compare", by: str = ""
) -> tuple[list[Side], list[Line]]:
    """The sides, one per (sweep, run number), and every fact about them. What a record lacks counts as not there. That `command` is
    about to show values of `report_metric` to `by` is recorded."""
    blobs = cache(store.get_blob)
    wanted = {sweep: [number for name, number in runs if name == sweep] for sweep, _ in runs}
    views = {sweep: load_views(store, sweep, numbers) for sweep, numbers in wanted.items()}
    found = {(view.sweep, view.run): view for known in views.values() for view in known.runs}
    for sweep, known in views.items():
        look_at_runs(store, sweep, known.spec, known.runs, command, by)
    sides = []
    for sweep, number in runs:
        run = found[sweep, number]
        history = History.from_chunks(store.read_history(sweep, number))
        sides.append(side_of(run, history, _origin(views[sweep], run, blobs)))
    return sides, compare(sides)


def _origin(views: Views, run: RunView, blobs: Any) -> Origin:
    code = code_of(views, run)
    agent = run.attempts[-1].agent if run.attempts else ""
    node = next((view.record for view in views.agents if view.agent == agent), {})
    return Origin(
        spec=views.spec,
        code=code,
        files=tree_files(blobs(code["tree"]) if code.get("tree") else None),
        node=node,
        packages=_packages(node.get("packages"), blobs),
    )


def tree_files(manifest: bytes | None) -> dict[str, str]:
    """Path -> digest of the files of a manifest, with `+x` where it is executable; empty for one that is missing or damaged."""
    try:
        files = parse_manifest(manifest) if manifest is not None else ()
    except TreeError:
        return {}
    return {file.path: file.digest + (RUNS if file.mode == EXECUTABLE else "") for file in files}


def _packages(recorded: Any, blobs: Any) -> dict[str, str]:
    """Name -> version, out of a list or the digest of its blob."""
    if isinstance(recorded, str):
        data = blobs(recorded)
        recorded = json.loads(data) if data is not None else []
    return {item["name"]: str(item.get("version", "")) for item in recorded or ()}
