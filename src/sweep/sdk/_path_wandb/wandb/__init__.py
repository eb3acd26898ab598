"""What a run of `sweep agent --wandb` imports as `wandb`. Its folder is put on the run's path; the code is in `sweep.sdk.wandb`.

Rule of this file: it finds that code beside itself, in any Python, also where no package `sweep` is installed and where the
script has a module of its own that is called so.
"""

# ruff: noqa: PTH100, PTH120
# pathlib: what a training imports is kept small.

from __future__ import annotations

import sys as _sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _load() -> Any:
    """The module `sweep.sdk.wandb._names`."""
    names = _sys.modules.get("sweep.sdk.wandb._names")
    if names is not None:
        return names
    from os.path import abspath, dirname

    folder = dirname(dirname(dirname(dirname(abspath(__file__)))))
    if "sweep.sdk" in _sys.modules:  # perhaps of another installation: a process has one SDK
        path = _sys.modules["sweep.sdk"].__path__
        if folder + "/sdk" not in path:
            path.append(folder + "/sdk")
        return _import()
    return _import() if _is_found_by_name(folder) else _import_beside(folder)


def _is_found_by_name(folder: str) -> bool:
    """Whether `import sweep` gives the package in `folder`."""
    if "sweep" in _sys.modules:
        return folder in getattr(_sys.modules["sweep"], "__path__", ())
    for finder in _sys.meta_path:  # as `import` asks them
        spec = finder.find_spec("sweep", None)
        if spec is not None:
            return spec.origin == folder + "/__init__.py"
    return False


def _import_beside(folder: str) -> Any:
    """Import from `folder`. What `import sweep` means to others does not change."""
    from importlib.util import module_from_spec, spec_from_file_location

    before = _sys.modules.get("sweep")
    spec = spec_from_file_location("sweep", folder + "/__init__.py", submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        raise ImportError(f"sweep's stand-in for wandb is not complete: {folder}/__init__.py")
    _sys.modules["sweep"] = ours = module_from_spec(spec)
    try:
        spec.loader.exec_module(ours)
        __import__("sweep.sdk._run")  # what asks for `sweep` itself, while that is ours
        return _import()
    finally:
        if before is None:
            del _sys.modules["sweep"]
        else:
            _sys.modules["sweep"] = before


def _import() -> Any:
    return __import__("sweep.sdk.wandb._names", None, None, ("attribute",))


_names = _load()
__import__("sweep.sdk.wandb._modules", None, None, ("install",)).install()
__version__: str = _names.VERSION
__all__ = [
    "Api",
    "Artifact",
    "Audio",
    "Histogram",
    "Html",
    "Image",
    "Molecule",
    "Object3D",
    "Plotly",
    "Run",
    "Settings",
    "Table",
    "Video",
    "agent",
    "alert",
    "config",
    "define_metric",
    "finish",
    "init",
    "log",
    "log_artifact",
    "login",
    "plot_table",
    "save",
    "summary",
    "sweep",
    "unwatch",
    "use_artifact",
    "watch",
]


def __getattr__(name: str) -> Any:
    value = _names.attribute(name)
    if _names.lasting(name):
        globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(_names.public())
