"""What an agent decides about slots whose GPUs another program uses, or that are lost."""

from __future__ import annotations

from typing import Any

from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.gpu_slots import LOOK_EVERY_S, LOOK_LIMIT_S, GpuSlots
from sweep.core.spec import Limits

BUSY, LOST, FREE = a.Finding(busy="GPU 0 is used by process 7"), a.Finding(lost="GPU 0 is gone"), a.Finding()


def make_core(slots: int = 2, avoid_busy: bool = True, **more: Any) -> a.AgentCore:
    gpus = GpuSlots(range(slots), avoid_busy)
    return a.AgentCore("ag", slots, Limits(kill_after_s=30.0), 0.0, gpus=gpus, **more)


def offered(actions: list[a.Action]) -> list[int]:
    entries = [action.entry for action in actions if isinstance(action, a.Append)]
    return [entry.slot for entry in entries if isinstance(entry, e.SlotOffered)]


def looks(actions: list[a.Action]) -> list[tuple[int, ...]]:
    return [action.slots for action in actions if isinstance(action, a.Look)]


def said(actions: list[a.Action]) -> list[str]:
    return [action.text for action in actions if isinstance(action, a.Say)]


def ended(actions: list[a.Action]) -> list[e.AttemptEnded]:
    entries = [action.entry for action in actions if isinstance(action, a.Append)]
    return [entry for entry in entries if isinstance(entry, e.AttemptEnded)]


def give(core: a.AgentCore, run: int, slot: int) -> None:
    """The controller gives an offered slot a run, and its process begins."""
    core.assigned(e.RunAssigned(run, 1, "ag", slot, core.offers[slot], run, 0, 5, {}), 0.0)
    core.started(run, e.RunStarted(run, 1, "ag", 11, "host", slot), 0.0)


# --- GPUs that another program uses


def test_slots_are_offered_once_they_were_looked_at() -> None:
    core = make_core()
    actions = core.begin(0.0)
    assert (looks(actions), offered(actions)) == ([(0, 1)], [])
    assert core.offer() == []  # not asked twice
    assert offered(core.looked({0: FREE, 1: FREE}, 0.1)) == [0, 1]
    assert core.next_wake_s() is None


def test_a_busy_slot_waits_is_told_of_once_and_goes_on_when_it_is_free() -> None:
    core = make_core()
    core.begin(0.0)
    actions = core.looked({0: BUSY, 1: FREE}, 0.0)
    assert offered(actions) == [1]
    assert said(actions) == ["GPU 0 is used by process 7: its slot waits"]
    assert core.gpus.why(0) == BUSY.busy
    assert core.next_wake_s() == LOOK_EVERY_S
    assert looks(core.tick(LOOK_EVERY_S - 0.1)) == []
    assert looks(core.tick(LOOK_EVERY_S)) == [(0,)]
    assert looks(core.tick(LOOK_EVERY_S + 0.1)) == []  # one look at a time
    still = core.looked({0: a.Finding(busy="GPU 0 is used by process 8")}, 6.0)
    assert still == []
    assert core.gpus.why(0).endswith("process 8")
    assert looks(core.tick(6.0 + LOOK_EVERY_S)) == [(0,)]
    actions = core.looked({0: FREE}, 11.1)
    assert offered(actions) == [0]
    assert said(actions) == ["slot 0 goes on: no other program uses its GPU any more"]
    assert core.gpus.why(0) == ""


def test_a_slot_is_looked_at_again_before_it_is_offered_again() -> None:
    core = make_core(slots=1)
    core.begin(0.0)
    core.looked({0: FREE}, 0.0)
    give(core, 0, 0)
    actions = core.exited(0, a.Ended(exit_code=0), 5.0)
    assert [entry.outcome for entry in ended(actions)] == ["completed"]
    assert (looks(actions), offered(actions)) == ([(0,)], [])
    assert offered(core.looked({0: BUSY}, 5.1)) == []


def test_slots_without_gpus_and_agents_that_do_not_mind_look_at_nothing() -> None:
    core = make_core(avoid_busy=False)
    assert offered(core.begin(0.0)) == [0, 1]
    mixed = a.AgentCore("ag", 2, Limits(), 0.0, gpus=GpuSlots([1], True))
    actions = mixed.begin(0.0)
    assert (offered(actions), looks(actions)) == ([0], [(1,)])


def test_count_is_kept_to_while_slots_are_looked_at_and_a_busy_one_does_not_use_it_up() -> None:
    core = make_core(count=1)
    assert looks(core.begin(0.0)) == [(0,)]
    actions = core.looked({0: BUSY}, 0.0)
    assert looks(actions) == [(1,)]
    assert offered(core.looked({1: FREE}, 0.0)) == [1]
    core.tick(LOOK_EVERY_S)
    assert offered(core.looked({0: FREE}, 5.1)) == []


def test_an_agent_that_leaves_does_not_go_on_looking() -> None:
    core = make_core(slots=1)
    core.begin(0.0)
    core.looked({0: BUSY}, 0.0)
    core.drain("enough")
    assert core.next_wake_s() is None
    assert core.tick(60.0) == []
    assert core.idle


# --- GPUs that are lost


