"""The environment and the command line that a run is started with."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from sweep.agents.folders import RunFolder
from sweep.core import entries as e
from sweep.core.names import run_id
from sweep.core.spec import Determinism
from sweep.provenance.variables import launcher_env, with_strict_flags

_BIN = Path(sys.executable).parent
_ENVVAR = re.compile(r"\$\{envvar:([A-Za-z_][A-Za-z0-9_]*)\}")


class MissingVariable(Exception):
    """The spec names an environment variable that this node does not have."""


def run_variables(
    sweep: str,
    agent: str,
    assignment: e.RunAssigned,
    folder: RunFolder,
    socket: str,
    determinism: Determinism,
) -> dict[str, str]:
    """The `SWEEP_*` variables of one attempt (docs/reference/protocol.md)."""
    last_error = {"SWEEP_LAST_ERROR": assignment.after} if assignment.after else {}
    return {
        **last_error,
        "SWEEP_ID": sweep,
        "SWEEP_RUN_ID": run_id(sweep, assignment.run),
        "SWEEP_ATTEMPT": str(assignment.attempt),
        "SWEEP_TRIAL": str(assignment.trial),
        "SWEEP_REPLICATE": str(assignment.replicate),
        "SWEEP_SEED": str(assignment.seed),
        "SWEEP_DETERMINISM": determinism,
        "SWEEP_CONFIG": folder.config_file,
        "SWEEP_RUN_DIR": folder.path,
        "SWEEP_CHECKPOINT_DIR": folder.checkpoint,
        "SWEEP_SOCKET": socket,
        "SWEEP_AGENT": agent,
    }


def environment(
    spec_env: Mapping[str, str],
    inherited: Mapping[str, str],
    variables: Mapping[str, str],
    gpu_variables: Mapping[str, str],
    seed: int,
    cpus: float | None,
    level: Determinism = "seeded",
) -> tuple[dict[str, str], dict[str, str]]:
    """(what the process gets, what of it sweep set and may record).

    The spec's own `env` wins over what the launcher sets, and so do variables of the agent's, except at the level `strict`;
    the pins to GPUs win over everything. Raises MissingVariable.
    """
    if level == "strict":
        spec_env = with_strict_flags(spec_env)
    path = f"{inherited.get('PATH', os.defpath)}{os.pathsep}{_BIN}"  # `sweep log` is found there
    own = {"PATH": path} | {key: _expand(value, inherited) for key, value in spec_env.items()}
    base = {key: value for key, value in inherited.items() if not key.startswith("SWEEP_")}
    launcher = launcher_env(seed, cpus, own if level == "strict" else {**base, **own}, level)
    recorded = {**launcher, **spec_env, **gpu_variables, **variables}
    return {**base, **launcher, **own, **gpu_variables, **variables}, recorded


def _expand(value: str, inherited: Mapping[str, str]) -> str:
    def look_up(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in inherited:
            raise MissingVariable(
                f"env: the variable {name}, named by ${{envvar:{name}}}, is not set on this node"
            )
        return inherited[name]

    return _ENVVAR.sub(look_up, value)
