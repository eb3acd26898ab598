"""What a person gets wrong: exit code 2, words that help, no traceback (`Project.run` looks for it), nothing recorded."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import closing

import pytest

from sweep.core import entries as e
from sweep.stores import open_store
from tests.integration.conftest import Project

GOOD = "command: [sh, -c, 'exit 0']\nmethod: grid\nparameters: {x: {values: [1, 2]}}\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Two finished sweeps. Tests that use it only read."""
    project = Project(tmp_path_factory.mktemp("mistakes"))
    project.write("sweep.yaml", GOOD)
    for _ in range(2):
        project.sweep("agent", project.create())
    return project


@pytest.mark.parametrize(
    "command", ["agent", "status", "runs", "best", "pause", "resume", "stop", "cancel", "plot", "export"]
)
def test_an_unknown_sweep(done: Project, command: str) -> None:
    said = done.mistake(command, "zzzz")
    assert "there is no sweep 'zzzz'" in said
    assert "`sweep ls` lists them" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "logs"])
def test_an_unknown_run(done: Project, command: str) -> None:
    assert "has no run 99; the last one is " in done.mistake(command, "latest-99")
    assert "there is no sweep 'zzzz'" in done.mistake(command, "zzzz-1")


def test_a_sweep_where_a_run_is_wanted(done: Project) -> None:
    sweep = done.json("ls")[0]["id"]
    assert "which has 2 runs; name one" in done.mistake("logs", sweep)
    assert f"sweep {sweep} is ended" in done.sweep("show", sweep)


@pytest.mark.parametrize(
    "args", [["agent", "latest"], ["status", "abc"], ["runs", "latest"], ["show", "latest"]]
)
def test_no_store(project: Project, args: list[str]) -> None:
    said = project.mistake(*args)
    assert "sweep create" in said
    assert not (project.folder / ".sweep").exists()


def test_ls_without_a_store(project: Project) -> None:
    said = project.mistake("ls")
    assert "no sweep has been recorded here" in said
    assert "run `sweep create FILE` first" in said
    assert not (project.folder / ".sweep").exists()


def test_the_name_of_a_sweep_where_its_id_is_wanted(project: Project) -> None:
    project.write("sweep.yaml", "name: grün\ncommand: [echo]\nmethod: grid\nparameters: {x: {values: [1]}}\n")
    first, second = project.create(), project.create()
    for command in (("status", "grün"), ("show", "grün-0"), ("agent", "grün")):
        said = project.mistake(*command)
        assert f"'grün' is the name of a sweep; this wants its ID: {second} or {first}" in said


def test_a_beginning_that_fits_several(project: Project) -> None:
    with closing(open_store(None, project.folder, create=True)) as store:
        for name in ("abc1", "abc2", "xyz"):
            store.append(name, [e.SweepCreated(name, {}, "", "", {})], writer="test", first_seq=1)
    assert "'ab' could be any of abc1, abc2: type more" in project.mistake("status", "ab")
    assert "there is no sweep ''" in project.mistake("status", "")
    assert "did you mean abc1?" in project.mistake("status", "abd1")
    assert "abc1-0 is a run; this wants its sweep: abc1" in project.mistake("best", "abc1-0")
    assert "latest-0 is a run; this wants its sweep: latest" in project.mistake("status", "latest-0")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--filter", "lr <"], "lr <"),
        (["--filter", "stat == 'completed'"], "did you mean state?"),
        (["--filter", "state == completed"], "in quotes"),
        (["--filter", "__import__('os')"], "functions cannot be called"),
        (["--sort", "losss"], "losss"),
        (["--format", "xml"], "'xml' is not one of"),
    ],
)
def test_a_bad_filter(done: Project, args: list[str], words: str) -> None:
    said = done.mistake("runs", "latest", *args)
    assert words in said
    assert said.startswith(("sweep: ", "Usage: "))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "method: gird\nparameters: {x: {value: 1}}\nprogram: t.py\n",
            "sweep.yaml:1:1 method: must be grid, random or bayes, not 'gird'; did you mean `grid`?",
        ),
        (GOOD + "metod: grid\n", "sweep.yaml:4:1 metod"),
        (GOOD + "method: random\n", "sweep.yaml:4:1 method"),
        ("program: t.py\nmethod: grid\nparameters: {x: {min: 3, max: 1}}\n", "min (3) must be below max (1)"),
        ("program: t.py\nmethod: grid\nparameters: [1, 2\n", "sweep.yaml:"),
        ("program: t.py\nmethod: bayes\nparameters: {x: {min: 1, max: 3}}\n", "metric"),
        ("\x00", "sweep.yaml"),
        ("", "sweep.yaml"),
        ("- 1\n", "sweep.yaml"),
    ],
)
def test_a_bad_spec(project: Project, text: str, words: str) -> None:
    project.write("sweep.yaml", text)
    assert words in project.mistake("validate", "sweep.yaml")


