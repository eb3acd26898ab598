"""Programs that `import wandb`, run with the stand-in on their path or with the real package, for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdk_agent import FakeAgent
from sweep.agents.standing_in import FOLDER

LIMIT_S = 100


def run_python(
    program: str,
    folder: Path,
    variables: dict[str, str],
    meanwhile: Callable[[], object] = lambda: None,
    python: str = sys.executable,
) -> subprocess.CompletedProcess[str]:
    """Run a program in `folder`, with only `variables` of ours and wandb's; `meanwhile` is called again and again."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SWEEP_", "WANDB_", "PYTHON"))}
    environment.update(variables)
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [python, "-c", program], cwd=folder, env=environment, stdout=stdout, stderr=stderr
        )
        try:
            end = time.monotonic() + LIMIT_S
            while process.poll() is None:
                meanwhile()
                assert time.monotonic() < end, "the program does not end"
                time.sleep(0.002)
        finally:
            process.kill()
            process.wait()
    meanwhile()
    return subprocess.CompletedProcess(
        process.args, process.returncode, out.read_text(errors="replace"), err.read_text(errors="replace")
    )


def with_stand_in(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program that no agent started."""
    return run_python(program, folder, {"PYTHONPATH": str(FOLDER), "PYTHONWARNINGS": "error", **variables})


def under(
    agent: FakeAgent, program: str, config: Any = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a program as a run of an agent."""
    environment = agent.environment(config, PYTHONPATH=str(FOLDER), PYTHONWARNINGS="error", **variables)
    return run_python(program, agent.folder, environment, agent.read)


def with_real(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program with the real wandb, offline and with every folder of its own below `folder`."""
    own = {
        f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT")
    }
    for path in own.values():
        Path(path).mkdir(exist_ok=True)
    settings = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    return run_python(program, folder, {**own, **settings, "WANDB_DIR": str(folder), **variables})
