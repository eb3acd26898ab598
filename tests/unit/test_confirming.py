"""When the search has ended its best configs run again on fresh seeds: what is added, when, and what it may not touch."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from folded import Lab, make_spec, refold
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.confirming import finalists, missing
from sweep.core.rows import decode_run, decode_sweep
from sweep.core.seeds import run_seed
from sweep.core.spec import Confirm, EarlyTerminate, Limits, Metric
from sweep.testing.states import check_state, dump

CONFIRM = Confirm(top=2, seeds=3)


def lab_of(**spec: Any) -> Lab:
    lab = Lab(make_spec(**{"run_cap": 4, "confirm": CONFIRM, **spec}))
    lab.join(slots=1)
    lab.work()
    return lab


def do_next(lab: Lab, value: float | None = None, outcome: e.Outcome = "completed") -> int:
    """The run that is assigned runs to its end; the next one is assigned."""
    [number] = lab.state.live
    lab.start(number)
    lab.end(number, outcome, float(lab.state.runs[number].trial) if value is None else value)
    lab.offer()
    lab.work()
    check_state(lab.state)
    return number


def search(lab: Lab, *values: float) -> None:
    for value in values:
        do_next(lab, value)


def purposes(lab: Lab) -> list[tuple[int, int]]:
    return [(run.trial, run.replicate) for run in lab.state.runs if run.purpose == "confirm"]


def test_the_best_run_again_on_fresh_seeds_common_to_them() -> None:
    lab = lab_of()
    search(lab, 0.4, 0.1, 0.3, 0.2)
    assert purposes(lab) == [(1, 1), (3, 1), (1, 2), (3, 2), (1, 3), (3, 3)], "seed by seed"
    seeds = {run.replicate: run.seed for run in lab.state.runs if run.purpose == "confirm"}
    assert seeds == {replicate: run_seed(7, replicate, "confirm") for replicate in (1, 2, 3)}
    assert {run_seed(7, replicate) for replicate in range(100)}.isdisjoint(seeds.values())
    assert lab.state.phase == "active" and lab.state.confirming
    for _ in range(6):
        do_next(lab, 0.5)
    assert (lab.state.phase, lab.state.reason) == ("ended", "run_cap: all 4 trials are done")
    assert not lab.state.confirming and missing(lab.state) == []
    assert dump(refold(lab)) == dump(lab.state)


def test_replicates_go_on_where_those_of_the_search_end() -> None:
    lab = lab_of(
        replicates=2, run_cap=2, confirm=Confirm(top=1, seeds=2), metric=Metric(name="m", goal="maximize")
    )
    search(lab, 0.1, 0.3, 0.2, 0.9)
    assert purposes(lab) == [(1, 2), (1, 3)], "by the mean over replicates, in the metric's direction"


def test_of_equals_the_first_ones_and_never_more_than_there_are() -> None:
    lab = lab_of(confirm=Confirm(top=3, seeds=2), run_cap=2)
    lab.spec = lab.state.spec
    do_next(lab, 0.5)
    do_next(lab, 0.5)
    assert finalists(lab.state) == [0, 1]
    lab = lab_of(confirm=Confirm(top=1, seeds=2))
    search(lab, 0.3, 0.2, 0.2, 0.2)
    assert finalists(lab.state) == [1]


def test_without_a_score_there_is_nothing_to_confirm() -> None:
    lab = lab_of(run_cap=2)
    for _ in range(2):
        [number] = lab.state.live
        lab.start(number)
        lab.end(number, "failed")
        lab.offer()
        lab.work()
    assert lab.state.phase == "ended" and not purposes(lab)


def test_a_confirmation_is_nothing_to_search_target_patience_and_best() -> None:
    lab = lab_of(metric=Metric(name="loss", target=-5.0), patience=10)
    search(lab, 0.4, 0.1, 0.3, 0.2)
    seen, best = list(lab.state.observations), lab.state.best_run
    for _ in range(6):
        do_next(lab, -9.0)
    assert lab.state.observations == seen and lab.state.best_run == best == 1
    assert lab.state.reached is None and lab.state.whole == []
    assert lab.state.phase == "ended"


def test_no_stopper_ends_it_or_hears_of_it() -> None:
    lab = Lab(
        make_spec(run_cap=1, confirm=Confirm(top=1, seeds=2), early_terminate=EarlyTerminate()), limit=0.5
    )
    lab.join(slots=1)
    lab.work()
    do_next(lab, 0.1)
    [number] = lab.state.live
    lab.start(number)
    lab.report(number, 9.0)
    assert lab.settle() == [], "a run of the search would be pruned"
    assert lab.state.stopper.values == {}  # type: ignore[union-attr]


@pytest.mark.parametrize("spec", [{"metric": Metric(name="loss", target=0.15)}, {"patience": 2}])
def test_a_target_and_patience_end_the_search_and_are_confirmed(spec: dict[str, Any]) -> None:
    lab = lab_of(run_cap=50, **spec)
    search(lab, 0.1) if "metric" in spec else search(lab, 0.1, 0.2, 0.3)
    trials = len(lab.state.trials)
    assert lab.state.confirming and len(purposes(lab)) == 3 * min(2, trials)
    while lab.state.live:
        do_next(lab, 0.5)
    assert lab.state.phase == "ended" and len(lab.state.trials) == trials


def test_who_stops_a_sweep_stops_its_confirmation_and_it_can_be_had_later() -> None:
    lab = lab_of()
    search(lab, 0.4)
    lab.add(e.StopRequested("ann"))
    lab.settle()
    do_next(lab, 0.1)
    assert (lab.state.phase, lab.state.reason, purposes(lab)) == ("ended", "stopped by ann", [])
    assert lab.add(e.ConfirmRequested(1, 2, by="ann")) is None
    lab.offer()
    made = lab.work()
    assert [type(one).__name__ for one in made[:3]] == ["SweepReopened", "RunAdded", "RunAdded"]
    assert purposes(lab) == [(1, 1), (1, 2)] and lab.state.confirming
    do_next(lab, 0.3)
    do_next(lab, 0.2)
    assert (lab.state.phase, lab.state.reason) == ("ended", "stopped by ann"), "it ends as it had"
    assert len(lab.state.trials) == 2, "the search did not go on"
    lab.add(e.ResumeRequested("ann"))
    lab.offer()
    lab.work()
    assert lab.state.phase == "active" and not lab.state.only_confirm, "but it can"


def test_stopping_a_confirmation_shelves_what_waits() -> None:
    lab = lab_of()
    search(lab, 0.4, 0.1, 0.3, 0.2)
    lab.add(e.StopRequested())
    lab.settle()
    do_next(lab, 0.5)
    assert lab.state.phase == "ended" and lab.states()[4:] == ["completed"] + ["cancelled"] * 5
    lab.add(e.ConfirmRequested(2, 3))
    lab.offer()
    lab.work()
    for _ in range(5):
        do_next(lab, 0.5)
    assert lab.state.phase == "ended" and lab.states()[4:] == ["completed"] * 6
    assert len(lab.state.runs) == 10, "nothing is run twice"


def test_a_confirmation_that_failed_is_tried_again_when_it_is_asked_for_again() -> None:
    lab = lab_of()
    search(lab, 0.4, 0.1, 0.3, 0.2)
    do_next(lab, None, "failed")
    for _ in range(5):
        do_next(lab, 0.5)
    assert lab.state.phase == "ended" and lab.states()[4] == "failed"
    lab.add(e.ConfirmRequested(2, 3))
    lab.offer()
    lab.work()
    assert do_next(lab, 0.2) == 4 and lab.state.phase == "ended"


def test_more_seeds_add_what_is_missing() -> None:
    lab = lab_of()
    search(lab, 0.4, 0.1, 0.3, 0.2)
    for _ in range(6):
        do_next(lab, 0.5)
    spec = msgspec.structs.replace(lab.state.spec, confirm=Confirm(top=2, seeds=4))
    assert lab.add(e.SpecRevised(2, spec_to_builtins(spec))) is None
    lab.offer()
    lab.work()
    assert purposes(lab)[6:] == [(1, 4), (3, 4)] and lab.state.only_confirm


def test_extending_goes_on_with_the_search_and_confirms_what_is_best_then() -> None:
    lab = lab_of(run_cap=2, confirm=Confirm(top=1, seeds=2))
    search(lab, 0.4, 0.1)
    do_next(lab, 0.5)
    lab.add(e.ExtendRequested(3))
    lab.work()
    do_next(lab, 0.5)
    do_next(lab, 0.05)
    assert purposes(lab) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_limit_ends_a_confirmation_and_forbids_another() -> None:
    lab = lab_of(run_cap=1, limits=Limits(wall_time_s=100.0))
    search(lab, 0.4)
    [number] = lab.state.live
    lab.start(number)
    lab.now += 200
    lab.settle()
    lab.end(number, "cancelled")
    lab.settle()
    assert lab.state.phase == "ended" and "wall_time" in lab.state.reason
    assert lab.add(e.ConfirmRequested(1, 2)) == lab.state.reason
    assert lab.settle() == []


@pytest.mark.parametrize(
    "entry",
    [
        e.ConfirmRequested(0, 3),
        e.ConfirmRequested(1, 1),
        e.ConfirmRequested(1, 3, 3),
        e.ConfirmRequested(1, 3, 0),
    ],
)
def test_what_makes_no_confirmation_is_ignored(entry: e.ConfirmRequested) -> None:
    lab = lab_of()
    assert "at least one config" in (lab.add(entry) or "")
    assert lab.state.spec.confirm == CONFIRM
    none = Lab(make_spec(metric=None))
    assert "no metric" in (none.add(e.ConfirmRequested(1, 2)) or "")


def test_a_pause_holds_for_it_and_listings_say_what_it_is() -> None:
    lab = lab_of()
    search(lab, 0.4, 0.1, 0.3, 0.2)
    rows = lab.fold.take()
    view = decode_sweep(rows["sweep"])
    assert (view.state, view.confirming, view.best_run, view.counts) == (
        "active", True, 1, {"completed": 4, "assigned": 1, "queued": 5},
    )  # fmt: skip
    run = decode_run(rows["run/0000000004"])
    assert (run.purpose, run.replicate, run.trial) == ("confirm", 1, 1)
    lab.add(e.PauseRequested())
    [number] = lab.state.live
    lab.start(number)
    lab.end(number, "completed", 0.5)
    lab.offer()
    assert lab.work() == []
    lab.add(e.ResumeRequested())
    assert [type(one).__name__ for one in lab.work()] == ["RunAssigned"]


def test_looks_are_counted_and_nothing_else() -> None:
    lab = lab_of()
    before = dump(lab.state)
    assert lab.add(e.ReportShown("acc", "best", "ann")) is None
    after = dump(lab.state)
    assert {key for key in before if before[key] != after[key]} <= {"position", "times"}
    assert decode_sweep(lab.fold.take()["sweep"]).looks == 1
