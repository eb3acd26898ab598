"""What `sweep gc` and `sweep rm` take away, and what they must not: with a real file, real folders, and others at work."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ended import at_work, fill, record_sweep
from folded import make_spec
from sweep.agents.outputs import Outputs
from sweep.api import NotFound, Refused, annotating, request, retry
from sweep.api.blobs import BlobUse
from sweep.api.collecting import Keep, Kind, Plan, collect, plan_collection
from sweep.api.places import Trash, size_bytes
from sweep.api.removing import agents_at_work, plan_removal, remove
from sweep.core import entries as e
from sweep.core.names import controller_lease, output_cache
from sweep.core.spec import Metric
from sweep.provenance.unpacking import unpack
from sweep.stores.output import Reader
from sweep.stores.sqlite import SqliteStore

ALL: tuple[Kind, ...] = ("folders", "blobs", "checkpoints", "logs", "local", "code")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / ".sweep"


@pytest.fixture
def store(root: Path) -> Iterator[SqliteStore]:
    with closing(SqliteStore(root / "store.db", create=True)) as found:
        yield found


def paths(plan: Plan, kind: Kind, root: Path) -> list[str]:
    return [str(item.path.relative_to(root)) for item in plan.items[kind] if item.path is not None]


def left(root: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.glob(pattern))


# --- checkpoints and output ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("goal", "keep", "freed"),
    [
        ("minimize", [], {0, 1, 2, 3}),
        ("minimize", [Keep("best", 1)], {0, 2, 3}),
        ("maximize", [Keep("best", 1)], {1, 2, 3}),
        ("minimize", [Keep("best", 2)], {2, 3}),
        ("minimize", [Keep("last", 2)], {0, 1}),
        ("minimize", [Keep("best", 1), Keep("last", 1)], {0, 2}),
        ("minimize", [Keep("best", 0)], {0, 1, 2, 3}),
    ],
)
def test_which_checkpoints_stay(
    store: SqliteStore, root: Path, goal: Any, keep: list[Keep], freed: set[int]
) -> None:
    spec = make_spec(metric=Metric(name="loss", goal=goal), run_cap=6)
    record_sweep(store, "s1", ("completed", 2.0), ("pruned", 1.0), ("failed", 0.0), "cancelled", spec=spec)
    for run in range(6):
        fill(root, "s1", run)
    plan = plan_collection(store, ["s1"], keep=keep)
    assert {item.run for item in plan.items["checkpoints"]} == freed
    collect(store, plan, ["checkpoints"])
    assert left(root, "runs/s1/*/checkpoint/*") == [
        f"runs/s1/{run}/checkpoint/model.bin" for run in range(6) if run not in freed
    ]
    assert len(left(root, "runs/s1/*/output-1.log")) == 6
    assert left(root, "trash/*") == []


def test_runs_that_have_not_ended_keep_everything(store: SqliteStore, root: Path) -> None:
    record_sweep(store, "s1", ("completed", 1.0), "lost", "failed")
    for run in range(3):
        fill(root, "s1", run)
    plan = plan_collection(store, ["s1"])
    assert {item.run for item in plan.items["checkpoints"]} == {0, 2}
    assert {item.run for item in plan.items["logs"]} == {0, 2}
    collect(store, plan, ALL)
    assert left(root, "runs/s1/*/*") == ["runs/s1/1/checkpoint", "runs/s1/1/output-1.log"]


@pytest.mark.parametrize("leads", [True, False])
def test_a_run_that_is_asked_to_go_on_keeps_its_checkpoint(
    store: SqliteStore, root: Path, leads: bool
) -> None:
    """Between the plan and the deed; with a controller that has not yet come to it, and without one."""
    record_sweep(store, "s1", "failed", "cancelled", ("completed", 1.0))
    for run in range(3):
        fill(root, "s1", run)
    plan = plan_collection(store, ["s1"])
    if leads:
        assert store.acquire(controller_lease("s1"), "slow", 600.0) is not None
    retry(store, "s1", [0])
    collect(store, plan, ["checkpoints"])
    assert left(root, "runs/s1/*/checkpoint/*") == ["runs/s1/0/checkpoint/model.bin"]


def test_cancelled_runs_of_a_resumed_sweep_keep_their_checkpoints(store: SqliteStore, root: Path) -> None:
    record_sweep(store, "s1", "cancelled", ("completed", 1.0))
    for run in range(2):
        fill(root, "s1", run)
    plan = plan_collection(store, ["s1"])
    assert store.acquire(controller_lease("s1"), "slow", 600.0) is not None
    request(store, "s1", e.ResumeRequested())
    annotating.annotate(store, "s1", 1, note="says nothing about running")
    collect(store, plan, ["checkpoints"])
    assert left(root, "runs/s1/*/checkpoint/*") == ["runs/s1/0/checkpoint/model.bin"]


def test_output_that_the_store_keeps_goes_with_the_logs(store: SqliteStore) -> None:
    record_sweep(store, "s1", ("completed", 1.0), "lost")
    for run in range(2):
        outputs = Outputs(lambda name, data: store.put_cache("s1", name, data))
        log = store.path.parent / f"printed-{run}"
        log.write_bytes(os.urandom(40_000))
        outputs.close(run, 1, log)

    def kept(run: int) -> bytes:
        return b"".join(Reader(lambda place: store.get_cache("s1", output_cache(run, 1, place))).read())

    assert len(kept(0)) == len(kept(1)) == 40_000
    plan = plan_collection(store, ["s1"])
    [item] = plan.items["logs"]
    assert item.run == 0 and item.bytes > 40_000
    collect(store, plan, ["logs"])
    assert (len(kept(0)), len(kept(1))) == (0, 40_000)
    assert plan_collection(store, ["s1"]).items["logs"] == []


def test_unpacked_code_goes_when_nobody_uses_it(store: SqliteStore, root: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from sweep.provenance.unpacking import unpack\n"
        "print(unpack(sys.argv[2] * 32, [], {}.get, Path(sys.argv[1]), '', {}, print), flush=True); input()"
    )
    users = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(root), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("aa", "bb")
    ]
    used, unused = (Path(user.stdout.readline().strip()) for user in users if user.stdout is not None)
    for user, ended in zip(users, (False, True), strict=True):
        if ended:
            user.communicate("")
    plan = plan_collection(store, [])
    assert [item.path for item in plan.items["code"]] == [unused]
    users[0].communicate("")
    later = plan_collection(store, [])
    assert [item.path for item in later.items["code"]] == [used, unused]
    unpack("bb" * 32, [], {}.get, root, "", {}, print)  # in the meantime
    collect(store, later, ["code"])
    assert left(root, "code/*") == [str(unused.relative_to(root))]
    assert left(root, "trash*") == []


def test_links_are_not_followed(store: SqliteStore, root: Path, tmp_path: Path) -> None:
    record_sweep(store, "s1", "completed", "completed")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (root / "runs" / "s1" / "0").mkdir(parents=True)
    (root / "runs" / "s1" / "0" / "checkpoint").symlink_to(elsewhere)
    folder = fill(root, "s1", 1)
    (folder / "checkpoint" / "link").symlink_to(elsewhere)
    collect(store, plan_collection(store, ["s1"]), ALL)
    assert (elsewhere / "precious").read_text() == "x"
    assert (root / "runs" / "s1" / "0" / "checkpoint").is_symlink()
    assert not (folder / "checkpoint").exists()


# --- what belongs to no sweep ----------------------------------------------------------------------------------


def test_folders_of_removed_sweeps_go(store: SqliteStore, root: Path) -> None:
    record_sweep(store, "s1", "completed")
    fill(root, "s1", 0)
    fill(root, "gone", 0)
    fill(root, "late", 0)
    plan = plan_collection(store, [])
    assert paths(plan, "folders", root) == ["runs/gone", "runs/late"]
    record_sweep(store, "late", "completed")  # an import, in the meantime
    collect(store, plan, ["folders"])
    assert left(root, "runs/*") == ["runs/late", "runs/s1"]
    assert plan_collection(store, []).items["folders"] == []


def test_what_a_killed_clean_up_left_goes_the_next_time(store: SqliteStore, root: Path) -> None:
    fill(root, "gone", 0)
    Trash(root).put(root / "runs" / "gone")
    [item] = plan_collection(store, []).items["folders"]
    assert item.bytes > 5000
    collect(store, plan_collection(store, []), ["folders"])
    assert left(root, "trash*") == []


def test_sweeps_of_another_store_in_the_same_folder_are_no_orphans(store: SqliteStore, root: Path) -> None:
    with closing(SqliteStore(root / "other.store", create=True)) as other:
        record_sweep(other, "theirs", "completed")
    fill(root, "theirs", 0)
    fill(root, "gone", 0)
    assert paths(plan_collection(store, []), "folders", root) == ["runs/gone"]
    (root / "damaged.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 200)
    plan = plan_collection(store, [])
    assert plan.items["folders"] == []
    [note] = plan.notes
    assert "left alone" in note and "damaged.db" in note


def record_of(store: SqliteStore, *blobs: bytes) -> tuple[dict[str, Any], list[str]]:
    """A node's record that names these blobs (its packages: the last), and their digests."""
    digests = [store.put_blob(blob) for blob in blobs]
    return {"packages": digests[-1]}, digests


