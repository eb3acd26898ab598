"""What importing the stand-in costs, and where it works: any Python from 3.8, with or without a sweep of its own."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk_agent import SOURCE, FakeAgent
from sweep.agents.standing_in import FOLDER
from wandb_programs import run_python, under

FILES = sorted([*(SOURCE / "sweep" / "sdk" / "wandb").rglob("*.py"), *FOLDER.rglob("*.py")])

PROGRAM = """
import wandb
with wandb.init(config={"epochs": 2}) as run:
    run.define_metric("loss", summary="min")
    for epoch in range(run.config.epochs):
        wandb.log({"loss": 1 / (epoch + 1), "lr": wandb.config.lr})
    wandb.log({"picture": wandb.Image([[0, 1], [1, 0]]), "table": wandb.Table(columns=["a"], data=[[1]])})
    wandb.log({"sound": wandb.Audio([0.0, 0.5], sample_rate=2), "h": wandb.Histogram([1, 2, 3]), "page": wandb.Html("x")})
    wandb.log({"chart": wandb.plot.line(wandb.Table(columns=["x", "y"], data=[[1, 2]]), "x", "y")})
    artifact = wandb.Artifact("model", type="model")
    with artifact.new_file("a.txt") as file:
        file.write("a")
    run.log_artifact(artifact)
    run.summary["done"] = True
"""


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    yield fake
    fake.go()


def is_recorded(agent: FakeAgent) -> None:
    assert [row["s"] for row in agent.numbered()] == [0, 1, 2, 3, 4]
    assert [row["m"] for row in agent.numbered()][:2] == [{"loss": 1.0, "lr": 0.5}, {"loss": 0.5, "lr": 0.5}]
    assert agent.ops()[0] == "hello"
    assert agent.ops()[-1] == "end"
    names = {str(path.relative_to(agent.run_dir)) for path in agent.run_dir.rglob("*") if path.is_file()}
    assert {"media/picture_2_0.png", "media/sound_3_0.wav", "artifacts/model/v0/a.txt"} <= names


def test_a_whole_run_imports_little(agent: FakeAgent) -> None:
    program = """
import sys
before = set(sys.modules)
import wandb
assert not {"json", "enum", "typing", "pathlib", "re"} & (set(sys.modules) - before)
run = wandb.init(config={"a": 1})
wandb.log({"loss": 0.5})
wandb.log({"n": {"x": 1}, "t": "text"})
run.summary["a"] = 1
wandb.config.b = 2
wandb.finish()
print(*sorted(name for name in set(sys.modules) - before if not name.startswith(("wandb", "sweep"))))
"""
    done = under(agent, program, {"lr": 0.1})
    assert done.returncode == 0, done.stderr
    allowed = {"__future__", "_collections", "_json", "_socket", "atexit"}
    allowed |= {
        "importlib",
        "importlib._bootstrap",
        "importlib._bootstrap_external",
        "importlib.machinery",
        "_warnings",
        "warnings",
    }
    assert set(done.stdout.split()) <= allowed


def test_the_real_wandb_and_the_rest_of_sweep_are_never_imported(agent: FakeAgent) -> None:
    program = (
        PROGRAM + "\nimport sys\nprint(wandb.__file__, *[n for n in sys.modules if n.startswith('sweep')])\n"
    )
    done = under(agent, program, {"lr": 0.5})
    assert done.returncode == 0, done.stderr
    file, *modules = done.stdout.split()
    assert Path(file).parent.parent == FOLDER
    assert all(name == "sweep" or name.startswith("sweep.sdk") for name in modules)
    is_recorded(agent)


def test_a_script_with_a_module_sweep_of_its_own(agent: FakeAgent) -> None:
    (agent.folder / "sweep.py").write_text("MINE = 1\n")
    for first in ("", "import sweep\n"):
        script = agent.folder / "train.py"
        script.write_text(first + PROGRAM + "\nimport sweep\nassert sweep.MINE == 1\n")
        agent.messages.clear()
        shutil.rmtree(agent.run_dir)
        agent.run_dir.mkdir()
        program = f"import runpy, sys\nsys.path[0] = {str(agent.folder)!r}\nrunpy.run_path({str(script)!r})\n"
        done = under(agent, program, {"lr": 0.5})
        assert (done.returncode, done.stderr) == (0, "")
        is_recorded(agent)


def _pythons() -> list[str]:
    """Interpreters without sweep: the one that this environment was made of, and others on the path that work."""
    found = [getattr(sys, "_base_executable", sys.executable)]
    for minor in range(8, 15):
        path = shutil.which(f"python3.{minor}")
        if path is not None:
            code = "import sys; sys.exit(sys.version_info < (3, 8))"
            if (
                subprocess.run([path, "-c", code], capture_output=True, timeout=60, check=False).returncode
                == 0
            ):
                found.append(path)
    return found


@pytest.mark.parametrize("python", _pythons(), ids=lambda path: Path(path).name)
def test_pythons_without_sweep(agent: FakeAgent, python: str) -> None:
    variables = agent.environment({"lr": 0.5}, PYTHONPATH=str(FOLDER), PYTHONWARNINGS="error")
    done = run_python(PROGRAM, agent.folder, variables, agent.read, python)
    assert (done.returncode, done.stderr) == (0, "")
    is_recorded(agent)


def test_it_works_beside_the_sdk_that_the_agent_lends(agent: FakeAgent) -> None:
    """`import sweep` by its name and the stand-in share one run, whichever comes first."""
    lent = SOURCE / "sweep" / "sdk" / "_path_sweep"
    python = getattr(sys, "_base_executable", sys.executable)
    for first, second in (("wandb", "sweep"), ("sweep", "wandb")):
        agent.messages.clear()
        shutil.rmtree(agent.run_dir)
        agent.run_dir.mkdir()
        program = f"import {first}, {second}\nwandb.init()\nrun = sweep.init()\nwandb.log({{'a': 1}})\nrun.log({{'b': 2}}, step=5)\n"
        variables = agent.environment({}, PYTHONPATH=f"{FOLDER}{os.pathsep}{lent}", PYTHONWARNINGS="error")
        done = run_python(program, agent.folder, variables, agent.read, python)
        assert (done.returncode, done.stderr) == (0, "")
        assert [(row["s"], row["m"]) for row in agent.numbered()] == [(0, {"a": 1}), (5, {"b": 2})]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_syntax_is_that_of_python_3_8_and_only_the_standard_library_is_imported(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))
    others = {"yaml", "PIL"}  # asked for where a script already uses them, and only then
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert name != "wandb", f"{file}: the real wandb must not be imported"
            # `from package import module` asks for the topmost package, which may be called `sweep` and be the script's own
            assert name not in ("sweep", "sweep.sdk", "sweep.sdk.wandb"), f"{file}: {name}"
            assert name.startswith("sweep.sdk.") or top in sys.stdlib_module_names or top in others, (
                f"{file}: {name}"
            )


def test_the_package_ships_what_is_on_the_path() -> None:
    names = {
        str(path.relative_to(FOLDER))
        for path in FOLDER.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert {"wandb/__init__.py", "wandb-0.31.0.dist-info/METADATA"} <= names
    ignored = (SOURCE.parent / ".gitignore").read_text().split()
    assert not {"*.dist-info/", "*.dist-info", "wandb/"} & set(ignored)
