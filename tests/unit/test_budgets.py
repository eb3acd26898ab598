"""`limits.cpu_hours` and `limits.energy_kwh`: what counts, what ends a sweep, and that what was not measured is said to be so."""

from __future__ import annotations

import msgspec
import pytest

from folded import Lab, make_spec, refold
from sweep.analysis.usage import energy, hours, size, spark, spent, spent_record, usage_lines, usage_of_run
from sweep.api.requests import limit_over
from sweep.core import entries as e
from sweep.core.ending import cpu_spent_s, energy_spent_j
from sweep.core.index import rebuild
from sweep.core.rows import SWEEP_KEY, decode_sweep, decode_views
from sweep.core.samples import Samples
from sweep.core.spec import Limits
from sweep.core.views import AttemptView, RunView
from sweep.testing.states import check_state, dump


def lab_of(limits: Limits, slots: int = 2) -> Lab:
    lab = Lab(make_spec(run_cap=9, limits=limits))
    lab.join(slots=slots)
    lab.work()
    for number in range(slots):
        run = lab.run(number)
        assert lab.add(e.RunStarted(number, run.attempt, run.agent, 11, "host", number)) is None
    return lab


def report(
    lab: Lab, run: int, cpu_s: float | None, energy_j: float | None = None, attempt: int = 1
) -> str | None:
    return lab.add(e.UsageReported(run, attempt, lab.run(run).agent, cpu_s, energy_j))


def over(lab: Lab, run: int, outcome: e.Outcome, cpu_s: float | None, energy_j: float | None = None) -> None:
    known = lab.run(run)
    ended = e.AttemptEnded(
        run, known.attempt, known.agent, outcome, "why", cpu_s=cpu_s, usage=e.Usage(energy_j=energy_j)
    )
    assert lab.add(ended) is None


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(cpu_hours=1.0), "limits.cpu_hours: 1 CPU-hours are spent"),
        (Limits(energy_kwh=0.001), "limits.energy_kwh: 0.001 kWh are spent"),
    ],
)
def test_what_runs_have_reported_ends_a_sweep_with_what_runs(limits: Limits, reason: str) -> None:
    lab = lab_of(limits)
    report(lab, 0, 1799.0, 1799.0)
    report(lab, 1, 1800.0, 1800.0)
    assert lab.settle() == []
    report(lab, 0, 1800.0, 1800.0)
    assert lab.settle() == [e.RunCancelled(run, 1, "a", reason) for run in (0, 1)]
    assert limit_over(decode_views(0, rebuild(lab.fresh(), lab.journal)), lab.now) == reason
    for run in (0, 1):
        over(lab, run, "cancelled", 1900.0, 1900.0)
    assert lab.settle() == [e.SweepEnded(reason)]
    check_state(lab.state)
    assert dump(refold(lab)) == dump(lab.state)
    revised = msgspec.structs.replace(lab.spec, limits=Limits(cpu_hours=2.0, energy_kwh=0.002))
    lab.add(e.SpecRevised(2, msgspec.to_builtins(revised)))
    assert [type(entry) for entry in lab.settle()][:1] == [e.SweepReopened]


@pytest.mark.parametrize("outcome", ["completed", "failed", "pruned", "cancelled", "lost", "preempted"])
def test_attempts_count_however_they_end(outcome: e.Outcome) -> None:
    lab = lab_of(Limits())
    over(lab, 0, outcome, 10.0, 500.0)
    assert (lab.state.cpu_s, lab.state.energy_j) == (10.0, 500.0)
    row = decode_sweep(rebuild(lab.fresh(), lab.journal)[SWEEP_KEY])
    assert (row.cpu_s, row.energy_j) == (10.0, 500.0)


def test_of_a_lost_attempt_counts_what_it_had_reported() -> None:
    lab = lab_of(Limits())
    report(lab, 0, 10.0, 500.0)
    report(lab, 0, 9.0, None)  # reports that come in another order take nothing back
    over(lab, 0, "lost", None)
    assert (lab.state.cpu_s, lab.state.energy_j) == (10.0, 500.0)
    assert (cpu_spent_s(lab.state), energy_spent_j(lab.state)) == (10.0, 500.0)
    [run, *_] = decode_views(0, rebuild(lab.fresh(), lab.journal)).runs
    assert (run.attempts[0].cpu_s, run.attempts[0].energy_j) == (10.0, 500.0)


