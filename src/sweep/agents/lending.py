"""Lending the SDK to runs of another Python: `import sweep` works there as well, without an installation.

Where the run uses the agent's own environment nothing is done, since every entry of PYTHONPATH costs each import a little.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import sweep.sdk

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
    words = [word for word in argv if "=" not in word.partition("/")[0]]
    if words and words[0] in ("/usr/bin/env", "env"):
        words = words[1:]
    found = shutil.which(words[0], path=path) if words else None
    return found is not None and Path(found).parent == Path(sys.executable).parent
