"""Journals recorded by every format ever released must still open, and mean what they meant.

`tests/golden/journal-vN.msgpack` holds the rows of a store (one msgpack array each, the entry as the bytes that the store
keeps), `journal-vN.jsonl` the same as an export. These files are never changed; a new kind of entry or field goes into a
new pair, with its own list here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from sweep.core import entries as e
from sweep.core.entries import AnyEntry, Recorded
from sweep.core.journal import decode, from_jsonable, to_jsonable

GOLDEN = Path(__file__).parent.parent / "golden"

V1: list[AnyEntry] = [
    e.SweepCreated(
        "k3x9",
        {"method": "bayes", "space": {"lr": [1e-5, 0.1]}, "target": math.inf, "big": 2**70},
        "method: bayes\n",
        "/home/ada/sweep.yaml",
        {"python": "3.11.7", "blob": b"\x00\xff", "$float": "not a number", "gpus": []},
    ),
    e.SpecRevised(2, {"run_cap": 40, "1": {1: "one", None: [True, None]}}, "run_cap: 40\n", "ada"),
    e.PauseRequested("ada"),
    e.ResumeRequested("ada"),
    e.StopRequested(""),
    e.CancelRequested("grace"),
    e.ExtendRequested(60, "ada"),
    e.RetryRequested((3, 5), "ada"),
    e.AgentJoined("a1", "node-ü", 4711, 2, ("GPU-0",), ("grid", "optuna-tpe"), 1, {"cpus": 16, "memory_bytes": 2**36}),
    e.SlotOffered("a1", 0, 1),
    e.SlotWithdrawn("a1", 0, 1),
    e.TrialsProposed(0, ({"lr": 0.1, "opt": {"name": "adam"}}, {"lr": math.nan}), False, 1, "optuna-tpe", "4.2", 3),
    e.RunAdded(0, 0, 1, 2**62, "confirm"),
    e.RunAssigned(0, 1, "a1", 0, 1, 0, 1, 2**62, {"lr": 0.1, "opt": {"name": "adam"}}),
    e.RunStarted(0, 1, "a1", 99, "node-ü", 0, ("GPU-0",), ("python", "train.py", "--lr=0.1"), {"SWEEP_RUN": "0"}, "/r/0"),
    e.ObjectiveReported(0, 1, 0, (0.0, 1.0, 2.5), (math.nan, -math.inf, 0.25)),
    e.RunPruned(0, 1, "a1", "step 9: 0.41 is worse than the best third (0.33)"),
    e.RunPaused(0, 1, "a1", "its slot is needed"),
    e.RunCancelled(1, 0, "", "the sweep was cancelled"),
    e.AttemptEnded(
        0, 1, "a1", "failed", "exit code 1", 1, "exit", 0.25, {"test/accuracy": 0.5, "nan": math.nan}, "c0ffee", 12, "Traceback\0"
    ),
    e.AttemptEnded(1, 1, "a1", "lost"),
    e.AgentLeft("a1", "done"),
    e.AgentLost("a2"),
    e.SweepEnded("run_cap: 40 trials are done"),
    e.SweepReopened("extended to 60"),
]  # fmt: skip

V2: list[AnyEntry] = [
    e.Annotated(-1, ("paper", "größe"), (), "the run of the paper\nü", "ada"),
    e.Annotated(3, (), ("paper",), "", "grace"),
    e.Annotated(3, ("best",)),
    e.RunAssigned(0, 2, "a1", 0, 2, 0, 1, 2**62, {"lr": 0.1}, "gpu_memory"),
    e.RunAssigned(0, 3, "a1", 0, 3, 0, 1, 2**62, {"lr": 0.1}, "node"),
    e.AttemptEnded(
        0, 2, "a1", "failed", "out of GPU memory", 1, "gpu_memory", None, {}, "", 0, "Traceback", {"depth": 3}, 12.25, 2**33
    ),
    e.AttemptEnded(0, 3, "a1", "failed", "No space left on device", 1, "node", cpu_s=0.0, maxrss_bytes=0),
]  # fmt: skip

V3_NODES: list[AnyEntry] = [
    e.NodeSetAside("node-ü", "a1", "5 different runs in a row failed on node-ü (the last: exit), and none of 8 elsewhere", (3, 5)),
    e.NodeSetAside("node-ü", "a2", "the same"),
    e.NodeSetAside("node-2", "", "it has no agent any more", (7,)),
]  # fmt: skip

V4_AGAIN: list[AnyEntry] = [
    e.RunReproduced(
        3, "different", 120, 117, "val/loss", 7.0, {"reason": "3 values differ", "rows": {"again": 60}}, "ada"
    ),
    e.RunReproduced(0, "identical", 40, 40),
]

V5_GROUNDS: list[AnyEntry] = [
    e.ConfirmRequested(3, 8, 4, "ada"),
    e.ReportShown("test/accuracy", "best", "ada"),
    e.SlotKept("a1", 0, "GPU-0 fell off the bus", True),
    e.SlotKept("a1", 0),
    e.UsageReported(0, 1, "a1", 12.5, None),
    e.AttemptEnded(
        0, 1, "a1", "completed", "", 0, "", 0.5, cpu_s=1.0, wall_s=2.5,
        usage=e.Usage(memory_bytes=2**33, gpu_percent=12.5), state={"level": "strict", "numpy": {"version": "2.4", "seeded": True}},
    ),
    e.ArtifactLogged(
        0, 1, "model", "model", "d1", 12, 2, "b1", ("best",), "s3://bucket/x", "/r/0/artifacts/model/v0", "a model", {"a": 1}
    ),
    e.ArtifactUsed(1, 1, "model:best", "k3x9", "model", 0, "d1", "model", "b1", "", "/r/0"),
    e.DataUsed(0, 1, "data", "d2", 8, 2, "b2", "/home/ada/data"),
    e.DataUsed(0, 1, "gone.csv", place="/home/ada/gone.csv", problem="No such file or directory"),
    e.DataChecked(0, 1, ("data",)),
]  # fmt: skip

V6_EDITS: list[AnyEntry] = [
    e.CodeChanged(
        "a1", 1, ("train.py", "größe.py"), {"tree": "d3", "git": None}, {"folder": "/home/ada", "differs": ["train.py"]}, ((0, 1), (3, 2))
    ),
    e.CodeChanged("a1", 2),
    e.RunStarted(4, 1, "a1", 99, "node-ü", 0, (), ("python", "train.py"), {}, "/r/4", 2),
    e.ArtifactLogged(0, 1, "model", "model", "d1", 12, 2, "b1", doubt="runs 1 and 2 were at work in that folder"),
]  # fmt: skip

VERSIONS = {
    "v1": V1,
    "v2": V2,
    "v3-nodes": V3_NODES,
    "v4-again": V4_AGAIN,
    "v5-grounds": V5_GROUNDS,
    "v6-edits": V6_EDITS,
}


def expected(version: str) -> list[Recorded]:
    return [
        Recorded(
            position,
            1700000000.0 + position / 8,
            "controller/k3x9/1" if e.is_decision(entry) else "agent/a1",
            position,
            entry,
            e.addressee_of(entry),
            position - 1 if e.is_decision(entry) else None,
            1,
        )
        for position, entry in enumerate(VERSIONS[version], 1)
    ]


def forms(records: list[Recorded]) -> list[str]:
    """Exports as text: there, NaN equals NaN and every type is told from every other."""
    return [json.dumps(to_jsonable(recorded), allow_nan=False) for recorded in records]


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_bytes_still_open(version: str) -> None:
    rows = msgspec.msgpack.decode((GOLDEN / f"journal-{version}.msgpack").read_bytes())
    opened = [Recorded(*row[:4], decode(row[4]), *row[5:]) for row in rows]
    assert forms(opened) == forms(expected(version))


@pytest.mark.parametrize("version", VERSIONS)
def test_exports_still_open(version: str) -> None:
    lines = (GOLDEN / f"journal-{version}.jsonl").read_text("utf-8").splitlines()
    opened = [from_jsonable(json.loads(line)) for line in lines]
    assert forms(opened) == forms(expected(version))


def test_every_kind_of_entry_is_recorded() -> None:
    kinds = {type(entry) for version in VERSIONS.values() for entry in version}
    assert kinds == set(get_args(AnyEntry))
