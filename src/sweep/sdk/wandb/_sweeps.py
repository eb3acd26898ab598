"""`wandb.sweep` and `wandb.agent(function=)`: a script that makes its own sweep uses the Python API of sweep.

That needs the whole package, which is not there in every Python that can run a training: the errors say so.
"""

from __future__ import annotations

import os
import sys

from sweep.sdk.wandb._errors import UsageError
from sweep.sdk.wandb._say import nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def sweep(
    sweep: Any,
    entity: str | None = None,
    project: str | None = None,
    prior_runs: list[str] | None = None,
) -> str:
    """Record a sweep, given as a dict, a function that returns one, or the path of a file; its ID."""
    if prior_runs:
        nothing("wandb.sweep(prior_runs=…)")
    spec = sweep() if callable(sweep) else sweep
    if isinstance(spec, dict):
        spec = dict(spec)
        for name, value in (("project", project), ("entity", entity)):
            if value:
                spec.setdefault(name, value)
    found: str = _api("create")(spec)
    return found


def agent(
    sweep_id: str,
    function: Callable[[], object] | None = None,
    entity: str | None = None,
    project: str | None = None,
    count: int | None = None,
    forward_signals: bool = False,
    term_timeout: int | None = None,
    max_consecutive_failed_runs: int | None = None,
) -> None:
    """Work a sweep off here: `function` once for each run, or the sweep's program. `entity/project/ID` is its last part."""
    sweep_id = sweep_id.rsplit("/", 1)[-1]
    if function is not None:
        _api("agent")(sweep_id, function, count=count)
        return
    import subprocess

    words = [sys.executable, "-m", "sweep", "agent", sweep_id, "--wandb"]
    subprocess.run(
        [*words, "--count", str(count)] if count else words, env=_without_the_stand_in(), check=False
    )


def _without_the_stand_in() -> dict[str, str]:
    """The environment without this package on the path: the agent puts it there for the runs."""
    folder = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "_path_wandb"))
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != folder]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def _api(name: str) -> Any:
    """A function of the package `sweep`. Raises UsageError where only its training side is there."""
    folder = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
    ours = [os.path.dirname(folder)]
    found = sys.modules.get("sweep")
    try:
        if found is None or folder not in getattr(found, "__path__", ()):
            return _from_elsewhere(name, ours, found)
        return getattr(found, name)
    except (ImportError, AttributeError) as error:
        raise UsageError(
            f"wandb.{'sweep' if name == 'create' else 'agent'} needs the package sweep in this Python ({sys.executable}): "
            f"{error}. Run the script with `sweep wandb SCRIPT`, or write a sweep.yaml and use `sweep agent --wandb`"
        ) from None


def _from_elsewhere(name: str, path: list[str], other: Any) -> Any:
    """The function when a module of the script's is called `sweep`, or the package was not imported by its name."""
    sys.modules.pop("sweep", None)
    sys.path[:0] = path
    try:
        module = __import__("sweep", None, None, (name,))
        for known, loaded in list(
            sys.modules.items()
        ):  # loaded under another object of that name: `import sweep.sdk` asks for it
            if known.startswith("sweep.") and known.count(".") == 1 and loaded is not None:
                module.__dict__.setdefault(known[6:], loaded)
        function = getattr(module, name)
    finally:
        for part in path:
            sys.path.remove(part)
    if other is not None:
        return _with_ours(function, module, other)
    return function


def _with_ours(function: Callable[..., Any], ours: Any, theirs: Any) -> Callable[..., Any]:
    """`function`, run while `sweep` means the package; the script's own module has its name again afterwards."""

    def call(*args: Any, **kwargs: Any) -> Any:
        sys.modules["sweep"] = ours
        try:
            return function(*args, **kwargs)
        finally:
            sys.modules["sweep"] = theirs

    sys.modules["sweep"] = theirs
    return call
