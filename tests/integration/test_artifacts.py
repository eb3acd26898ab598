"""Artifacts of real runs: stored, used, fetched, checked; over SQLite and Redis, in a folder and behind a URL; and in a bundle elsewhere."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from sweep.core import entries as e
from sweep.stores import open_store
from tests.integration.conftest import Project
from tests.redis_server import RedisServer

SPEC = """
program: train.py
method: grid
metric: {name: loss}
parameters:
  x: {values: [1, 2, 3]}
"""
TRAIN = """
import pathlib, sweep
run = sweep.init()
x = run.config.x
if x == 1:
    pathlib.Path("made").mkdir(exist_ok=True)
    pathlib.Path("made/a.csv").write_text("1,2\\n")
    run.log_artifact("made", name="data", type="dataset", aliases=["first"])
data = run.use_artifact("data:first")
run.log({"loss": x + len(pathlib.Path(data.path, "a.csv").read_text())})
model = pathlib.Path(run.dir, "model.bin")
model.write_bytes(b"w" * (x // 2 * 1000 + 10))
run.log_artifact(model, name="model", type="model", aliases="x%d" % x)
model.write_bytes(b"overwritten afterwards")
try:
    run.use_artifact("model:never")
except LookupError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A sweep that has ended, over SQLite. Not to be changed."""
    made = Project(tmp_path_factory.mktemp("finished"))
    made.work_off(SPEC, TRAIN, "--slots", "1")
    yield made
    made.end()


@pytest.fixture
def done(finished: Project, tmp_path: Path) -> Project:
    """The same in a folder of the test's own."""
    shutil.copytree(finished.folder, tmp_path / "done")
    return Project(tmp_path / "done")


@pytest.fixture(scope="module")
def good(finished: Project) -> Path:
    """A bundle of it. Not to be changed."""
    finished.sweep("bundle", "latest", "-o", "good.tar.gz")
    return finished.folder / "good.tar.gz"


def listed(project: Project) -> dict[str, Any]:
    return {f"{row['name']}:{row['version']}": row for row in project.json("artifact", "ls", "latest")}


def entries(project: Project) -> list[Any]:
    with closing(open_store(project.env.get("SWEEP_STORE"), project.folder)) as store:
        return [recorded.entry for recorded in store.read(store.sweeps()[-1], 0)]


@pytest.mark.parametrize("where", ["sqlite", "redis"])
def test_what_runs_log_and_use(where: str, project: Project, request: pytest.FixtureRequest) -> None:
    if where == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        project.env["SWEEP_STORE"] = server.url
    (project.folder / "table.csv").write_text("1,2\n")
    runs = project.work_off(SPEC + "inputs: [table.csv]\n", TRAIN, "--slots", "1")
    assert [run["state"] for run in runs] == ["completed"] * 3
    sweep = runs[0]["sweep"]
    found = listed(project)
    assert {name: row["aliases"] for name, row in found.items()} == {
        "data:v0": ["first", "latest"],
        "model:v0": ["x1"],
        "model:v1": ["latest", "x2", "x3"],  # the content of run 2 is that of run 1: no new version
    }
    assert found["model:v1"]["runs"] == [f"{sweep}-1", f"{sweep}-2"]
    used = [entry for entry in entries(project) if isinstance(entry, e.ArtifactUsed)]
    assert {(u.run, u.asked, u.name, u.version, u.digest) for u in used} == {
        (n, "data:first", "data", 0, found["data:v0"]["digest"]) for n in range(3)
    }
    assert len(used) == len({(u.run, u.attempt) for u in used})  # on a crowded machine a run may begin anew
    digest = found["data:v0"]["digest"][:12]
    assert f"used      artifact data:first: data:v0, {digest}" in project.sweep("show", "latest-1")
    assert "has no never; it has v0" in project.sweep("logs", "latest-0")

    project.sweep("artifact", "get", "latest", "model:x1", "--out", "got")
    assert (project.folder / "got/model.bin").read_bytes() == b"w" * 10
    assert "not an empty folder" in project.mistake("artifact", "get", "latest", "model", "-o", "got")
    assert "it has v0" in project.mistake("artifact", "get", "latest", "model:v9", "-o", "new")
    assert not (project.folder / "new").exists()
    project.sweep("artifact", "verify", "latest")

    graph = project.json("artifact", "lineage", "latest", "model:v1")
    data, model, (zero, one, two) = (
        f"{sweep}/data:v0",
        f"{sweep}/model:v1",
        (f"{sweep}-{n}" for n in range(3)),
    )
    table = f"table.csv@{blake3(b'1,2' + bytes([10])).hexdigest()[:12]}"
    expected = {(zero, data), (data, one), (data, two), (one, model), (two, model)}
    expected |= {(table, run) for run in (zero, one, two)}
    assert {tuple(edge) for edge in graph["edges"]} == expected
    assert {node["label"] for node in graph["nodes"] if node["kind"] == "data"} == {"table.csv"}
    for name in ("lineage.html", "lineage.svg", "lineage.json"):
        project.sweep("artifact", "lineage", "latest", "--out", name)
        assert "model:v1" in (made := (project.folder / name).read_text()) and "table.csv" in made

    again = json.loads(project.sweep("reproduce", "latest-1", "--json"))
    assert again["verdict"] == "identical"
    assert "artifact data:v0" in [check["what"] for check in again["preflight"]]


TOGETHER = """
import pathlib, sweep, time
run = sweep.init()
mine, here = run.config.x, pathlib.Path(".")
(here / f"begun-{mine}").touch()
while not all((here / f"begun-{x}").exists() for x in (1, 2)):
    time.sleep(0.02)
(here / "model.pt").write_text(str(mine))
run.log_artifact("model.pt", name=f"shared-{mine}")
(here / f"{run.id}.pt").write_text(str(mine))
run.log_artifact(f"{run.id}.pt", name=f"named-{mine}")
own = pathlib.Path(run.dir, "model.pt")
own.write_text(str(mine))
run.log_artifact(own, name=f"own-{mine}")
run.log_artifact("given.csv", name="given")
(here / f"logged-{mine}").touch()
while not all((here / f"logged-{x}").exists() for x in (1, 2)):
    time.sleep(0.02)
run.log({"loss": mine})
"""


def test_a_file_that_runs_may_have_written_over_for_each_other_is_marked(project: Project) -> None:
    project.write("given.csv", "1,2")
    spec = "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {values: [1, 2]}}\n"
    project.write("sweep.yaml", spec)
    project.write("train.py", TOGETHER)
    said = project.wait_end(project.agent(project.create(), "--slots", "2"))
    doubts = {name: row["doubt"] for name, row in listed(project).items()}
    shared = {name for name, doubt in doubts.items() if doubt}
    assert shared == {"shared-1:v0", "shared-2:v0"}
    assert "model.pt while" in doubts["shared-1:v0"] and "may be another run's" in doubts["shared-1:v0"]
    assert "Write such files below `run.dir`" in said
    assert "shared-1:v0 was logged from" in project.sweep("artifact", "ls", "latest")


def test_one_flipped_bit_in_the_store_is_found_and_nothing_of_it_is_given_out(done: Project) -> None:
    database = done.folder / ".sweep/store.db"
    with closing(sqlite3.connect(database)) as connection, connection:
        rows = connection.execute("SELECT digest, codec, data FROM blob").fetchall()
        [(digest, data)] = [(digest, data) for digest, codec, data in rows if codec == 0 and data == b"1,2\n"]
        flipped = bytes([data[0] ^ 4]) + data[1:]
        connection.execute("UPDATE blob SET data = ? WHERE digest = ?", (flipped, digest))
    out = done.sweep("artifact", "verify", "latest", code=5)
    assert "data:v0: a part of a.csv is missing from the store, or damaged there" in out
    assert "model:v0: as it was logged" in out
    assert "or damaged there" in done.mistake("artifact", "get", "latest", "data", "-o", "got")
    assert not (done.folder / "got").exists()
    found = json.loads(done.sweep("reproduce", "latest-1", "--json", code=14))
    assert found["verdict"] == "unreproducible"
    assert "artifact data:v0" in found["reason"]


LARGE = """
import os, pathlib, sweep
run = sweep.init()
with open("large.bin", "wb") as file:
    file.write(os.urandom(1000))
    file.truncate(51_000_000)
run.log_artifact("large.bin", name="large", type="model")
found = run.use_artifact("large")
run.log({"loss": os.stat(found.file).st_size})
"""
ONE = SPEC.replace("[1, 2, 3]", "[1]")


def test_what_is_too_large_for_the_store_goes_to_the_outputs(project: Project, tmp_path: Path) -> None:
    place = tmp_path / "shared"
    [run] = project.work_off(f"{ONE}outputs: file://{place}\n", LARGE, "--slots", "1")
    assert run["objective"] == 51_000_000
    row = listed(project)["large:v0"]
    assert (row["place"], row["size_bytes"]) == (f"file://{place}", 51_000_000)
    [kept] = list((place / "artifacts").glob("*/*"))
    assert project.folder.joinpath(".sweep/store.db").stat().st_size < 30_000_000
    shutil.rmtree(project.folder / ".sweep/runs")
    project.sweep("artifact", "verify", "latest")
    with kept.open("r+b") as file:
        file.seek(30_000_000)
        file.write(b"\x01")
    assert "not what was logged" in project.sweep("artifact", "verify", "latest", code=5)


def test_one_that_cannot_be_brought_away_is_recorded_and_stays_where_it_is(
    project: Project, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    project.write("sweep.yaml", f"{ONE}outputs: {tmp_path}/file/shared\n")
    project.write("train.py", LARGE)
    done = project.run("agent", project.create(), "--slots", "1")
    assert "the artifact large stays on this node" in done.stdout + done.stderr
    assert listed(project)["large:v0"]["place"] == ""
    project.sweep("artifact", "verify", "latest")


def test_what_is_kept_is_not_cleared_away_as_long_as_its_sweep_is_there(done: Project) -> None:
    [sweep] = {run["sweep"] for run in done.runs()}
    done.sweep("gc", "--yes")
    done.sweep("artifact", "verify", "latest")
    with closing(open_store(None, done.folder)) as store:
        before = store.blobs()
        done.sweep("rm", sweep, "--yes")
        assert before
        assert store.blobs() == {}


def test_a_large_one_without_a_place_stays_on_its_node_and_goes_along_in_a_bundle(
    project: Project, tmp_path: Path
) -> None:
    project.work_off(ONE, LARGE, "--slots", "1")
    project.sweep("artifact", "verify", "latest")
    left = project.run("bundle", "latest", "--out", "small.tar.gz")
    assert "not in the archive: artifact large:v0" in left.stderr
    project.sweep("bundle", "latest", "--artifacts", "all", "--out", "all.tar.gz")
    other = elsewhere(project, tmp_path / "other", "all.tar.gz")
    shutil.rmtree(project.folder / ".sweep/runs")
    assert "keeps large artifacts" in project.sweep("artifact", "verify", "latest", code=5)
    other.sweep("artifact", "verify", "latest")
    other.sweep("artifact", "get", "latest", "large", "--out", "got")


def alone(folder: Path) -> Project:
    """A folder with a store of its own."""
    found = Project(folder)
    found.env["SWEEP_STORE"] = f"sqlite:///{folder}/.sweep/store.db"
    return found


def elsewhere(project: Project, folder: Path, bundle: str) -> Project:
    """Another folder with a store of its own that has imported a bundle."""
    folder.mkdir()
    (folder / "bundle.tar.gz").write_bytes((project.folder / bundle).read_bytes())
    other = alone(folder)
    other.sweep("import", "bundle.tar.gz")
    return other


WANDB = """
import wandb
run = wandb.init()
if run.config.x == 1:
    made = wandb.Artifact("data", type="dataset", metadata={"rows": 3})
    with made.new_file("a.csv") as file:
        file.write("1,2")
    made.add_reference("s3://bucket/raw", name="raw")
    run.log_artifact(made, aliases=["prod"])
used = run.use_artifact("data:prod")
run.log({"loss": run.config.x + used.metadata["rows"] + len(open(used.get_entry("a.csv").download()).read())})
assert used.get_entry("raw").ref_target() == "s3://bucket/raw"
assert used.logged_by().endswith("-0")
"""


def test_those_of_a_script_written_for_wandb_are_the_same(project: Project) -> None:
    runs = project.work_off(SPEC, WANDB, "--slots", "1", "--wandb")
    assert [run["objective"] for run in runs] == [7, 8, 9]
    row = listed(project)["data:v0"]
    assert (sorted(row["aliases"]), row["type"], row["metadata"]) == (
        ["latest", "prod"],
        "dataset",
        {"rows": 3},
    )
    project.sweep("artifact", "verify", "latest")
    assert json.loads(project.sweep("reproduce", "latest-2", "--json"))["verdict"] == "identical"


# --- bundles ---------------------------------------------------------------------------------------------------


def test_a_bundle_is_opened_elsewhere_and_gives_the_same_values(done: Project, tmp_path: Path) -> None:
    done.sweep("note", "latest", "the run of the paper")
    before = done.sweep("export", "latest")
    done.sweep("bundle", "latest", "-o", "a.tar.gz")
    done.sweep("bundle", "latest", "-o", "b.tar.gz")
    assert (done.folder / "a.tar.gz").read_bytes() == (done.folder / "b.tar.gz").read_bytes()
    with tarfile.open(done.folder / "a.tar.gz") as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    reading = {"README.md", "sweep.jsonl", "sweep.yaml", "report.html", "report.md", "requirements.txt"}
    assert reading | {"code/train.py"} <= names
    other = elsewhere(done, tmp_path / "other", "a.tar.gz")
    shutil.rmtree(done.folder)  # nothing of it is needed
    assert other.sweep("export", "latest") == before
    found = json.loads(other.sweep("reproduce", "latest-1", "--json"))
    assert (found["verdict"], found["compared"]) == ("identical", 1)
    other.sweep("artifact", "verify", "latest")
    assert other.sweep("note", "latest").strip() == "the run of the paper"
    assert "already in this store" in other.mistake("import", "bundle.tar.gz")


def test_a_bundle_without_artifacts_says_so(done: Project, tmp_path: Path) -> None:
    said = done.run("bundle", "latest", "--artifacts", "none", "-o", "none.tar.gz")
    assert said.stderr.count("not in the archive: artifact") == 3
    done.sweep("bundle", "latest", "--artifact", "model:x1", "-o", "one.tar.gz")
    other = elsewhere(done, tmp_path / "none", "none.tar.gz")
    assert "missing from the store" in other.sweep("artifact", "verify", "latest", code=5)
    other = elsewhere(done, tmp_path / "one", "one.tar.gz")
    out = other.sweep("artifact", "verify", "latest", code=5)
    assert [
        line.split(":")[0] + ":" + line.split(":")[1] for line in out.splitlines() if "as it was" in line
    ] == [
        "data:v0",
        "model:v0",
    ]


def rewritten(source: Path, target: Path, change: Any) -> None:
    """A copy of an archive with other members."""
    with tarfile.open(source) as old, tarfile.open(target, "w:gz") as new:
        members = [(member, old.extractfile(member).read()) for member in old]  # type: ignore[union-attr]
        for member, data in change(members):
            member.size = len(data) if member.isfile() else 0
            new.addfile(member, io.BytesIO(data))


def evil(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def test_an_archive_writes_nothing_outside_of_the_store(good: Path, done: Project, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    members = [
        (evil("../../outside"), b"x"),
        (evil(str(outside)), b"x"),
        (evil("sweep-x/artifacts/aa", tarfile.SYMTYPE, str(tmp_path)), b""),
        (evil("sweep-x/artifacts/aa/../../../../outside"), b"x"),
        (evil(f"sweep-x/artifacts/aa/{'b' * 64}", tarfile.SYMTYPE, "/etc/passwd"), b""),
    ]
    rewritten(good, done.folder / "bad.tar.gz", lambda given: [*members, *given])
    before = {path for path in tmp_path.rglob("*") if done.folder not in path.parents}
    other = elsewhere(done, tmp_path / "other", "bad.tar.gz")
    after = {path for path in tmp_path.rglob("*") if not {done.folder, other.folder} & {path, *path.parents}}
    assert after <= before
    assert {path.name for path in other.folder.iterdir()} == {"bundle.tar.gz", ".sweep"}
    assert not [path for path in other.folder.rglob("*") if path.is_symlink()]


def test_a_damaged_archive_is_refused_whole(good: Path, done: Project) -> None:
    (done.folder / "empty").mkdir()
    other = alone(done.folder / "empty")
    whole = good.read_bytes()
    (other.folder / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    assert "damaged" in other.mistake("import", "cut.tar.gz")
    wrong = (evil(f"sweep-x/artifacts/aa/{'a' * 64}"), b"another content")
    rewritten(good, other.folder / "wrong.tar.gz", lambda given: [*given, wrong])
    assert "not what its name says" in other.mistake("import", "wrong.tar.gz")
    rewritten(good, other.folder / "none.tar.gz", lambda given: given[:1])
    assert "no bundle of a sweep" in other.mistake("import", "none.tar.gz")
    with closing(open_store(other.env["SWEEP_STORE"], other.folder, create=True)) as store:
        assert store.sweeps() == []
    assert not list(other.folder.glob(".sweep/.bundle-*"))
