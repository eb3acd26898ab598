"""`save`, `restore`, `alert` and artifacts: what is in the run's folder afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk_agent import FakeAgent
from sweep.agents.standing_in import FOLDER
from wandb_programs import run_python, under


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    yield fake
    fake.go()


def files(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_saved_files_are_copied_and_kept_up_to_date(agent: FakeAgent) -> None:
    program = """
import os, pathlib, wandb
run = wandb.init()
for name in ("a.txt", "sub/b.txt", "sub/deep/c.txt", "now.txt", "end.txt", "x[1].txt"):
    path = pathlib.Path(name); path.parent.mkdir(parents=True, exist_ok=True); path.write_text("old")
print(wandb.save("a.txt") == [os.path.join(run.dir, "a.txt")])
wandb.save("sub/*", base_path="sub"); wandb.save(os.path.abspath("sub/b.txt")); wandb.save("now.txt", policy="now")
wandb.save(pathlib.Path("end.txt"), policy="end"); wandb.save("x[1].txt", glob=False); wandb.save("none*")
own = os.path.join(run.dir, "own.txt"); pathlib.Path(own).write_text("own"); print(wandb.save(own) == [own])
for bad in (lambda: wandb.save("a.txt", policy="never"), lambda: wandb.save("a.txt", base_path="sub")):
    try: bad()
    except ValueError as error: print(str(error)[:20])
for name in ("a.txt", "now.txt"):
    pathlib.Path(name).write_text("new"); os.utime(name, (9e9, 9e9))
with wandb.restore("a.txt") as file: print(file.read())
try: wandb.restore("zz")
except ValueError as error: print(str(error)[:17])
"""
    done = under(agent, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "True",
        "True",
        'Only "live", "end" a',
        "Glob may not walk ab",
        "old",
        "File zz not found",
    ]
    assert done.stderr == "sweep: wandb.save('none*'): there is no such file\n"
    assert files(agent.run_dir / "files") == {
        "a.txt": "new",
        "b.txt": "old",
        "deep/c.txt": "old",
        "sub/b.txt": "old",
        "now.txt": "old",
        "end.txt": "old",
        "own.txt": "own",
        "x[1].txt": "old",
    }


def test_alerts_are_said_and_kept(agent: FakeAgent) -> None:
    program = """
import wandb
run = wandb.init()
wandb.log({"a": 1})
wandb.alert(title="Low", text="too low", level=wandb.AlertLevel.WARN, wait_duration=300)
run.alert("plain", "text")
"""
    done = under(agent, program)
    assert done.stderr == "wandb: alert (WARN) Low: too low\nwandb: alert (INFO) plain: text\n"
    lines = [json.loads(line) for line in (agent.run_dir / "alerts.jsonl").read_text().splitlines()]
    assert [(line["level"], line["title"], line["text"], line["step"]) for line in lines] == [
        ("WARN", "Low", "too low", 1),
        ("INFO", "plain", "text", 1),
    ]


ARTIFACTS = """
import os, pathlib, wandb
run = wandb.init()
pathlib.Path("model.bin").write_bytes(b"weights")
pathlib.Path("data/deep").mkdir(parents=True); pathlib.Path("data/deep/x").write_text("x"); pathlib.Path("data/y").write_text("y")
artifact = wandb.Artifact("model", type="model", description="d", metadata={"acc": 0.5})
artifact.add_file("model.bin"); artifact.add_file("model.bin", name="copy/m.bin"); artifact.add_dir("data", name="data")
artifact.add_reference("s3://bucket/file.csv"); artifact.add(wandb.Table(columns=["a"], data=[[1]]), "table")
with artifact.new_file("notes.txt") as file: file.write("hello")
os.remove("model.bin")
artifact.remove("data/y")
same = run.log_artifact(artifact, aliases=["best"]).wait()
assert same is artifact and artifact.version == "v0" and artifact.aliases == ["latest", "best"], artifact.aliases
assert artifact.name == "model:v0" and not artifact.is_draft() and artifact.file_count == 6 and artifact.size > 20
try: artifact.add_file("train.py")
except Exception as error: print(type(error).__name__)
again = wandb.use_artifact("model:best")
print(pathlib.Path(again.get_path("copy/m.bin").download()).read_text(), again.metadata, again.get("table").data, again.get_entry("file.csv").ref)
folder = again.download(root="here"); print(folder, sorted(os.listdir(folder)), again.download())
draft = again.new_draft()
with draft.new_file("more.txt") as file: file.write("more")
run.log_artifact(draft); print(draft.version, wandb.use_artifact("entity/project/model").version, wandb.use_artifact("model:v0").version)
again.verify()
print(wandb.log_artifact("data", name="raw", type="dataset").qualified_name, run.use_model("raw:latest"))
wandb.log_model("data/y", name="only"); print(pathlib.Path(run.use_model("only")).read_text())
try: wandb.use_artifact("other:v3")
except wandb.CommError as error: print(error)
for bad in (lambda: wandb.Artifact("a/b", "t"), lambda: wandb.Artifact("a", "t").add_file("zz"), lambda: run.log_artifact("zz"),
            lambda: wandb.Artifact("a", "t").add_file("data/y", name="../../x")):
    try: bad()
    except ValueError as error: print("ValueError")
"""


def test_artifacts_are_versions_in_the_runs_folder(agent: FakeAgent) -> None:
    (agent.folder / "train.py").write_text("")
    done = under(agent, ARTIFACTS)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    root = agent.run_dir / "artifacts"
    assert done.stdout.splitlines() == [
        "UsageError",
        "weights {'acc': 0.5} [[1]] s3://bucket/file.csv",
        f"here ['copy', 'data', 'model.bin', 'notes.txt', 'table.table.json'] {root}/model/v0",
        "v1 v1 v0",
        f"raw:v0 {root}/raw/v0",
        "y",
        "there is no artifact other:v3: no run of this sweep has logged it. Here there are: model, only, raw",
        *["ValueError"] * 4,
    ]
    assert files(root / "model" / "v0") == {
        "model.bin": "weights",
        "copy/m.bin": "weights",
        "data/deep/x": "x",
        "notes.txt": "hello",
        "table.table.json": '{"columns": ["a"], "data": [[1]]}',
    }
    facts = json.loads((root / "model" / "v0.json").read_text())
    assert (facts["type"], facts["description"], facts["metadata"], facts["run"]) == (
        "model",
        "d",
        {"acc": 0.5},
        "sw1-7",
    )
    assert facts["files"]["file.csv"] == {"ref": "s3://bucket/file.csv"}
    assert facts["files"]["model.bin"]["size"] == 7
    assert not [path for path in root.iterdir() if path.name.startswith(".")]


def test_an_artifact_of_another_run_of_the_sweep_is_found(agent: FakeAgent) -> None:
    program = """
import wandb
run = wandb.init()
artifact = wandb.Artifact("shared", "t")
with artifact.new_file("x") as file: file.write("from one")
run.log_artifact(artifact)
"""
    assert under(agent, program).returncode == 0
    (agent.folder / "8").mkdir()
    program = """
import pathlib, wandb
run = wandb.init()
print(pathlib.Path(run.use_artifact("shared").file()).read_text(), wandb.use_artifact("shared").logged_by())
"""
    variables = {"SWEEP_RUN_DIR": str(agent.folder / "8"), "SWEEP_RUN_ID": "sw1-8"}
    environment = {**agent.environment(), **variables, "PYTHONPATH": str(FOLDER)}
    done = run_python(program, agent.folder, environment, agent.read)
    assert done.stdout == "from one sw1-7\n", done.stderr
