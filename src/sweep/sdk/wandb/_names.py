"""The public names of the module `wandb`, and where each is. A name costs nothing until a script uses it."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = "0.31.0"
"""The release whose interface this is: libraries ask for a minimum."""

_OF_THE_RUN = ("run", "config", "summary")

_HOMES = {
    "_init": (
        "alert attach controller define_metric ensure_configured finish init link_model log log_artifact log_model login "
        "mark_preempting pin_config_keys require restore sagemaker_auth save setup teardown unwatch use_artifact "
        "use_model watch"
    ),
    "_run": "Run",
    "_config": "Config",
    "_settings": "Settings",
    "_say": "termerror termlog termsetup termwarn",
    "_errors": "AuthenticationError CommError ConfigError Error UnsupportedError UsageError WaitTimeoutError",
    "_sweeps": "agent sweep",
    "_alerts": "AlertLevel",
    "_public": "Api",
    "media": "Audio Classes Graph Histogram Html Image Molecule Object3D Plotly Video box3d Box3D BoundingBoxes2D ImageMask",
    "tables": "EvalTable JoinedTable Table",
    "artifacts": "Artifact ArtifactTTL",
    "plots": "plot_table visualize",
}
HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
"""Name -> module of this package."""
_OTHER_NAMES = {"_attach": "attach", "join": "finish", "_teardown": "teardown", "_sweep": "sweep"}
SUBMODULES = (
    "agents",
    "apis",
    "data_types",
    "env",
    "errors",
    "integration",
    "keras",
    "lightgbm",
    "plot",
    "sdk",
    "sklearn",
    "util",
    "xgboost",
)
"""Submodules that are attributes without an import of their own."""


def attribute(name: str) -> Any:
    """The public name as it is now. Raises AttributeError, with what to do, for one that is not there."""
    if name in _OF_THE_RUN:
        from sweep.sdk.wandb._init import of_the_run

        return of_the_run(name)
    if name == "__version__":
        return VERSION
    if name == "patched":
        return {"tensorboard": [], "keras": [], "gym": []}
    if name == "api":
        return attribute("Api")()
    if name in SUBMODULES:
        from importlib import import_module

        return import_module("wandb." + name)
    wanted = _OTHER_NAMES.get(name, name)
    home = HOME.get(wanted)
    if home is None:
        raise AttributeError(
            f"wandb.{name} is not in sweep's stand-in for wandb (sweep agent --wandb). "
            "Leave it out of this script, or run without --wandb and log with `import sweep`"
        )
    module = __import__("sweep.sdk.wandb." + home, None, None, (wanted,))
    return getattr(module, wanted)


def lasting(name: str) -> bool:
    """Whether the name means the same for ever, so that a module may keep it."""
    return name in HOME


def public() -> list[str]:
    """All names."""
    return sorted({"__version__", *HOME, *_OF_THE_RUN, *SUBMODULES, "join", "patched"})
