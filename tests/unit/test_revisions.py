"""Revised specs: what may change, what becomes of the sweep, and when an ended one goes on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from folded import Lab, make_spec, refold
from sweep.core import entries as e
from sweep.core.codec import spec_to_builtins
from sweep.core.index import rebuild
from sweep.core.revisions import gives_more, is_used_up, revisable
from sweep.core.rows import decode_views
from sweep.core.space import Categorical, Numeric, Parameter, Space
from sweep.core.spec import EarlyTerminate, Limits, Metric, Resources, Retry, SweepSpec
from sweep.testing.states import check_state, dump

replace = msgspec.structs.replace


def points(*values: int) -> Space:
    return Space((Parameter(("x",), Categorical(values)),))


def revise(lab: Lab, **changes: Any) -> str | None:
    spec = replace(lab.state.spec, **changes)
    return lab.add(e.SpecRevised(lab.state.revision + 1, spec_to_builtins(spec), by="ann"))


def kinds(made: list[e.AnyEntry]) -> list[str]:
    return [type(entry).__name__ for entry in made]


def ended(**spec: Any) -> Lab:
    """A sweep whose one trial is done."""
    lab = Lab(make_spec(**{"run_cap": 1, **spec}))
    lab.running()
    lab.end(0, "completed", score=0.5)
    lab.settle()
    assert lab.state.phase == "ended"
    return lab


# --- what may change

OLD = make_spec(metric=Metric(name="loss"), run_cap=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "random"}, "method cannot change from grid to random: "),
        ({"seed": 8}, "seed cannot change from 7 to 8: "),
        ({"replicates": 2}, "replicates cannot change from 1 to 2: "),
        ({"metric": Metric(name="acc")}, "metric.name cannot change from loss to acc: "),
        (
            {"metric": Metric(name="loss", goal="maximize")},
            "metric.goal cannot change from minimize to maximize: ",
        ),
        ({"metric": None}, "metric cannot be taken away: "),
        ({"workdir": "w"}, "workdir cannot change: "),
    ],
)
def test_what_would_make_results_incomparable_cannot_change(changes: dict[str, Any], message: str) -> None:
    new = replace(OLD, **changes)
    (found,) = revisable(OLD, new)
    assert found.startswith(message)
    lab = Lab(OLD)
    refusal = revise(lab, **changes)
    assert refusal == found
    assert (lab.state.revision, lab.state.spec) == (1, OLD)


def test_a_metric_cannot_be_added() -> None:
    (found,) = revisable(replace(OLD, metric=None), OLD)
    assert found.startswith("metric cannot be added: ")


def test_every_reason_is_given() -> None:
    assert (
        len(revisable(OLD, replace(OLD, seed=1, replicates=5, metric=Metric(name="a", goal="maximize")))) == 4
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"run_cap": 9},
        {"patience": 3},
        {"metric": Metric(name="loss", target=0.1)},
        {"space": points(1, 2)},
        {"early_terminate": EarlyTerminate(min_iter=1)},
        {"limits": Limits(wall_time_s=5.0)},
        {"retry": Retry(max=3)},
        {"resources": Resources(gpus=1)},
        {"env": {"A": "1"}},
        {"program": "b.py", "command": ("x",), "name": "n", "description": "d"},
    ],
)
def test_the_rest_may_change(changes: dict[str, Any]) -> None:
    lab = Lab(OLD)
    assert revisable(OLD, replace(OLD, **changes)) == []
    assert revise(lab, **changes) is None
    assert (lab.state.revision, lab.state.spec) == (2, replace(OLD, **changes))


def test_the_unit_of_iterations_cannot_change_once_runs_have_reported_by_it() -> None:
    def with_step(step: str | None, kind: str = "asha") -> SweepSpec:
        early = EarlyTerminate(type=kind, step=step, min_iter=1)  # type: ignore[arg-type]
        return replace(OLD, early_terminate=early)

    (found,) = revisable(with_step("time"), with_step("metric:epoch"))
    assert found == (
        "early_terminate.step cannot change from time to metric:epoch: runs have reported by time"
    )
    assert len(revisable(OLD, with_step("time"))) == 1
    assert revisable(with_step("time"), OLD) == []
    assert revisable(with_step("time"), with_step("time", "none")) == []
    assert revisable(with_step("time"), with_step("time", "median")) == []
    assert revisable(with_step("count"), with_step(None)) == []


def test_what_is_no_spec_is_ignored() -> None:
    lab = Lab(OLD)
    refusal = lab.add(e.SpecRevised(2, {"method": "grid"}))
    assert refusal is not None and refusal.startswith("this is not the record of a spec")
    assert lab.state.revision == 1


def test_engines_may_change() -> None:
    old = make_spec(method="bayes", engine="optuna-tpe")
    assert revisable(old, replace(old, engine="skopt-et")) == []


# --- more to do


def limited(**limits: Any) -> SweepSpec:
    return replace(OLD, limits=Limits(**limits))


@pytest.mark.parametrize(
    ("old", "new", "keys"),
    [
        (OLD, replace(OLD, run_cap=4), ["run_cap"]),
        (OLD, replace(OLD, run_cap=None), ["run_cap"]),
        (OLD, replace(OLD, run_cap=2), []),
        (replace(OLD, run_cap=None), OLD, []),
        (replace(OLD, patience=2), replace(OLD, patience=3), ["patience"]),
        (OLD, replace(OLD, patience=3), []),
        (limited(wall_time_s=1.0), limited(), ["limits.wall_time"]),
        (limited(gpu_hours=1.0), limited(gpu_hours=2.0), ["limits.gpu_hours"]),
        (limited(run_time_s=1.0), limited(run_time_s=2.0), []),
        (OLD, replace(OLD, space=points(1)), ["parameters"]),
        (OLD, replace(OLD, metric=Metric(name="loss", target=1.0)), []),
        (replace(OLD, metric=Metric(name="loss", target=1.0)), OLD, ["metric.target"]),
        (OLD, replace(OLD, description="other", retry=Retry(max=1)), []),
    ],
)
def test_what_may_give_more_to_do(old: SweepSpec, new: SweepSpec, keys: list[str]) -> None:
    assert gives_more(old, new) == keys


def test_an_ended_sweep_goes_on_when_there_is_more_to_do() -> None:
    lab = ended()
    assert revise(lab, run_cap=2) is None
    assert lab.state.reopen == "revision 2 (run_cap) by ann"
    lab.offer()
    made = lab.work()
    assert made[0] == e.SweepReopened("revision 2 (run_cap) by ann")
    assert lab.states() == ["completed", "assigned"]
    assert dump(refold(lab)) == dump(lab.state)


@pytest.mark.parametrize(
    "changes",
    [
        {"run_cap": 1, "description": "other"},
        {"retry": Retry(max=5)},
        {"patience": 3},
        {"limits": Limits(wall_time_s=1e9)},
    ],
)
def test_an_ended_sweep_stays_so_when_there_is_not(changes: dict[str, Any]) -> None:
    lab = ended()
    assert revise(lab, **changes) is None
    lab.offer()
    assert lab.work() == []
    assert (lab.state.phase, lab.state.revision) == ("ended", 2)


def test_a_raised_budget_does_not_reopen_what_something_else_ended() -> None:
    lab = Lab(make_spec(run_cap=5, limits=Limits(wall_time_s=50.0)))
    lab.running()
    lab.now += 60
    lab.settle()
    lab.end(0, "cancelled")
    assert kinds(lab.settle()) == ["SweepEnded"]
    revise(lab, run_cap=10)
    assert lab.settle() == []
    revise(lab, limits=Limits(wall_time_s=500.0))
    assert kinds(lab.settle()) == ["SweepReopened"]


def test_another_target_reopens_unless_it_is_reached_as_well() -> None:
    lab = Lab(make_spec(run_cap=5, metric=Metric(name="loss", target=1.0)))
    lab.running()
    lab.end(0, "completed", score=0.5)
    lab.settle()
    assert lab.state.reason == "run 0 reached the target: loss 0.5"
    revise(lab, metric=Metric(name="loss", target=0.6))
    assert lab.settle() == []
    assert lab.state.reached == (0, 0.5)
    revise(lab, metric=Metric(name="loss", target=0.4))
    assert kinds(lab.settle()) == ["SweepReopened"]
    assert lab.state.reached is None


def test_raised_patience_reopens_by_what_was_counted() -> None:
    lab = Lab(make_spec(run_cap=9, patience=1))
    lab.join()
    lab.work()
    for run, score in enumerate([1.0, 2.0]):
        lab.start(run)
        lab.end(run, "completed", score=score)
        lab.offer()
        lab.work()
    assert lab.state.phase == "ended"
    revise(lab, patience=2)
    assert kinds(lab.work())[0] == "SweepReopened"
    assert lab.states() == ["completed", "completed", "assigned"]
    lab.start(2)
    lab.end(2, "completed", score=3.0)
    lab.settle()
    assert lab.state.phase == "ended"
    assert "2 trials in a row" in lab.state.reason


def test_a_target_given_in_the_middle_counts_what_was_reached_before() -> None:
    lab = Lab(make_spec(run_cap=5))
    lab.running()
    lab.report(0, 0.3)
    revise(lab, metric=Metric(name="loss", target=0.4))
    lab.end(0, "completed")
    lab.settle()
    assert lab.state.reason == "run 0 reached the target: loss 0.3"


def test_patience_given_in_the_middle_counts_what_finished_before() -> None:
    lab = Lab(make_spec(run_cap=9))
    lab.join()
    lab.work()
    for run, score in enumerate([1.0, 2.0, 3.0]):
        lab.start(run)
        lab.end(run, "completed", score=score)
        lab.offer()
        lab.work()
    revise(lab, patience=2)
    lab.settle()
    lab.end(3, "preempted")
    assert kinds(lab.settle()) == ["RunCancelled", "SweepEnded"]


# --- the space


def test_a_grid_is_used_up_when_every_point_was_tried() -> None:
    tried = [{"x": 1}, {"x": 2}, {"y": 5}]
    assert is_used_up(points(1, 2), "grid", tried)
    assert not is_used_up(points(1, 2, 3), "grid", tried)
    assert not is_used_up(points(1, 3), "random", tried)
    assert is_used_up(points(2), "bayes", tried)
    assert not is_used_up(Space((Parameter(("x",), Numeric(0.0, 1.0)),)), "random", tried)
    nested = Space(
        (Parameter(("a", "b"), Categorical((1, 2))), Parameter(("c",), Numeric(1, 2, integer=True)))
    )
    every = [{"a": {"b": b}, "c": c} for b in (1, 2) for c in (1, 2)]
    assert is_used_up(nested, "grid", every)
    assert not is_used_up(nested, "grid", every[1:])


def test_an_exhausted_sweep_goes_on_in_a_wider_space_only() -> None:
    lab = Lab(make_spec(space=points(0, 1)))
    lab.join()
    lab.work(points=2)
    for run in (0, 1):
        lab.start(run)
        lab.end(run, "completed")
        lab.offer()
        lab.work(points=2)
    assert lab.state.reason == "all 2 points of the space are done"
    revise(lab, space=points(1))
    assert lab.state.exhausted
    assert lab.settle() == []
    revise(lab, space=points(1, 2))
    assert not lab.state.exhausted
    assert kinds(lab.settle()) == ["SweepReopened"]


def test_a_space_that_stays_the_same_stays_exhausted() -> None:
    lab = Lab(make_spec(space=points(0)))
    lab.join()
    lab.work(points=1)
    assert lab.state.exhausted
    revise(lab, run_cap=7, description="other")
    assert lab.state.exhausted


def test_what_was_proposed_is_run_whatever_the_space_is_now() -> None:
    lab = Lab(make_spec(run_cap=3), lookahead=2)
    lab.join()
    lab.work()
    revise(lab, space=points(7))
    lab.start(0)
    lab.end(0, "completed")
    lab.offer()
    made = lab.settle()
    assert isinstance(made[0], e.RunAssigned) and made[0].config == {"x": 1}


# --- a sweep at work


def test_what_a_limit_shelved_goes_on_when_it_is_raised_in_time() -> None:
    lab = Lab(make_spec(run_cap=3, limits=Limits(wall_time_s=50.0)), lookahead=2)
    lab.running()
    lab.now += 60
    assert kinds(lab.settle()) == ["RunCancelled"] * 3
    revise(lab, limits=Limits())
    assert lab.states() == ["running", "queued", "queued"]
    lab.end(0, "cancelled")
    lab.offer()
    assert kinds(lab.settle()) == ["RunAssigned"]
    check_state(lab.state)
    views = decode_views(len(lab.journal), rebuild(lab.fresh(), lab.journal))
    assert [run.state for run in views.runs] == lab.states()


def test_a_revision_does_not_take_up_what_people_stopped() -> None:
    lab = Lab(make_spec(run_cap=3), lookahead=2)
    lab.running()
    lab.add(e.StopRequested("ann"))
    lab.settle()
    revise(lab, run_cap=9)
    assert lab.states() == ["running", "cancelled", "cancelled"]
    assert lab.state.phase == "finishing"


def test_the_stopper_is_kept_unless_its_rule_changes() -> None:
    lab = Lab(make_spec(run_cap=3), limit=1.0)
    stopper = lab.state.stopper
    revise(lab, run_cap=9, retry=Retry(max=1))
    assert lab.state.stopper is stopper
    revise(lab, early_terminate=EarlyTerminate(min_iter=2))
    assert lab.state.stopper is not stopper


def test_an_extension_is_a_revision_of_the_budget() -> None:
    lab = ended()
    assert lab.add(e.ExtendRequested(3, "ann")) is None
    assert (lab.state.revision, lab.state.spec.run_cap) == (2, 3)
    assert lab.state.reopen == "extended to 3 trials by ann"


def test_trials_that_got_no_runs_before_the_target_are_something_to_do() -> None:
    lab = Lab(make_spec(run_cap=2, metric=Metric(name="loss", target=0.1)))
    lab.running()
    lab.propose(1)
    lab.report(0, 0.05)
    lab.settle()
    lab.end(0, "completed", score=0.05)
    lab.settle()
    assert (lab.state.phase, len(lab.state.trials), len(lab.state.runs)) == ("ended", 2, 1)
    revise(lab, metric=Metric(name="loss", target=0.01))
    lab.offer()
    assert kinds(lab.settle()) == ["SweepReopened", "RunAdded", "RunAssigned"]
