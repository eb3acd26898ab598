"""Bugs in snapshots: they are a cache, and nobody may notice that there is one."""

from __future__ import annotations

from typing import Any

import pytest
from planting import around, plant

from sweep.controller import recovery
from sweep.core import snapshot
from sweep.core.state import State


@plant
def a_snapshot_loses_what_runs_have_reported(patch: pytest.MonkeyPatch) -> None:
    def unpack(real: Any) -> Any:
        def unpacked(packer: Any, data: bytes, make_stopper: Any) -> State | None:
            state: State | None = real(packer, data, make_stopper)
            for run in state.runs if state is not None else ():
                run.score = None
            return state

        return unpacked

    around(patch, recovery.Packer, "unpack", unpack)


@plant
def a_snapshot_forgets_who_has_a_run(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        snapshot,
        "_fill",
        lambda real: lambda kind, *rest: real(kind, rest[0], _unowned(kind, rest[1])),
    )


@plant
def a_snapshot_misses_what_has_changed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "touch", lambda self, number: None)


def _unowned(kind: type, columns: dict[str, Any]) -> dict[str, Any]:
    return {**columns, "agent": [""] * columns[""]} if kind is snapshot.Run else columns
