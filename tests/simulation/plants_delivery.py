"""Bugs about leases, fences and deliveries."""

from __future__ import annotations

from typing import Any

import pytest
from planting import around, plant

from sweep.agents.session import Session
from sweep.controller.driver import Driver
from sweep.core import decide
from sweep.core import entries as e
from sweep.core.agent import AgentCore
from sweep.stores import Heard
from sweep.stores.base import StoreError
from sweep.stores.memory import MemoryStore

# --- leases and fences


@plant
def the_fence_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_check_fence", lambda self, fence: None)


@plant
def the_controller_does_not_look_where_it_appends(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        MemoryStore,
        "append",
        lambda real: lambda self, *args, **more: real(self, *args, **{**more, "after": None}),
    )


@plant
def a_lease_that_ran_out_is_revived(patch: pytest.MonkeyPatch) -> None:
    def holds(self: Any, lease: Any) -> bool:
        held = self._core.leases.get(lease.name)
        return held is None or held.token == lease.token

    patch.setattr(MemoryStore, "_holds", holds)


@plant
def a_lost_lease_is_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AgentCore, "lease_lost", lambda self, reason: [])


@plant
def the_end_of_the_lease_is_told_wrongly(patch: pytest.MonkeyPatch) -> None:
    around(
        patch,
        Session,
        "beat",
        lambda real: lambda self: None if (end := real(self)) is None else end + 30.0,
    )


@plant
def agents_that_vanished_are_not_noted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Driver, "_note_lost_agents", lambda self: None)


@plant
def runs_of_vanished_agents_are_not_given_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(decide, "_lost", lambda state: [])


# --- deliveries


@plant
def a_second_delivery_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "_not_yet", lambda self, journal, writer, settled: settled)


@plant
def numbers_are_used_twice(patch: pytest.MonkeyPatch) -> None:
    def write(real: Any) -> Any:
        def wrapped(self: Session, history: Any) -> Any:
            position, seq = real(self, history)
            return position, max(self._seq, seq - 1)

        return wrapped

    around(patch, Session, "_write", write)


@plant
def what_was_pending_is_dropped_when_the_store_fails(patch: pytest.MonkeyPatch) -> None:
    def commit(real: Any) -> Any:
        def wrapped(self: Session, history: Any = ()) -> Any:
            try:
                return real(self, history)
            except StoreError:
                self._pending.clear()
                raise

        return wrapped

    around(patch, Session, "commit", commit)


@plant
def an_order_is_missed_when_reading_it_failed(patch: pytest.MonkeyPatch) -> None:
    def orders(real: Any) -> Any:
        def wrapped(self: Session, position: int) -> Any:
            try:
                return real(self, position)
            except StoreError:
                self._seen = position
                self._cursor = position
                raise

        return wrapped

    around(patch, Session, "_orders", orders)


@plant
def a_failed_batch_is_taken_for_done(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Driver, "forget", lambda self: None)


@plant
def an_own_append_that_came_late_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    def catch_up(self: Driver, position: int | None = None) -> None:
        state, fold = self.state, self._fold
        assert fold is not None
        for recorded in self.store.read(self.sweep, state.position):
            fold.fold(recorded)
            self._note(recorded)

    patch.setattr(Driver, "catch_up", catch_up)


@plant
def history_is_not_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(MemoryStore, "append_history", lambda self, sweep, chunks: None)


@plant
def an_agent_believes_that_it_has_been_told_everything(patch: pytest.MonkeyPatch) -> None:
    def follow(real: Any) -> Any:
        def followed(session: Session, heard: Heard) -> Any:
            orders = [told._replace(before=0) for told in heard.orders]
            return real(session, heard._replace(orders=orders))

        return followed

    around(patch, Session, "_follow", follow)


@plant
def a_controller_takes_its_orders_to_others_for_its_own(patch: pytest.MonkeyPatch) -> None:
    def note(real: Any) -> Any:
        def noted(driver: Driver, recorded: e.Recorded) -> None:
            real(driver, recorded)
            if recorded.addressee not in (None, driver.lease.holder):
                driver._mine.append(recorded)

        return noted

    around(patch, Driver, "_note", note)
