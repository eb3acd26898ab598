"""The listing index: followed entry by entry, in whatever portions, it equals what a rebuild gives."""

from __future__ import annotations

import random
from typing import Any

import pytest

from folded import Lab, make_spec
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import IndexFold, rebuild
from sweep.core.rows import Views, decode_views, run_key
from sweep.core.spec import Metric, SweepSpec


def views(lab: Lab) -> Views:
    return decode_views(lab.state.position, rebuild(lab.fresh(), lab.journal))


def eventful(seed: int) -> Lab:
    """A sweep in which much happens at random."""
    chance = random.Random(seed)
    lab = Lab(make_spec(run_cap=8, replicates=2, retry=1), limit=0.9, lookahead=3)
    agents = 0
    for _ in range(60):
        lab.now += chance.random()
        act = chance.randrange(12)
        alive = [name for name, agent in lab.state.agents.items() if agent.alive]
        live = sorted(lab.state.live)
        if act == 0 or not alive:
            agents += 1
            lab.join(f"a{agents}", slots=2)
        elif act == 1 and agents > 2:
            lab.add(chance.choice([e.AgentLost, e.AgentLeft])(chance.choice(alive)))
        elif act == 2:
            lab.add(chance.choice([e.PauseRequested(), e.StopRequested("x"), e.ResumeRequested()]))
        elif act == 3:
            lab.add(e.ResumeRequested())
        elif act == 4:
            lab.add(e.RetryRequested(tuple(range(len(lab.state.runs)))))
        elif act == 5:
            lab.add(e.ExtendRequested(8 + chance.randrange(4)))
        elif live:
            number = chance.choice(live)
            if lab.run(number).state == "assigned":
                lab.start(number)
            elif act < 9:
                lab.report(number, chance.random())
            else:
                summary = {"acc": chance.random()} if chance.random() < 0.5 else {}
                lab.end(
                    number, chance.choice(["completed", "failed", "lost"]), chance.random(), summary=summary
                )
        for agent in [name for name, agent in lab.state.agents.items() if agent.alive]:
            for slot in range(2):
                if len(lab.state.agents[agent].runs) + sum(a == agent for a, _ in lab.state.offers) < 2:
                    lab.offer(agent, slot)
        lab.work()
    return lab


@pytest.mark.parametrize("seed", range(20))
def test_following_a_journal_gives_what_a_rebuild_gives(seed: int) -> None:
    lab = eventful(seed)
    whole = rebuild(lab.fresh(), lab.journal)
    stored: dict[str, bytes] = {}
    fold = IndexFold(lab.fresh(), stored.get)
    chance = random.Random(seed)
    for recorded in lab.journal:
        fold.fold(recorded)
        if chance.random() < 0.3:
            stored.update(fold.take())
    stored.update(fold.take())
    assert stored == whole
    assert fold.take() == {}


@pytest.mark.parametrize("seed", range(5))
def test_a_controller_that_takes_over_goes_on_with_the_rows_that_are_stored(seed: int) -> None:
    lab = eventful(seed)
    cut = len(lab.journal) // 2
    stored = rebuild(lab.fresh(), lab.journal[:cut])
    fold = IndexFold(lab.fresh(), stored.get)
    for recorded in lab.journal:
        fold.fold(recorded)
        if recorded.position == cut:
            fold.take()
    stored.update(fold.take())
    assert stored == rebuild(lab.fresh(), lab.journal)


@pytest.mark.parametrize("seed", range(10))
def test_the_views_say_what_the_state_says(seed: int) -> None:
    lab = eventful(seed)
    seen = views(lab)
    state = lab.state
    assert [view.state for view in seen.runs] == lab.states()
    assert [view.objective for view in seen.runs] == [run.score for run in state.runs]
    assert [view.attempt for view in seen.runs] == [run.attempt for run in state.runs]
    assert [view.reason for view in seen.runs] == [run.reason for run in state.runs]
    assert [view.steps for view in seen.runs] == [len(run.values) for run in state.runs]
    assert (seen.sweep.state, seen.sweep.reason) == (state.phase, state.reason)
    assert seen.sweep.trials == len(state.trials)
    counts = {name: lab.states().count(name) for name in set(lab.states())}
    assert seen.sweep.counts == counts
    assert seen.sweep.best_trial == state.best_trial
    assert {view.agent for view in seen.agents if view.state == "joined"} == {
        name for name, agent in state.agents.items() if agent.alive
    }


