"""The oracle is worth what it catches: each of these bugs is put into the real code and must be noticed."""

from __future__ import annotations

import plants_attempts
import plants_deciding
import plants_delivery
import plants_nodes
import plants_snapshots
import plants_terms
import pytest
from planting import PLANTS

from sweep.testing.campaign import Failure, run_seeds

MODULES = (plants_attempts, plants_deciding, plants_delivery, plants_nodes, plants_snapshots, plants_terms)

WITHIN = 2000
"""Seeds in which a planted fault must be caught. Most need fewer than ten, the rarest about a hundred."""


FIRST = {"what_fails_on_a_node_set_aside_is_charged": 330}
"""Where to begin to look for what is rare, so that the search takes seconds."""


def hunt(seeds: int, first: int = 0) -> str | None:
    """What is noticed first in the worlds of so many seeds, None when nothing is."""
    try:
        run_seeds(range(first, first + seeds))
    except Failure as failure:
        return str(failure)
    return None


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_a_planted_fault_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTS[name](monkeypatch)
    caught = hunt(WITHIN, FIRST.get(name, 0))
    assert caught is not None, f"{name} went unnoticed for {WITHIN} seeds"
    assert caught.startswith("seed "), "a failure names its seed"


def test_there_are_enough_planted_faults() -> None:
    assert len(PLANTS) >= 20
    assert {function.__module__ for function in PLANTS.values()} == {module.__name__ for module in MODULES}


def test_without_a_planted_fault_nothing_is_caught() -> None:
    assert hunt(20) is None