def test_blobs_that_no_sweep_needs_go(store: SqliteStore) -> None:
    mine, [a] = record_of(store, b"a" * 1000)
    node, [b] = record_of(store, b"b" * 1000)
    record_sweep(store, "s1", "completed", record=mine, node=node)
    _, [c, d] = record_of(store, b"c" * 1000, b"d" * 1000)
    plan = plan_collection(store, [])
    assert {item.name for item in plan.items["blobs"]} == {c, d}
    record_sweep(store, "s2", "completed", record={"packages": d})  # needs it in the meantime
    collect(store, plan, ["blobs"])
    assert store.blobs().keys() == {a, b, d}


def test_blobs_of_entries_that_the_index_does_not_have_yet_are_needed(store: SqliteStore) -> None:
    record_sweep(store, "s1", "completed")
    use = BlobUse(store)
    use.refresh()
    node, [a] = record_of(store, b"a")
    assert use.orphans().keys() == set(), "as of the last look"
    use.refresh()
    assert use.orphans().keys() == {a}
    store.append("s1", [e.AgentJoined("x", "h", 1, 1, record=node)], writer="x", first_seq=1)
    assert store.read_index("s1").upto < store.position("s1")
    use.refresh()
    assert use.orphans() == {}
    assert BlobUse(store).of("s1") == set()
    fresh = BlobUse(store)
    fresh.refresh()
    assert fresh.of("s1") == {a}


