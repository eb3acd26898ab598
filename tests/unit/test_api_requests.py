"""What people ask of a recorded sweep: retry, extend, tags, and what becomes of it when others are at it, too."""

from __future__ import annotations

import pytest

from ended import at_work, record_sweep
from folded import make_spec
from sweep.api import NotFound, Refused, extend, find_either, load_views, request, retry, to_retry
from sweep.api.annotating import annotate, annotation
from sweep.api.requests import check_retry, limit_over, spec_now
from sweep.core import entries as e
from sweep.core.names import controller_lease
from sweep.core.spec import Limits
from sweep.stores.memory import MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    found = MemoryStore()
    record_sweep(
        found,
        "s1",
        ("completed", 1.0),
        "failed",
        "failed",
        "failed",
        "failed",
        "cancelled",
        classes=("exit", "gpu_memory", "run_time", "node"),
    )
    return found


@pytest.mark.parametrize(
    ("cancelled", "classes", "runs"),
    [
        (False, (), [1, 2, 3, 4]),
        (True, (), [1, 2, 3, 4, 5]),
        (False, ("oom",), [2]),
        (False, ("exit", "time"), [1, 3]),
        (True, ("node",), [4, 5]),
    ],
)
def test_which_runs_are_tried_again(
    store: MemoryStore, cancelled: bool, classes: tuple[str, ...], runs: list[int]
) -> None:
    views = load_views(store, "s1").runs
    assert to_retry(views, cancelled=cancelled, classes=classes) == runs  # type: ignore[arg-type]


def test_retry_takes_exactly_these_and_reopens_the_sweep(store: MemoryStore) -> None:
    request(store, "s1", e.StopRequested())
    assert load_views(store, "s1").sweep.state == "ended"
    done = retry(store, "s1", [2, 1, 2, 0], "me")
    assert (done.runs, done.sweep.state) == ((0, 1, 2), "active")
    states = [run.state for run in load_views(store, "s1").runs]
    assert states == ["completed", "queued", "queued", "failed", "failed", "cancelled"]


def test_extend_counts_from_what_is_recorded_last(store: MemoryStore) -> None:
    assert (extend(store, "s1", 9).old, spec_now(store, "s1").run_cap) == (6, 9)
    # A controller that has not come to it yet: the index lags behind.
    lease = store.acquire(controller_lease("s1"), "other", 600.0)
    assert lease is not None
    assert extend(store, "s1", 5, more=True).new == 14
    assert extend(store, "s1", 5, more=True).new == 19
    assert extend(store, "s1", 19).new == 19
    entries = [r.entry for r in store.read("s1", 0) if isinstance(r.entry, e.ExtendRequested)]
    assert [entry.run_cap for entry in entries] == [9, 14, 19]
    with pytest.raises(Refused, match="18 is less; `sweep edit s1` can lower it"):
        extend(store, "s1", 18)


def test_extend_needs_a_cap() -> None:
    store = MemoryStore()
    record_sweep(store, "s1", spec=make_spec())
    with pytest.raises(Refused, match="no run_cap to extend"):
        extend(store, "s1", 5, more=True)


def test_a_sweep_that_was_removed_is_not_created_again(store: MemoryStore) -> None:
    store.delete_sweep("s1")
    with pytest.raises(NotFound, match="s1 has been removed"):
        request(store, "s1", e.PauseRequested())
    with pytest.raises(NotFound):
        extend(store, "s1", 9)
    assert store.sweeps() == []


def test_tags_and_notes(store: MemoryStore) -> None:
    found = annotate(store, "s1", None, add=["b", "a", "b"], note="first\nsecond")
    assert (found.tags, found.note) == (("b", "a"), "first\nsecond")
    assert annotate(store, "s1", 2, add=["x"]).tags == ("x",)
    assert annotate(store, "s1", 2, add=["y"], remove=["x", "z"]).tags == ("y",)
    found = annotate(store, "s1", None, note="")
    assert (found.tags, found.note) == (("b", "a"), "")
    views = load_views(store, "s1")
    assert [annotation(views, run).tags for run in (None, 1, 2)] == [("b", "a"), (), ("y",)]


@pytest.mark.parametrize("tag", ["", " ", " a", "a,b", "a\nb", "\x1b[0m", "x" * 65])
def test_what_is_no_tag_is_refused(store: MemoryStore, tag: str) -> None:
    with pytest.raises(Refused, match="is no tag"):
        annotate(store, "s1", None, add=["good", tag])
    assert load_views(store, "s1").sweep.tags == ()


def test_a_note_has_a_limit(store: MemoryStore) -> None:
    with pytest.raises(Refused, match="10,001 characters"):
        annotate(store, "s1", None, note="x" * 10_001)


def test_a_name_is_a_sweep_or_a_run(store: MemoryStore) -> None:
    record_sweep(store, "with-3", "failed")
    assert find_either(store, "s1") == ("s1", None)
    assert find_either(store, "s1-2") == ("s1", 2)
    assert find_either(store, "with-3") == ("with-3", None)
    assert find_either(store, "with-3-0") == ("with-3", 0)
    assert find_either(store, "latest") == ("with-3", None)
    assert find_either(store, "0") == ("with-3", 0)
    with pytest.raises(NotFound):
        find_either(store, "s1-6")


def test_an_agent_that_is_at_work_changes_nothing_about_it(store: MemoryStore) -> None:
    at_work(store, "s1")
    assert retry(store, "s1", [1]).runs == (1,)
    assert load_views(store, "s1").runs[1].state == "queued"


def one_that_may(limits: Limits) -> MemoryStore:
    """A sweep with a failed run, and its limits."""
    store = MemoryStore()
    record_sweep(store, "s1", "failed", ("completed", 1.0), spec=make_spec(run_cap=2, limits=limits))
    request(store, "s1", e.PauseRequested())
    return store


def test_retry_says_which_limit_is_over_and_changes_nothing() -> None:
    store = one_that_may(Limits(wall_time_s=60.0))
    began_s = load_views(store, "s1").agents[0].joined_s
    views = load_views(store, "s1")
    assert limit_over(views, began_s + 59.9) == ""
    with pytest.raises(
        Refused, match=r"limits.wall_time \(60 s\) is over; raise it in the spec with `sweep edit"
    ):
        check_retry(views, began_s + 60)
    store = one_that_may(Limits(wall_time_s=1e-6))
    before = store.position("s1")
    with pytest.raises(Refused, match=r"s1 can try nothing again: limits\.wall_time"):
        retry(store, "s1", [0])
    assert store.position("s1") == before


def test_gpu_hours_count_up_to_now_before_a_retry() -> None:
    store = one_that_may(Limits(gpu_hours=1.0))
    views = load_views(store, "s1")
    views.sweep.gpu_s = 3000.0
    assert limit_over(views, 0.0) == ""
    views.runs[1].state = "running"
    attempt = views.runs[1].attempts[0]
    attempt.started_s, attempt.ended_s, attempt.gpu_share = 100.0, None, 0.5
    assert limit_over(views, 1200.0) == ""
    assert limit_over(views, 1300.0) == "limits.gpu_hours: 1 GPU-hours are spent"


def test_retry_waits_until_a_sweep_that_finishes_has_ended(store: MemoryStore) -> None:
    views = load_views(store, "s1")
    views.sweep.state, views.sweep.reason = "finishing", "stopped by ann"
    with pytest.raises(Refused, match=r"finishing \(stopped by ann\) and starts no runs"):
        check_retry(views, 0.0)
