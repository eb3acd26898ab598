"""A store with a recorded sweep in it, as agents would have left it, without starting one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.analysis.records import to_json
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.space import Categorical, Parameter, Space
from sweep.core.spec import Metric, SweepSpec
from sweep.core.state import State
from sweep.stopping import make_stopper
from sweep.stores import HistoryChunk, Index, Store, open_store

SPACE = Space(
    (Parameter(("lr",), Categorical((0.1, 0.2, 0.3))), Parameter(("model", "depth"), Categorical((1, 2))))
)


def spec_of(**changes: Any) -> SweepSpec:
    values: dict[str, Any] = {"method": "grid", "space": SPACE, "seed": 7, "metric": Metric(name="loss")}
    return SweepSpec(**{**values, "program": "train.py", **changes})


def project_store(folder: Path) -> Store:
    """The store of a project in `folder`, made new."""
    return open_store(f"sqlite:///{folder}/.sweep/store.db", folder, create=True)


def keep(
    store: Store,
    configs: Sequence[Mapping[str, Any]],
    rows: Sequence[Sequence[Mapping[str, Any]]] = (),
    *,
    sweep: str = "abcd2345",
    spec: SweepSpec | None = None,
    record: Mapping[str, Any] | None = None,
    node: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    **started: Any,
) -> str:
    """Record a sweep with one completed run per config; run k logged `rows[k]` (dicts of metrics). `started`: fields of
    RunStarted."""
    spec = spec or spec_of()
    entries: list[e.AnyEntry] = [
        e.SweepCreated(sweep, spec_to_builtins(spec), record=dict(record or {})),
        e.AgentJoined("a1", "node1", 11, 1, record=dict(node or {})),
        e.TrialsProposed(0, tuple(dict(config) for config in configs), True, 1, "grid", "1", 1),
    ]
    for run, config in enumerate(configs):
        logged = [dict(row) for row in (rows[run] if run < len(rows) else ())]
        entries += _life(run, config, logged, dict(summary or {}), started)
        _log(store, sweep, run, logged)
    entries.append(e.SweepEnded("every point of the grid is done"))
    appended = store.append(sweep, entries, writer="test", first_seq=1)
    store.write_index(sweep, Index(appended.last, rebuild(State(make_stopper), appended.recorded)))
    return sweep


def _life(
    run: int,
    config: Mapping[str, Any],
    rows: list[dict[str, Any]],
    summary: dict[str, Any],
    started: Mapping[str, Any],
) -> list[e.AnyEntry]:
    losses = [row["loss"] for row in rows if isinstance(row.get("loss"), float)]
    fields = {"host": "node1", "command": ("python", "train.py"), **started}
    end = {**(rows[-1] if rows else {}), **summary}
    return [
        e.SlotOffered("a1", 0, run + 1),
        e.RunAdded(run, run, 0, 40 + run),
        e.RunAssigned(run, 1, "a1", 0, run + 1, run, 0, 40 + run, dict(config)),
        e.RunStarted(run, 1, "a1", 100 + run, slot=0, **fields),
        e.ObjectiveReported(run, 1, 0, tuple(range(len(losses))), tuple(losses)),
        e.AttemptEnded(
            run,
            1,
            "a1",
            "completed",
            exit_code=0,
            score=min(losses, default=None),
            summary=end,
            rows=len(rows),
        ),
    ]


def _log(store: Store, sweep: str, run: int, rows: list[dict[str, Any]]) -> None:
    if rows:
        lines = [json.dumps({"i": i, "t": 0.5 * i, "m": to_json(row)}).encode() for i, row in enumerate(rows)]
        store.append_history(sweep, [HistoryChunk(run, 1, 0, len(rows), b"\n".join(lines))])


def curve(*losses: float, **more: Any) -> list[dict[str, Any]]:
    """Rows of a loss that was logged at each step."""
    return [{"loss": loss, **more} for loss in losses]
