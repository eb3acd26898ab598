"""The environment of a run built again with uv, from the record: the same Python, the same version of every package.

The rules of this file: exactly what was recorded is installed, nothing that would be resolved today; what cannot be had is named;
an environment that was built is kept and used again for the same list.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.core.errors import SweepError
from sweep.provenance.tree import digest_bytes

ENVIRONMENTS = "environments"
PYTORCH = "https://download.pytorch.org/whl/{label}"
"""The index that has the builds of PyTorch and what belongs to it for one kind of device, as `2.9.0+cu128`."""
_LABELLED = re.compile(r"[\w.-]+==[\w.]+\+(cpu|xpu|cu\d+|rocm[\d.]+)")
_LAST_LINES = 4
_SDK = "sweep"


class CannotRebuild(SweepError):
    """The recorded environment cannot be had here; the message names what is missing."""


class NoUv(SweepError):
    """There is no uv on this machine."""


class NoRoom(SweepError):
    """The disk is full, which says nothing about the run."""


def rebuild(
    python: Mapping[str, Any],
    packages: Sequence[Mapping[str, Any]],
    sources: Mapping[str, Path],
    root: Path,
    say: Callable[[str], None],
) -> Path:
    """The Python of an environment with these packages, below `root`; built unless an earlier call has.

    `sources`: package -> where the recorded code of what was installed in place has been written. The package sweep itself is left
    out, as runs are lent its SDK. Raises CannotRebuild, NoUv, NoRoom.
    """
    version = str(python.get("version") or "").split()[0] if python.get("version") else ""
    if not version or not packages:
        raise CannotRebuild("the record of this run has no list of packages")
    wanted = [requirement(item, sources) for item in packages if item["name"] != _SDK]
    text = "".join(f"{line}\n" for line in [f"# Python {version}", *wanted])
    place = root / ENVIRONMENTS / digest_bytes(text.encode("utf-8", "surrogateescape"))[:20]
    interpreter = place / "bin" / "python"
    if (place / "complete").exists() and interpreter.exists():
        return interpreter
    uv = find_uv()
    making = place.with_name(f".making-{secrets.token_hex(6)}")
    making.mkdir(mode=0o700, parents=True)
    try:
        say(f"building an environment with Python {version} and {len(wanted)} packages in {place}")
        shutil.rmtree(place, ignore_errors=True)
        _run([uv, "venv", "--quiet", "--python", version, str(place)], f"Python {version} cannot be had")
        _install([uv, "pip", "install", "--quiet", "--no-deps", "--python", str(interpreter)], wanted, making)
        (place / "requirements.txt").write_text(text, "utf-8", "surrogateescape")
        (place / "complete").touch()
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return interpreter


def requirement(package: Mapping[str, Any], sources: Mapping[str, Path]) -> str:
    """A package of the record as a line for an installer. Raises CannotRebuild for one whose source is nowhere."""
    name, version, url = package["name"], package.get("version", ""), package.get("url", "")
    if package.get("commit"):
        return f"{name} @ git+{url}@{package['commit']}"
    if not url:
        return f"{name}=={version}"
    if name in sources:
        return f"-e {sources[name]}"
    if package.get("editable"):
        raise CannotRebuild(f"{name} was installed in place from {url}, and its code is not in the record")
    if url.startswith("file:") and not Path(url.removeprefix("file://")).exists():
        raise CannotRebuild(f"{name} {version} was installed from {url}, which is not here")
    return f"{name} @ {url}"


def _install(command: Sequence[str], wanted: Sequence[str], folder: Path) -> None:
    """Have uv install what is wanted; builds of PyTorch for a kind of device from their own index, where uv knows no other place that
    has them (which UV_INDEX and UV_FIND_LINKS can name). `folder`: for files on the way."""

    def install(lines: Sequence[str], *options: str) -> None:
        listed = folder / "requirements.txt"
        listed.write_text("".join(f"{line}\n" for line in lines), "utf-8", "surrogateescape")
        _run([*command, *options, "-r", str(listed)], "the recorded packages cannot be installed")

    labels = {line: found[1] for line in wanted if (found := _LABELLED.fullmatch(line))}
    try:
        install(wanted)
    except CannotRebuild:
        if not labels:
            raise
        install([line for line in wanted if line not in labels])
        for label in sorted(set(labels.values())):
            own = [line for line in wanted if labels.get(line) == label]
            try:
                install(own, "--default-index", PYTORCH.format(label=label))
            except CannotRebuild as error:
                raise CannotRebuild(
                    f"{error} (builds for +{label} are not on PyPI: UV_INDEX or UV_FIND_LINKS can say where they are)"
                ) from None


def find_uv() -> str:
    """Path of the program uv. Raises NoUv."""
    if importlib.util.find_spec("uv") is not None:
        from uv import find_uv_bin

        return str(find_uv_bin())
    if found := shutil.which("uv"):
        return found
    raise NoUv(
        "building an environment needs uv: pip install 'sweep[reproduce]' (or --env current, to use this one)"
    )


def _run(command: Sequence[str], failed: str) -> None:
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME")
    }
    env["UV_PYTHON_SEARCH_PATH"] = os.pathsep.join(
        [str(Path(sys.executable).resolve().parent), env.get("PATH", os.defpath)]
    )
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()][-_LAST_LINES:]
        if os.strerror(errno.ENOSPC) in done.stderr:
            raise NoRoom(f"{failed}, because a disk is full; free some space: {lines[-1]}")
        raise CannotRebuild(f"{failed}: {' '.join(lines)}")
