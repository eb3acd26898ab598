"""The submodules of `wandb` that scripts and libraries import, made when they are imported.

A module here is a view on the public names, with a few of its own. What is not listed raises ModuleNotFoundError with a
sentence: an ImportError is what a library expects that can do without.
"""

from __future__ import annotations

import sys

from sweep.sdk.wandb._names import attribute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)

_VIEWS = frozenset(
    """agents apis apis.public apis.public.api data_types errors errors.errors errors.term proto sdk sdk.artifacts
    sdk.artifacts.artifact sdk.data_types sdk.data_types.audio sdk.data_types.base_types
    sdk.data_types.base_types.media sdk.data_types.base_types.wb_value sdk.data_types.helper_types
    sdk.data_types.histogram sdk.data_types.html sdk.data_types.image sdk.data_types.molecule sdk.data_types.object_3d
    sdk.data_types.plotly sdk.data_types.table sdk.data_types.video sdk.lib sdk.lib.config_util sdk.lib.disabled
    sdk.lib.runid sdk.lib.telemetry sdk.wandb_alerts sdk.wandb_artifacts sdk.wandb_config sdk.wandb_init
    sdk.wandb_login sdk.wandb_metric sdk.wandb_run sdk.wandb_settings sdk.wandb_setup sdk.wandb_summary
    sdk.wandb_sweep wandb_agent wandb_run integration""".split()
)
_OURS = {
    "env": "_env",
    "integration.keras": "integrations.keras",
    "integration.keras.callbacks": "integrations.keras",
    "integration.lightgbm": "integrations.lightgbm",
    "integration.xgboost": "integrations.xgboost",
    "keras": "integrations.keras",
    "lightgbm": "integrations.lightgbm",
    "plot": "plots",
    "sklearn": "integrations.sklearn",
    "util": "_util",
    "xgboost": "integrations.xgboost",
}
"""Submodule -> the module of this package that holds its names."""
_EXTRA = {
    "generate_id": "_util",
    "generate_fast_id": "_util",
    "Media": "_media",
    "BatchableMedia": "_media",
    "WBValue": "_media",
    "Metric": "_metrics",
    "Summary": "_summary",
    "RunDisabled": "_public",
    "SummaryDisabled": "_summary",
}
"""Names that only submodules have -> module of this package."""


class _View(ModuleType):
    """A submodule: names of one of our modules, or public names."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        inside = self.__name__.partition(".")[2]
        child = f"{inside}.{name}"
        if child in _VIEWS or child in _OURS:
            return __import__("wandb." + child, None, None, ("*",))
        home = _OURS.get(inside) or _EXTRA.get(name)
        if home is None:
            return attribute(name)
        module = __import__("sweep.sdk.wandb." + home, None, None, (name,))
        return getattr(module, "Summary" if name == "SummaryDisabled" else name)


class Finder:
    """Makes the submodules. Stands behind the finders of files, so that it costs other imports nothing."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """The spec of a submodule of `wandb`; None for modules of others."""
        if not name.startswith("wandb."):
            return None
        inside = name[6:]
        if inside not in _VIEWS and inside not in _OURS:
            raise ModuleNotFoundError(
                f"{name} is not in sweep's stand-in for wandb (sweep agent --wandb): "
                "log with wandb.log in a callback of your own",
                name=name,
            )
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """An empty view."""
        return _View(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: a view looks names up when they are used."""


def install() -> None:
    """Make the submodules importable, once."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.append(Finder())
