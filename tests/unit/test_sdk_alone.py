"""Without an agent, and by itself: standalone runs, what importing costs, old Pythons."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdk_agent import SOURCE, FakeAgent, run_command, run_program

SDK_FILES = [SOURCE / "sweep" / "__init__.py", *sorted((SOURCE / "sweep" / "sdk").glob("*.py"))]

PROGRAM = """
import sweep
with sweep.init(config={"epochs": 2, "model": {"depth": 3}}) as run:
    for epoch in range(run.config.epochs):
        run.log({"loss": 1 / (epoch + 1), "val": {"note": "x"}}, step=epoch)
        assert not run.should_stop()
    run.summary["test/accuracy"] = float("inf")
    assert run.standalone and run.attempt == 1 and 0 <= run.seed < 2**32
    assert run.checkpoint_dir.is_dir() and run.checkpoint_dir.parent == run.dir
    print(run.dir)
"""


UNDER_AN_AGENT = """
import sweep
run = sweep.init(config={"lr": 1, "model": {"depth": 3}})
assert run.config.lr == 0.5 and run.config.odd != run.config.odd and run.config.model.depth == 3
for k in range(2000):
    run.log({"k": k, "val": {"loss": k / 7}, "note": "x"}, step=k)
run.summary["a"] = 1
run.checkpoint_dir.joinpath("x").touch()
assert not run.should_stop()
"""


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeAgent]:
    fake = FakeAgent(tmp_path_factory.mktemp("a"))
    yield fake
    fake.go()


def test_a_run_without_an_agent_is_recorded_in_the_current_folder(tmp_path: Path) -> None:
    done = run_program(PROGRAM, tmp_path, {})
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    folder = Path(done.stdout.strip())
    assert folder.parent == tmp_path / ".sweep" / "local"
    assert line.startswith(
        f"sweep: no agent started this program: run {folder.name} is recorded in .sweep/local/"
    )
    rows = [json.loads(text) for text in (folder / "rows.jsonl").read_text().splitlines()]
    assert [(row["i"], row["s"], row["m"]["loss"], row["x"]["val/note"]) for row in rows] == [
        (0, 0, 1.0, "x"),
        (1, 1, 0.5, "x"),
    ]
    assert json.loads((folder / "config.json").read_text()) == {"epochs": 2, "model": {"depth": 3}}
    assert json.loads((folder / "summary.json").read_text()) == {"test/accuracy": "inf"}


def test_runs_one_after_another_in_one_program(tmp_path: Path) -> None:
    program = (
        "import sweep\nfolders = set()\n"
        "for k in range(3):\n"
        "    run = sweep.init(config={'k': k})\n    assert sweep.init() is run and sweep.config.k == k\n"
        "    sweep.log({'k': k})\n    folders.add(run.dir)\n    run.finish()\n"
        "assert len(folders) == 3\n"
        "assert all((folder / 'rows.jsonl').read_text().count('\\n') == 1 for folder in folders)\n"
    )
    done = run_program(program, tmp_path, {})
    assert done.returncode == 0, done.stderr


def test_seed_and_config_can_be_given_by_hand(tmp_path: Path) -> None:
    (tmp_path / "best.json").write_text('{"lr": 0.5}')
    program = "import sweep\nrun = sweep.init(config={'lr': 1, 'n': 2})\nprint(run.seed, run.config.lr, run.config.n)\n"
    done = run_program(program, tmp_path, {"SWEEP_SEED": "7", "SWEEP_CONFIG": "best.json"})
    assert done.stdout == "7 0.5 2\n", done.stderr


def test_a_folder_that_cannot_be_written_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".sweep").write_text("a file in the way")
    done = run_program(PROGRAM, tmp_path, {"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).name.startswith("sweep-")


def test_a_forked_child_adds_rows_to_the_same_file(tmp_path: Path) -> None:
    program = (
        "import os, sweep\nrun = sweep.init()\nrun.log({'k': 0})\n"
        "if os.fork() == 0:\n    run.log({'k': 1})\n    raise SystemExit\n"
        "os.wait()\nrun.log({'k': 2})\nprint(run.dir)\n"
    )
    done = run_program(program, tmp_path, {})
    rows = [json.loads(line) for line in (Path(done.stdout.strip()) / "rows.jsonl").read_text().splitlines()]
    assert [(row.get("i"), row["m"]["k"]) for row in rows] == [(0, 0), (None, 1), (1, 2)]


def test_a_local_run_on_a_full_disk_trains_on(tmp_path: Path) -> None:
    program = (
        "import sweep\nrun = sweep.init()\n(run.dir / 'rows.jsonl').symlink_to('/dev/full')\n"
        "for k in range(3): run.log({'k': k})\nprint('on')\n"
    )
    done = run_program(program, tmp_path, {})
    assert (done.returncode, done.stdout) == (0, "on\n")
    assert done.stderr.count("logged values are lost") == 1


def test_a_whole_run_imports_next_to_nothing(agent: FakeAgent) -> None:
    program = (
        "import sys\nbefore = set(sys.modules)\nimport sweep\n"
        "assert set(sys.modules) - before <= {'sweep', '__future__'}, 'import sweep'\n"
        "run = sweep.init(config={'a': 1})\nrun.log({'loss': 0.5})\nrun.log({'note': 'x'})\nrun.summary['a'] = 1\n"
        "run.should_stop()\nrun.finish()\nprint(*sorted(set(sys.modules) - before))\n"
    )
    done = agent.run(program, config={"lr": 0.1})
    assert done.returncode == 0, done.stderr
    allowed = {"__future__", "_collections", "_json", "_socket", "atexit", "sweep"}
    allowed |= {f"sweep.sdk{name}" for name in ("", "._config", "._link", "._run", "._wire")}
    assert set(done.stdout.split()) <= allowed


@pytest.mark.parametrize("file", SDK_FILES, ids=lambda file: file.name)
def test_the_syntax_is_that_of_python_3_8(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 8))
    first = next(node for node in tree.body if isinstance(node, ast.ImportFrom))
    assert (first.module, first.names[0].name) == ("__future__", "annotations")


@pytest.mark.parametrize("file", SDK_FILES, ids=lambda file: file.name)
def test_only_the_standard_library_is_imported(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            ours = name == "sweep" or name.startswith("sweep.sdk")
            # For type checkers only (below TYPE_CHECKING): `sweep.load` and its like are resolved when they are used.
            ours = ours or (file == SDK_FILES[0] and name.startswith("sweep.api."))
            assert ours or name.split(".")[0] in sys.stdlib_module_names, f"{file}: {name}"


def test_the_sdk_works_when_copied_alone(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "sweep"
    (package / "sdk").mkdir(parents=True)
    shutil.copy(SOURCE / "sweep" / "__init__.py", package)
    for file in SDK_FILES[1:]:
        shutil.copy(file, package / "sdk")
    program = f"import sys\nsys.path.insert(0, {str(tmp_path / 'lib')!r})\n{PROGRAM}\nprint(sweep.__file__)\n"
    done = run_program(program, tmp_path, {})
    assert done.returncode == 0, done.stderr
    assert str(package) in done.stdout


def _version(name: str) -> str | None:
    """`3.8` when `name` is a Python 3.8 that works; shims of version managers often do not."""
    path = shutil.which(name)
    if path is None:
        return None
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    done = subprocess.run([path, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


@pytest.mark.parametrize("minor", range(8, 15))
def test_other_pythons(agent: FakeAgent, minor: int) -> None:
    if _version(f"python3.{minor}") != f"3.{minor}":
        pytest.skip(f"Python 3.{minor} is not installed")
    script = agent.folder / "train.py"
    script.write_text(UNDER_AN_AGENT)
    variables = agent.environment({"lr": 0.5, "odd": float("nan")})
    done = run_command([f"python3.{minor}", str(script)], agent.folder, variables, agent.read)
    assert (done.returncode, done.stderr) == (0, "")
    assert [row["m"]["k"] for row in agent.numbered()] == list(range(2000))
    assert agent.messages[0]["python"].startswith(f"3.{minor}.")
    assert [op for op in agent.ops() if op != "row"] == ["hello", "config", "summary", "end"]


def test_the_version_is_written_once() -> None:
    import importlib.metadata
    import re

    import sweep

    project = (SOURCE.parent / "pyproject.toml").read_text()
    assert 'dynamic = ["version"]' in project
    assert re.fullmatch(r"\d+\.\d+\.\d+", sweep.__version__)
    assert importlib.metadata.version("sweep") == sweep.__version__