def test_what_a_run_s_row_holds() -> None:
    lab = Lab(make_spec(run_cap=1, retry=1))
    lab.join()
    lab.work()
    lab.now = 1010.0
    lab.add(
        e.RunStarted(
            0, 1, "a", 42, "node7", 0, ("GPU-1",), ("python", "train.py"), {"SWEEP_RUN": "s1-0"}, "/runs/0"
        )
    )
    lab.report(0, 0.5)
    lab.now = 1020.0
    lab.end(0, "failed", exit_code=3, error_class="exit", rows=5, tail="Traceback", summary={"a": 1, "b": 1})
    lab.offer()
    lab.work()
    lab.start()
    lab.end(0, "completed", 0.25, rows=2, summary={"b": 2})
    (view,) = views(lab).runs
    assert view.id == "s1-0"
    assert (view.trial, view.replicate, view.config, view.state) == (0, 0, {"x": 0}, "completed")
    assert (view.objective, view.summary) == (0.25, {"a": 1, "b": 2})
    first, second = view.attempts
    assert (first.assigned_s, first.started_s, first.ended_s) == (1000.0, 1010.0, 1020.0)
    assert (first.host, first.pid, first.gpus, first.folder) == ("node7", 42, ("GPU-1",), "/runs/0")
    assert (first.command, first.env) == (("python", "train.py"), {"SWEEP_RUN": "s1-0"})
    assert (first.outcome, first.exit_code, first.error_class, first.tail) == (
        "failed",
        3,
        "exit",
        "Traceback",
    )
    assert (second.attempt, second.outcome, second.rows) == (2, "completed", 2)


def test_what_the_sweep_s_rows_hold() -> None:
    lab = Lab(make_spec(run_cap=1, name="digits"))
    created = views(lab)
    assert (created.sweep.name, created.sweep.created_s, created.sweep.ended_s) == ("digits", 1000.0, None)
    lab.running()
    lab.end(0, "completed", 0.5)
    lab.now = 1050.0
    lab.settle()
    done = views(lab)
    assert (done.sweep.state, done.sweep.ended_s) == ("ended", 1050.0)
    assert (done.sweep.best_run, done.sweep.best) == (0, 0.5)
    lab.now = 1060.0
    lab.add(e.ExtendRequested(2))
    assert views(lab).sweep.ended_s == 1050.0
    lab.settle()
    reopened = views(lab)
    assert (reopened.sweep.state, reopened.sweep.ended_s, reopened.sweep.revision) == ("active", None, 2)
    assert reopened.spec.run_cap == 2


def test_the_spec_row_keeps_how_the_sweep_was_created() -> None:
    lab = Lab(make_spec(run_cap=1))
    created = e.SweepCreated("s2", spec_to_builtins(lab.spec), "method: grid", "sweep.yaml", {"git": "abc"})
    fresh = [e.Recorded(1, 0.0, "w", 1, created)]
    revised: SweepSpec = make_spec(run_cap=4)
    fresh.append(e.Recorded(2, 0.0, "w", 2, e.SpecRevised(2, spec_to_builtins(revised), "run_cap: 4")))
    seen = decode_views(2, rebuild(lab.fresh(), fresh))
    assert (seen.created.source, seen.created.source_path) == ("run_cap: 4", "sweep.yaml")
    assert seen.created.record == {"git": "abc"}
    assert seen.spec == revised


