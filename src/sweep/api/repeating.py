"""A run again, by hand: the command line to copy, and what `sweep rerun` executes.

The rules of this file: what is repeated is what was recorded, not what the spec would say today; the repetition never
reports to the recorded sweep and never touches the run's own folder; a secret is looked up when it is needed, not printed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from sweep.core.errors import SweepError
from sweep.core.names import node_name
from sweep.core.rows import Views
from sweep.core.space import Config
from sweep.core.spec import FUNCTION, calls_function
from sweep.core.views import AttemptView, RunView
from sweep.provenance import launcher_env
from sweep.spec import expand_command

_ENVVAR = re.compile(r"\$\{envvar:([A-Za-z_][A-Za-z0-9_]*)\}")
_OF_THE_AGENT = frozenset(
    """SWEEP_ID SWEEP_RUN_ID SWEEP_ATTEMPT SWEEP_TRIAL SWEEP_REPLICATE SWEEP_RUN_DIR SWEEP_CHECKPOINT_DIR SWEEP_SOCKET
    SWEEP_AGENT SWEEP_LAST_ERROR SWEEP_CONFIG SWEEP_SEED""".split()
)
_PINS = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


class CannotRepeat(SweepError):
    """A run cannot be repeated here; the message says what is missing."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """How a run was executed. `${envvar:X}` stands as it was written."""

    id: str
    workdir: str
    argv: tuple[str, ...]
    env: dict[str, str]
    """What sweep set, without what ties a run to its agent."""
    seed: int
    config: Config
    config_file: str = ""
    """The config file that the recorded command used; it may be gone."""
    variables: frozenset[str] = frozenset()
    """Names that `${envvar:X}` in `argv` stands for; the same text with another name came from the config."""


def recipe_of(views: Views, run: RunView) -> Recipe:
    """From the last attempt that was started; for a run that never was, from the spec."""
    started = next((attempt for attempt in reversed(run.attempts) if attempt.command), None)
    if started.command[0] == FUNCTION if started is not None else calls_function(views.spec):
        raise CannotRepeat(
            f"run {run.id} is a call of a Python function; repeat it from Python, with the config that `sweep show` prints"
        )
    workdir = str(views.created.record.get("workdir") or Path.cwd())
    named = {name for item in views.spec.command for name in _ENVVAR.findall(item)}
    argv, env, file = (
        (
            _expanded(views, run.config),
            {**launcher_env(run.seed, None, {}, views.spec.determinism), **views.spec.env},
            _NO_FILE,
        )
        if started is None
        else (tuple(started.command), _kept(started), started.env.get("SWEEP_CONFIG", ""))
    )
    return Recipe(
        id=run.id,
        workdir=workdir,
        argv=argv,
        env=env,
        seed=run.seed,
        config=run.config,
        config_file=file,
        variables=frozenset(named),
    )


_NO_FILE = "/nowhere/config.json"
"""Stands in a command line for a config file that has not been written."""


def _expanded(views: Views, config: Config) -> tuple[str, ...]:
    class AsWritten(dict[str, str]):
        def __contains__(self, name: object) -> bool:
            return True

        def __missing__(self, name: str) -> str:
            return f"${{envvar:{name}}}"

    return tuple(
        expand_command(
            views.spec, config, interpreter=sys.executable, environ=AsWritten(), config_file=_NO_FILE
        )
    )


def _kept(attempt: AttemptView) -> dict[str, str]:
    """Without the agent's own variables and, on another machine, without the pins to this one's GPUs."""
    elsewhere = attempt.host != node_name(os.environ, socket.gethostname()) and bool(
        attempt.env.get(_PINS[0])
    )
    return {
        name: value
        for name, value in attempt.env.items()
        if name not in _OF_THE_AGENT and not (elsewhere and name in _PINS)
    }


# --- the line to copy


def command_line(recipe: Recipe) -> str:
    """One line for a POSIX shell that does what the run did, from any folder: `cd`, variables, program. A secret is
    taken from the variable that the spec names, and the shell stops when it is not set."""
    start, config_file = f"cd {shlex.quote(recipe.workdir)}", recipe.config_file
    if not _holds(config_file, recipe.config):
        config_file = f"{recipe.workdir}/.sweep/local/{recipe.id}.json"
        start += (
            f" && mkdir -p .sweep/local && printf '%s\\n' {shlex.quote(json.dumps(recipe.config))}"
            f" > .sweep/local/{recipe.id}.json"
        )
    env = {**recipe.env, "SWEEP_SEED": str(recipe.seed), "SWEEP_CONFIG": config_file}
    words = [f"{name}={_quoted(value, None)}" for name, value in sorted(env.items())]
    words += [_quoted(item, recipe.variables) for item in _with_file(recipe, config_file)]
    return f"{start} && {' '.join(words)}"


def _holds(path: str, config: Config) -> bool:
    """Whether a config file is there and still says this."""
    try:
        return bool(json.loads(Path(path).read_text("utf-8")) == json.loads(json.dumps(config)))
    except (OSError, ValueError):
        return False


def _quoted(text: str, names: frozenset[str] | None) -> str:
    """`text` for a shell, `${envvar:X}` as the variable X (only these names; None: all)."""
    parts, end = [], 0
    for match in _ENVVAR.finditer(text):
        if names is None or match[1] in names:
            parts += [shlex.quote(text[end : match.start()])] if match.start() > end else []
            parts.append(f'"${{{match[1]}:?}}"')
            end = match.end()
    if end < len(text) or not text:
        parts.append(shlex.quote(text[end:]))
    return "".join(parts)


def _with_file(recipe: Recipe, config_file: str) -> list[str]:
    return [config_file if item and item == recipe.config_file else item for item in recipe.argv]


# --- what is executed


def check_place(recipe: Recipe) -> None:
    """Raise CannotRepeat unless the folder that the run was started in is here."""
    if not can_name(recipe.workdir):
        raise CannotRepeat(
            f"the name of the folder {recipe.workdir} means nothing in this locale; export LC_ALL=C.UTF-8"
        )
    if not Path(recipe.workdir).is_dir():
        raise CannotRepeat(f"the folder that the run was started in is not here: {recipe.workdir}")


def can_name(path: str) -> bool:
    """Whether the system can be asked for `path`: not in a locale of C, with Python's UTF-8 mode switched off, when it is no ASCII."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        return False
    return True


