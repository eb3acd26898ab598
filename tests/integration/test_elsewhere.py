"""A node that has only the package and the store's address: code, links and checkpoints reach it, output comes back.

Two folders stand for two machines; the first one is gone when the second begins, and each has run folders of its own.
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sweep.provenance.checkpoint import owner_of, parse
from sweep.provenance.tree import digest_bytes
from sweep.stores import open_store
from sweep.stores.pointers import read_pointer
from tests.integration.conftest import DOOMED, PYTHON, Project

SPEC = "program: src/train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\nparameters: {x: {values: [1, 2]}}\n"
TRAIN = """
import os, subprocess, sys
from pathlib import Path
import sweep
sys.path.insert(0, str(Path(__file__).parent))
import helper
run = sweep.init()
run.log({"loss": run.config.x + helper.OFFSET})
print(os.getcwd())
print(subprocess.run(["./tool.sh"], capture_output=True, text=True, check=True).stdout.strip())
print(Path("alias").read_text().strip(), os.path.islink("alias"))
"""


class Cluster:
    """A store, and machines that share nothing else."""

    def __init__(self, top: Path) -> None:
        self.top = top
        (top / "store").mkdir()
        self.url = f"sqlite:///{top}/store/store.db"
        self.machines: list[Project] = []

    def machine(self, name: str) -> Project:
        folder = self.top / name
        folder.mkdir(exist_ok=True)
        project = Project(folder)
        project.env.update(SWEEP_STORE=self.url, SWEEP_FOLDER=str(folder / ".sweep"))
        self.machines.append(project)
        return project


@pytest.fixture
def cluster(tmp_path: Path):  # type: ignore[no-untyped-def]
    found = Cluster(tmp_path)
    yield found
    for project in found.machines:
        project.end()


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def created(project: Project, spec: str = SPEC) -> str:
    """A sweep of a project with a package, a program to execute and a link; some of it committed, some not."""
    project.write("src/train.py", TRAIN)
    project.write("src/helper.py", "OFFSET = 1\n")
    project.write("tool.sh", "#!/bin/sh\necho tool\n").chmod(0o755)
    project.write("real.txt", "real\n")
    (project.folder / "alias").symlink_to("real.txt")
    project.write(".gitignore", ".sweep/\n")
    git(project.folder, "init", "-q", "-b", "main")
    git(project.folder, "add", "-A")
    git(project.folder, "commit", "-q", "-m", "first")
    project.write("src/helper.py", "OFFSET = 10\n")  # changed, not committed
    project.write("sweep.yaml", spec)  # not even added
    return project.create()


def test_a_machine_with_nothing_but_the_address_runs_the_recorded_code(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    sweep = created(one)
    shutil.rmtree(one.folder)
    done = two.run("agent", sweep, "--slots", "1")
    assert done.returncode == 0, done.stderr
    [place] = (two.folder / ".sweep" / "code").iterdir()
    assert f"runs use the recorded code, unpacked in {place}" in done.stderr
    assert stat.S_IMODE(place.stat().st_mode) == stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    runs = two.json("runs", sweep)
    assert [run["objective"] for run in runs] == [11, 12]
    assert two.sweep("logs", runs[0]["id"]) == f"{place}\ntool\nreal True\n"
    node = two.json("show", runs[0]["id"])["node"]["place"]
    assert node == {"workdir": str(place), "code": "unpacked", "differs": []}
    # One of its runs again, by hand, on a third machine, that has nothing either.
    three = cluster.machine("three")
    again = three.run("rerun", runs[0]["id"])
    assert again.returncode == 0, again.stderr
    [other] = (three.folder / ".sweep" / "code").iterdir()
    assert again.stdout == f"{other}\ntool\nreal True\n"
    assert "the code is as it was when the sweep was created" in again.stderr
    assert "the recorded run had 11" in again.stderr
    # Another agent finds it made; one whose copy was changed makes another and says so.
    made = place.stat().st_ino
    second = created(cluster.machine("one"))
    shutil.rmtree(one.folder)
    (place / "src" / "helper.py").write_text("OFFSET = 100\n")
    done = two.run("agent", second, "--slots", "1")
    assert done.returncode == 0, done.stderr
    assert f"the recorded code in {place} was changed since it was unpacked (src/helper.py)" in done.stderr
    assert place.stat().st_ino == made
    assert [run["objective"] for run in two.json("runs", second)] == [11, 12]


def test_a_checkout_of_the_same_code_is_used_in_place_and_another_is_not(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    sweep = created(one)
    shutil.copytree(one.folder, two.folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(one.folder)
    done = two.run("agent", sweep, "--slots", "1", "--count", "1")
    assert done.returncode == 0, done.stderr
    runs = two.json("runs", sweep)
    assert two.sweep("logs", runs[0]["id"]).splitlines()[0] == str(two.folder)
    assert two.json("show", runs[0]["id"])["node"]["place"]["code"] == "same"
    assert not (two.folder / ".sweep" / "code").exists()
    two.write("src/helper.py", "OFFSET = 20\n")
    two.write("src/more.py", "")
    done = two.run("agent", sweep, "--slots", "1")
    assert done.returncode == 0, done.stderr
    assert (
        f"the code in {two.folder} is not the recorded one (changed: src/helper.py; new: src/more.py); "
        "runs use the recorded code"
    ) in done.stderr
    assert [run["objective"] for run in two.json("runs", sweep)] == [11, 12]


def test_code_local_runs_the_checkout_as_it_is(cluster: Cluster) -> None:
    one, two, three = (cluster.machine(name) for name in ("one", "two", "three"))
    sweep = created(one, SPEC + "code: local\n")
    shutil.copytree(one.folder, two.folder, symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(one.folder)
    said = three.mistake("agent", sweep)
    assert "the spec says `code: local`, and there is no checkout" in said
    two.write("src/helper.py", "OFFSET = 20\n")
    done = two.run("agent", sweep, "--slots", "1")
    assert done.returncode == 0, done.stderr
    assert "is not the recorded one (changed: src/helper.py); runs use it as it is" in done.stderr
    runs = two.json("runs", sweep)
    assert [run["objective"] for run in runs] == [21, 22]
    place = two.json("show", runs[0]["id"])["node"]["place"]
    assert (place["code"], place["differs"]) == ("local", ["src/helper.py"])


def test_where_it_was_created_runs_use_what_is_there_unless_the_spec_says_snapshot(cluster: Cluster) -> None:
    one = cluster.machine("one")
    sweep, other = created(one), ""
    one.write("sweep.yaml", SPEC + "code: snapshot\n")
    other = one.create()
    one.write("src/helper.py", "OFFSET = 20\n")
    one.sweep("agent", sweep, "--slots", "1")
    assert [run["objective"] for run in one.json("runs", sweep)] == [21, 22]
    assert not (one.folder / ".sweep" / "code").exists()
    done = one.run("agent", other, "--slots", "1")
    assert done.returncode == 0 and "changed: src/helper.py" in done.stderr, done.stderr
    assert [run["objective"] for run in one.json("runs", other)] == [11, 12]


def test_links_are_left_out_and_provided_by_each_node(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    one.write("train.py", "print(open('data/raw/x.txt').read(), open('src/y.txt').read())")
    one.write(
        "sweep.yaml", "program: train.py\nmethod: grid\nparameters: {x: {value: 1}}\nlinks: [data/raw, src]\n"
    )
    one.write("data/here.txt", "kept")
    mine = one.write("elsewhere/x.txt", "one").parent
    one.write("elsewhere/y.txt", "1")
    (one.folder / "data" / "raw").symlink_to(mine)
    (one.folder / "src").symlink_to(mine)
    sweep, again = one.create(), one.create()
    one.sweep("agent", sweep)  # where it was created nothing is needed
    assert one.sweep("logs", f"{sweep}-0") == "one 1\n"
    shutil.rmtree(one.folder)
    said = two.mistake("agent", again)
    assert f"`sweep agent {again} --link data/raw=/where/it/is --link src=/where/it/is`" in said
    data = two.write("mnt/x.txt", "two").parent
    two.write("mnt/y.txt", "2")
    for wrong, words in (
        (["--link", "dta=mnt"], "the spec names no such link (its links are data/raw, src)"),
        (["--link", "src=nowhere"], f"there is no {two.folder / 'nowhere'} on this node"),
        (["--link", "src"], "write NAME=PATH"),
    ):
        assert words in two.mistake("agent", again, *wrong)
    two.sweep("agent", again, "--link", "data/raw=mnt", "--link", f"src={data}", "--slots", "1")
    assert two.sweep("logs", f"{again}-0") == "two 2\n"
    [place] = (two.folder / ".sweep" / "code").iterdir()
    assert sorted(path.name for path in (place / "data").iterdir()) == ["here.txt", "raw"]
    assert (place / "data" / "raw").readlink() == data
    assert not (place / "elsewhere").is_symlink()


def test_an_agent_in_the_background_gets_its_links(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    one.write("train.py", "print(open('data/x.txt').read())")
    one.write("sweep.yaml", "program: train.py\nmethod: grid\nparameters: {x: {value: 1}}\nlinks: [data]\n")
    one.write("data/x.txt", "one")
    sweep = one.create()
    shutil.rmtree(one.folder)
    two.write("mnt/x.txt", "two")
    two.sweep("agent", sweep, "--detach", "--link", "data=mnt")
    two.wait_for(lambda: two.json("status", sweep)["state"] == "ended")
    two.wait_for(lambda: two.json("agents") == [])
    assert two.sweep("logs", f"{sweep}-0") == "two\n"


STEADY = """
import os, time
from pathlib import Path
import sweep
run = sweep.init()
saved = run.checkpoint_dir / "step"
begin = int(saved.read_text()) if saved.exists() else 0
print("begins at", begin, flush=True)
for step in range(begin, 10_000):
    run.log({"loss": 1.0})
    if step >= begin + 3:
        break
    run.checkpoint_dir.joinpath("tmp").write_text(str(step + 1))
    run.checkpoint_dir.joinpath("tmp").replace(saved)
