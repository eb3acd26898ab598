"""`sweep agent --wandb`: what a run is given so that `import wandb` finds the stand-in, and what wandb's own agent sets.

Only runs of an agent that was asked for it get this: the stand-in hides a wandb that is installed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sweep.sdk
from sweep.agents.folders import write_atomically

FOLDER = Path(sweep.sdk.__file__).parent / "_path_wandb"
"""What is put in front of PYTHONPATH: it holds a package `wandb`, and the metadata that libraries ask for."""


def stand_in(env: dict[str, str], recorded: dict[str, str], folder: Path, config: Mapping[str, Any]) -> None:
    """Change `env`, a run's environment with its `SWEEP_*` variables, and what is recorded of it. Writes the config as wandb's
    agent does into `folder`, the run's. Raises OSError."""
    values = folder / "wandb-config.yaml"
    write_atomically(values, _as_yaml(config).encode("ascii"))
    variables = {
        "WANDB_SWEEP_ID": env["SWEEP_ID"],
        "WANDB_RUN_ID": env["SWEEP_RUN_ID"],
        "WANDB_SWEEP_PARAM_PATH": str(values),
    }
    env.update(variables)
    recorded.update(variables)
    before = env.get("PYTHONPATH")
    env["PYTHONPATH"] = in_front(before)
    inherited = bool(before) and "PYTHONPATH" not in recorded
    recorded["PYTHONPATH"] = in_front("${envvar:PYTHONPATH}" if inherited else recorded.get("PYTHONPATH"))


def in_front(path: str | None) -> str:
    """A PYTHONPATH that finds the stand-in first."""
    return f"{FOLDER}{os.pathsep}{path}" if path else str(FOLDER)


def _as_yaml(config: Mapping[str, Any]) -> str:
    """`name: {value: …}` for each parameter. JSON is YAML, but for its three words for numbers that are not finite."""
    lines = ["wandb_version: 1", ""]
    for name, value in config.items():
        lines += [f"{json.dumps(name)}:", f"  value: {_json(value)}"]
    return "\n".join(lines) + "\n"


def _json(value: Any) -> str:
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{json.dumps(str(name))}: {_json(item)}" for name, item in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value)
