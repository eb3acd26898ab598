"""What controllers of a simulated world decided, whatever befell them, comes out again from the journal."""

from __future__ import annotations

import pytest

from sweep.api.auditing import audit
from sweep.core import decide
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


def test_what_should_have_been_pruned_and_was_not_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(40):
        with monkeypatch.context() as patch:
            patch.setattr(decide, "_judge", lambda state, for_good=False: [])
            world = World(seed)
            world.run()
        found = audit(world.store, world.sweep, make=SearcherFor).difference
        if found is not None:
            assert found.recorded == "nothing"
            assert found.derived.startswith(("pruned: ", "paused: "))
            assert found.what.startswith("what was to become of s1-")
            return
    raise AssertionError("no rule would have ended anybody")
