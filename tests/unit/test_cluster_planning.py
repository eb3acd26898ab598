"""How many slots a launch has on which nodes: the pure part of it, without Ray."""

from __future__ import annotations

from typing import Any

import pytest

from sweep.cluster.planning import (
    SPARE_S,
    SlotFacts,
    runs_left,
    slots_allowed,
    slots_to_ask_for,
    slots_wanted,
    surplus,
)
from sweep.cluster.shape import ClusterNode, cpus_each, describe, room_on, shape_of
from sweep.core.spec import Resources, SweepSpec
from sweep.core.views import SweepView
from sweep.spec import parse_dict

HEAD = ClusterNode(
    id="h", host="head", address="10.0.0.1", resources={"CPU": 8.0, "memory": 1e9, "node:10.0.0.1": 1.0}
)
GPUS = ClusterNode(
    id="g",
    host="gpus",
    address="10.0.0.2",
    resources={"CPU": 16.0, "GPU": 4.0, "licence": 2.0},
    labels={"gpu": "h100"},
)


@pytest.mark.parametrize(
    ("resources", "on_head", "on_gpus", "cpus"),
    [
        (Resources(), 0, 4, 4.0),  # one GPU each, because there are some; the CPUs are shared out
        (Resources(gpus=0.0), 8, 16, 1.0),
        (Resources(gpus=0.0, cpus=3.0), 2, 5, 3.0),
        (Resources(gpus=2.0), 0, 2, 8.0),
        (Resources(gpus=0.5), 0, 8, 2.0),
        (Resources(gpus=0.3), 0, 12, 16 / 12),  # three on each, never one across two
        (Resources(gpus=1.0, cpus=8.0), 0, 2, 8.0),
        (Resources(gpus=1.0, custom={"licence": 1.0}), 0, 2, 8.0),
        (Resources(gpus=1.0, labels={"gpu": "h100"}), 0, 4, 4.0),
        (Resources(gpus=1.0, labels={"gpu": "a100"}), 0, 0, 16.0),
    ],
)
def test_room(resources: Resources, on_head: int, on_gpus: int, cpus: float) -> None:
    shape = shape_of(resources, [HEAD, GPUS])
    assert (room_on(shape, HEAD), room_on(shape, GPUS)) == (on_head, on_gpus)
    assert cpus_each(shape, GPUS, resources.cpus) == pytest.approx(cpus)


def test_without_gpus_a_slot_takes_a_cpu() -> None:
    shape = shape_of(Resources(), [HEAD])
    assert (shape.bundle, shape.words) == ({"CPU": 1.0}, "1 CPU")
    assert room_on(shape, HEAD) == 8


def test_pinned_to_the_machine_with_the_store() -> None:
    shape = shape_of(Resources(gpus=0.0), [HEAD, GPUS], "10.0.0.1")
    assert (room_on(shape, HEAD), room_on(shape, GPUS)) == (8, 0)
    assert "node:" not in shape.words


def test_a_cluster_in_words() -> None:
    assert (
        describe([HEAD, GPUS]) == "2 nodes: head with 8 CPUs; gpus with 16 CPUs, 4 GPUs, 2 licence, gpu=h100"
    )
    assert describe([]) == "no node"
    twins = [ClusterNode(id=str(i), host="vm", address="a", resources={"CPU": 1.0}) for i in range(3)]
    assert describe(twins) == "3 nodes: vm (3 nodes) with 1 CPU"


def spec(**more: Any) -> SweepSpec:
    given = {"program": "t.py", "method": "random", "parameters": {"x": {"min": 0.0, "max": 1.0}}, **more}
    return parse_dict(given, draw_seed=lambda: 1).spec


def view(
    state: Any = "active", exhausted: bool = False, run_cap: int | None = None, **counts: int
) -> SweepView:
    return SweepView(sweep="s", name="", state=state, exhausted=exhausted, run_cap=run_cap, counts=counts)


def test_runs_that_are_left() -> None:
    twice = spec(run_cap=10, replicates=2)
    assert runs_left(view(run_cap=10), twice, 0) == 20
    assert runs_left(view(run_cap=10, completed=12, failed=1, running=3), twice, 3) == 7
    assert runs_left(view(run_cap=10, completed=19, queued=2), twice, 0) == 2  # retried
    assert runs_left(view(), spec(), 5) is None
    assert runs_left(view(exhausted=True, completed=4, running=1), spec(), 1) == 1
    assert runs_left(view("paused", run_cap=10), twice, 3) == 3
    assert runs_left(view("ended"), twice, 0) == 0


def test_slots_wanted_and_allowed() -> None:
    assert slots_wanted(20, None, 4) == 20
    assert slots_wanted(20, 8, 4) == 8
    assert slots_wanted(None, None, 4) == 4
    assert slots_wanted(None, None, 0) == 1  # so that an autoscaler has something to begin with
    assert slots_allowed(20, None, 4, 0) == 4
    assert slots_allowed(2, None, 4, 1) == 2  # the others can do what is left
    assert slots_allowed(20, None, 4, 1) == 3
    assert slots_allowed(2, 2, 4, 2) == 0  # all that was allowed gave up
    assert slots_allowed(20, None, 1, 3) == 0


def test_an_autoscaler_is_asked_for_all_and_then_for_ever_less() -> None:
    assert [slots_to_ask_for(11, 1, tries) for tries in range(6)] == [11, 6, 3, 2, 1, 11]
    assert [slots_to_ask_for(3, 0, tries) for tries in range(4)] == [3, 1, 0, 3]
    assert {slots_to_ask_for(4, 4, tries) for tries in range(4)} == {4}
    assert {slots_to_ask_for(2, 9, tries) for tries in range(4)} == {2}  # what is not wanted may go


def slot(name: str, idle_s: float | None = None, placed: bool = True, leaving: bool = False) -> SlotFacts:
    return SlotFacts(name=name, placed=placed, idle_s=idle_s, leaving=leaving)


def test_what_nobody_can_use_is_given_back() -> None:
    slots = [slot("busy"), slot("fresh", 1.0), slot("idle", SPARE_S), slot("waits", placed=False)]
    assert surplus(slots, 4, 4) == []
    assert surplus(slots, 3, 3) == ["waits"]
    assert surplus(slots, 2, 2) == ["waits", "idle"]
    assert surplus(slots, 1, 1) == ["waits", "idle"]  # the fresh one is kept for a while
    assert surplus(slots, 9, 3) == ["waits"]  # no room for it any more
    assert surplus([slot("idle", 99.0), slot("goes", leaving=True)], 1, 1) == []


def test_a_lower_limit_lets_busy_ones_go_when_they_have_finished() -> None:
    slots = [slot("a"), slot("b"), slot("c", SPARE_S)]
    assert surplus(slots, 2, 2, 2) == ["c"]
    assert surplus(slots, 1, 1, 1) == ["c", "a"]
    assert surplus([slot("a"), slot("b")], 1, 1) == []  # runs that are left go on where they are
