"""Completing a command line: the answers, what they cost, and real shells that ask."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import sweep.cli._words as words_file
from kept import curve, keep, project_store
from sweep.cli.answering import FILES, answer
from sweep.cli.completion import SHELLS, words_module

CONFIG = {"lr": 0.1, "model": {"depth": 1}}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two sweeps, of 12 runs and of one, and a program `sweep` in bin/."""
    folder = tmp_path / "a project"
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "sweep"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m sweep "$@"\n')
    program.chmod(0o755)
    store = project_store(folder)
    keep(store, [CONFIG] * 12, [curve(0.5)], sweep="older234")
    keep(store, [CONFIG], sweep="newer567")
    store.close()
    monkeypatch.chdir(folder)
    return folder


def values(*words: str, **environ: str) -> list[str]:
    return [value for value, _ in answer(words, environ)]


def test_the_committed_table_is_current() -> None:
    text = Path(words_file.__file__).read_text(encoding="utf-8")
    assert text == words_module(), "run: python -m sweep.cli.completion > src/sweep/cli/_words.py"


def test_commands_come_with_their_help(project: Path) -> None:
    assert ("plot", "Draw a sweep: importance, curves, best so far, slices.") in answer(["pl"], {})
    assert {"ls", "runs", "show", "agent"} <= set(values(""))
    assert values("--ver") == ["--version"]
    assert values("nonsense", "") == []
    assert values() == values("")


def test_options_and_their_values(project: Path) -> None:
    assert "--format" in values("runs", "--")
    assert "--format" not in values("runs", "")
    assert values("runs", "latest", "--format", "c") == ["csv"]
    assert values("runs", "latest", "--format=c") == ["--format=csv"]
    assert values("runs", "latest", "--filter", "") == []
    assert values("runs", "--json", "new") == ["newer567"], "a flag takes no value"
    assert values("agent", "--gpus", "") == ["none"]
    assert values("create", "") == [FILES]
    assert values("runs", "latest", "--out", "x") == [FILES]


def test_ids_and_runs(project: Path) -> None:
    assert values("plot", "") == ["latest", "newer567", "older234"]
    assert values("plot", "old") == ["older234"]
    assert values("plot", "old", "") == [], "it takes one sweep"
    assert values("show", "") == ["best", "latest-", "newer567-", "older234-"]
    assert values("show", "older234-1") == ["older234-1", "older234-10", "older234-11"]
    assert values("show", "latest-") == ["latest-0", "latest-best"]
    assert values("show", "unknown-") == []
    assert values("compare", "older234-3", "older234-b") == ["older234-best"]
    assert values("compare", "b") == ["best"]
    assert values("tag", "new") == ["newer567"]
    assert values("tag", "newer567-") == ["newer567-0"]
    assert values("plot", "--", "old") == ["older234"]


def test_bash_splits_at_equals_signs() -> None:
    bash = {"_SWEEP_COMPLETE": "bash"}
    assert values("runs", "latest", "--format", "=", "pa", **bash) == ["parquet"]
    assert "csv" in values("runs", "latest", "--format", "=", **bash)


