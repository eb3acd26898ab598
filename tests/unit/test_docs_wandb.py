"""The programs in docs/guide/wandb.md run as they are, with the stand-in; the one that makes a sweep, with `sweep wandb`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sdk_agent import SOURCE
from wandb_programs import with_stand_in

GUIDE = (SOURCE.parent / "docs" / "guide" / "wandb.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_page_has_programs() -> None:
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("program", BLOCKS[:2], ids=["script", "files"])
def test_the_scripts_leave_a_local_run(program: str, tmp_path: Path) -> None:
    done = with_stand_in(program, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1
    [folder] = (tmp_path / ".sweep" / "local").iterdir()
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    if program is BLOCKS[0]:
        assert [row["s"] for row in rows] == [0, 1, 2, 3, 4]
        assert json.loads((folder / "summary.json").read_text())["loss/min"] == rows[-1]["m"]["loss"]
    else:
        assert (folder / rows[0]["x"]["picture"]["path"]).is_file()
        assert (folder / "artifacts" / "model" / "v0" / "weights.txt").read_text() == "0.5 0.25"


def test_the_script_that_makes_its_own_sweep(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(BLOCKS[2])
    env = {name: value for name, value in os.environ.items() if not name.startswith(("SWEEP_", "WANDB_"))}
    words = [sys.executable, "-P", "-m", "sweep"]
    done = subprocess.run(
        [*words, "wandb", "train.py"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    best = subprocess.run(
        [*words, "best", "latest", "--json"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(best.stdout)["config"] == {"lr": 0.2}


def test_what_the_page_says_does_nothing_says_so(tmp_path: Path) -> None:
    program = """
import wandb
run = wandb.init(resume_from="x?_step=1", fork_from="y?_step=1")
run.link_artifact(wandb.Artifact("a", "t"), "b")
wandb.sklearn.plot_roc(1, 2)
from wandb.sklearn import plot_confusion_matrix
plot_confusion_matrix(1)
artifact = wandb.Artifact("a", "t"); artifact.link("x"); artifact.delete()
"""
    done = with_stand_in(program, tmp_path)
    assert done.returncode == 0, done.stderr
    said = [
        line.partition(" does nothing here")[0] for line in done.stderr.splitlines()[:-1] if "nothing" in line
    ]
    assert said == [
        "sweep: wandb.init(resume_from=…)",
        "sweep: wandb.init(fork_from=…)",
        "sweep: run.link_artifact",
        "sweep: wandb.sklearn.plot_roc",
        "sweep: wandb.sklearn.plot_confusion_matrix",
        "sweep: artifact.link",
    ]
    assert "artifact.delete does nothing here" in done.stderr
