"""A node whose runs fail as others' do not: when it is set aside, and what that means for its agents and its runs."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import combinations

import pytest

from folded import Lab, make_spec, refold
from sweep.core import agent as a
from sweep.core import entries as e
from sweep.core.evolve import IllegalDecision
from sweep.core.index import rebuild
from sweep.core.nodes import CHANCE, FEWEST, MANY, chance_of
from sweep.core.rows import AGENT_PREFIX, decode_agents, decode_run, run_key
from sweep.core.spec import Limits
from sweep.testing.states import check_state, dump


def lab(retry: int = 0, bad_slots: int = 1, good_slots: int = 1, patience: int | None = None) -> Lab:
    """One agent on `bad`, one on `good`."""
    made = Lab(make_spec(retry=retry, run_cap=60, patience=patience))
    made.join("b", bad_slots, "bad")
    made.join("g", good_slots, "good")
    made.work()
    return made


def on(lab: Lab, agent: str) -> int:
    """The run that an agent has."""
    return min(lab.state.agents[agent].runs)


def finish(lab: Lab, agent: str, outcome: e.Outcome = "completed", **more: object) -> int:
    """An agent's run starts, ends like this, and the slot is offered again; its number."""
    number = on(lab, agent)
    slot = next(
        r.entry.slot
        for r in reversed(lab.journal)
        if isinstance(r.entry, e.RunAssigned) and r.entry.run == number
    )
    if lab.run(number).state == "assigned":
        lab.start(number)
    lab.now += 1
    assert lab.end(number, outcome, **more) is None  # type: ignore[arg-type]
    lab.offer(agent, slot)
    lab.work()
    return number


def aside(lab: Lab) -> list[e.NodeSetAside]:
    return [r.entry for r in lab.journal if isinstance(r.entry, e.NodeSetAside)]


def check(lab: Lab) -> None:
    """The state is what a fresh fold gives, and so are the listings."""
    check_state(lab.state)
    assert dump(refold(lab)) == dump(lab.state)
    assert lab.fold.take() == rebuild(lab.fresh(), lab.journal)


# --- the rule


def test_the_chance_is_that_of_the_exact_test() -> None:
    """Of all ways to place the failures among the attempts: the share in which all of these here failed."""
    for count, bad, good in ((3, 0, 4), (3, 2, 5), (2, 3, 3), (4, 1, 0)):
        attempts = range(count + bad + good)
        ways = list(combinations(attempts, count + bad))
        extreme = [way for way in ways if set(range(count)) <= set(way)]
        assert math.isclose(chance_of(count, bad, good), Fraction(len(extreme), len(ways)))


@pytest.mark.parametrize(("failures", "successes"), [(3, 17), (4, 10), (5, 8), (8, 5)])
def test_failures_in_a_row_here_and_none_elsewhere(failures: int, successes: int) -> None:
    made = lab()
    for _ in range(successes - 1):
        finish(made, "g")
    failed = [finish(made, "b", "failed") for _ in range(failures)]
    assert aside(made) == []
    finish(made, "g")
    assert aside(made) == [
        e.NodeSetAside(
            "bad",
            "b",
            f"{failures} different runs in a row failed on bad (the last: exit), and none of {successes} elsewhere",
            tuple(failed),
        )
    ]
    check(made)


def test_two_in_a_row_are_too_few() -> None:
    made = lab()
    for _ in range(19):
        finish(made, "g")
    for _ in range(FEWEST - 1):
        finish(made, "b", "failed")
    assert chance_of(FEWEST, 0, 19) < CHANCE
    assert aside(made) == []


