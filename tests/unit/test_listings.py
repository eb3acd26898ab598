"""Listings as processes of their own: what they import, and that they end at once without losing anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kept import curve, keep, project_store


@pytest.fixture
def project(tmp_path: Path) -> Path:
    store = project_store(tmp_path)
    keep(store, [{"lr": 0.1, "model": {"depth": 1}}] * 3, [curve(0.5)], sweep="older234")
    store.close()
    return tmp_path


def listing(folder: Path, *words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The command in a process, after `before`."""
    program = f"import sys; sys.argv[0] = 'sweep'\n{before}\nfrom sweep.cli import main\nmain()"
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *words],
        cwd=folder, env={**os.environ, "PYTHONIOENCODING": "utf-8"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


AT_EXIT = "import atexit; atexit.register(lambda: print(*sys.modules))"


@pytest.mark.parametrize(
    "words", [("ls",), ("status", "latest"), ("runs", "latest"), ("runs", "latest", "--json")]
)
def test_a_listing_imports_nothing_that_folds_a_journal(project: Path, words: tuple[str, ...]) -> None:
    done = listing(project, *words, before=AT_EXIT)
    assert (done.returncode, done.stderr) == (0, "")
    *lines, modules = done.stdout.splitlines()
    assert "older234" in "\n".join(lines)
    loaded = set(modules.split())
    assert "sweep.core.rows" in loaded
    assert loaded.isdisjoint(
        {
            "sweep.core.entries", "sweep.core.journal", "sweep.core.evolve", "sweep.core.index", "sweep.core.samples",
            "sweep.analysis.grading", "statistics", "random",
        }
    )  # fmt: skip


def test_a_listing_that_ends_at_once_has_said_everything(project: Path) -> None:
    store = project_store(project)
    keep(store, [{"lr": 0.1, "note": "x" * 2_000}] * 300, [curve(0.5)], sweep="long2345")
    store.close()
    for how, last in (("json", "\n]\n"), ("csv", "\n")):
        done = listing(project, "runs", "long2345", "--format", how)
        assert done.returncode == 0
        assert done.stdout.count("x" * 2_000) == 300 and done.stdout.endswith(last)


def test_a_mistake_is_said_and_counts(project: Path) -> None:
    for words, said in ((("show", "nothing"), "no sweep 'nothing'"), (("nothing",), "no command 'nothing'")):
        done = listing(project, *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


def test_only_listings_do_without_the_collector(project: Path) -> None:
    told = "import atexit, gc; atexit.register(lambda: print('collects', gc.isenabled()))"
    assert listing(project, "ls", before=told).stdout.endswith("collects False\n")
    assert listing(project, "schema", before=told).stdout.endswith("collects True\n")
