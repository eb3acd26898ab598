"""Bugs about nodes, clocks and who leads."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from planting import around, handler, plant

from sweep.agents.alone import Alone
from sweep.agents.clocks import StoreTime
from sweep.agents.leading import Lead
from sweep.controller.driver import Driver
from sweep.core import decide, evolve, index, lifecycle, nodes, state
from sweep.core import entries as e

# --- setting aside


@plant
def a_node_is_set_aside_too_soon(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(nodes, "CHANCE", 0.02)


@plant
def bad_nodes_are_never_set_aside(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "setting_aside", lambda folded, now_s: [])


@plant
def failures_elsewhere_are_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    around(patch, nodes, "chance_of", lambda real: lambda count, bad, good: real(count, 0, good))


@plant
def what_runs_elsewhere_counts_before_it_has_outlived_anything(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        nodes,
        "_outlived",
        lambda real: lambda folded, host, longest_s, now_s: real(folded, host, -1e9, now_s),
    )


@plant
def a_success_does_not_begin_the_row_anew(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def note_end(folded: state.State, run: Any, host: str, entry: e.AttemptEnded, began_s: float) -> None:
            row = list(folded.in_a_row.get(host, ()))
            real(folded, run, host, entry, began_s)
            if row:
                folded.in_a_row[host] = row

        return note_end

    around(patch, evolve, "note_end", wrap)


@plant
def one_run_that_fails_again_and_again_blames_its_node(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def note(folded: state.State, run: Any, host: str, error: Any, lasted_s: float) -> None:
            run.failed_on = ""
            real(folded, run, host, error, lasted_s)

        return note

    around(patch, nodes, "_note_failure", wrap)


@plant
def the_last_node_is_set_aside(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def setting_aside(folded: state.State, now_s: float) -> Any:
            ghost = state.Agent("ghost", 1, 0.0)
            folded.agents["ghost"] = ghost
            try:
                return real(folded, now_s)
            finally:
                del folded.agents["ghost"]

        return setting_aside

    around(patch, decide, "setting_aside", wrap)


@plant
def its_agent_is_not_told(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def setting_aside(folded: state.State, now_s: float) -> Any:
            return [
                msgspec.structs.replace(entry, agent="") if entry.runs else entry
                for entry in real(folded, now_s)
            ]

        return setting_aside

    around(patch, decide, "setting_aside", wrap)


@plant
def a_node_set_aside_goes_on_to_get_runs(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def aside(folded: state.State, entry: e.NodeSetAside) -> str | None:
            offers = dict(folded.offers)
            refusal = real(folded, entry)
            folded.offers = offers
            return refusal  # type: ignore[no-any-return]

        return aside

    handler(patch, e.NodeSetAside, wrap)


@plant
def runs_that_a_bad_node_failed_stay_failed(patch: pytest.MonkeyPatch) -> None:
    table = {key: after for key, after in lifecycle.TABLE.items() if key[1] is not e.NodeSetAside}
    patch.setattr(evolve, "TABLE", table)


@plant
def failures_on_a_bad_node_stay_charged(patch: pytest.MonkeyPatch) -> None:
    def forgive(folded: state.State, run: Any, host: str) -> None:
        run.failed_on = ""

    patch.setattr(evolve, "forgive", forgive)


@plant
def what_fails_on_a_node_set_aside_is_charged(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        evolve,
        "advance",
        lambda real: lambda run, entry, retry, at_s, charged=True: real(run, entry, retry, at_s),
    )


@plant
def listings_do_not_say_what_was_set_aside(patch: pytest.MonkeyPatch) -> None:
    def set_aside(self: index.IndexFold, entry: e.NodeSetAside, at_s: float) -> None:
        for number in entry.runs:
            self._sync(self._run(number))
        self._sync_sweep(entry, at_s)

    patch.setattr(index.IndexFold, "_set_aside", set_aside)


# --- clocks, and who leads


@plant
def limits_go_by_the_leaders_own_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StoreTime, "saw", lambda self, at_s: None)


@plant
def a_controller_that_was_frozen_writes_on(patch: pytest.MonkeyPatch) -> None:
    def wrap(real: Any) -> Any:
        def append(self: Driver, entries: Any) -> None:
            lease, self.lease = self.lease, None  # type: ignore[assignment]
            try:
                real(self, entries)
            finally:
                self.lease = lease

        return append

    around(patch, Driver, "_append", wrap)
    patch.setattr(Lead, "renew", lambda self: None)


@plant
def a_controller_alone_does_not_keep_its_lease(patch: pytest.MonkeyPatch) -> None:
    """Its lead ends with each lease, and it does not take it up again."""
    around(
        patch,
        Alone,
        "_keep_the_lead",
        lambda real: lambda self: None if self._other == self.name else real(self),
    )
    around(
        patch,
        Alone,
        "_step",
        lambda real: (
            lambda self: self._lead.stop() if self._store.clock() > self._renew_at + 5 else real(self)
        ),
    )