def test_old_runs_started_by_hand_go(store: SqliteStore, root: Path) -> None:
    now = time.time()
    for name, age_s in (("old", 5000.0), ("fresh", 10.0), ("old-but-in-use", 5000.0)):
        folder = root / "local" / name
        folder.mkdir(parents=True)
        rows = folder / "rows.jsonl"
        rows.write_text("{}")
        for path in (rows, folder):
            os.utime(path, (now - age_s,) * 2)
    os.utime(root / "local" / "old-but-in-use" / "rows.jsonl", (now, now))
    plan = plan_collection(store, [], local_age_s=3600.0)
    assert paths(plan, "local", root) == ["local/old"]
    collect(store, plan, ["local"])
    assert left(root, "local/*") == ["local/fresh", "local/old-but-in-use"]


def test_logs_of_agents_that_are_gone_go(store: SqliteStore, root: Path) -> None:
    record_sweep(store, "s1", "completed")
    at_work(store, "s1", "alive-1")
    (root / "agents").mkdir()
    for name in ("alive-1.log", "gone-1.log", "starting-1.log"):
        (root / "agents" / name).write_text("x")
    for name in ("alive-1.log", "gone-1.log"):
        os.utime(root / "agents" / name, (1000.0, 1000.0))
    plan = plan_collection(store, [])
    assert paths(plan, "logs", root) == ["agents/gone-1.log"]


def test_what_was_not_chosen_stays(store: SqliteStore, root: Path) -> None:
    record_sweep(store, "s1", "completed")
    fill(root, "s1", 0)
    fill(root, "gone", 0)
    store.put_blob(b"x")
    collect(store, plan_collection(store, ["s1"]), [])
    assert (len(left(root, "runs/*")), len(store.blobs())) == (2, 1)
    plan = plan_collection(store, ["s1"], everywhere=False)
    assert [kind for kind in ALL if plan.items[kind]] == ["checkpoints", "logs"]


def test_the_file_shrinks(store: SqliteStore) -> None:
    for n in range(30):
        store.put_blob(os.urandom(50_000) + bytes([n]))
    store.compact()
    before = store.path.stat().st_size
    assert collect(store, plan_collection(store, []), ["blobs"]) is True
    assert store.path.stat().st_size < before / 5


# --- removing --------------------------------------------------------------------------------------------------


def test_a_removed_sweep_takes_what_only_it_needs(store: SqliteStore, root: Path) -> None:
    shared = store.put_blob(b"shared")
    own = store.put_blob(b"own")
    orphan = store.put_blob(b"nobody's")
    record_sweep(store, "s1", "completed", "failed", record={"packages": shared}, node={"packages": own})
    record_sweep(store, "s2", "completed", record={"packages": shared})
    for sweep in ("s1", "s2"):
        fill(root, sweep, 0)
    plan = plan_removal(store, "s1")
    assert (plan.blobs, plan.blob_bytes) == (1, store.blobs()[own])
    assert plan.folder_bytes == size_bytes(root / "runs" / "s1") > 5000
    remove(store, "s1")
    assert store.sweeps() == ["s2"]
    assert store.blobs().keys() == {shared, orphan}
    assert left(root, "runs/*") == ["runs/s2"]
    assert left(root, "trash*") == []
    with pytest.raises(NotFound, match="s1 has been removed already"):
        remove(store, "s1")


@pytest.mark.parametrize("take", [plan_removal, remove])
def test_a_sweep_with_agents_at_work_is_not_removed(
    store: SqliteStore, take: Callable[[SqliteStore, str], object]
) -> None:
    record_sweep(store, "s1", "completed")
    record_sweep(store, "s2", "completed")
    lease = at_work(store, "s1", "here-1")
    assert (agents_at_work(store, "s1"), agents_at_work(store, "s2")) == (["here-1"], [])
    with pytest.raises(Refused, match="here-1 works on sweep s1; end it first"):
        take(store, "s1")
    take(store, "s2")
    store.release(lease)
    take(store, "s1")