def test_a_gpu_that_is_lost_sets_its_slot_aside_and_the_failure_is_the_nodes() -> None:
    core = make_core(avoid_busy=False)
    core.begin(0.0)
    give(core, 0, 0)
    give(core, 1, 1)
    actions = core.exited(0, a.Ended(exit_code=1), 5.0)
    assert (looks(actions), ended(actions), offered(actions)) == ([(0,)], [], [])
    actions = core.looked({0: LOST}, 5.1)
    [entry] = ended(actions)
    assert (entry.outcome, entry.error_class) == ("failed", "node")
    assert entry.reason == "the node failed (GPU 0 is gone)"
    assert said(actions) == ["slot 0 is set aside: GPU 0 is gone"]
    assert offered(actions) == []
    actions = core.exited(1, a.Ended(exit_code=0), 6.0)  # the other one goes on
    assert offered(actions) == [1]
    assert core.gpus.aside == {0: "GPU 0 is gone"}


def test_a_failure_on_a_gpu_that_is_well_is_the_runs_own() -> None:
    core = make_core(avoid_busy=True, slots=1)
    core.begin(0.0)
    core.looked({0: FREE}, 0.0)
    give(core, 0, 0)
    core.exited(0, a.Ended(exit_code=3), 5.0)
    actions = core.looked({0: FREE}, 5.1)
    [entry] = ended(actions)
    assert (entry.error_class, entry.reason) == ("exit", "exit code 3")
    assert offered(actions) == [0]  # that look was enough


def test_a_cause_that_was_found_in_the_output_is_kept() -> None:
    core = make_core(avoid_busy=False)
    core.begin(0.0)
    give(core, 0, 0)
    core.exited(0, a.Ended(exit_code=1, cause=a.Cause("node", "the node failed (uncorrectable ECC)")), 5.0)
    [entry] = ended(core.looked({0: LOST}, 5.1))
    assert entry.reason == "the node failed (uncorrectable ECC)"


def test_a_run_that_was_told_to_end_is_not_examined() -> None:
    core = make_core(avoid_busy=False)
    core.begin(0.0)
    give(core, 0, 0)
    core.ordered(e.RunCancelled(0, 1, "ag", "asked"), 1.0)
    actions = core.exited(0, a.Ended(exit_code=-15), 2.0)
    assert looks(actions) == []
    assert [entry.outcome for entry in ended(actions)] == ["cancelled"]


def test_an_order_that_comes_while_it_is_examined_counts() -> None:
    core = make_core(avoid_busy=False)
    core.begin(0.0)
    give(core, 0, 0)
    core.exited(0, a.Ended(exit_code=1), 2.0)
    actions = core.terminate("SIGTERM", 2.1)
    assert [entry.outcome for entry in ended(actions)] == ["preempted"]
    assert ended(core.looked({0: FREE}, 2.2)) == []
    assert core.idle


def test_a_driver_that_does_not_answer_is_not_waited_for_forever() -> None:
    core = make_core(avoid_busy=False)
    core.begin(0.0)
    give(core, 0, 0)
    core.exited(0, a.Ended(exit_code=1), 5.0)
    assert core.tick(5.0) == []
    assert core.next_wake_s() == 5.0 + LOOK_LIMIT_S
    actions = core.tick(5.0 + LOOK_LIMIT_S)
    [entry] = ended(actions)
    assert entry.error_class == "node"
    assert "NVML has given no answer" in core.gpus.aside[0]
    assert core.looked({0: FREE}, 60.0) == []  # too late
    assert core.looked({0: LOST}, 61.0) == []  # said once
    assert core.gpus.aside


def test_an_agent_without_a_slot_that_works_gives_up() -> None:
    core = make_core(slots=1)
    core.begin(0.0)
    actions = core.looked({0: LOST}, 0.1)
    assert said(actions) == [
        "slot 0 is set aside: GPU 0 is gone",
        "this agent stops: every slot is set aside (GPU 0 is gone)",
    ]
    assert core.broken and core.draining and core.idle


def test_a_slot_stays_aside_in_the_next_life() -> None:
    core = a.AgentCore("ag2", 2, Limits(), 0.0, gpus=GpuSlots([0, 1], False, {0: "GPU 0 is gone"}))
    assert offered(core.begin(0.0)) == [1]
    nothing = a.AgentCore("ag3", 1, Limits(), 0.0, gpus=GpuSlots([0], False, {0: "GPU 0 is gone"}))
    assert said(nothing.begin(0.0)) == ["this agent stops: every slot is set aside (GPU 0 is gone)"]
    assert nothing.draining


# --- what the journal is told of


def kept(actions: list[a.Action]) -> list[e.SlotKept]:
    entries = [action.entry for action in actions if isinstance(action, a.Append)]
    return [entry for entry in entries if isinstance(entry, e.SlotKept)]


def test_the_journal_is_told_when_a_slot_begins_to_wait_and_when_it_goes_on() -> None:
    core = make_core()
    core.begin(0.0)
    assert kept(core.looked({0: BUSY, 1: FREE}, 0.0)) == [e.SlotKept("ag", 0, BUSY.busy)]
    assert kept(core.looked({0: BUSY}, 6.0)) == []
    assert kept(core.looked({0: FREE}, 12.0)) == [e.SlotKept("ag", 0)]


def test_the_journal_is_told_of_slots_that_are_set_aside_in_each_life() -> None:
    core = make_core()
    core.begin(0.0)
    assert kept(core.looked({0: LOST, 1: BUSY}, 0.0)) == [
        e.SlotKept("ag", 0, LOST.lost, True),
        e.SlotKept("ag", 1, BUSY.busy),
    ]
    assert kept(core.looked({1: LOST}, 6.0)) == [e.SlotKept("ag", 1, LOST.lost, True)]
    gpus = GpuSlots(range(2), False, core.gpus.aside | {})
    again = a.AgentCore("next", 2, Limits(kill_after_s=30.0), 0.0, gpus=gpus)
    assert [entry.slot for entry in kept(again.begin(0.0))] == [0, 1]
