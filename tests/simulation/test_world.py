"""A thousand simulated worlds, each with faults of its own: the real controller and the real agent decisions, and an oracle."""

from __future__ import annotations

import io

import pytest

from sweep.core.journal import to_jsonable
from sweep.testing.campaign import run_seeds
from sweep.testing.world import World

CHUNKS, SEEDS = 2, 500


@pytest.mark.timeout(300)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_world_comes_out_right(chunk: int) -> None:
    campaign = run_seeds(range(chunk * SEEDS, (chunk + 1) * SEEDS))
    campaign.report(out := io.StringIO())
    print(out.getvalue())
    assert campaign.worlds == SEEDS
    assert campaign.missing() == [], "faults or transitions that never happened prove nothing"


def test_a_world_is_a_function_of_its_seed() -> None:
    journals = []
    for _ in range(2):
        world = World(5)
        world.run()
        journals.append([to_jsonable(recorded) for recorded in world.store.read(world.sweep, 0)])
    assert journals[0] == journals[1]
    assert len(journals[0]) > 20


def test_rates_differ_from_world_to_world() -> None:
    counts = [run_seeds([seed]).counts for seed in range(30)]
    for kind in ("took the lead", "agent started", "request: pause", "lost answer"):
        assert len({count[kind] for count in counts}) > 1, kind
