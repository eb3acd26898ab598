"""The oracle is worth what it catches: each of these bugs is put into the real code and must be noticed."""

from __future__ import annotations

import plants_attempts
import plants_confirming
import plants_deciding
import plants_delivery
import plants_nodes
import plants_pauses
import plants_snapshots
import plants_terms
import pytest
from planting import PLANTS

from sweep.testing.campaign import Failure, run_seeds

MODULES = (
    plants_attempts,
    plants_confirming,
    plants_deciding,
    plants_delivery,
    plants_nodes,
    plants_pauses,
    plants_snapshots,
    plants_terms,
)

WITHIN = 2000
"""Seeds in which a planted fault must be caught. Most need fewer than ten, the rarest about a hundred."""


FIRST = {
    "a_confirmation_that_failed_is_not_asked_for_again": 44,
    "a_node_set_aside_goes_on_to_get_runs": 120,
    "a_program_that_does_not_listen_is_left_alone": 94,
    "a_restarted_attempt_counts_its_seconds_anew": 444,
    "a_retry_by_hand_forgives_nothing": 44,
    "a_tag_cannot_be_taken_away": 127,
    "a_target_that_was_moved_away_still_counts": 76,
    "an_agent_believes_that_it_has_been_told_everything": 1549,
    "an_own_append_that_came_late_is_not_counted": 900,
    "bad_nodes_are_never_set_aside": 120,
    "energy_is_not_looked_at": 51,
    "failures_on_a_bad_node_stay_charged": 122,
    "gpu_hours_of_running_attempts_are_left_out": 432,
    "its_agent_is_not_told": 120,
    "listings_do_not_say_what_was_set_aside": 120,
    "one_run_that_fails_again_and_again_blames_its_node": 120,
    "runs_are_paused_when_nothing_goes_on_any_more": 318,
    "runs_go_on_when_a_limit_of_the_sweep_is_over": 260,
    "runs_that_a_bad_node_failed_stay_failed": 120,
    "the_death_of_the_guard_is_the_runs_fault": 80,
    "the_end_of_the_lease_is_told_wrongly": 715,
    "the_first_few_runs_are_ended_as_well": 235,
    "the_last_node_is_set_aside": 903,
    "the_number_of_an_attempt_is_not_checked": 163,
    "the_one_that_is_least_far_goes_on_first": 100,
    "the_searcher_sees_what_never_happened": 107,
    "the_wall_time_is_not_seen": 65,
    "what_confirms_reaches_the_target": 504,
    "what_fails_on_a_node_set_aside_is_charged": 441,
    "what_is_paused_when_its_agent_vanishes_begins_anew": 318,
    "what_runs_elsewhere_counts_before_it_has_outlived_anything": 123,
    "who_asks_for_a_confirmation_sets_the_search_going": 44,
}
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
