"""The driver: one step brings the sweep to rest, in one batch, whatever others write and wherever it dies."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from folded import make_spec
from led import SWEEP, Led, Search
from sweep.controller.standing import EVERY, Standing
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.names import controller_lease
from sweep.core.space import Categorical, Parameter, Space
from sweep.core.spec import SweepSpec
from sweep.stores.base import StaleFence, StoreError
from sweep.stores.memory import MemoryStore


class Without:
    """A store that has no batches of its own and calls `before` ahead of each append of the driver."""

    def __init__(self, inner: MemoryStore) -> None:
        self._inner = inner
        self.appends = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        yield

    def before(self, number: int, entries: Any) -> None:
        """Called with the number of the append, from 1."""

    def append(self, sweep: str, entries: Any, **more: Any) -> Any:
        self.appends += 1
        self.before(self.appends, entries)
        return self._inner.append(sweep, entries, **more)


def test_one_step_proposes_adds_and_assigns() -> None:
    led = Led(make_spec(run_cap=3, replicates=2))
    led.join(slots=3)
    led.step()
    kinds = [type(entry).__name__ for entry in led.entries()[5:]]
    assert kinds == ["TrialsProposed", *["RunAdded"] * 4, *["RunAssigned"] * 3]
    assert [x.run for x in led.of(e.RunAssigned)] == [0, 1, 2]
    led.check_index()


def test_a_step_without_news_writes_nothing() -> None:
    led = Led(make_spec(run_cap=3))
    led.join()
    led.step()
    position, index = led.memory.position(SWEEP), led.memory.read_index(SWEEP)
    led.step()
    assert (led.memory.position(SWEEP), led.memory.read_index(SWEEP)) == (position, index)


def test_decisions_carry_the_position_they_were_based_on() -> None:
    led = Led(make_spec(run_cap=1))
    led.join()
    led.step()
    recorded = {type(r.entry): r for r in led.memory.read(SWEEP, 0)}
    assert recorded[e.TrialsProposed].based_on == 3
    assert recorded[e.RunAdded].based_on == 4
    assert recorded[e.RunAssigned].based_on == 5
    assert recorded[e.RunAssigned].addressee == "a"


def test_an_end_and_the_next_assignment_are_one_step() -> None:
    led = Led(make_spec(run_cap=2))
    led.join()
    led.step()
    led.outside(
        e.RunStarted(0, 1, "a", 5, "h", 0),
        e.AttemptEnded(0, 1, "a", "completed", score=0.5),
        e.SlotOffered("a", 0, 2),
        writer="a",
    )
    led.step()
    assert [(x.run, x.offer) for x in led.of(e.RunAssigned)] == [(0, 1), (1, 2)]
    led.check_index()


def test_an_agent_whose_lease_ran_out_is_lost_and_its_runs_go_elsewhere() -> None:
    led = Led(make_spec(run_cap=1))
    led.join("a", ttl_s=10.0)
    led.step()
    led.join("b")
    led.now += 9.9
    led.step()
    assert led.of(e.AgentLost) == []
    led.now += 0.2
    led.step()
    assert led.of(e.AgentLost) == [e.AgentLost("a")]
    assert [(x.run, x.attempt, x.agent) for x in led.of(e.RunAssigned)] == [(0, 1, "a"), (0, 2, "b")]
    led.check_index()


def test_an_agent_that_left_is_not_lost_as_well() -> None:
    led = Led(make_spec(run_cap=1))
    lease = led.join("a")
    led.outside(e.AgentLeft("a", "done"), writer="a")
    led.memory.release(lease)
    led.step()
    assert led.of(e.AgentLost) == []


def test_a_stale_lease_writes_nothing() -> None:
    led = Led(make_spec(run_cap=1))
    led.memory.release(led.driver.lease)
    led.lead()
    led.join()
    position = led.memory.position(SWEEP)
    with pytest.raises(StaleFence), led.store.batch():
        led.driver.step(led.now)
    assert led.memory.position(SWEEP) == position


def test_there_must_be_a_sweep() -> None:
    led = Led(make_spec())
    led.driver.sweep = "s2"
    with pytest.raises(LookupError, match="there is no sweep s2 in memory:"):
        led.step()


def test_the_wall_time_sets_the_alarm() -> None:
    led = Led(make_spec(run_cap=1, wall_time_s=60.0))
    led.step()
    assert led.driver.wake_at_s is None
    led.now += 5
    led.join()
    led.step()
    assert led.driver.wake_at_s == 1065.0
    led.now = 1065.0
    led.step()
    assert len(led.of(e.RunCancelled)) == 1
    assert led.driver.wake_at_s is None


# --- taking over


def test_a_new_driver_goes_on_where_the_last_one_stood() -> None:
    led = Led(make_spec(run_cap=3))
    led.join(slots=2)
    led.step()
    led.outside(e.RunStarted(0, 1, "a", 5, "h", 0), writer="a")
    led.outside(e.AttemptEnded(0, 1, "a", "completed", score=0.5), e.SlotOffered("a", 0, 3), writer="a")
    led.memory.release(led.driver.lease)
    led.driver = led.lead()
    led.step()
    assert [x.run for x in led.of(e.RunAssigned)] == [0, 1, 2]
    led.check_index()


def crash_points() -> int:
    """How many appends the step of `dying` makes."""
    led = Led(make_spec(run_cap=4), store=Without)
    dying(led)
    led.step()
    return int(led.store.appends)


def dying(led: Led) -> None:
    """Bring a sweep to a point where one step has very different things to append."""
    led.join("a", slots=2, ttl_s=10.0)
    led.step()
    led.join("b", slots=3)
    led.outside(e.RunStarted(0, 1, "a", 5, "h", 0), writer="a")
    led.outside(e.ObjectiveReported(0, 1, 0, (0.0,), (1.0,)), writer="a")
    led.now += 11
    led.store.appends = 0


@pytest.mark.parametrize("point", range(1, crash_points() + 1))
@pytest.mark.parametrize("how", ["before", "after"])
def test_a_controller_that_dies_between_two_appends_loses_nothing(point: int, how: str) -> None:
    class Died(BaseException):
        pass

    class Dying(Without):
        armed = False

        def append(self, sweep: str, entries: Any, **more: Any) -> Any:
            if self.armed and self.appends + 1 == point and how == "before":
                raise Died
            result = super().append(sweep, entries, **more)
            if self.armed and self.appends == point:
                raise Died
            return result

    undisturbed = Led(make_spec(run_cap=4), store=Without)
    dying(undisturbed)
    undisturbed.step()
    led = Led(make_spec(run_cap=4), store=Dying)
    dying(led)
    led.store.armed = True
    with pytest.raises(Died):
        led.step()
    led.store.armed = False
    led.memory.release(led.driver.lease)
    led.driver = led.lead()
    led.step()
    assert led.entries() == undisturbed.entries()
    led.check_index()


def test_a_step_that_failed_is_done_again() -> None:
    class Full(Without):
        left = 0

        def before(self, number: int, entries: Any) -> None:
            self.left -= 1
            if self.left == 0:
                raise StoreError("disk full")

    for fails in range(1, 6):
        led = Led(make_spec(run_cap=4), store=Full)
        led.join(slots=2)
        led.store.left = fails
        with contextlib.suppress(StoreError):
            led.step()
        led.driver.forget()
        led.step()
        assert [x.run for x in led.of(e.RunAssigned)] == [0, 1]
        assert len(led.of(e.TrialsProposed)) == 1
        led.check_index()


# --- a store in which others write between the driver's appends


@pytest.mark.parametrize("number", range(1, 6))
def test_whoever_writes_between_two_appends_is_read_before_deciding_again(number: int) -> None:
    class Overtaken(Without):
        def before(self, now: int, entries: Any) -> None:
            if now == number:
                led.outside(e.SlotWithdrawn("a", 0, 1), writer="a")

    led = Led(make_spec(run_cap=4), store=Overtaken)
    led.join(slots=2)
    led.join("b", ttl_s=1.0)
    led.now += 2  # `b` is lost: the step begins with an append of that
    led.step()
    led.step()  # what came before the listing was written, behind the last decision, is for the next one
    assigned = [(x.run, x.slot) for x in led.of(e.RunAssigned)]
    withdrawn = led.driver.state.ignored == []
    assert assigned == ([(0, 1)] if withdrawn else [(0, 0), (1, 1)])
    assert len(led.of(e.TrialsProposed)) == (1 if len(led.driver.state.trials) else 0)
    assert led.of(e.AgentLost) == [e.AgentLost("b")]
    led.check_index()


def test_a_row_that_could_not_be_written_yet_is_not_read_back_from_the_store() -> None:
    class Overtaken(Without):
        armed = False

        def before(self, number: int, entries: Any) -> None:
            if self.armed and not entries:  # the index, with the run's end in it, is about to be written
                self.armed = False
                led.outside(e.RetryRequested((0,)))

    led = Led(make_spec(run_cap=1), store=Overtaken)
    led.join()
    led.step()
    led.outside(e.AttemptEnded(0, 1, "a", "failed", "exit code 1", exit_code=1), writer="a")
    led.store.armed = True
    led.step()
    assert not led.store.armed
    led.check_index()


def test_an_own_append_that_is_delivered_late_is_counted() -> None:
    class Late(Without):
        kept: Any = None
        armed = False

        def before(self, number: int, entries: Any) -> None:
            if self.armed:
                raise StoreError("no answer in time")

        def append(self, sweep: str, entries: Any, **more: Any) -> Any:
            if self.armed:
                self.kept = lambda: self._inner.append(sweep, entries, **more)
            return super().append(sweep, entries, **more)

    led = Led(make_spec(run_cap=4), store=Late, search=Search(at_once=False))
    led.join(slots=2)
    led.step()
    led.search.ready = 1
    led.store.armed = True
    with pytest.raises(StoreError):
        led.step()
    led.driver.forget()
    led.store.armed = False
    led.step()  # folds the journal again and waits for the searcher
    led.store.kept()
    led.step()
    assert [x.run for x in led.of(e.RunAdded)] == [0, 1]
    assert [x.run for x in led.of(e.RunAssigned)] == [0, 1]
    led.check_index()


def test_an_agent_that_leaves_while_its_lease_is_looked_up_is_not_lost() -> None:
    class Leaving(Without):
        def leases(self, prefix: str) -> Any:
            if lease is not None and not led.of(e.AgentLeft):
                led.outside(e.AgentLeft("a", "done"), writer="a")
                led.memory.release(lease)
            return self._inner.leases(prefix)

    lease = None
    led = Led(make_spec(run_cap=4), store=Leaving)
    lease = led.join()
    led.step()
    assert led.of(e.AgentLost) == []
    assert led.driver.state.ignored == []


def test_an_answer_is_kept_when_somebody_else_wrote_first() -> None:
    class Overtaken(Without):
        def before(self, number: int, entries: Any) -> None:
            if any(isinstance(x, e.TrialsProposed) for x in entries) and not led.of(e.PauseRequested):
                led.outside(e.PauseRequested())

    led = Led(make_spec(run_cap=4), store=Overtaken)
    led.join()
    led.step()
    assert len(led.search.asked) == 1
    assert len(led.of(e.TrialsProposed)) == 1
    assert led.of(e.RunAssigned) == []


# --- the searcher


def test_a_slow_answer_is_recorded_when_it_is_there() -> None:
    led = Led(make_spec(run_cap=4), search=Search(at_once=False))
    led.join()
    led.step()
    assert led.driver.search_fileno() == 77
    led.step()
    assert len(led.search.asked) == 1
    led.search.ready = 1
    led.step()
    (proposed,) = led.of(e.TrialsProposed)
    assert (proposed.first, proposed.seen, proposed.engine, proposed.revision) == (0, 3, "fake", 1)
    assert led.driver.search_fileno() is None


def test_an_answer_for_another_revision_is_dropped_and_asked_again() -> None:
    led = Led(make_spec(run_cap=4), search=Search(at_once=False))
    led.join()
    led.step()
    led.outside(e.ExtendRequested(9))
    led.step()
    led.search.ready = 1
    led.step()
    assert led.of(e.TrialsProposed) == []
    assert led.search.asked[1][1].revision == 2
    led.search.ready = 1
    led.step()
    assert len(led.of(e.TrialsProposed)) == 1


def test_an_answer_for_a_sweep_that_ended_is_dropped() -> None:
    led = Led(make_spec(run_cap=4), search=Search(at_once=False))
    led.join()
    led.step()
    led.outside(e.StopRequested())
    led.step()
    led.search.ready = 1
    led.step()
    assert led.of(e.TrialsProposed) == []
    assert led.driver.state.phase == "ended"


def test_a_searcher_that_fails_is_said_and_asked_again() -> None:
    led = Led(make_spec(run_cap=4))
    led.search.failure = "no memory"
    led.join()
    led.step()
    assert led.warnings == ["no memory"]
    led.search.failure = None
    led.step()
    assert len(led.of(e.TrialsProposed)) == 1


def test_an_answer_to_a_question_about_a_journal_that_never_came_to_be_is_dropped() -> None:
    led = Led(make_spec(run_cap=4), search=Search(at_once=False))
    led.join()

    class Lost(Exception):
        pass

    with pytest.raises(Lost), led.store.batch():
        led.memory.append(
            SWEEP, [e.AgentJoined("ghost", "h", 1, 1), e.PauseRequested()], writer="ghost", first_seq=1
        )
        led.memory.append(SWEEP, [e.ResumeRequested()], writer="ghost", first_seq=3)
        led.driver.step(led.now)
        raise Lost
    led.driver.forget()
    led.search.ready = 1
    led.step()
    led.search.ready = 1
    led.step()
    (proposed,) = led.of(e.TrialsProposed)
    assert proposed.seen == 3, "what the searcher saw is in the journal"


def test_a_revised_spec_gets_a_searcher_of_its_own() -> None:
    built: list[SweepSpec] = []
    led = Led(make_spec(run_cap=4))
    led.driver._make_search = lambda state: built.append(state.spec) or Search()  # type: ignore[func-returns-value]
    led.join()
    led.step()
    other = Space((Parameter(("x",), Categorical((1, 2, 3))),))
    revised = make_spec(run_cap=4, space=other)
    led.outside(e.SpecRevised(2, spec_to_builtins(revised)), e.SlotOffered("a", 0, 9), writer="cli")
    led.step()
    assert [spec.space for spec in built] == [make_spec().space, other]
    led.outside(e.ExtendRequested(5), e.SlotOffered("a", 0, 10), writer="cli")
    limited = make_spec(run_cap=5, space=other, retry=2, wall_time_s=1e9)
    led.outside(e.SpecRevised(4, spec_to_builtins(limited)), writer="cli")
    led.step()
    assert led.driver.state.revision == 4
    assert len(led.of(e.TrialsProposed)) == 3
    assert len(built) == 2, "another budget and other limits need no other searcher"


def test_a_model_that_counts_on_the_budget_is_made_anew_with_it() -> None:
    built: list[SweepSpec] = []
    led = Led(make_spec(run_cap=1, method="bayes", engine="optuna-tpe"))
    led.driver._make_search = lambda state: built.append(state.spec) or Search()  # type: ignore[func-returns-value]
    led.join(slots=2)
    led.step()
    led.outside(e.ExtendRequested(5), writer="cli")
    led.step()
    assert [spec.run_cap for spec in built] == [1, 5]


def test_a_driver_without_a_searcher_winds_down() -> None:
    led = Led(make_spec(run_cap=4))
    led.driver._make_search = None
    led.join()
    led.step()
    assert led.of(e.TrialsProposed) == []
    led.outside(e.StopRequested())
    led.step()
    assert led.driver.state.phase == "ended"


def test_closing_ends_the_searcher() -> None:
    led = Led(make_spec(run_cap=4))
    led.join()
    led.step()
    led.driver.close()
    led.driver.close()
    assert led.search.closed == 1
    assert led.driver.search_fileno() is None


def test_the_leases_name_is_the_sweeps() -> None:
    led = Led(make_spec())
    assert led.driver.lease.name == controller_lease(SWEEP)


def test_what_a_driver_has_put_aside_it_gives_back(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.unfreeze()
    monkeypatch.setattr("sweep.controller.standing.EVERY", 1)
    led = Led(make_spec(run_cap=3))
    led.join()
    led.step()
    assert gc.get_freeze_count() > 0
    led.driver.close()
    assert gc.get_freeze_count() == 0
    gc.freeze()  # somebody else's
    other = Standing()
    other.consider(1)
    other.close()
    assert gc.get_freeze_count() > 0
    gc.unfreeze()


def test_a_small_sweep_is_left_to_the_collector() -> None:
    gc.unfreeze()
    led = Led(make_spec(run_cap=3))
    led.join()
    led.step()
    assert gc.get_freeze_count() == 0
    standing = Standing()
    standing.consider(EVERY - 1)
    assert gc.get_freeze_count() == 0
    standing.consider(EVERY)
    assert gc.get_freeze_count() > 0
    standing.close()
    assert gc.get_freeze_count() == 0
