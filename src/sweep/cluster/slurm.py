"""The script that `sbatch` is given: an array of jobs, each of which is an agent.

The rule of this file: no secret goes into the script or onto a command line. The store's address reaches the jobs in SWEEP_STORE, which
sbatch passes on with the environment.
"""

from __future__ import annotations

import math
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep.cluster.shape import ClusterError
from sweep.core.spec import SweepSpec

NOTICE_S = 60
"""How long before its time limit a job is told, in addition to what its runs may take to end."""


def slurm_script(
    sweep: str,
    spec: SweepSpec,
    *,
    array: int,
    cwd: Path,
    logs: Path,
    python: str = sys.executable,
    options: Sequence[str] = (),
    agent_options: Sequence[str] = (),
) -> str:
    """The whole script. `options`: sbatch's, which win over those that are chosen here; `agent_options`: those of the agents."""
    chosen = {
        "--job-name": f"sweep-{sweep}",
        "--array": f"1-{array}",
        "--output": f"{logs}/slurm-%A_%a.log",
        "--signal": f"B:USR1@{math.ceil(spec.limits.kill_after_s) + NOTICE_S}",
        "--cpus-per-task": str(max(1, math.ceil(spec.resources.cpus or 1))),
        "--export": "ALL",
    }
    if spec.resources.gpus:
        chosen["--gpus-per-node"] = str(math.ceil(spec.resources.gpus))
    given = {name for option in options for name in _names(option)}
    lines = [
        f"#SBATCH {shlex.quote(f'{name}={value}')}" for name, value in chosen.items() if name not in given
    ]
    lines += [f"#SBATCH {' '.join(map(shlex.quote, group))}" for group in _grouped(options)]
    agent = shlex.join([python, "-P", "-m", "sweep", "agent", sweep, *agent_options])
    return "\n".join(
        [
            "#!/bin/bash",
            *lines,
            "",
            f"# Agents for sweep {sweep}. SIGUSR1 comes before the time limit, to the batch shell: `exec` makes that the agent, which",
            "# passes it on to its runs; they go on in another job.",
            f"cd {shlex.quote(str(cwd))} || exit 1",
            f"exec {agent}",
            "",
        ]
    )


def submit(script: Path, environ: Mapping[str, str]) -> str:
    """Hand the script to sbatch; what it answers. Raises ClusterError."""
    try:
        done = subprocess.run(
            ["sbatch", str(script)],
            env=dict(environ),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except FileNotFoundError:
        raise ClusterError(
            "there is no sbatch on this machine: type this where jobs are submitted (--dry-run prints the script)"
        ) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or f"exit code {done.returncode}"
        raise ClusterError(f"sbatch refused the script {script}: {said}")
    return done.stdout.strip()


def reaches_only_here(store_url: str, options: Sequence[str], host: str) -> str:
    """Why jobs elsewhere could not use the store, in words; empty when they can, or run on this machine alone."""
    if not store_url.startswith(("sqlite:", "memory:")):
        return ""
    nodes = _value(options, "--nodelist", "-w")
    if nodes is not None and nodes.split(".")[0] == host.split(".")[0]:
        return ""
    return (
        f"the store is in a file of this machine ({store_url.removeprefix('sqlite:///')}), which jobs on other machines cannot use. Start "
        "one that all can reach with `sweep store serve`, set SWEEP_STORE=redis://… to what it prints, and create the sweep there; where "
        f"Slurm runs on this machine alone, say so: sweep launch ID --slurm -- --nodelist={host}"
    )


_SHORT = {"-J": "--job-name", "-a": "--array", "-o": "--output", "-c": "--cpus-per-task", "-w": "--nodelist"}
_GPUS = ("--gpus", "-G", "--gres", "--gpus-per-task", "--gpus-per-node")


def _names(option: str) -> list[str]:
    """The long names of an option that stand for the same thing."""
    name = option.split("=")[0]
    if re.match(r"-[A-Za-z]", name):
        name = _SHORT.get(name[:2], name[:2])
    return ["--gpus-per-node"] if name in _GPUS else [name]


def _grouped(options: Sequence[str]) -> list[list[str]]:
    """Each option with its value, where that is an argument of its own."""
    groups: list[list[str]] = []
    for option in options:
        if option.startswith("-") or not groups:
            groups.append([option])
        else:
            groups[-1].append(option)
    return groups


def _value(options: Sequence[str], *names: str) -> str | None:
    for group in _grouped(options):
        name, equals, value = group[0].partition("=")
        if name in names:
            return value if equals else (group[1] if len(group) > 1 else None)
        if name[:2] in names and not name.startswith("--"):
            return name[2:]
    return None
