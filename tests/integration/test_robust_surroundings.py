"""Small and odd surroundings: few descriptors, plain locales, no home folder, paths of all kinds."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import pytest

from tests.integration.conftest import PYTHON, Project
from tests.integration.whole import HEAD, SPEC, TRAIN, whole


def test_64_descriptors(project: Project) -> None:
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", SPEC)
    sweep = project.create()
    for args in (["agent", sweep, "--slots", "3"], ["runs", sweep], ["plot", sweep]):
        done = subprocess.run(
            [*PYTHON, *args],
            cwd=project.folder,
            env=project.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
        )
        assert done.returncode == 0, done.stderr
    assert [run["state"] for run in project.runs(sweep)] == ["completed"] * 3


def test_too_few_descriptors_for_the_slots(project: Project) -> None:
    """More programs that report than there are descriptors: their rows wait in files, and none is lost."""
    project.write("train.py", TRAIN.replace("for i", "import time\ntime.sleep(0.2)\nfor i"))
    project.write("sweep.yaml", HEAD + "parameters: {x: {min: 1, max: 40}}\n")
    sweep = project.create()
    done = subprocess.run(
        [*PYTHON, "agent", sweep, "--slots", "40"],
        cwd=project.folder,
        env=project.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30)),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("cannot take more connections of runs now: Too many open files") <= 1
    runs = project.runs(sweep)
    assert [run["state"] for run in runs] == ["completed"] * 40
    assert [run["objective"] for run in runs] == list(range(1, 41))


@pytest.mark.parametrize("name", ["C", "POSIX", "no_SUCH.locale"])
def test_a_locale_without_umlauts(project: Project, name: str) -> None:
    kept = {k: v for k, v in project.env.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
    project.env = {**kept, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    folder = project.folder / "grün 🌱"
    folder.mkdir()
    project.folder = folder
    whole(project, LC_ALL=name)


@pytest.mark.parametrize("home", [None, "", "/nonexistent", "relative"])
def test_no_home_folder(project: Project, home: str | None) -> None:
    project.env.pop("HOME", None)
    project.env.pop("XDG_RUNTIME_DIR", None)
    whole(project, **({} if home is None else {"HOME": home}))


@pytest.mark.parametrize(
    "name",
    [
        "with spaces and 'quotes\"",
        "emoji 🎉 ünï",
        "a" * 100 + "/" + "b" * 100,
        "100%",
        "new\nline",
        "-rf",
        "q?x#y&z",
    ],
    ids=["spaces", "emoji", "long", "percent", "newline", "dash", "url"],
)
def test_odd_paths(project: Project, name: str) -> None:
    """Of the project, and so of the store and the run folders; the socket's path stays short."""
    folder = project.folder / name
    folder.mkdir(parents=True)
    project.folder = folder
    whole(project)
    assert len(str(project.runs()[0]["folder"])) > len(str(folder))


def test_a_folder_whose_name_is_no_text(project: Project) -> None:
    """Names of folders are bytes, and a record holds text: said at once."""
    folder = Path(os.fsdecode(os.fsencode(project.folder) + b"/caf\xe9"))
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has no such names")
    for name, text in (("train.py", TRAIN), ("sweep.yaml", SPEC)):
        (folder / name).write_text(text)
    done = subprocess.run(
        [*PYTHON, "create", "sweep.yaml"], cwd=folder, env=project.env, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert "caf\ufffd is not UTF-8, which a record needs; rename the folder" in done.stderr.decode()
