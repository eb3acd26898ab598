"""What an agent keeps of the attempts on its node, until it is committed."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import cast

from blake3 import blake3

from folded import make_spec
from sweep.agents.artifacts import Artifacts
from sweep.agents.data import Data
from sweep.agents.folders import RunFolder
from sweep.agents.gpus import Slot
from sweep.agents.guardian import Spawned
from sweep.agents.inbox import RunInbox
from sweep.agents.local import LocalRuns
from sweep.agents.session import Session
from sweep.agents.starting import Prepared
from sweep.core import entries as e
from sweep.provenance.tree import digest_bytes
from sweep.stores.memory import MemoryStore


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


class Taken:
    """Of a session, what artifacts and data give it."""

    def __init__(self) -> None:
        self.entries: list[e.AnyEntry] = []
        self.blobs: list[bytes] = []
        self.add = self.entries.append


def test_data_that_a_run_names_before_its_start_is_known_is_recorded(tmp_path: Path) -> None:
    taken = Taken()
    session = cast(Session, taken)
    data = Data(tmp_path, session)
    artifacts = Artifacts(MemoryStore(), "s", tmp_path, session, lambda *_: None, data)
    runs = LocalRuns(make_spec(), lambda _, __: None, artifacts=artifacts, data=data)
    assignment = e.RunAssigned(0, 1, "agent", 0, 1, 0, 0, 7, {"x": 1})
    folder = RunFolder(tmp_path, "s", 0)
    folder.create(assignment.config)
    (tmp_path / "x.csv").write_bytes(b"1,2")
    local = runs.begin(assignment, time.monotonic())
    local.prepared = Prepared(["python"], ["python"], {}, {}, tmp_path, folder.path, "", "")
    local.inbox = RunInbox(0, 1, "loss")
    line = {"op": "data", "path": str(tmp_path / "x.csv"), "at": time.time(), "stamp": []}
    Path(folder.path, "artifacts-1.jsonl").write_text(json.dumps(line) + "\n")
    local.inbox.feed(b'{"op":"artifact"}')
    runs.look(local)
    runs.started(local, "agent", "node", Spawned("0.1", 12, 0.0), Slot(0, 1.0))
    until_s = time.monotonic() + 60
    while not taken.entries and time.monotonic() < until_s:
        runs.step(time.monotonic(), taken.add)
        time.sleep(0.01)
    [used] = [entry for entry in taken.entries if isinstance(entry, e.DataUsed)]
    assert (used.path, used.digest) == ("x.csv", blake3(b"1,2").hexdigest())


def test_the_files_of_a_folder_are_listed_in_the_store_once(tmp_path: Path) -> None:
    taken = Taken()
    data = Data(tmp_path, cast(Session, taken))
    for name in ("a", "b"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text(name)
    for run in range(3):
        data.begin(run, 1, tmp_path, ["in"], time.time() + 60)
        data.ended(run, 1)
        until_s = time.monotonic() + 60
        while data.owes(0.0) and time.monotonic() < until_s:
            data.step()
            time.sleep(0.01)
    used = [entry for entry in taken.entries if isinstance(entry, e.DataUsed)]
    checked = [entry.changed for entry in taken.entries if isinstance(entry, e.DataChecked)]
    [listing] = taken.blobs
    assert [one.listing for one in used] == [digest_bytes(listing)] * 3
    assert checked == [()] * 3
