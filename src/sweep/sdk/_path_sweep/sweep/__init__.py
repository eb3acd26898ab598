"""`import sweep` in a Python that has no sweep: the agent's own SDK, and nothing else of its installation.

The agent puts the folder above at the end of the run's PYTHONPATH when the run does not use the agent's Python. This is
the last resort: where a `sweep` is installed, which stands behind PYTHONPATH on the path of modules, that one is used.

The rule of this file: every Python 3 can read it, also one that is too old for the SDK; standard library only.
"""

# ruff: noqa: PTH100, PTH120, UP031, UP036, UP037
# pathlib would cost a training program more than the SDK itself; the rest would not be read by an old Python.

import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
"""The folder on the path of modules."""
_AGENT = os.path.dirname(os.path.dirname(_FOLDER))
"""The package `sweep` of the agent."""


class _SdkFinder:
    """Finds `sweep.sdk`, and says why the rest of sweep is not here."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> "ModuleSpec | None":  # noqa: ARG004
        if name == "sweep.sdk":
            return PathFinder.find_spec(name, [_AGENT])
        if name.startswith("sweep.") and not name.startswith("sweep.sdk."):
            raise ModuleNotFoundError(
                "No module named '%s': sweep is not installed for %s; the agent lends it only what training programs "
                "need (sweep.init, sweep.log and so on)" % (name, sys.executable),
                name=name,
            )
        return None


def _installed() -> "ModuleSpec | None":
    """How to load a `sweep` that stands elsewhere on the path, None when there is none. The finders of `sys.meta_path` are
    asked, since packages that are installed in place may have one of their own; a folder without `__init__` is none."""
    path = list(sys.path)
    sys.path[:] = [folder for folder in path if os.path.abspath(folder) != _FOLDER]
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        spec: "ModuleSpec | None" = find("sweep", None) if find is not None else None
        if spec is not None and spec.loader is not None and spec.has_location:
            return spec  # this folder stays off the path: it has done its work
    sys.path[:] = path
    return None


def _lent() -> "ModuleSpec":
    """How to load the agent's `sweep`, as far as it is the SDK."""
    if sys.version_info < (3, 8):
        version = sys.version.split()[0]
        raise ImportError("sweep needs Python 3.8 or later in training programs, and this is %s" % version)
    spec = PathFinder.find_spec("sweep", [os.path.dirname(_AGENT)])
    if spec is None:
        raise ImportError("the agent's sweep is not at %s any more" % _AGENT)
    spec.submodule_search_locations = []
    sys.meta_path.append(_SdkFinder)
    return spec


def _become(spec: "ModuleSpec") -> None:
    """Put the module of `spec` in the place of this one."""
    module = type(sys)("sweep")
    module.__spec__, module.__loader__, module.__package__ = spec, spec.loader, "sweep"
    module.__file__ = spec.origin
    module.__path__ = spec.submodule_search_locations or []
    sys.modules["sweep"] = module
    assert spec.loader is not None
    spec.loader.exec_module(module)


_become(_installed() or _lent())
