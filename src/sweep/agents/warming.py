"""Whether a run can be forked from a warm process, and what that process is started with.

Rule of this file: what takes effect only when an interpreter starts must be the same for the warm process and for the run;
else the run is started the ordinary way. Everything else is the child's own: arguments, folder, all other variables.
"""

from __future__ import annotations

import hashlib
import marshal
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from sweep.agents.warm_server import FORMAT, THREADS
from sweep.core.spec import SweepSpec
from sweep.spec import python_program

AT_START = (
    "PYTHON*",
    "LD_*",
    "DYLD_*",
    "MALLOC_*",
    "GLIBC_TUNABLES",
    "LANG",
    "LC_*",
    "OMP_*",
    "GOMP_*",
    "KMP_*",
    "MKL_*",
    "OPENBLAS_*",
)
"""Variables that an interpreter or a library looks at once, when it starts."""
_CHANNEL_FD = 3


class WarmStart(msgspec.Struct, frozen=True):
    """How a warm process is started. `key`: the same key, the same process."""

    key: bytes
    argv: list[str]
    env: dict[str, str]
    cwd: str
    setup: bytes
    """Its first packet (`sweep.agents.warm_server`)."""

    def environ(self) -> set[bytes]:
        """The `NAME=value` strings that it is started with."""
        return {os.fsencode(f"{name}={value}") for name, value in self.env.items()}

    def message(self) -> tuple[bytes, list[bytes], dict[bytes, bytes], bytes, bytes]:
        """Its parts as the guard is told them."""
        env = {os.fsencode(name): os.fsencode(value) for name, value in self.env.items()}
        words = [os.fsencode(word) for word in self.argv]
        return self.key, words, env, os.fsencode(self.cwd), self.setup


def supported() -> bool:
    """Whether this system has what a warm process needs."""
    return sys.platform.startswith("linux")


class Warming:
    """The warm process of one sweep on this node."""

    def __init__(self, agent: str, spec: SweepSpec, code: int = 0) -> None:
        """`code`: another number, another process, as it has imported what the code was."""
        self.agent, self.spec, self._code = agent, spec, code
        self._start: WarmStart | None = None

    def start_for(
        self, argv: Sequence[str], env: Mapping[str, str], workdir: Path, pins: Iterable[str]
    ) -> WarmStart | None:
        """What to fork this run from; None when it must be started the ordinary way. `pins`: variables of its slot."""
        found = python_program(argv)
        if found is None or not supported():
            return None
        if not found.is_module and not _is_script(workdir / argv[found.at]):
            return None  # Python itself says best what is wrong with it
        own = {"SWEEP_AGENT": self.agent}
        shared = {name: value for name, value in env.items() if not _is_the_runs(name, pins)}
        start = self._make(argv, found.begin, found.at, found.is_module, {**shared, **own}, workdir)
        if self._start is None:
            self._start = start
        return self._start if self._start.key == start.key else None

    def _make(
        self, argv: Sequence[str], begin: int, at: int, is_module: bool, env: dict[str, str], workdir: Path
    ) -> WarmStart:
        folder = str(Path(__file__).parent)
        code = f"import sys; sys.path.append({folder!r}); import warm_server; warm_server.main({_CHANNEL_FD})"
        flags = argv[begin : at - 1 if is_module else at]
        program = None if is_module else os.fsencode(argv[at])
        setup = marshal.dumps((list(self.spec.preload), begin, at, program), FORMAT)
        fixed = sorted((name, value) for name, value in env.items() if is_at_start(name))
        named = repr((list(flags), fixed, str(workdir), setup, self._code)).encode("utf-8", "surrogateescape")
        key = hashlib.blake2b(named, digest_size=16).digest()
        return WarmStart(key, [*flags, "-c", code], env, str(workdir), setup)


def is_at_start(name: str) -> bool:
    """Whether a variable takes effect only when an interpreter or a library starts."""
    return any(fnmatchcase(name, pattern) for pattern in AT_START) and name not in THREADS


def _is_the_runs(name: str, pins: Iterable[str]) -> bool:
    of_run = name.startswith("SWEEP_") or name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
    return of_run or name in THREADS or name in pins


def _is_script(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".pyc", ".pyz", ".zip")
