"""What is proposed: the oracle's account of conditions, constraints, and configs to try first.

The rule of this file: as in the oracle, by hand, from the reference page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sweep.core import entries as e
from sweep.testing.terms import naive_active, naive_allowed

if TYPE_CHECKING:
    from sweep.testing.oracle import Account


def check_proposal(account: Account, entry: e.TrialsProposed) -> None:
    """The searcher was asked when it might be. Each config has the parameters that are active beside its values, and no others; satisfies the constraints; and the first ones are
    those that the spec wants first."""
    spec, counts, need = account.spec, account.world.counts, account.need
    need(entry.first == len(account.configs), "trials are not dense")
    need(entry.revision == account.revision, "proposed for another revision of the spec")
    need(entry.seen >= account.revised, "the searcher was asked under an earlier revision of the spec")
    need(not account.soft[entry.seen - 1], "the searcher was asked in spite of target or patience")
    for number, config in enumerate(entry.configs, entry.first):
        active = naive_active(spec.space, config)
        need(set(config) == active, f"trial {number} has {sorted(config)}, it should be {sorted(active)}")
        need(naive_allowed(spec.space, config), f"trial {number} breaks {spec.space.constraints}")
        counts["proposed under a constraint"] += bool(spec.space.constraints)
        counts["proposed without an inactive parameter"] += len(active) < len(spec.space.parameters)
        if number < len(spec.initial) and account.revision == 1:
            wanted = spec.initial[number]
            need(wanted.items() <= config.items(), f"trial {number} should have {wanted}")
            counts["wanted first"] += 1
