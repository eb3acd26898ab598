"""What stands beside the program, or does not: a file that hides this package from it, since Python looks there before
anywhere else, and the program itself."""

from __future__ import annotations

from pathlib import Path

from sweep.core.spec import SweepSpec

_NAMES = ("sweep/__init__.py", "sweep.py", "sweep.pyc")


def shadow(spec: SweepSpec, workdir: Path) -> Path | None:
    """What a run's Python would import as `sweep` instead of this package, None when there is nothing such. `workdir`: where
    runs start. The folders looked at: that of each script in the command, and `workdir` itself for `python -m`."""
    folders: dict[Path, None] = {}
    for word in (spec.program, *spec.command):
        if word and word.endswith(".py") and "${" not in word:
            folders[(workdir / word).parent] = None
    if "-m" in spec.command or "-c" in spec.command:
        folders[workdir] = None
    for folder in folders:
        for name in _NAMES:
            if is_file(folder / name):
                return folder / name
    return None


def missing_program_warning(spec: SweepSpec, workdir: Path) -> str | None:
    """In words for a person, that the program is not there; it may still come."""
    if spec.program is None or "${program}" not in spec.command or _exists(workdir / spec.program):
        return None
    return f"there is no file {workdir / spec.program} yet, which the spec names as its program"


def shadow_warning(spec: SweepSpec, workdir: Path) -> str | None:
    """What `shadow` finds, in words for a person."""
    found = shadow(spec, workdir)
    if found is None:
        return None
    what = found.parent if found.name == "__init__.py" else found
    return (
        f"{what} stands beside the program, so `import sweep` gives the program that file and not the package sweep; "
        "rename it if the program means the package"
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):
        return True  # it cannot be known


def is_file(path: Path) -> bool:
    """Whether it is one; not where its name is too long or cannot be one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
