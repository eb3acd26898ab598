"""Everything a run needs before its process exists: folder, config file, command line, environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sweep.agents.code import Code
from sweep.agents.environment import environment, run_variables
from sweep.agents.folders import RunFolder, tail
from sweep.agents.functions import Function, name_of
from sweep.agents.gpus import Slot, visible_env
from sweep.agents.guardian import Guardian, WarmGone
from sweep.agents.lending import lend_sdk
from sweep.agents.place import Place
from sweep.agents.standing_in import stand_in
from sweep.agents.warming import Warming, WarmStart
from sweep.core import entries as e
from sweep.core.names import run_id
from sweep.core.retries import rule_of
from sweep.core.secrets import REDACTED
from sweep.core.spec import FUNCTION, Determinism, SweepSpec
from sweep.provenance import known_secrets
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
    folder: str
    output: str
    unsent: str
    """Rows that the run could not send are in this file."""
    warm: WarmStart | None = None
    """What the process is forked from; None: it is started the ordinary way."""


class Launcher:
    """Prepares the attempts of one sweep on this node."""

    def __init__(
        self,
        sweep: str,
        spec: SweepSpec,
        root: Path,
        workdir: Path,
        inherited: Mapping[str, str],
        wandb: bool = False,
        function: Function | None = None,
    ) -> None:
        """`root`: the folder under which run folders are made; `workdir`: where runs start; `wandb`: `import wandb` finds
        the stand-in there. `function`: runs call it, and the spec's program and command are left
        alone."""
        self.wandb, self.function = wandb, function
        self.sweep, self.spec, self.root, self.workdir = sweep, spec, root, workdir
        self.inherited = dict(inherited)  # `os.environ` decodes every name anew each time
        self.code: Code | None = None
        """What watches the code in `workdir`; None where nobody does."""
        self._warming: Warming | None = None
        self._moved = 0

    def move(self, place: Place) -> None:
        """The code is another one from now on, and maybe elsewhere: no process that has imported what was there before is used any more."""
        self.workdir, self._warming = place.workdir, None
        self._moved += 1

    def run_id(self, run: int) -> str:
        """The run's name as its program sees it."""
        return run_id(self.sweep, run)

    def prepare(self, agent: str, assignment: e.RunAssigned, slot: Slot, socket: str) -> Prepared:
        """Make the folder, write the config, put together command and environment. Raises OSError, MissingVariable."""
        if not os.path.isdir(self.workdir):  # noqa: PTH112 - before every run
            raise FileNotFoundError(
                f"the folder that runs start in does not exist on this node: {self.workdir}"
            )
        folder = RunFolder(self.root, self.sweep, assignment.run)
        folder.create(assignment.config)
        variables = run_variables(self.sweep, agent, assignment, folder, socket, self._inside())
        rule = rule_of(self.spec.retry, assignment.after)
        env, recorded = environment(
            {**self.spec.env, **rule.env},
            self.inherited,
            variables,
            visible_env(slot.gpus),
            self._hash_seed(assignment),
            self._cpus(slot),
            "off" if self.function is not None else self.spec.determinism,
        )
        argv = recorded_argv = self._command(assignment, env, folder)
        if any("${envvar:" in item for item in self.spec.command):
            recorded_argv = self._command(assignment, _Unexpanded(), folder)
        if self.function is None:
            lend_sdk(argv, env, recorded)
        if self.wandb:
            stand_in(env, recorded, Path(folder.path), assignment.config)
        return Prepared(
            argv,
            recorded_argv,
            env,
            recorded,
            self.workdir,
            folder.path,
            folder.output(assignment.attempt),
            folder.unsent(assignment.attempt),
            self._warm_start(agent, argv, env, slot),
        )

    def _command(self, assignment: e.RunAssigned, environ: Mapping[str, str], folder: RunFolder) -> list[str]:
        if self.function is not None:
            return [FUNCTION, name_of(self.function)]
        return expand_command(
            self.spec,
            assignment.config,
            interpreter=sys.executable,
            environ=environ,
            config_file=folder.config_file,
        )

    def _inside(self) -> Determinism:
        """What a run's process does about chance. Programs for wandb expect that `init` leaves their generators alone."""
        level = self.spec.determinism
        return "off" if self.wandb and level == "seeded" else level

    def _cpus(self, slot: Slot) -> float | None:
        """How many CPUs count for the number of threads: under `strict` not how many this node happens to have."""
        return self.spec.resources.cpus if self.spec.determinism == "strict" else slot.cpus

    def _hash_seed(self, assignment: e.RunAssigned) -> int:
        """All runs that are forked from one interpreter have its hash seed."""
        return self.spec.seed if self.spec.preload else assignment.seed

    def _warm_start(
        self, agent: str, argv: list[str], env: Mapping[str, str], slot: Slot
    ) -> WarmStart | None:
        if not self.spec.preload or self.function is not None:
            return None
        warming = self._warming
        if warming is None or warming.spec is not self.spec or warming.agent != agent:
            warming = self._warming = Warming(agent, self.spec, self._moved)
        return warming.start_for(argv, env, self.workdir, visible_env(slot.gpus))

    def guardian(self) -> Guardian:
        """A guard for these runs, not started yet."""
        return Guardian(self.spec.limits.kill_after_s, self.function)

    def about_warm(self, event: WarmGone) -> str:
        """For a person: what became of the warm process."""
        then = "another takes its place" if event.again else "runs start the ordinary way"
        if self.function is not None:
            return f"{name_of(self.function)} cannot be called any more: {event.problem}"
        return f"preload: {event.problem}; {then}"

    def output_end(self, prepared: Prepared, max_bytes: int) -> str:
        """The last so many bytes of an attempt's output, in whole lines fit for a terminal."""
        return tail(prepared.output, max_bytes, max_bytes)

    def tail(self, prepared: Prepared, lines: int) -> str:
        """The last lines of an attempt's output, fit for a terminal."""
        found = tail(prepared.output, lines)
        for value in known_secrets(prepared.env) if found else ():
            found = found.replace(value, REDACTED)
        return found