@pytest.mark.parametrize("command", ["create", "validate", "run"])
def test_several_mistakes_at_once(project: Project, command: str) -> None:
    project.write(
        "sweep.yaml", "method: gird\nrun_cap: -1\nparameters: {x: {min: 3, max: 1}}\nprogram: t.py\n"
    )
    *lines, last = project.mistake(command, "sweep.yaml").splitlines()
    assert [line.split(" ")[0] for line in lines] == ["sweep.yaml:1:1", "sweep.yaml:2:1", "sweep.yaml:3:18"]
    assert last == "sweep: 3 problems; nothing was recorded"
    assert not (project.folder / ".sweep" / "store.db").exists()


def test_a_spec_that_is_not_there(project: Project) -> None:
    (project.folder / "folder").mkdir()
    (project.folder / "latin.yaml").write_bytes(b"name: \xe9\xff\n")
    for command, name in (("create", "missing.yaml"), ("validate", "folder"), ("run", "latin.yaml")):
        assert project.mistake(command, name).startswith(f"{name}:")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["statu", "latest"], "did you mean `sweep status`?"),
        (["start", "latest"], "did you mean `sweep agent`?"),
        (["sweep.yaml"], "did you mean `sweep create sweep.yaml`?"),
        (["frobnicate"], "`sweep --help` lists the commands"),
        (["agent"], "name a sweep"),
        (["plot"], "Missing argument 'ID'"),
        (["agent", "latest", "--slots", "0"], "--slots"),
        (["agent", "latest", "--slots", "many"], "--slots"),
        (["agent", "latest", "--cuont", "1"], "--count"),
        (["plot", "latest", "--format", "pdf"], "html and png"),
        (["agent", "latest", "--store", "redis://localhost"], "redis"),
        (["ls", "--store", "ftp://x"], "ftp"),
    ],
)
def test_a_bad_command_line(done: Project, args: list[str], words: str) -> None:
    assert words in done.mistake(*args)


def test_what_a_number_in_the_environment_must_be(done: Project, project: Project) -> None:
    project.write("sweep.yaml", GOOD)
    sweep = project.create()
    assert "SWEEP_LEASE_S must be a number of seconds" in project.mistake(
        "agent", sweep, SWEEP_LEASE_S="soon"
    )


def test_no_best_run(done: Project) -> None:
    assert "has no best run: it has no metric" in done.mistake("best", "latest")


def test_plot_where_nothing_can_be_drawn(done: Project) -> None:
    """A sweep without a metric: said, not drawn, and no error of ours."""
    assert "Not enough signal: the spec names no metric." in done.sweep("plot", "latest", "--format", "html")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(project: Project) -> None:
    project.write("sweep.yaml", GOOD)
    project.folder.chmod(0o500)
    try:
        said = project.mistake("create", "sweep.yaml")
    finally:
        project.folder.chmod(0o700)
    assert str(project.folder) in said


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_a_store_that_cannot_be_made(project: Project) -> None:
    """As above, and for root as well."""
    project.write("sweep.yaml", GOOD)
    for path, words in (
        ("/proc/nowhere/store.db", "cannot be made"),
        ("/proc/store.db", "cannot be made"),
        (f"{project.folder}/sweep.yaml", "is not a sweep store"),
    ):
        said = project.mistake("create", "sweep.yaml", "--store", f"sqlite:///{path}")
        assert path in said
        assert words in said


def test_a_store_that_is_damaged(project: Project) -> None:
    project.write("sweep.yaml", GOOD)
    project.create()
    for path in (project.folder / ".sweep").glob("store.db*"):
        path.write_bytes(b"not a database, but long enough to be looked at " * 100)
    assert "store.db" in project.mistake("ls")


def test_export_to_where_nothing_can_be_written(done: Project) -> None:
    assert "no/such/folder" in done.mistake("export", "latest", "--out", "no/such/folder/x.jsonl")


def test_output_that_is_gone(project: Project) -> None:
    project.write("sweep.yaml", GOOD)
    sweep = project.create()
    project.sweep("agent", sweep)
    shutil.rmtree(project.folder / ".sweep" / "runs")
    assert "its output is not on this machine" in project.mistake("logs", "latest")
    assert f"run {sweep}-0 is completed" in project.sweep("show", "latest-0")


def test_the_work_folder_is_gone(project: Project) -> None:
    (project.folder / "inner").mkdir()
    project.write("sweep.yaml", GOOD + "workdir: inner\n")
    sweep = project.create()
    (project.folder / "inner").rmdir()
    said = project.run("agent", sweep)
    assert said.returncode == 0
    inner = project.folder / "inner"
    assert f"the folder {inner}, where runs start, is not here: runs use the recorded code" in said.stderr