def test_a_report_that_comes_too_late_or_from_elsewhere_is_ignored() -> None:
    lab = lab_of(Limits())
    assert lab.add(e.UsageReported(99, 1, "a", 5.0)) == "there is no run 99"
    assert lab.add(e.UsageReported(0, 1, "b", 5.0)) == "agent b does not have this run"
    over(lab, 0, "completed", 1.0)
    refusal = lab.add(e.UsageReported(0, 1, "a", 5.0))
    assert refusal == "a run that is completed takes no UsageReported"
    assert lab.state.cpu_s == 1.0


def test_what_is_not_measured_never_ends_a_sweep() -> None:
    lab = lab_of(Limits(energy_kwh=1e-9))
    report(lab, 0, 100.0, None)
    over(lab, 0, "completed", 100.0)
    assert all(not isinstance(entry, e.SweepEnded | e.RunCancelled) for entry in lab.settle())


# --- in words


def attempt(
    number: int, outcome: e.Outcome | None, cpu_s: float | None, energy_j: float | None, **usage: int
) -> AttemptView:
    return AttemptView(
        attempt=number, agent="a", outcome=outcome, started_s=100.0, ended_s=None if outcome is None else 110.0,
        cpu_s=cpu_s, energy_j=energy_j, usage=e.Usage(energy_j=energy_j, **usage) if outcome else None,
    )  # fmt: skip


def run_of(*attempts: AttemptView) -> RunView:
    return RunView(
        sweep="s", run=0, trial=0, replicate=0, purpose="search", seed=1, config={}, attempts=list(attempts)
    )


def test_totals_say_what_is_not_in_them() -> None:
    first = run_of(attempt(1, "lost", None, None), attempt(2, "completed", 5.0, 3.6e6))
    second = run_of(attempt(1, "failed", 2.0, None), attempt(2, None, None, None))
    found = spent_record(spent([first, second], 107.0))
    assert list(found) == ["total", "lost", "completed", "failed", "running"]
    assert found["total"] == {
        "attempts": 4, "wall_s": 37.0, "cpu_s": 7.0, "gpu_s": 0.0, "energy_kwh": 1.0,
        "cpu_not_measured": 2, "energy_not_measured": 3,
    }  # fmt: skip
    assert (found["lost"]["cpu_s"], found["lost"]["energy_kwh"]) == (None, None), "none, and not zero"
    assert (found["failed"]["cpu_s"], found["failed"]["energy_kwh"]) == (2.0, None)


def test_a_sum_over_attempts_is_known_only_where_all_are() -> None:
    both = run_of(
        attempt(1, "failed", 2.0, 10.0, memory_bytes=7), attempt(2, "completed", 3.0, None, memory_bytes=5)
    )
    used = usage_of_run(both, None)
    assert (used["cpu_s"], used["energy_j"], used["memory_bytes"]) == (5.0, None, 7)
    assert set(usage_of_run(run_of(), None).values()) == {None}


def test_words_for_what_was_not_measured() -> None:
    words = dict(usage_lines(attempt(1, "completed", 5.0, None), 200.0, None))
    assert words["CPU"] == "5 s, 50% of one CPU"
    assert words["disk"] == words["CPU energy"] == "not measured"
    assert words["network"] == "not measured (systems tell it by node only)"
    assert "GPU" not in words, "it had none"
    gone = dict(usage_lines(attempt(1, "lost", None, None), 200.0, None))
    assert (gone["CPU"], gone["memory"]) == ("not measured", "not measured")


def test_numbers_for_people() -> None:
    assert [energy(j) for j in (None, 0.5, 1180.0, 5400.0, 3.6e6, 9e9)] == [
        "not measured", "0.5 J", "1,180 J", "1.5 Wh", "1 kWh", "2,500 kWh",
    ]  # fmt: skip
    assert [size(n) for n in (None, 0, 999, 999_600, 34e6, 1.5e12)] == [
        "not measured", "0 B", "999 B", "1 MB", "34 MB", "1.5 TB",
    ]  # fmt: skip
    assert [hours(s) for s in (36.0, 5400.0, 3.6e7)] == ["0.01", "1.5", "10,000"]


def test_small_curves() -> None:
    assert spark([0.0, 50.0, 100.0]) == "▁▅█"
    assert spark([None, 100.0, None]) == " █ "
    assert spark([0.0, 0.0]) == "▁▁"
    assert spark([1.0, 2.0], plain=True).isascii()
    assert len(spark([float(n) for n in range(1000)], 30)) == 30
    samples = Samples()
    for at in range(3):
        samples.add(at + 1, {"cpu.percent": 50.0 * at})
    assert "▁▅█" in dict(usage_lines(attempt(1, "completed", 5.0, None), 200.0, samples))["CPU"]
