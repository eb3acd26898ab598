"""`sweep launch --slurm` against an `sbatch` that really runs the script, as Slurm would: each job of the array by its first line,
with SIGUSR1 to the batch shell before the end."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys

import pytest

from tests.integration.conftest import Project

# Slurm reads the #SBATCH lines, starts each job of the array on its own, and gives back the terminal at once.
SBATCH = """#!{python}
import os, re, subprocess, sys
script = sys.argv[-1]
text = open(script).read()
options = dict(re.findall(r"^#SBATCH (--[a-z-]+)[= ](.+)$", text, re.M))
first, last = map(int, options["--array"].split("-"))
with open("submitted.txt", "a") as file:
    file.write(repr((sys.argv, options)) + "\\n")
for task in range(first, last + 1):
    output = options["--output"].replace("%A", "77").replace("%a", str(task))
    env = dict(os.environ, SLURM_ARRAY_TASK_ID=str(task), SLURM_JOB_ID=str(76 + task))
    with open(output, "wb") as log:
        job = subprocess.Popen([script if os.access(script, os.X_OK) else "/bin/bash", script], env=env, stdin=subprocess.DEVNULL,
                               stdout=log, stderr=log, start_new_session=True)
    with open("jobs.txt", "a") as file:
        file.write(f"{{job.pid}}\\n")
print("Submitted batch job 77")
"""
TRAIN = "import sweep, time\nrun = sweep.init()\nrun.log({'loss': run.config.x})\ntime.sleep(run.config.s)\n"
SPEC = (
    "program: train.py\nmethod: grid\nmetric: {name: loss}\nlimits: {kill_after: 5s}\n"
    "parameters: {x: {min: 1, max: %d}, s: {value: %g}}\n"
)
HERE = socket.gethostname()


@pytest.fixture
def slurm(project: Project) -> Project:
    """A project on a machine with Slurm."""
    sbatch = project.write("bin/sbatch", SBATCH.format(python=sys.executable))
    sbatch.chmod(0o755)
    project.env["PATH"] = f"{sbatch.parent}:{project.env['PATH']}"
    project.write("train.py", TRAIN)
    return project


def jobs(project: Project) -> list[int]:
    path = project.folder / "jobs.txt"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_an_array_of_jobs_works_the_sweep_off(slurm: Project) -> None:
    slurm.write("sweep.yaml", SPEC % (6, 0.1))
    sweep = slurm.create()
    said = slurm.sweep("launch", sweep, "--slurm", "--array", "2", "--", f"--nodelist={HERE}", "-p", "debug")
    assert said == "Submitted batch job 77\n"
    slurm.wait_for(lambda: slurm.status(sweep).state == "ended")
    assert slurm.status(sweep).counts == {"completed": 6}
    agents = slurm.json("agents", sweep, "--all")
    pids = {agent["pid"] for agent in agents}
    assert pids <= set(jobs(slurm))  # the agent is the batch shell itself: Slurm's signals reach it
    options = (slurm.folder / "submitted.txt").read_text()
    assert "'--array': '1-2'" in options
    assert "'--signal': 'B:USR1@65'" in options
    assert list(slurm.folder.glob(".sweep/agents/slurm-77_*.log"))


def test_the_script(slurm: Project) -> None:
    slurm.write("sweep.yaml", SPEC % (6, 0.1) + "resources: {gpus: 0.5, cpus: 3}\n")
    sweep = slurm.create()
    store = f"sqlite:///{slurm.folder}/.sweep/store.db"
    done = slurm.run(
        "launch", sweep, "--slurm", "--array", "4", "--dry-run", "--", "-J", "mine", "--time=1:00:00"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "#SBATCH --array=1-4" in lines
    assert "#SBATCH --cpus-per-task=3" in lines
    assert "#SBATCH --gpus-per-node=1" in lines
    assert "#SBATCH -J mine" in lines
    assert "#SBATCH --time=1:00:00" in lines
    assert not any("--job-name" in line for line in lines)  # the person's own wins
    assert re.fullmatch(rf"exec \S+ -P -m sweep agent {sweep}", lines[-1])
    assert store not in done.stdout  # it may hold a password, and goes through the environment
    assert jobs(slurm) == []
    assert "a file of this machine" in done.stderr


def test_a_job_that_is_told_of_its_time_limit(slurm: Project) -> None:
    """What the agent does with SIGUSR1 is the agent's affair; here: it is who gets it, and nothing of the job is left."""
    slurm.write("sweep.yaml", SPEC % (2, 60))
    sweep = slurm.create()
    slurm.sweep("launch", sweep, "--slurm", "--", "-w", HERE)
    slurm.wait_running(sweep)
    [job] = jobs(slurm)
    assert [agent["pid"] for agent in slurm.json("agents", sweep)] == [job]
    os.kill(job, signal.SIGUSR1)
    slurm.wait_for(lambda: not slurm.processes(""))
    slurm.sweep("cancel", sweep)


def test_mistakes(slurm: Project) -> None:
    slurm.write("sweep.yaml", SPEC % (2, 0.1))
    sweep = slurm.create()
    told = slurm.mistake("launch", sweep, "--slurm")
    assert "sweep store serve" in told
    assert f"--nodelist={HERE}" in told
    assert "exclude each other" in slurm.mistake("launch", sweep, "--slurm", "--ray", "auto")
    assert "are for sbatch" in slurm.mistake("launch", sweep, "--", "--time=1")
    assert "--dry-run" in slurm.mistake("launch", sweep, "--dry-run")
    slurm.write("bin/sbatch", "#!/bin/sh\necho 'sbatch: error: invalid partition specified: x' >&2\nexit 1\n")
    told = slurm.mistake("launch", sweep, "--slurm", "--", f"-w{HERE}", "-p", "x")
    assert "sbatch refused the script" in told
    assert "invalid partition" in told
    assert "there is no sbatch" in slurm.mistake(
        "launch", sweep, "--slurm", "--", "-w", HERE, PATH="/usr/bin:/bin"
    )


def test_agents_of_a_launch_are_told_to_avoid_busy_gpus(slurm: Project) -> None:
    slurm.write("sweep.yaml", SPEC % (2, 0))
    sweep = slurm.create()
    script = slurm.sweep("launch", sweep, "--slurm", "--dry-run", "--avoid-busy", "--wandb")
    assert re.search(rf"-m sweep agent {sweep} .*--wandb --avoid-busy$", script, re.M), script