def test_another_store(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = str(project / ".sweep" / "store.db")
    assert values("plot", "") == []
    assert "older234" in values("plot", "", SWEEP_STORE=file)
    assert "older234" in values("plot", "--store", f"sqlite:///{file}", "")
    assert "older234" in values("plot", f"--store={file}", "")
    assert values("plot", "", SWEEP_STORE="memory:") == []
    assert not (tmp_path / ".sweep").exists()


def ask(folder: Path, *words: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """What a shell gets that asks in `folder`."""
    program = f"import sys; sys.argv[0] = 'sweep'\nfrom sweep.cli import main\nmain()\n{code}"
    return subprocess.run(
        [sys.executable, "-P", "-c", program, *words],
        cwd=folder, env={**os.environ, "_SWEEP_COMPLETE": "zsh"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip


def test_an_answer_imports_next_to_nothing(project: Path) -> None:
    done = ask(project, "plot", "", code="print(*sys.modules)")
    lines = done.stdout.splitlines()
    assert lines[:3] == ["latest\tsweep newer567", "newer567", "older234"]
    loaded = {name.partition(".")[0] for name in lines[-1].split()}
    assert loaded.isdisjoint(
        {"click", "msgspec", "yaml", "typing", "pydantic", "numpy", "importlib_metadata"}
    )
    ours = {name for name in lines[-1].split() if name.startswith("sweep.")}
    assert ours - {"sweep.cli.interrupts"} == {
        "sweep.cli", "sweep.cli.answering", "sweep.cli._words", "sweep.stores", "sweep.stores._place", "sweep.stores._glance",
    }  # fmt: skip


def test_nothing_is_made_and_nothing_is_said(project: Path, tmp_path: Path) -> None:
    assert ask(tmp_path, "plot", "").stdout == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a project"]
    before = sorted((project / ".sweep").iterdir())
    ask(project, "show", "older234-")
    assert sorted((project / ".sweep").iterdir()) == before


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100, b"SQLite format 3\0" + bytes(4000)])
def test_a_broken_store_answers_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".sweep").mkdir()
    file = tmp_path / ".sweep" / "store.db"
    file.write_bytes(content)
    done = ask(tmp_path, "show", "")
    assert (done.stdout, done.stderr) == ("", "")
    assert file.read_bytes() == content


def test_a_store_of_somebody_else_answers_nothing(tmp_path: Path) -> None:
    (tmp_path / ".sweep").mkdir()
    db = sqlite3.connect(tmp_path / ".sweep" / "store.db")
    db.execute("CREATE TABLE sweep (number, name)")
    db.execute("INSERT INTO sweep VALUES (1, 'theirs')")
    db.commit()
    db.close()
    assert ask(tmp_path, "plot", "").stdout == ""


def test_a_locked_store_is_not_waited_for(project: Path) -> None:
    db = sqlite3.connect(project / ".sweep" / "store.db", isolation_level=None)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("BEGIN EXCLUSIVE")
    try:
        done = ask(project, "plot", "")
        assert done.stderr == ""
    finally:
        db.close()


# --- real shells


def shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


@pytest.mark.parametrize("name", SHELLS)
def test_the_script_says_how_to_install_it(name: str, project: Path) -> None:
    done = subprocess.run(
        ["bin/sweep", "completion", name], capture_output=True, text=True, timeout=60, check=True
    )
    head = done.stdout.splitlines()[:4]
    assert any(f"sweep completion {name}" in line and line.startswith("#") for line in head)
    path = shutil.which(name)
    if path is not None:
        checked = subprocess.run(
            [path, "-n"], input=done.stdout, capture_output=True, text=True, timeout=60, check=False
        )
        assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_asks(project: Path) -> None:
    """The function that the script defines, called as bash calls it."""
    (project / "sweep.yaml").write_text("")
    script = """
        eval "$(sweep completion bash)"
        try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sweep_complete; echo "${COMPREPLY[*]}"; }
        try sweep plo
        try sweep plot old
        try sweep runs latest --format = c
        try sweep runs latest --format =
        try sweep create swe
        try sweep nonsense ""
    """
    done = subprocess.run(
        [shell("bash"), "--norc", "-c", script],
        env={**os.environ, "PATH": f"bin:{os.environ['PATH']}"}, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["plot", "older234", "csv", "table csv json parquet", "sweep.yaml", ""]
    assert done.stderr == ""


def test_fish_asks(project: Path) -> None:
    script = (
        "sweep completion fish | source; complete -C 'sweep plot old'; complete -C 'sweep runs --format c'"
    )
    done = subprocess.run(
        [shell("fish"), "-N", "-c", script],
        env={**os.environ, "PATH": f"{project / 'bin'}:{os.environ['PATH']}", "HOME": str(project)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["older234", "csv"]


class Terminal:
    """A shell at a terminal, and somebody who types."""

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, env)
        self.said = b""

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def sees(self, text: str, within_s: float = 60.0) -> bool:
        """Wait for `text` on the screen, and forget what stood there."""
        until = time.monotonic() + within_s
        while text.encode() not in self.said:
            if time.monotonic() > until:
                return False
            if select.select([self.fd], [], [], 0.2)[0]:
                self.said += os.read(self.fd, 4096)
        self.said = b""
        return True

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, project: Path) -> Iterator[Terminal]:
    path = shell(request.param)
    argv = [path, "--norc", "-i"] if request.param == "bash" else [path, "-d", "-i"]
    env = {
        **os.environ,
        "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
        "TERM": "dumb",
        "ZDOTDIR": str(project),
    }
    found = Terminal(argv, env)
    before = "autoload -Uz compinit; compinit -u -D; " if request.param == "zsh" else ""
    found.type(f'{before}eval "$(sweep completion {request.param})"; echo re""ady\n')
    assert found.sees("ready\r\n"), found.said
    yield found
    found.close()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_tab_key_completes_commands_and_ids(terminal: Terminal) -> None:
    terminal.type("sweep plo\told\t")
    assert terminal.sees("older234"), terminal.said


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_tab_key_completes_a_sweep_and_then_its_runs(terminal: Terminal) -> None:
    terminal.type("sweep show old\t1\t\t")
    assert terminal.sees("older234-11"), terminal.said
