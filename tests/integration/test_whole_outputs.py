"""`outputs` in the spec: all that a run has printed can be had where its node's files are not."""

from __future__ import annotations

import shutil
from contextlib import closing

import pytest

from sweep.core.names import whole_output_cache
from sweep.stores import open_store
from tests.integration.conftest import Project

LINE = "0123456789abcdef" * 8 + "\n"
TRAIN = f"""
import sweep
run = sweep.init()
for _ in range(4000 if run.config.x == 1 else 10):
    print({LINE.strip()!r})
"""
SPEC = "program: train.py\nmethod: grid\nparameters: {x: {values: [1, 2]}}\noutputs: %s\n"


@pytest.mark.parametrize("place", ["{folder}/shared", "file://{folder}/shared"])
def test_the_whole_output_from_another_machine(project: Project, place: str) -> None:
    place = place.format(folder=project.folder)
    project.work_off(SPEC % place, TRAIN)
    long, short = (run["id"] for run in project.runs())
    sweep = project.status().sweep
    shutil.rmtree(project.folder / ".sweep" / "runs")  # as if this were another machine
    assert project.sweep("logs", long) == LINE * 4000
    assert project.sweep("logs", short) == LINE * 10, "the store has all of it"
    assert project.sweep("fetch", long, "--output", "--out", "new/run.log") == "new/run.log\n"
    assert (project.folder / "new" / "run.log").read_text() == LINE * 4000
    assert "there already" in project.mistake("fetch", long, "--output", "--out", "new/run.log")
    with closing(open_store(None, project.folder)) as store:
        assert store.get_cache(sweep, whole_output_cache(0, 1)) == f"{place}/{sweep}/0/output-1.log".encode()
        assert store.get_cache(sweep, whole_output_cache(1, 1)) is None
    shutil.rmtree(project.folder / "shared")
    said = project.run("logs", long)
    assert (
        said.stdout.startswith(LINE * 100) and "bytes of the output are not kept in the store" in said.stdout
    )
    assert "No such file or directory; what follows is what the store keeps of it" in said.stderr


def test_a_place_that_cannot_be_written(project: Project) -> None:
    project.write("file", "")
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % f"{project.folder}/file/x")
    sweep = project.create()
    done = project.run("agent", sweep)
    assert done.returncode == 0
    assert f"the whole output of {sweep}-0 stays on this node, in " in done.stderr
    assert f"cannot write {project.folder}/file/x/{sweep}/0/output-1.log: Not a directory" in done.stderr
    assert f"{sweep}-1 stays" not in done.stderr, "the store has all of it"
    assert project.sweep("logs", f"{sweep}-0") == LINE * 4000


def test_a_place_that_means_nothing_is_a_mistake(project: Project) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC % "outputs")
    said = project.mistake("create", "sweep.yaml")
    assert "sweep.yaml:4:1 outputs: is neither an absolute path nor a URL" in said
