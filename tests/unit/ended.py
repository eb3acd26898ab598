"""Sweeps whose runs have ended, written straight into a store: what listings, requests and clean-ups start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from folded import make_spec
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.names import agent_lease
from sweep.core.spec import SweepSpec
from sweep.core.state import State
from sweep.stores import Index, Lease, Store

AGENT = "gone"


def record_sweep(
    store: Store,
    sweep: str,
    *ends: tuple[e.Outcome, float | None] | e.Outcome,
    spec: SweepSpec | None = None,
    classes: tuple[e.ErrorClass, ...] = (),
    record: dict[str, Any] | None = None,
    node: dict[str, Any] | None = None,
) -> None:
    """A sweep with one run for each of `ends`: how its attempt ended, and its score. `classes`: of the failures."""
    spec = make_spec(run_cap=len(ends) or 3) if spec is None else spec
    journal: list[e.AnyEntry] = [
        e.SweepCreated(sweep, spec_to_builtins(spec), record=record or {}),
        e.AgentJoined(AGENT, "far-away", 1, 1, record=node or {}),
    ]
    if ends:
        configs = tuple({"x": trial} for trial in range(len(ends)))
        journal.append(e.TrialsProposed(0, configs, False, 1, "grid", "1", 1))
    errors = iter(classes)
    for run, end in enumerate(ends):
        outcome, score = (end, None) if isinstance(end, str) else end
        error = next(errors, "exit") if outcome == "failed" else ""
        journal += [
            e.RunAdded(run, run, 0, 7),
            e.SlotOffered(AGENT, 0, run + 1),
            e.RunAssigned(run, 1, AGENT, 0, run + 1, run, 0, 7, {"x": run}),
            e.RunStarted(run, 1, AGENT, 11, "far-away", 0),
            e.AttemptEnded(run, 1, AGENT, outcome, score=score, error_class=error),
        ]
    journal.append(e.AgentLeft(AGENT))
    appended = store.append(sweep, journal, writer="w", first_seq=1)
    state = State(lambda _: None)
    rows = rebuild(state, appended.recorded)
    assert state.ignored == []
    store.write_index(sweep, Index(appended.last, rows))


def at_work(store: Store, sweep: str, agent: str = "here-1", host: str = "far-away", pid: int = 1) -> Lease:
    """An agent that has joined and holds its lease."""
    lease = store.acquire(agent_lease(agent), agent, 600.0)
    assert lease is not None
    seq = store.last_seq(sweep, agent) + 1
    store.append(sweep, [e.AgentJoined(agent, host, pid, 2)], writer=agent, first_seq=seq)
    return lease


def fill(root: Path, sweep: str, run: int, checkpoint: int = 5000, output: int = 100) -> Path:
    """A run folder with a checkpoint and output of these sizes (bytes)."""
    folder = root / "runs" / sweep / str(run)
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "model.bin").write_bytes(b"x" * checkpoint)
    (folder / "output-1.log").write_bytes(b"y" * output)
    return folder
