"""`wandb.env`: the names of wandb's variables, and functions that set two of them."""

from __future__ import annotations

import os

NAMES = (
    "API_KEY BASE_URL CACHE_DIR CONFIG_DIR CONFIG_PATHS DIR DISABLE_CODE DISABLE_GIT ENTITY HOST JOB_TYPE MODE NAME NOTES "
    "PROJECT QUIET RESUME RUN_DIR RUN_GROUP RUN_ID SAVE_CODE SILENT SWEEP_ID SWEEP_PARAM_PATH TAGS USERNAME"
)
globals().update({name: "WANDB_" + name for name in NAMES.split()})


def set_entity(value: str, env: dict[str, str] | None = None) -> None:
    """Set WANDB_ENTITY."""
    _environment(env)["WANDB_ENTITY"] = value


def set_project(value: str, env: dict[str, str] | None = None) -> None:
    """Set WANDB_PROJECT."""
    _environment(env)["WANDB_PROJECT"] = value or "uncategorized"


def get_project(default: str | None = None, env: dict[str, str] | None = None) -> str | None:
    """WANDB_PROJECT."""
    return _environment(env).get("WANDB_PROJECT", default)


def get_entity(default: str | None = None, env: dict[str, str] | None = None) -> str | None:
    """WANDB_ENTITY."""
    return _environment(env).get("WANDB_ENTITY", default)


def is_offline(env: dict[str, str] | None = None) -> bool:
    """True: there is no service."""
    return True


def _environment(env: dict[str, str] | None) -> dict[str, str]:
    return os.environ if env is None else env  # type: ignore[return-value]
