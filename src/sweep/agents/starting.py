"""Everything a run needs before its process exists: folder, config file, command line, environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sweep.agents.environment import environment, run_variables
from sweep.agents.folders import RunFolder, tail
from sweep.agents.gpus import Slot, visible_env
from sweep.core import entries as e
from sweep.core.names import run_id
from sweep.core.spec import SweepSpec
from sweep.spec import expand_command


class _Unexpanded(dict[str, str]):
    """Stands for an environment in which every variable is still to be looked up."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return f"${{envvar:{name}}}"


class Prepared(msgspec.Struct, frozen=True):
    """An attempt that is ready to start."""

    argv: list[str]
    recorded_argv: list[str]
    """The same with `${envvar:X}` as it was written: a variable's value may be a secret."""
    env: dict[str, str]
    recorded_env: dict[str, str]
    """What of the environment sweep set; nothing inherited, nothing secret."""
    workdir: Path
    folder: Path
    output: Path
    unsent: Path
    """Rows that the run could not send are in this file."""


class Launcher:
    """Prepares the attempts of one sweep on this node."""

    def __init__(
        self, sweep: str, spec: SweepSpec, root: Path, workdir: Path, inherited: Mapping[str, str]
    ) -> None:
        """`root`: the folder under which run folders are made; `workdir`: where runs start."""
        self.sweep, self.spec, self.root, self.workdir, self.inherited = sweep, spec, root, workdir, inherited

    def run_id(self, run: int) -> str:
        """The run's name as its program sees it."""
        return run_id(self.sweep, run)

    def prepare(self, agent: str, assignment: e.RunAssigned, slot: Slot, socket: str) -> Prepared:
        """Make the folder, write the config, put together command and environment. Raises OSError, MissingVariable."""
        if not self.workdir.is_dir():
            raise FileNotFoundError(
                f"the folder that runs start in does not exist on this node: {self.workdir}"
            )
        folder = RunFolder(self.root, self.sweep, assignment.run)
        folder.create(assignment.config)
        variables = run_variables(
            self.sweep, agent, assignment, folder.path, folder.checkpoint, folder.config_file, socket
        )
        env, recorded = environment(
            self.spec, self.inherited, variables, visible_env(slot.gpus), assignment.seed, slot.cpus
        )
        argv, recorded_argv = (
            expand_command(
                self.spec,
                assignment.config,
                interpreter=sys.executable,
                environ=variables_of,
                config_file=str(folder.config_file),
            )
            for variables_of in (env, _Unexpanded())
        )
        return Prepared(
            argv,
            recorded_argv,
            env,
            recorded,
            self.workdir,
            folder.path,
            folder.output(assignment.attempt),
            folder.unsent(assignment.attempt),
        )

    def tail(self, prepared: Prepared, lines: int) -> str:
        """The last lines of an attempt's output, fit for a terminal."""
        return tail(prepared.output, lines)