def test_patience_takes_back_what_failed_because_of_a_node() -> None:
    made = lab(patience=6)
    for number in range(9):
        finish(made, "g", score=100.0 - number)
    failed = [finish(made, "b", "failed") for _ in range(4)]
    assert made.state.unimproved == 4
    finish(made, "g", score=200.0)
    assert aside(made)[0].runs == tuple(failed)
    assert (made.state.unimproved, made.state.phase) == (1, "active")
    for number in range(2):  # they are executed elsewhere, and then they count
        finish(made, "g", score=300.0)
        assert made.state.unimproved == 2 + number
    finish(made, "g", score=1.0)
    assert made.state.unimproved == 0
    check(made)


def test_a_success_begins_the_row_anew() -> None:
    made = lab()
    for _ in range(19):
        finish(made, "g")
    for outcome in ("failed", "failed", "pruned", "failed", "failed", "completed", "failed", "failed"):
        finish(made, "b", outcome)  # type: ignore[arg-type]
    assert aside(made) == []


def test_a_success_that_began_before_the_failures_says_nothing_of_the_node_since() -> None:
    made = lab(bad_slots=2)
    early = max(made.state.agents["b"].runs)
    made.start(early)
    for _ in range(17):
        finish(made, "g")
    failed = []
    for _ in range(2):
        [number] = made.state.agents["b"].runs - {early}
        made.now += 1
        made.start(number)
        made.end(number, "failed")
        failed.append(number)
        if len(failed) == 2:
            made.end(early, "completed")
        made.offer("b", 0)
        made.work()
    assert [failure[0] for failure in made.state.in_a_row["bad"]] == failed
    failed.append(finish(made, "b", "failed"))
    assert [entry.runs for entry in aside(made)] == [tuple(failed)]
    check(made)


def test_what_is_nobodys_fault_does_not_count() -> None:
    made = lab()
    for _ in range(19):
        finish(made, "g")
    for _ in range(10):
        finish(made, "b", "preempted")
    assert aside(made) == []


def test_one_run_that_fails_again_and_again_is_its_own_fault() -> None:
    made = lab(retry=20)
    for _ in range(19):
        finish(made, "g")
    for _ in range(10):
        made.start(on(made, "b"))
        number = on(made, "b")
        made.now += 1
        made.end(number, "failed")
        made.offer("b")
        made.work()
    assert aside(made) == []


def test_a_run_that_fails_elsewhere_as_well_is_no_evidence() -> None:
    """Three bad configs come to one node first, and fail on the other one, too."""
    made = lab(retry=1)
    for _ in range(16):
        finish(made, "g")
    bad = [on(made, "b")]
    for _ in range(3):
        finish(made, "g")
        number = on(made, "b")
        made.start(number)
        made.now += 1
        made.end(number, "failed")
        made.work()
        if on(made, "g") != number:
            finish(made, "g")
        assert on(made, "g") == number
        finish(made, "g", "failed")
        made.offer("b")
        made.work()
        bad.append(number)
    assert aside(made) == []
    assert not made.state.in_a_row


def test_where_runs_fail_everywhere_no_node_is_to_blame() -> None:
    made = lab()
    for _ in range(12):
        finish(made, "b", "failed")
        finish(made, "g", "failed")
    assert aside(made) == []


def test_what_has_outlived_the_failures_elsewhere_has_not_failed() -> None:
    """Nothing has ended elsewhere, but what runs there has run for longer than anything on this node."""
    made = lab(good_slots=1)
    made.start(on(made, "g"))
    for _ in range(MANY - 1):
        finish(made, "b", "failed")
    assert aside(made) == []
    finish(made, "b", "failed")
    [only] = aside(made)
    assert only.reason.endswith("and none of 1 elsewhere")


def test_what_has_not_outlived_them_says_nothing() -> None:
    made = lab()
    number = on(made, "b")
    made.start(number)
    made.now += 1000
    made.start(on(made, "g"))
    made.end(number, "failed")
    made.offer("b")
    made.work()
    for _ in range(MANY):
        finish(made, "b", "failed")
    assert aside(made) == []