print("waits", flush=True)
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.05)
"""
KEEPING = (
    "program: train.py\nmethod: grid\nmetric: {name: loss}\nparameters: {x: {value: 1}}\n"
    "env: {GO: '${envvar:GO}'}\n"
)


def begun(project: Project, spec: str, go: Path) -> str:
    project.write("train.py", STEADY)
    project.write("sweep.yaml", spec)
    project.env["GO"] = str(go)
    return project.create()


def test_a_preempted_run_goes_on_elsewhere_from_what_the_store_keeps(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    two.env["GO"] = str(cluster.top / "go")
    sweep = begun(one, KEEPING + "checkpoints: store\n", cluster.top / "go")
    agent = one.agent(sweep)
    one.wait_for(lambda: "waits" in one.run("logs", f"{sweep}-0").stdout)
    agent.terminate()
    one.wait_end(agent, code=143)
    shutil.rmtree(one.folder)
    (cluster.top / "go").touch()
    two.sweep("agent", sweep)
    [run] = two.json("runs", sweep)
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["preempted", "completed"]
    assert two.sweep("logs", run["id"]) == "begins at 3\nwaits\n"

    assert two.sweep("fetch", run["id"], "--out", "got/here") == "got/here\n"
    assert (two.folder / "got" / "here" / "step").read_text() == "6"
    assert "not an empty folder" in two.mistake("fetch", run["id"], "--out", "got")
    assert sorted(path.name for path in (two.folder / "got").iterdir()) == ["here"]
    # What ended runs keep is freed on request, and the rest of the store's blobs is still needed.

    def facts(*args: str) -> dict[str, int]:
        return {item["kind"]: item["count"] for item in json.loads(two.sweep("gc", "--json", *args))}

    before = facts("--dry-run")
    assert (before["blobs"], before["checkpoints"]) == (0, 2), "in the store, and in the folder here"
    two.sweep("gc", "--checkpoints", "--yes")
    after = facts("--dry-run")
    assert (after["blobs"], after["checkpoints"]) == (0, 0)
    assert "the checkpoint is not in the store any more" in two.mistake("fetch", run["id"], "--out", "no")
    assert not (two.folder / "no").exists()


def test_a_vanished_node_loses_what_it_has_not_kept_yet(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    two.env["GO"] = str(cluster.top / "go")
    one.env["SWEEP_CHECKPOINT_S"] = "1"
    sweep = begun(one, KEEPING + "checkpoints: store\n", cluster.top / "go")
    agent = one.agent(sweep, **DOOMED)
    last = digest_bytes(f"{owner_of(sweep, 0, 1)}\n3".encode())  # of what it has saved before it waits

    def kept() -> bool:
        with closing(open_store(cluster.url, one.folder)) as store:
            manifest = store.get_blob(read_pointer(store, sweep, 0, 1).manifest)
            return manifest is not None and any(last in file.pieces for file in parse(manifest).files)

    one.wait_for(kept)
    done = json.loads(
        two.sweep("gc", "--yes", "--json")
    )  # an agent is at work: nothing of its checkpoint goes
    assert {item["kind"]: item["count"] for item in done}["blobs"] == 0
    agent.kill()
    agent.wait()
    one.wait_for(lambda: not one.processes(f"SWEEP_ID={sweep}"))
    shutil.rmtree(one.folder)
    (cluster.top / "go").touch()
    two.sweep("agent", sweep)
    [run] = two.json("runs", sweep)
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["lost", "completed"], (
        run,
        one.agent_output(),
    )
    assert two.sweep("logs", run["id"]) == "begins at 3\nwaits\n"


def test_without_it_a_run_begins_anew_on_another_node(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    two.env["GO"] = str(cluster.top / "go")
    sweep = begun(one, KEEPING, cluster.top / "go")
    agent = one.agent(sweep)
    one.wait_for(lambda: "waits" in one.run("logs", f"{sweep}-0").stdout)
    agent.terminate()
    one.wait_end(agent, code=143)
    shutil.rmtree(one.folder)
    (cluster.top / "go").touch()
    two.sweep("agent", sweep)
    assert two.sweep("logs", f"{sweep}-0") == "begins at 0\nwaits\n"
    assert f"the store keeps no checkpoint of run {sweep}-0" in two.mistake("fetch", f"{sweep}-0", "-o", "no")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="uses /proc")
def test_output_is_read_from_another_machine_while_the_run_is_at_work(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    # One path that leads each machine into its own folder, as `/scratch` does on real ones.
    one.env["SWEEP_FOLDER"] = two.env["SWEEP_FOLDER"] = "/proc/self/cwd/.sweep"
    sweep = begun(one, KEEPING, cluster.top / "go")
    agent = one.agent(sweep)
    one.wait_for(lambda: "waits" in one.run("logs", f"{sweep}-0").stdout)
    follow = subprocess.Popen(
        [*PYTHON, "logs", f"{sweep}-0", "-f"], cwd=two.folder, env=two.env, stdout=subprocess.PIPE, text=True
    )
    assert follow.stdout is not None
    assert [follow.stdout.readline() for _ in range(2)] == ["begins at 0\n", "waits\n"]
    two.wait_for(lambda: two.json("show", f"{sweep}-0")["history_rows"] == 4)
    assert two.json("show", f"{sweep}-0")["state"] == "running"
    (cluster.top / "go").touch()
    assert follow.stdout.read() == ""
    assert follow.wait(60) == 0
    follow.stdout.close()
    one.wait_end(agent)
    shutil.rmtree(one.folder)
    assert two.sweep("logs", f"{sweep}-0") == "begins at 0\nwaits\n"


def test_a_sweep_that_moves_to_another_store_takes_its_checkpoints_along(cluster: Cluster) -> None:
    one, two = cluster.machine("one"), cluster.machine("two")
    two.env["GO"] = str(cluster.top / "go")
    sweep = begun(one, KEEPING + "checkpoints: store\n", cluster.top / "go")
    agent = one.agent(sweep)
    one.wait_for(lambda: "waits" in one.run("logs", f"{sweep}-0").stdout)
    agent.terminate()
    one.wait_end(agent, code=143)
    one.sweep("export", sweep, "--out", str(cluster.top / "sweep.jsonl"))
    one.sweep("rm", sweep, "--yes")
    with closing(open_store(cluster.url, one.folder)) as store:
        assert store.blobs() == {}, "its checkpoint went with it"
    shutil.rmtree(one.folder)
    two.env["SWEEP_STORE"] = f"sqlite:///{cluster.top}/other.db"
    two.sweep("import", str(cluster.top / "sweep.jsonl"))
    assert {item["kind"]: item["count"] for item in json.loads(two.sweep("gc", "--dry-run", "--json"))}[
        "blobs"
    ] == 0
    (cluster.top / "go").touch()
    two.sweep("agent", sweep)
    assert two.sweep("logs", f"{sweep}-0") == "begins at 3\nwaits\n"
