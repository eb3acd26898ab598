"""The key `preload`: what must hold so that runs can be forked from a process that has imported these modules."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sweep.spec._command import python_program
from sweep.spec._models import SweepFile
from sweep.spec._problems import Path, Report, show

_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_AT_START = re.compile(r"(PYTHON|LD_|DYLD_|MALLOC_|LC_|OMP_|GOMP_|KMP_|MKL_|OPENBLAS_).*|LANG|GLIBC_TUNABLES")


def check_preload(
    file: SweepFile,
    command: tuple[str, ...],
    env: Mapping[str, str],
    rules_env: Mapping[str, Mapping[str, str]],
    report: Report,
) -> None:
    """What is wrong with `preload`, also together with other keys, into the report."""
    if not file.preload:
        return
    _check_names(file.preload, report)
    if file.determinism == "strict":
        report.error(
            ("preload",),
            "cannot be combined with `determinism: strict`: what that sets takes effect only when an interpreter starts, "
            "and forked runs share one; remove either",
        )
    if command and python_program(command) is None:
        report.error(
            ("preload",),
            "needs a command that runs a Python program in the agent's way, `[python, train.py, …]` or "
            "`[python, -m, package, …]`, because runs are forked from a Python process; change `command`, or remove this",
        )
    _check_env(env, rules_env, report)


def _check_names(names: list[str], report: Report) -> None:
    for index, name in enumerate(names):
        at: Path = ("preload", index)
        if not _MODULE.fullmatch(name):
            report.error(
                at, f"{show(name)} cannot be the name of a module; write, for example, `sklearn.linear_model`"
            )
        elif name.endswith(".py"):
            report.error(
                at,
                f"{show(name)} is a file; name modules that are installed, as `import` does, not the program itself",
            )
        elif name in names[:index]:
            report.error(at, f"{show(name)} is named twice")


def _check_env(env: Mapping[str, str], rules_env: Mapping[str, Mapping[str, str]], report: Report) -> None:
    for name in env:
        if name in _THREADS:
            report.warn(
                ("env", name),
                "is 1 while the modules of `preload` are imported; libraries get this value afterwards, as far as they can change it",
            )
    for kind, variables in rules_env.items():
        for name in variables:
            if _AT_START.fullmatch(name) and name not in _THREADS:
                report.warn(
                    ("retry", kind, "env", name),
                    "takes effect only when an interpreter starts: such attempts are not forked, but started the ordinary way",
                )
