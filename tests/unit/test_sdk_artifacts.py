"""`run.log_artifact` and `run.use_artifact` in the training process: what they leave for the agent, and what they raise."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk_agent import FakeAgent, run_program

PROGRAM = """
import os, pathlib, sweep
run = sweep.init()
pathlib.Path("f.txt").write_text("one")
first = run.log_artifact("f.txt", type="note")
pathlib.Path("f.txt").write_text("two")
second = run.log_artifact(pathlib.Path("f.txt"), aliases="best")
pathlib.Path("d/deep").mkdir(parents=True)
pathlib.Path("d/deep/x").write_text("x")
os.symlink("nowhere", "d/dangling")
folder = run.log_artifact("d")
print([pathlib.Path(made.file).read_text() for made in (first, second, folder)])
for mistake in (lambda: run.log_artifact("gone"), lambda: run.log_artifact("f.txt", "a/b"), lambda: run.log_artifact("f.txt", aliases=["x:y"])):
    try:
        mistake()
    except (FileNotFoundError, ValueError) as error:
        print(type(error).__name__)
try:
    run.use_artifact("f.txt:v7")
except LookupError as error:
    print("LookupError")
"""
PRINTED = "['one', 'two', 'x']\nFileNotFoundError\nValueError\nValueError\nLookupError\n"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    found = FakeAgent(tmp_path)
    yield found
    found.go()


def test_under_an_agent_each_is_a_line_in_a_file_and_a_nudge(agent: FakeAgent) -> None:
    done = agent.run(PROGRAM)
    assert (done.returncode, done.stdout) == (0, PRINTED), done.stderr
    assert agent.ops().count("artifact") == 4
    [file] = agent.run_dir.glob("artifacts-*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    root = agent.run_dir / "artifacts"
    assert [(line["op"], line["name"], line.get("folder"), line.get("aliases")) for line in lines] == [
        ("log", "f.txt", f"{root}/f.txt/v0", []),
        ("log", "f.txt", f"{root}/f.txt/v1", ["best"]),
        ("log", "d", f"{root}/d/v0", []),
        ("use", "f.txt:v7", None, None),
    ]
    assert (root / "f.txt/v0/f.txt").read_text() == "one"


def test_without_an_agent_runs_in_one_folder_find_what_others_have_logged(tmp_path: Path) -> None:
    done = run_program(PROGRAM, tmp_path, {})
    assert (done.returncode, done.stdout) == (0, PRINTED), done.stderr
    program = """
import pathlib, sweep
run = sweep.init()
for name in ("f.txt", "f.txt:best", "f.txt:v0", "d:latest"):
    print(run.use_artifact(name).version, pathlib.Path(run.use_artifact(name).file).read_text())
"""
    done = run_program(program, tmp_path, {})
    assert done.stdout == "v1 two\nv1 two\nv0 one\nv0 x\n", done.stderr


def test_a_folder_that_cannot_be_written_is_said_and_not_raised(tmp_path: Path) -> None:
    program = """
import pathlib, sweep
run = sweep.init()
pathlib.Path(run.dir, "artifacts").write_text("in the way")
pathlib.Path("f").write_text("x")
run.log_artifact("f")
run.log({"loss": 1})
print("went on")
"""
    done = run_program(program, tmp_path, {})
    assert done.stdout == "went on\n"
    assert "cannot keep the artifact f" in done.stderr


def test_a_run_that_is_executed_again_gets_what_it_got_then(tmp_path: Path) -> None:
    for version in (3, 4):
        (tmp_path / f"v{version}").mkdir()
    answers = [
        {
            "name": "data",
            "type": "t",
            "path": str(tmp_path / f"v{version}"),
            "version": f"v{version}",
            "digest": "aa",
        }
        for version in (3, 4)
    ]
    folder = tmp_path / "again"
    folder.mkdir()
    (folder / "given-artifacts.json").write_text(json.dumps({"data:latest": answers}))
    program = "import sweep; run = sweep.init(); print(*(run.use_artifact('data:latest').version for _ in range(3)))"
    done = run_program(program, tmp_path, {"SWEEP_LOCAL_DIR": str(folder)})
    assert done.stdout == "v3 v4 v4\n", done.stderr


def test_importing_sweep_does_not_import_it(tmp_path: Path) -> None:
    program = "import sweep, sys; run = sweep.init(); print('sweep.sdk._artifacts' in sys.modules)"
    assert run_program(program, tmp_path, {}).stdout == "False\n"


WRITTEN_TO = """
import os, pathlib, subprocess, sweep, time
run = sweep.init()
path = pathlib.Path("model.pt")
path.write_bytes(bytes(20_000_000))
writer = subprocess.Popen(["sh", "-c", "while :; do echo x >> model.pt; done"])
while path.stat().st_size == 20_000_000:
    time.sleep(0.01)
run.log_artifact("model.pt", "moving")
writer.kill()
writer.wait()
run.log_artifact("model.pt", "still")
"""


def test_a_file_that_is_written_to_while_it_is_copied_is_not_taken_for_whole(agent: FakeAgent) -> None:
    done = agent.run(WRITTEN_TO)
    assert done.returncode == 0, done.stderr
    assert "model.pt was written to while it was copied" in done.stderr
    [file] = agent.run_dir.glob("artifacts-*.jsonl")
    moving, still = (json.loads(line) for line in file.read_text().splitlines())
    assert moving["written"] is None and moving["source"].endswith("/model.pt")
    model = Path(still["source"])
    assert still["written"] == pytest.approx(model.stat().st_mtime)
    assert Path(still["folder"], "model.pt").read_bytes() == model.read_bytes()