def test_agents_are_listed_as_they_came() -> None:
    lab = Lab()
    lab.join("z")
    lab.now += 1
    lab.join("b")
    lab.now += 1
    lab.add(e.AgentLeft("z", "done"))
    lab.add(e.AgentLost("b"))
    z, b = views(lab).agents
    assert (z.agent, z.state, z.reason, z.ended_s) == ("z", "left", "done", 1002.0)
    assert (b.agent, b.state) == ("b", "lost")


def test_rows_sort_as_runs_do() -> None:
    keys = [run_key(number) for number in (0, 9, 10, 99, 100, 123456789)]
    assert keys == sorted(keys)


@pytest.mark.parametrize("entry", [e.AgentLeft("a"), e.RetryRequested((0,))])
def test_a_row_that_is_missing_is_said_not_invented(entry: e.AnyEntry) -> None:
    lab = Lab(make_spec(run_cap=1))
    lab.running()
    lab.end(0, "failed")
    fold = IndexFold(lab.fresh(), lambda _: None)
    for recorded in lab.journal:
        fold.fold(recorded)
    fold.take()
    fold._agents.clear()
    with pytest.raises(LookupError, match="the index has no row of"):
        fold.fold(e.Recorded(len(lab.journal) + 1, 0.0, "w", 99, entry))


def test_only_rows_that_changed_are_looked_at() -> None:
    """With thousands of runs in the queue again, every step would cost as much as there are."""
    lab = Lab(make_spec(run_cap=30), lookahead=30)
    stored: dict[str, bytes] = {}
    fold = IndexFold(lab.fresh(), stored.get)
    lab.join(slots=1)
    lab.work()
    for recorded in lab.journal:
        fold.fold(recorded)
    stored.update(fold.take())
    assert len(lab.states()) == 30
    looked: list[int] = []

    class Watched(list):  # type: ignore[type-arg]
        def __getitem__(self, number: Any) -> Any:
            looked.append(number)
            return super().__getitem__(number)

    fold.state.runs = Watched(fold.state.runs)
    at = len(lab.journal)
    lab.start()
    fold.fold(lab.journal[at])
    fold.take()
    assert set(looked) == {0}


def test_with_replicates_the_best_is_the_config_with_the_best_mean_not_the_luckiest_seed() -> None:
    lab = Lab(make_spec(run_cap=2, replicates=2, metric=Metric(name="loss"), retry=0))
    lab.join(slots=4)
    lab.work()
    assert [run.trial for run in lab.state.runs] == [0, 0, 1, 1]
    for number in range(4):
        lab.start(number)
    lab.end(0, "completed", 0.1)
    assert (views(lab).sweep.best, views(lab).sweep.best_run) == (None, None), (
        "its other seed is still to come"
    )
    lab.end(1, "completed", 0.9)
    lab.end(2, "completed", 0.4)
    lab.end(3, "completed", 0.2)
    sweep = views(lab).sweep
    assert (sweep.best_trial, sweep.best_seeds, sweep.best_run) == (1, (0.4, 0.2), 3)
    assert sweep.best == pytest.approx(0.3)


def test_a_best_trial_that_gets_worse_gives_its_place_to_another() -> None:
    lab = Lab(make_spec(run_cap=2, replicates=2, metric=Metric(name="loss", goal="maximize"), retry=0))
    lab.join(slots=4)
    lab.work()
    for number, (outcome, score) in enumerate(
        [("completed", 0.9), ("failed", None), ("completed", 0.4), ("completed", 0.6)]
    ):
        lab.start(number)
        lab.end(number, outcome, score)  # type: ignore[arg-type]
    assert (views(lab).sweep.best_trial, views(lab).sweep.best_seeds) == (0, (0.9,))
    lab.add(e.RetryRequested((1,)))
    assert views(lab).sweep.best_trial == 1, "trial 0 is open again"
    lab.offer()
    lab.work()
    lab.start(1)
    lab.end(1, "completed", 0.0)
    assert (views(lab).sweep.best_trial, views(lab).sweep.best_run) == (1, 3)
