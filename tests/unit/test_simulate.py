"""Recorded curves under the real controller and a virtual clock, and what is said of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from sweep.api.curves import Curves, NoCurves, RunCurve, read_table
from sweep.api.replaying import replay
from sweep.api.simulating import rules_for, simulate
from sweep.cli.main import cli
from sweep.core.spec import EarlyTerminate, Metric
from sweep.spec import parse

LOSS = Metric(name="loss")
SPEC = "method: random\nprogram: t.py\nmetric: {name: loss}\nparameters: {x: {min: 0.0, max: 1.0}}\n"


def curve(level: float, steps: int = 10, pace: float = 1.0) -> RunCurve:
    numbers = range(1, steps + 1)
    return RunCurve(
        f"r{level:g}",
        tuple(float(step) for step in numbers),
        tuple(level + 1 / step for step in numbers),
        tuple(pace * step for step in numbers),
    )


CURVES = [curve(level) for level in (3, 1, 2, 0, 5, 4, 7, 6)]


def test_without_a_rule_a_replay_is_what_was_recorded() -> None:
    outcome = replay(CURVES, LOSS, None, slots=2)
    assert outcome.clock_s == 40
    assert outcome.slot_s == pytest.approx(80)
    assert outcome.best == pytest.approx(0.1)
    assert [(end.curve, end.reports, end.reason) for end in outcome.ended] == [
        (run, 10, "") for run in range(8)
    ]


def test_a_rule_ends_poor_runs_and_their_slots_go_on() -> None:
    rule = EarlyTerminate(type="asha", min_iter=2, eta=2.0, min_runs=2)
    outcome = replay(CURVES, LOSS, rule, slots=2)
    assert outcome.best == pytest.approx(0.1)
    early = {end.curve: end for end in outcome.ended if end.reason}
    assert {4, 6, 7} <= set(early), "the worst three"
    assert 3 not in early, "the best"
    assert early[6].reason == "iteration 2: best loss 7.5 is worse than the best half (3.5) of 7 runs"
    assert outcome.clock_s == 24
    assert outcome.slot_s == pytest.approx(sum(end.reports for end in outcome.ended))


def test_a_replay_is_the_same_every_time() -> None:
    rule = EarlyTerminate(type="median", min_iter=1, min_runs=1)
    assert replay(CURVES, LOSS, rule, 3) == replay(CURVES, LOSS, rule, 3)


def test_seconds_are_the_runs_own() -> None:
    slow = [curve(level, pace=10.0) for level in (1, 2, 3, 4)]
    rule = EarlyTerminate(type="threshold", threshold=2.2, min_iter=45, step="time")
    ended = {end.curve: end for end in replay(slow, LOSS, rule, slots=1).ended}
    assert (ended[1].reports, ended[1].reason) == (10, "")
    assert (ended[3].reports, ended[3].at_s) == (5, ended[2].at_s + 50)
    assert ended[3].reason == "second 50: best loss 4.2 is worse than the threshold (2.2)"


def test_what_is_not_finite_is_survived() -> None:
    bad = RunCurve("bad", (1.0, 2.0, 3.0), (math.nan, math.inf, math.nan), (1.0, 2.0, 3.0))
    outcome = replay([bad, *CURVES], LOSS, EarlyTerminate(type="plateau", min_iter=2, patience=1), 2)
    assert {end.curve for end in outcome.ended if end.reason} == {0}


def test_verdicts_say_what_is_saved_and_lost() -> None:
    curves = Curves("here", tuple(curve(level / 7) for level in range(40)))
    told = []
    asha, *_, hyperband = simulate(curves, LOSS, rules_for(10), 4, 5, 1, lambda: told.append(1))
    assert len(told) == 5 * 7
    assert (asha.kept, asha.lost, asha.replays) == (1, 0, 5)
    assert 0.2 < asha.clock_saved < 1
    assert asha.clock_interval[0] <= asha.clock_saved <= asha.clock_interval[1]
    assert asha.kept_interval[0] < 0.7, "five replays prove little"
    assert hyperband.rule == EarlyTerminate(min_iter=1)
    again = simulate(curves, LOSS, rules_for(10), 4, 5, 1)
    assert again[0] == asha
    blind = EarlyTerminate(type="threshold", threshold=-5.0)
    (harsh,) = simulate(curves, LOSS, [blind], 4, 5, 1)
    assert (harsh.kept, harsh.ended) == (0, 1)
    assert harsh.lost > 0.5


# --- tables


def table(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_a_table_may_be_in_any_order_and_without_seconds(tmp_path: Path) -> None:
    rows = "".join(f"{run},{step},{run * 10 + step}\n" for step in (2, 0, 1) for run in (1, 2, 3))
    found = read_table(table(tmp_path / "c.csv", "run,step,value\n" + rows))
    assert found.length == 3
    assert found.runs[0] == RunCurve("1", (0, 1, 2), (10, 11, 12), (1, 2, 3))
    timed = read_table(
        table(tmp_path / "t.csv", "step,seconds,run,value\n5,2.5,a,nan\n10,7,a,1\n5,3,b,2\n5,4,c,3\n5,4,d,\n")
    )
    assert timed.runs[0].seconds == (2.5, 7)
    assert math.isnan(timed.runs[0].values[0])
    assert timed.left_out == 1, "d has no value"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run,step,loss\na,1,2\n", "c.csv:1: it has no column value; it needs run, step, value"),
        ("", "c.csv:1: it has no column run"),
        ("run,step,value\na,1,2\na,x,3\n", "c.csv:3: step must be a number, not 'x'"),
        ("run,step,value\na,1,2\na,inf,3\n", "c.csv:3: step must be a finite number"),
        (
            "run,step,value\na,1,2\n",
            "c.csv has 1 whole runs with values, and 0 that were ended early or have none",
        ),
    ],
)
def test_bad_tables_are_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(NoCurves, match=r"c\.csv") as caught:
        read_table(table(tmp_path / "c.csv", text))
    assert message in str(caught.value)
    with pytest.raises(NoCurves, match="cannot read"):
        read_table(tmp_path / "none.csv")


# --- the command


def run(tmp_path: Path, *args: str, spec: str = SPEC) -> str:
    lines = [
        f"{one.run},{step:g},{value}\n"
        for one in (curve(level / 3) for level in range(12))
        for step, value in zip(one.steps, one.values, strict=True)
    ]
    curves = table(tmp_path / "curves.csv", "run,step,value\n" + "".join(lines))
    file = table(tmp_path / "sweep.yaml", spec)
    words = ["simulate", str(file), "--like", str(curves), "--replays", "3", *args]
    done = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_shows_every_rule(tmp_path: Path) -> None:
    said = run(tmp_path, "--slots", "2", spec=SPEC + "early_terminate: {type: median, min_iter: 2}\n")
    lines = said.splitlines()
    assert lines[0].endswith("curves.csv: 12 whole runs of 10 steps")
    assert lines[1] == "3 replays of 10 runs each on 2 slots"
    assert [line.split("  ")[0] for line in lines[4:11]] == [
        "median (this file's)",
        "asha",
        "asha, resume",
        "median",
        "percentile",
        "plateau",
        "hyperband",
    ]
    assert "early_terminate: {type: " in lines[-1]
    rule = lines[-1].split("early_terminate: ")[1]
    assert parse(f"{SPEC}early_terminate: {rule}\n", draw_seed=lambda: 1).spec.early_terminate


def test_the_command_for_programs(tmp_path: Path) -> None:
    found = json.loads(run(tmp_path, "--json"))
    assert (found["runs"], found["length"], found["slots"], found["replays"]) == (12, 10, 8, 3)
    assert found["rules"][0]["type"] == "asha"
    assert found["rules"][0]["rule"] == "{type: asha, max_iter: 10}"
    assert not any(rule["from_file"] for rule in found["rules"])


def test_the_command_draws(tmp_path: Path) -> None:
    spec = SPEC.replace("{name: loss}", "{name: <b>loss$}") + "early_terminate: {type: median, min_iter: 2}\n"
    for name, begins in (("a.png", b"\x89PNG\r\n"), ("b.html", b"<!DOCTYPE html>")):
        said = run(tmp_path, "--out", str(tmp_path / name), spec=spec)
        assert said.endswith(f"\n{tmp_path / name}\n")
        assert (tmp_path / name).read_bytes().startswith(begins)
    page = (tmp_path / "b.html").read_text()
    data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    drawn = json.loads(data)["data"]
    assert [mark["name"] for mark in drawn][:3] == ["median (this file&#x27;s)", "asha", "asha, resume"]
    assert all(0 <= mark["x"][0] <= 1 and 0 <= mark["y"][0] <= 1 for mark in drawn)
    assert "{type: median, min_iter: 2}</td>" in page
    assert "<b>loss" not in page.replace(data, ""), "a name is no markup"


@pytest.mark.parametrize(
    ("out", "message"), [("a.pdf", "ends in .html or .png"), ("none/a.png", "cannot write to")]
)
def test_what_cannot_be_drawn_is_told(tmp_path: Path, out: str, message: str) -> None:
    file = table(tmp_path / "sweep.yaml", SPEC)
    curves = table(tmp_path / "c.csv", "run,step,value\na,1,2\nb,1,1\nc,1,3\n")
    words = ["simulate", str(file), "--like", str(curves), "--replays", "1", "-o", str(tmp_path / out)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code != 0
    assert message in str(done.exception or done.output) + done.output


def test_without_a_metric_there_is_nothing_to_compare(tmp_path: Path) -> None:
    file = table(tmp_path / "sweep.yaml", SPEC.replace("metric: {name: loss}\n", ""))
    done = CliRunner().invoke(cli, ["simulate", str(file), "--like", "x.csv"])
    assert "has no metric" in done.output
