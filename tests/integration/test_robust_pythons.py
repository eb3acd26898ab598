"""Runs in a Python that is not the agent's: the SDK, and only the SDK, is lent to it, behind whatever is installed there.
And programs that have a `sweep` of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.agents.lending import FOLDER, lend_sdk, uses_own_python
from tests.integration.conftest import Project

TRAIN = """
import json, os, sys
import sweep
run = sweep.init(config={"epochs": 2})
for epoch in range(run.config.epochs):
    run.log({"loss": run.config.x / (epoch + 1)})
run.summary["python"] = "%d.%d" % sys.version_info[:2]
run.summary["sweep"] = os.path.abspath(sweep.__file__)
run.summary["path"] = list(sweep.__path__)
run.summary["pythonpath"] = os.environ.get("PYTHONPATH", "")
for name in ("sweep.cli", "sweep.core.spec", "sweep.sdk.shell"):
    try:
        __import__(name)
        run.summary[name] = "imported"
    except ImportError as error:
        run.summary[name] = str(error)
"""
PACKAGE = Path(FOLDER).parents[1]


def spec(python: str | Path, more: str = "") -> str:
    return (
        f"command: ['{python}', train.py]\nmethod: grid\nmetric: {{name: loss, goal: minimize}}\n"
        f"parameters: {{x: {{values: [1, 2]}}}}\n{more}"
    )


def find_python(minor: int) -> str | None:
    """A Python 3.<minor> of this machine that starts, None when there is none."""
    candidates = [shutil.which(f"python3.{minor}")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path("~/.pyenv").expanduser())) / "versions"
    candidates += [str(path) for path in sorted(pyenv.glob(f"3.{minor}.*/bin/python"))]
    uv = shutil.which("uv")
    if uv is not None:
        found = subprocess.run(
            [uv, "python", "find", "--offline", f"3.{minor}"], capture_output=True, text=True, check=False
        )
        candidates.append(found.stdout.strip() or None)
    code = f"import sys; sys.exit(sys.version_info[:2] != (3, {minor}))"
    for path in candidates:
        if path and subprocess.run([path, "-c", code], capture_output=True, check=False).returncode == 0:
            return path
    return None


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment in which nothing is installed."""
    folder = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    return folder / "bin" / "python"


def test_a_bare_environment_gets_the_sdk_and_nothing_else(project: Project, bare: Path) -> None:
    runs = project.work_off(spec(bare), TRAIN)
    assert [(run["state"], run["objective"]) for run in runs] == [("completed", 0.5), ("completed", 1.0)]
    summary = runs[0]["summary"]
    assert summary["sweep"] == str(PACKAGE / "__init__.py")
    assert summary["path"] == []
    assert summary["sweep.sdk.shell"] == "imported"
    for name in ("sweep.cli", "sweep.core.spec"):
        assert f"sweep is not installed for {bare}" in summary[name]
    assert runs[0]["steps"] == 2


def test_an_installed_sweep_comes_first(project: Project, bare: Path, tmp_path: Path) -> None:
    """Whether it was copied there or is installed in place."""
    folder = Path(shutil.copytree(bare.parents[1], tmp_path / "copied", symlinks=True))
    (site,) = folder.glob("lib/python*/site-packages")
    own = tmp_path / "elsewhere" / "sweep"
    shutil.copytree(PACKAGE / "sdk", own / "sdk")
    text = (PACKAGE / "__init__.py").read_text()
    (own / "__init__.py").write_text(text + "\nMINE = True\n")
    (own / "core").mkdir()
    (own / "core" / "__init__.py").touch()
    (own / "core" / "spec.py").touch()
    (site / "in_place.pth").write_text(f"{own.parent}\n")
    run = project.work_off(spec(folder / "bin" / "python"), TRAIN)[0]
    assert run["state"] == "completed", run
    assert run["summary"]["sweep"] == str(own / "__init__.py")
    assert run["summary"]["path"] == [str(own)]
    assert run["summary"]["sweep.core.spec"] == "imported"
    assert run["summary"]["sweep.cli"] == "No module named 'sweep.cli'"


def test_the_path_of_the_user_stays_in_front(project: Project, bare: Path) -> None:
    project.write("lib/helper.py", "VALUE = 7\n")
    train = TRAIN + "import helper\nrun.summary['helper'] = helper.VALUE\n"
    lib = project.folder / "lib"
    runs = project.work_off(spec(bare, "env: {PYTHONPATH: ./lib}\n"), train)
    assert runs[0]["summary"]["pythonpath"] == f"./lib{os.pathsep}{FOLDER}"
    assert runs[0]["summary"]["helper"] == 7
    runs = project.work_off(spec(bare), train, PYTHONPATH=str(lib))
    assert runs[0]["summary"]["pythonpath"] == f"{lib}{os.pathsep}{FOLDER}"


