"""`save`, `restore` and `alert`: files in the run's folder."""

from __future__ import annotations

import os

from sweep.sdk.wandb._say import once, termlog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sweep.sdk.wandb._run import Run

_POLICIES = ("now", "live", "end")


def save(run: Run, glob_str: Any, base_path: Any, policy: str, expand: bool) -> list[str]:
    """Copy what a pattern names into `run.dir`; the copies' paths. Files that are in `run.dir` stay where they are.

    ValueError for another policy, or a file that is not below `base_path`."""
    pattern = glob_str.decode() if isinstance(glob_str, bytes) else os.fspath(glob_str)
    if policy not in _POLICIES:
        raise ValueError('Only "live", "end" and "now" policies are currently supported.')
    if pattern.startswith(("gs://", "s3://")):
        termlog(f"{pattern} is a cloud storage url, can't save file to W&B.")
        return []
    base = os.path.abspath(_base(pattern, base_path))
    copies = []
    for source in _matching(pattern, expand):
        inside = os.path.relpath(source, base)
        if inside.startswith(".."):
            raise ValueError(f"Glob may not walk above the base path: {source} is not below {base}")
        copies.append(_saved(run, source, inside, policy))
    if not copies:
        once(f"save {pattern}", f"wandb.save({pattern!r}): there is no such file")
    return copies


def _base(pattern: str, base_path: Any) -> str:
    if base_path is not None:
        return os.fspath(base_path)  # type: ignore[no-any-return]
    if not os.path.isabs(pattern):
        return "."
    return os.path.dirname(os.path.dirname(pattern))


def _matching(pattern: str, expand: bool) -> list[str]:
    found = [pattern]
    if expand:
        import glob

        found = sorted(glob.glob(pattern))
    files = []
    for path in found:
        if os.path.isdir(path):
            files += [
                os.path.join(folder, name) for folder, _, names in os.walk(path) for name in sorted(names)
            ]
        elif os.path.isfile(path):
            files.append(path)
    return [os.path.abspath(path) for path in files]


def _saved(run: Run, source: str, inside: str, policy: str) -> str:
    own = os.path.abspath(run.dir)
    if source.startswith(own + os.sep):
        return source
    target = os.path.join(own, inside)
    if policy != "end":
        _copy(source, target)
    if policy != "now":
        run._saved[source] = target
    return target


def save_again(run: Run) -> None:
    """Copy files again that were to be kept up to date and have changed."""
    for source, target in run._saved.items():
        try:
            changed = not os.path.exists(target) or os.stat(source).st_mtime_ns != os.stat(target).st_mtime_ns
        except OSError:
            continue
        if changed:
            _copy(source, target)


def _copy(source: str, target: str) -> None:
    import shutil

    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy2(source, target)
    except OSError as error:
        once(f"save {target}", f"cannot save {source}: {error.strerror or error}")


def restore(run: Run, name: str) -> Any:
    """A saved file, opened for reading. ValueError when there is none."""
    path = os.path.join(run.dir, name)
    if not os.path.isfile(path):
        raise ValueError(
            f"File {name} not found in {run.dir}: only what this run has saved there can be restored "
            "(a checkpoint belongs in SWEEP_CHECKPOINT_DIR)"
        )
    return open(path)


def alert(run: Run, title: str, text: str, level: Any) -> None:
    """Say it, and add it to `alerts.jsonl`."""
    import json
    from time import time

    name = str(getattr(level, "value", level) or "INFO")
    termlog(f"alert ({name}) {title}: {text}")
    line = json.dumps(
        {"time": time(), "step": run.step, "level": name, "title": str(title), "text": str(text)}
    )
    try:
        with open(run._record.path("alerts.jsonl"), "a", encoding="ascii") as file:
            file.write(line + "\n")
    except OSError as error:
        once("alert", f"cannot write alerts.jsonl: {error.strerror or error}")
