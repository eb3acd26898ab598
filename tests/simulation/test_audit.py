"""What controllers of a simulated world decided, whatever befell them, comes out again from the journal."""

from __future__ import annotations

from sweep.api.auditing import audit
from sweep.testing.scenario import SearcherFor
from sweep.testing.world import World


def test_every_decision_of_many_troubled_sweeps_is_derived_again() -> None:
    proposals = prunings = 0
    for seed in range(25):
        world = World(seed)
        world.run()
        found = audit(world.store, world.sweep, make=SearcherFor)
        assert found.difference is None, f"seed {seed}: {found.difference}"
        assert found.verdict == "same"
        assert found.entries == world.store.position(world.sweep)
        proposals += found.proposals
        prunings += found.prunings
    assert proposals > 100
    assert prunings > 10
