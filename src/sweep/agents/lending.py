"""Lending the SDK to runs of another Python: `import sweep` works there as well, without an installation.

Where the run uses the agent's own environment nothing is done, since every entry of PYTHONPATH costs each import a little.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import sweep.sdk

_PYTHON = re.compile(r"python(\d+(\.\d+)?t?)?")
FOLDER = Path(sweep.sdk.__file__).parent / "_path_sweep"
"""What is put at the end of PYTHONPATH: it holds a package `sweep` that gives way to one that is installed."""


def lend_sdk(argv: Sequence[str], env: dict[str, str], recorded: dict[str, str]) -> None:
    """Change `env`, a run's environment, and what is recorded of it, so that whatever Python `argv` starts finds the SDK."""
    if uses_own_python(argv, env.get("PATH")):
        return
    before = env.get("PYTHONPATH")
    env["PYTHONPATH"] = f"{before}{os.pathsep}{FOLDER}" if before else str(FOLDER)
    if before and "PYTHONPATH" not in recorded:
        recorded["PYTHONPATH"] = f"${{envvar:PYTHONPATH}}{os.pathsep}{FOLDER}"
    else:
        written = recorded.get("PYTHONPATH")
        recorded["PYTHONPATH"] = f"{written}{os.pathsep}{FOLDER}" if written else str(FOLDER)


def uses_own_python(argv: Sequence[str], path: str | None) -> bool:
    """Whether a command surely runs in the Python environment of this process: it names this interpreter, or a program
    that lies beside it (`python`, `torchrun`)."""
    if sys.executable in argv:
        return True
    found = _program(argv, path)
    return found is not None and found.parent == Path(sys.executable).parent


def other_python(command: Sequence[str], path: str | None) -> str | None:
    """The Python that runs of a spec's `command` have where it is not the one of this process: the one that it names, or that
    lies beside the program that it names. None also where that is not known (a shell script)."""
    argv = [{"${env}": "/usr/bin/env", "${interpreter}": sys.executable}.get(item, item) for item in command]
    if uses_own_python(argv, path) or (found := _program(argv, path)) is None:
        return None
    if _PYTHON.fullmatch(found.name):
        return str(found)
    beside = found.parent / "python"
    return str(beside) if (found.parent.parent / "pyvenv.cfg").exists() and beside.exists() else None


def _program(argv: Sequence[str], path: str | None) -> Path | None:
    words = [word for word in argv if "=" not in word.partition("/")[0]]
    if words and words[0] in ("/usr/bin/env", "env"):
        words = words[1:]
    found = shutil.which(words[0], path=path) if words else None
    return Path(found) if found is not None else None
