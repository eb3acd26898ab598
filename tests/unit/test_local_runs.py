"""What an agent keeps of the attempts on its node, until it is committed."""

from __future__ import annotations

from pathlib import Path

from folded import make_spec
from sweep.agents.gpus import Slot
from sweep.agents.guardian import Spawned
from sweep.agents.inbox import RunInbox
from sweep.agents.local import LocalRuns
from sweep.agents.starting import Prepared
from sweep.core import entries as e


def test_what_a_run_says_waits_until_its_start_is_known(tmp_path: Path) -> None:
    """The guard may tell of a start after the program's first report; the journal refuses a value of a run that has not started."""
    told: list[e.AnyEntry] = []
    runs = LocalRuns(make_spec(), lambda _, __: None)
    local = runs.begin(e.RunAssigned(0, 1, "agent", 0, 1, 0, 0, 7, {"x": 1}), 0.0)
    local.prepared = Prepared(
        ["python"], ["python"], {}, {}, tmp_path, str(tmp_path), str(tmp_path / "output"), ""
    )
    local.inbox = RunInbox(0, 1, "loss")
    assert local.inbox.feed(b'{"i":0,"s":0,"m":{"loss":0.5}}')
    runs.collect(local, told.append)
    assert (told, runs.history) == ([], [])
    runs.started(local, "agent", "node", Spawned("0.1", 12, 0.0), Slot(0, 1.0))
    runs.collect(local, told.append)
    assert [(entry.values, entry.first) for entry in told if isinstance(entry, e.ObjectiveReported)] == [
        ((0.5,), 0)
    ]
    assert sum(chunk.count for chunk in runs.history) == 1