@pytest.mark.parametrize("command", ["['${interpreter}', train.py]", "['${env}', python, train.py]"])
def test_nothing_is_changed_for_the_agents_own_python(project: Project, command: str) -> None:
    text = spec("x").replace("['x', train.py]", command)
    own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = project.work_off(text, TRAIN, PATH=own, PYTHONPATH="")[0]
    assert run["state"] == "completed"
    assert run["summary"]["pythonpath"] == ""
    assert run["summary"]["path"] == [str(PACKAGE)]


@pytest.mark.parametrize("minor", [8, 9, 10, 12, 13, 14])
def test_another_python(project: Project, minor: int) -> None:
    python = find_python(minor)
    if python is None:
        pytest.skip(f"there is no Python 3.{minor} here")
    runs = project.work_off(spec(python), TRAIN, PYTHONDONTWRITEBYTECODE="1")
    assert [(run["state"], run["summary"]["python"]) for run in runs] == [("completed", f"3.{minor}")] * 2


@pytest.mark.parametrize("minor", [6, 7])
def test_a_python_that_is_too_old_is_told(project: Project, minor: int) -> None:
    python = find_python(minor)
    if python is None:
        pytest.skip(f"there is no Python 3.{minor} here")
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", spec(python))
    sweep = project.create()
    done = project.run("agent", sweep, PYTHONDONTWRITEBYTECODE="1")
    assert f"sweep needs Python 3.8 or later in training programs, and this is 3.{minor}" in done.stderr


def test_a_shell_script_that_starts_a_bare_python(project: Project, bare: Path) -> None:
    project.write("train.sh", f"exec {bare} train.py\n")
    text = spec("x").replace("['x', train.py]", "[sh, train.sh]")
    assert project.work_off(text, TRAIN)[0]["state"] == "completed"


def test_workers_of_a_lent_sdk_import_it_too(project: Project, bare: Path) -> None:
    train = """
import multiprocessing, sweep
def work(k):
    import sweep.sdk
    return sweep.sdk.__file__
if __name__ == "__main__":
    run = sweep.init()
    run.log({"loss": 1})
    for method in ("spawn", "fork"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            run.summary[method] = pool.map(work, [1])[0]
"""
    run = project.work_off(spec(bare), train)[0]
    assert run["state"] == "completed", run["attempts"][0]["tail"]
    assert run["summary"] == {
        "loss": 1,
        **dict.fromkeys(("spawn", "fork"), str(PACKAGE / "sdk" / "__init__.py")),
    }


def test_which_commands_need_it(tmp_path: Path, bare: Path) -> None:
    own = Path(sys.executable)
    path = f"{own.parent}:/usr/bin:/bin"
    for argv in (
        ["/usr/bin/env", str(own), "train.py"],
        [own.name, "train.py"],
        ["env", "A=1", own.name, "train.py"],
        ["CUDA=1", own.name],
    ):
        assert uses_own_python(argv, path), argv
    for argv in ([str(bare), "t.py"], ["sh", "t.sh"], ["./t"], ["env"], ["no-such-program"]):
        assert not uses_own_python(argv, path), argv


def test_what_is_recorded_names_no_inherited_value() -> None:
    env, recorded = {"PYTHONPATH": "/secret", "PATH": ""}, {"A": "1"}
    lend_sdk(["sh"], env, recorded)
    assert env["PYTHONPATH"] == f"/secret:{FOLDER}"
    assert json.dumps(recorded) == json.dumps({"A": "1", "PYTHONPATH": f"${{envvar:PYTHONPATH}}:{FOLDER}"})


# --- a sweep of the program's own ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("sweep.py", "['${interpreter}', train.py]"),
        ("sweep/__init__.py", "['${interpreter}', train.py]"),
        ("inner/sweep.py", "['${interpreter}', inner/train.py]"),
        ("sweep.py", "['${interpreter}', -m, train]"),
    ],
)
def test_a_file_that_shadows_the_package_is_named(project: Project, file: str, command: str) -> None:
    project.write(file, "print('my own')\n")
    project.write("inner/train.py", TRAIN)
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", spec("x").replace("['x', train.py]", command))
    created = project.run("create", "sweep.yaml")
    what = project.folder / file.removesuffix("/__init__.py")
    warning = f"warning: {what} stands beside the program, so `import sweep` gives the program that file"
    assert warning in created.stderr
    done = project.run("agent", created.stdout.strip())
    assert warning in done.stderr
    assert "has no attribute 'init'" in done.stderr


@pytest.mark.parametrize("file", ["lib/sweep.py", "sweep/readme.txt", "sweep.txt"])
def test_what_shadows_nothing_is_not_named(project: Project, file: str) -> None:
    project.write(file, "")
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", spec("${interpreter}"))
    created = project.run("create", "sweep.yaml")
    assert "beside the program" not in created.stderr
    project.sweep("agent", created.stdout.strip())
    assert [run["state"] for run in project.runs()] == ["completed"] * 2