def test_the_last_node_is_never_set_aside() -> None:
    made = lab()
    for _ in range(20):
        finish(made, "g")
    number = on(made, "g")
    made.add(e.AgentLeft("g", "done"))
    made.add(e.AttemptEnded(number, 1, "g", "preempted", "it left"))
    for _ in range(12):
        finish(made, "b", "failed")
    assert aside(made) == []
    made.join("h", 1, "third")
    made.work()
    assert [entry.host for entry in aside(made)] == ["bad"]


def test_a_sweep_that_somebody_stopped_sets_nothing_aside() -> None:
    made = lab()
    for _ in range(20):
        finish(made, "g")
    finish(made, "b", "failed")
    finish(made, "b", "failed")
    made.add(e.StopRequested("ann"))
    finish(made, "b", "failed")
    assert aside(made) == []


# --- what it means


def set_aside(retry: int = 0, bad_slots: int = 1) -> tuple[Lab, list[int]]:
    """A node that has just been set aside, and the runs that failed there."""
    made = lab(retry, bad_slots)
    for _ in range(17):
        finish(made, "g")
    failed = [finish(made, "b", "failed") for _ in range(3)]
    assert aside(made)
    return made, failed


def test_its_agents_are_told_and_get_nothing_more() -> None:
    made = lab()
    made.join("b2", 2, "bad")
    made.work()
    for _ in range(17):
        finish(made, "g")
    for _ in range(3):
        finish(made, "b", "failed")
    first, second = aside(made)
    assert (first.agent, second.agent, second.runs) == ("b", "b2", ())
    assert [e.addressee_of(entry) for entry in (first, second)] == ["b", "b2"]
    assert {agent for agent, _ in made.state.offers} <= {"g"}
    assert made.offer("b2", 1) == "its node is set aside"
    check(made)


def test_runs_that_had_failed_for_good_go_elsewhere_uncharged() -> None:
    made, failed = set_aside()
    assert [made.run(n).failures.get("exit", 0) for n in failed] == [0, 0, 0]
    waiting = [n for n in failed if made.run(n).state == "queued"]
    assert len(waiting) >= 2
    while on(made, "g") not in failed:
        finish(made, "g")
    number = finish(made, "g", "failed")
    assert made.run(number).state == "failed", "this one is its own"
    check(made)


def test_what_waited_for_its_retry_has_all_its_retries_again() -> None:
    made = lab(retry=1)
    for _ in range(17):
        finish(made, "g")
    failed = []
    for _ in range(3):
        number = on(made, "b")
        made.start(number)
        made.now += 1
        made.end(number, "failed")
        failed.append(number)
        made.add(e.RunCancelled(number, 1, "", "out of the way"))
        made.offer("b")
        made.work()
    assert aside(made)
    assert [made.run(n).failures["exit"] for n in failed] == [0, 0, 0]
    assert [made.run(n).state for n in failed] == ["cancelled"] * 3, "what a person ended stays so"


def test_what_fails_there_afterwards_is_not_charged_either() -> None:
    made, _ = set_aside(bad_slots=2)
    [number] = made.state.agents["b"].runs
    made.start(number)
    made.end(number, "failed")
    assert (made.run(number).state, made.run(number).failures) == ("queued", {"exit": 0})
    assert "bad" not in made.state.in_a_row
    check(made)


def test_what_was_told_to_end_there_ends_so() -> None:
    made, _ = set_aside(bad_slots=2)
    [number] = made.state.agents["b"].runs
    made.start(number)
    made.add(e.RunPruned(number, 1, "b", "poor"))
    made.end(number, "failed")
    assert made.run(number).state == "pruned"


def test_an_agent_that_joins_anew_takes_the_node_back() -> None:
    made, _ = set_aside()
    made.add(e.AgentLeft("b", "set aside"))
    made.join("b2", 1, "bad")
    made.work()
    assert made.state.agents["b2"].runs
    for _ in range(2):
        finish(made, "b2", "failed")
    assert len(aside(made)) == 1
    finish(made, "b2", "failed")
    assert len(aside(made)) == 2
    check(made)


