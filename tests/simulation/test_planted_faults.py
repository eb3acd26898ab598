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
"""In so many seeds a planted fault must be caught, from FIRST on."""


FIRST = {
    "a_confirmation_does_not_reopen": 2,
    "a_confirmation_goes_on_when_a_limit_is_over": 21,
    "a_confirmation_that_failed_is_not_asked_for_again": 44,
    "a_controller_alone_does_not_keep_its_lease": 3,
    "a_failed_batch_is_taken_for_done": 6,
    "a_lease_that_ran_out_is_revived": 23,
    "a_lost_lease_is_not_noticed": 23,
    "a_node_is_set_aside_too_soon": 28,
    "a_node_set_aside_goes_on_to_get_runs": 120,
    "a_pause_has_no_effect": 1,
    "a_program_that_does_not_listen_is_left_alone": 94,
    "a_promotion_is_forgotten": 107,
    "a_proposal_for_another_revision_is_taken": 24,
    "a_pruned_run_that_was_lost_goes_again": 28,
    "a_restarted_attempt_counts_its_seconds_anew": 1210,
    "a_retry_after_the_target_is_cancelled": 2,
    "a_retry_by_hand_forgives_nothing": 44,
    "a_retry_sets_all_waiting_runs_going": 34,
    "a_retry_takes_the_searcher_up_again": 13,
    "a_revision_never_reopens": 10,
    "a_share_of_a_gpu_counts_as_a_whole_one": 5,
    "a_slot_is_not_offered_again": 3,
    "a_stop_has_no_effect": 10,
    "a_stop_is_lost_on_a_sweep_that_is_about_to_go_on": 37,
    "a_stopper_compares_runs_with_what_confirms": 1,
    "a_stopper_ends_what_confirms": 2,
    "a_success_does_not_begin_the_row_anew": 33,
    "a_tag_cannot_be_taken_away": 127,
    "a_target_that_was_moved_away_still_counts": 76,
    "agents_keep_the_limits_that_they_began_with": 9,
    "agents_that_vanished_are_not_noted": 11,
    "an_agent_believes_that_it_has_been_told_everything": 1551,
    "an_agent_that_took_all_its_runs_stays": 15,
    "an_order_is_missed_when_reading_it_failed": 24,
    "an_own_append_that_came_late_is_not_counted": 900,
    "another_space_counts_as_done": 18,
    "bad_nodes_are_never_set_aside": 120,
    "conditions_are_not_looked_at": 13,
    "confirming_begins_while_runs_of_the_search_go_on": 21,
    "cpu_time_of_running_attempts_is_left_out": 21,
    "energy_is_not_looked_at": 51,
    "every_config_is_confirmed_on_seeds_of_its_own": 1,
    "every_revision_reopens": 4,
    "failures_elsewhere_are_not_looked_at": 28,
    "failures_of_a_class_with_a_max_of_its_own_count_for_all": 27,
    "failures_of_every_class_are_tried_again": 3,
    "failures_on_a_bad_node_stay_charged": 122,
    "gpu_hours_of_running_attempts_are_left_out": 432,
    "its_agent_is_not_told": 120,
    "late_ends_are_taken": 12,
    "limits_go_by_the_leaders_own_clock": 7,
    "listings_do_not_say_what_was_set_aside": 120,
    "lost_attempts_are_charged": 16,
    "new_runs_begin_before_paused_ones_go_on": 23,
    "nobody_is_pruned": 2,
    "nobody_waits_before_a_retry": 5,
    "nothing_is_confirmed": 1,
    "offers_outlive_their_agent": 11,
    "one_retry_too_few": 4,
    "one_retry_too_many": 18,
    "one_run_that_fails_again_and_again_blames_its_node": 120,
    "patience_counts_what_nobody_tried": 2,
    "patience_is_not_looked_at": 3,
    "patience_passes_over_failures": 3,
    "paused_runs_are_given_up_while_others_may_still_let_them_go_on": 23,
    "paused_runs_never_go_on": 23,
    "runs_are_paused_when_nothing_goes_on_any_more": 1972,
    "runs_go_on_when_a_limit_of_the_sweep_is_over": 260,
    "runs_of_vanished_agents_are_not_given_up": 12,
    "runs_that_a_bad_node_failed_stay_failed": 120,
    "runs_that_could_be_paused_are_ended": 23,
    "the_budget_is_off_by_one": 1,
    "the_controller_does_not_look_where_it_appends": 14,
    "the_death_of_the_guard_is_the_runs_fault": 86,
    "the_end_of_the_lease_is_told_wrongly": 721,
    "the_fence_is_not_checked": 23,
    "the_first_few_runs_are_ended_as_well": 238,
    "the_index_is_not_updated": 18,
    "the_last_node_is_set_aside": 1147,
    "the_last_trial_is_left_out": 1,
    "the_number_of_an_attempt_is_not_checked": 163,
    "the_one_that_is_least_far_goes_on_first": 2261,
    "the_searcher_does_not_see_paused_runs": 23,
    "the_searcher_sees_what_never_happened": 107,
    "the_target_is_not_seen": 6,
    "the_wall_time_is_not_seen": 70,
    "the_worst_are_confirmed": 17,
    "what_a_limit_shelved_stays_so_when_the_limit_is_raised": 45,
    "what_confirms_is_a_best_run": 1,
    "what_confirms_is_cancelled_when_the_target_is_reached": 2,
    "what_confirms_is_what_the_searcher_sees": 1,
    "what_confirms_reaches_the_target": 504,
    "what_confirms_runs_on_the_seeds_of_the_search": 1,
    "what_fails_on_a_node_set_aside_is_charged": 441,
    "what_is_paused_when_its_agent_vanishes_begins_anew": 444,
    "what_is_wanted_first_is_left_out": 3,
    "what_lost_attempts_have_used_is_left_out": 16,
    "what_may_not_change_changes": 9,
    "what_runs_elsewhere_counts_before_it_has_outlived_anything": 123,
    "who_asks_for_a_confirmation_sets_the_search_going": 44,
    "who_waits_is_forgotten": 5,
    "whoever_is_paused_goes_on_at_once": 23,
}
"""Where each was noticed last, when it wasn't at once: there the search begins, so that a plant costs one world. A seed that
grew stale costs time only, for the search goes on from it."""


def hunt(seeds: int, first: int = 0) -> str | None:
    """What is noticed first in the worlds of so many seeds, None when nothing is."""
    try:
        run_seeds(range(first, first + seeds))
    except Failure as failure:
        return str(failure)
    return None


@pytest.mark.timeout(900)
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
