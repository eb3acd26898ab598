"""How bugs are put into the real code, one at a time.

The rule of the `plants_*` modules: a plant changes one thing, as a person could get it wrong, and nothing in the oracle
or the world.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sweep.core import entries as e
from sweep.core import evolve

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTS: dict[str, Plant] = {}


def plant(function: Plant) -> Plant:
    PLANTS[function.__name__] = function
    return function


def handler(patch: pytest.MonkeyPatch, kind: type[e.Entry], wrap: Callable[[Any], Any]) -> None:
    """Replace what `evolve` does with entries of `kind`."""
    patch.setitem(evolve._HANDLERS, kind, wrap(evolve._HANDLERS[kind]))


def around(patch: pytest.MonkeyPatch, owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
    patch.setattr(owner, name, wrap(getattr(owner, name)))