def test_the_runs_of_a_node_that_gave_up_by_itself_go_elsewhere_as_well() -> None:
    """The agent's own rule (its first three runs fail) ends it before anything is known of other nodes."""
    made = lab()
    failed = [finish(made, "b", "failed") for _ in range(3)]
    number = on(made, "b")
    made.add(e.AttemptEnded(number, 1, "b", "preempted", "leaving"))
    made.add(e.AgentLeft("b", "its first runs failed"))
    for _ in range(17):
        finish(made, "g")
    [entry] = aside(made)
    assert (entry.agent, entry.runs) == ("", tuple(failed))
    assert e.addressee_of(entry) is None
    check(made)


def test_the_last_failures_of_a_sweep_are_looked_at_before_it_ends() -> None:
    made = Lab(make_spec(retry=0, run_cap=20))
    made.join("b", 3, "bad")
    made.join("g", 1, "good")
    made.work()
    for _ in range(17):
        finish(made, "g")
    for _ in range(3):
        number = on(made, "b")
        made.start(number)
        made.now += 1
        made.end(number, "failed")
        made.work()
    assert aside(made)
    assert made.state.phase == "active"


def test_listings_say_why() -> None:
    made, failed = set_aside()
    rows = rebuild(made.fresh(), made.journal)
    agents = {view.agent: view for view in decode_agents(rows)}
    assert agents["b"].aside == aside(made)[0].reason
    assert agents["g"].aside == ""
    view = decode_run(rows[run_key(failed[0])])
    assert (view.state, view.reason) == (made.run(failed[0]).state, "")
    assert view.attempts[0].outcome == "failed", "what happened is not rewritten"
    assert any(key.startswith(AGENT_PREFIX) for key in rows)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (e.NodeSetAside("bad", "nobody", "x"), "agent nobody is not on bad"),
        (e.NodeSetAside("good", "b", "x"), "agent b is not on good"),
        (e.NodeSetAside("bad", "b", "x"), "its node is set aside already"),
        (e.NodeSetAside("good", "g", "x", (99,)), "there is no such run"),
        (e.NodeSetAside("good", "", "x", (1,)), "agents are on good, and must be told"),
    ],
)
def test_a_decision_that_does_not_fit_is_a_bug(entry: e.NodeSetAside, why: str) -> None:
    made, _ = set_aside()
    before = dump(made.state)
    with pytest.raises(IllegalDecision, match=why):
        made.add(entry)
    assert dump(made.state) == before


def test_an_agent_that_is_told_lets_its_runs_finish_and_leaves() -> None:
    core = a.AgentCore("b", 2, Limits(), 0.0)
    core.begin(0.0)
    core.assigned(e.RunAssigned(0, 1, "b", 0, 1, 0, 0, 5, {}), 0.0)
    core.started(0, e.RunStarted(0, 1, "b", 11, "bad", 0), 0.0)
    actions = core.set_aside(e.NodeSetAside("bad", "b", "runs fail there"))
    assert actions == [
        a.Say("this node is set aside: runs fail there", "error"),
        a.Append(e.SlotWithdrawn("b", 1, 2)),
    ]
    assert not core.idle
    core.exited(0, a.Ended(exit_code=0), 1.0)
    assert core.idle and core.draining == "set aside: runs fail there" and core.aside


def test_each_failure_is_given_back_to_its_class() -> None:
    made = lab(retry=5)
    number = on(made, "b")
    for error in ("gpu_memory", "exit", "gpu_memory"):
        made.start(number)
        made.end(number, "failed", error_class=error)
        made.offer("b")
        made.work()
        assert on(made, "b") == number
    assert made.run(number).failures == {"oom": 2, "exit": 1}
    made.add(e.NodeSetAside("bad", "b", "so it seems", (number,)))
    assert made.run(number).failures == {"oom": 0, "exit": 0}
    check(made)