def executable(
    recipe: Recipe, folder: Path, environ: Mapping[str, str], extra: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """(arguments, environment) of a repetition that reports into `folder`, which is made here and gets the config.
    Raises CannotRepeat for a variable that is not set or a folder that is not there, OSError when `folder` cannot be made."""
    check_place(recipe)
    base = {name: value for name, value in environ.items() if not name.startswith("SWEEP_")}
    own = {name: _looked_up(value, None, environ) for name, value in recipe.env.items()}
    argv = [_looked_up(item, recipe.variables, environ) for item in recipe.argv]
    folder.mkdir(mode=0o700, parents=True)
    config_file = folder / "given-config.json"
    config_file.write_text(json.dumps(recipe.config) + "\n", "ascii")
    path = f"{base.get('PATH', os.defpath)}{os.pathsep}{Path(sys.executable).parent}"
    env = {**base, "PATH": path, **own, "SWEEP_SEED": str(recipe.seed)}
    env |= {"SWEEP_CONFIG": str(config_file), "SWEEP_LOCAL_DIR": str(folder)}
    changed = [
        str(config_file) if item == recipe.config_file and item else looked_up
        for item, looked_up in zip(recipe.argv, argv, strict=True)
    ]
    return [*changed, *extra], env


def named_variables(recipe: Recipe) -> frozenset[str]:
    """Names of the variables whose values the command and its environment take from wherever they are executed."""
    in_argv = {name for item in recipe.argv for name in _ENVVAR.findall(item) if name in recipe.variables}
    return frozenset(in_argv | {name for value in recipe.env.values() for name in _ENVVAR.findall(value)})


def _looked_up(text: str, names: frozenset[str] | None, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if names is not None and name not in names:
            return match[0]
        if name not in environ:
            raise CannotRepeat(f"the run used the variable {name}, which is not set here: export {name}=...")
        return environ[name]

    return _ENVVAR.sub(value, text)
