"""`wandb.Settings`: every field is accepted and can be read; the few that mean something here are used by `init`."""

from __future__ import annotations

import os

from sweep.sdk.wandb._values import parameters

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FROM_THE_ENVIRONMENT = {
    "entity": "WANDB_ENTITY",
    "mode": "WANDB_MODE",
    "project": "WANDB_PROJECT",
    "reinit": "WANDB_REINIT",
    "resume": "WANDB_RESUME",
    "root_dir": "WANDB_DIR",
    "run_group": "WANDB_RUN_GROUP",
    "run_id": "WANDB_RUN_ID",
    "run_job_type": "WANDB_JOB_TYPE",
    "run_name": "WANDB_NAME",
    "run_notes": "WANDB_NOTES",
    "run_tags": "WANDB_TAGS",
    "sweep_id": "WANDB_SWEEP_ID",
}
_DEFAULTS = {"_offline": True, "_jupyter": False, "base_url": "", "console": "off", "symlink": False}


class Settings:
    """A bag of settings. A field that was not given is None."""

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _DEFAULTS.get(name)

    def update(self, settings: Any = None, **fields: Any) -> None:
        """Set several fields."""
        self.__dict__.update(parameters(settings))
        self.__dict__.update(fields)

    def update_from_dict(self, settings: dict[str, Any]) -> None:
        """Set several fields."""
        self.update(settings)

    def copy(self) -> Settings:
        """Another with the same fields."""
        return Settings(**self.__dict__)

    def keys(self) -> list[str]:
        """The names of the fields that are set."""
        return list(self.__dict__)

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name)

    def get(self, name: str, default: Any = None) -> Any:
        """The field, or `default` when it is not set."""
        return self.__dict__.get(name, default)

    def __repr__(self) -> str:
        return f"Settings({self.__dict__!r})"


def from_the_environment() -> dict[str, Any]:
    """The fields that WANDB_* variables set; tags as a tuple."""
    found: dict[str, Any] = {}
    for field, variable in _FROM_THE_ENVIRONMENT.items():
        value = os.environ.get(variable)
        if value:
            found[field] = value
    if "run_tags" in found:
        found["run_tags"] = tuple(tag.strip() for tag in found["run_tags"].split(",") if tag.strip())
    return found
