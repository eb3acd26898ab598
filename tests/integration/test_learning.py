"""`learn_from`: a sweep that begins with what earlier ones and tables say."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import sweep
from sweep.api.learning import MOST, CannotLearn, with_knowledge
from sweep.core.spec import SweepSpec
from sweep.search import make_searcher
from sweep.spec import parse_dict
from tests.integration.conftest import Project

SPEC = """\
method: {method}
command: ["${{interpreter}}", train.py, "${{args}}"]
metric: {{name: loss}}
seed: {seed}
run_cap: {cap}
parameters:
  kind: {{values: [a, b]}}
  x: {{min: 0.0, max: 1.0, when: {{kind: a}}}}
  n: {{min: 1, max: 9}}
{more}
"""
PROGRAM = """\
import sweep

run = sweep.init()
run.log({"loss": abs(run.config.get("x", 1.0) - 0.3) + abs(run.config.n - 4) / 9})
"""


def content(**more: object) -> dict[str, object]:
    return {
        "method": "bayes",
        "seed": 1,
        "metric": {"name": "loss"},
        "parameters": {"x": {"min": 0.0, "max": 1.0}, "k": {"values": ["a", True, 3, 0.5]}},
        **more,
    }


def spec(**more: object) -> SweepSpec:
    return parse_dict(content(**more), draw_seed=lambda: 1, needs_program=False).spec


def test_an_earlier_sweep_and_its_table_teach_the_same(project: Project) -> None:
    first = project.work_off(SPEC.format(method="random", seed=1, cap=14, more=""), PROGRAM)[0]["sweep"]
    project.write("first.csv", project.sweep("runs", first, "--format", "csv"))
    learnt = []
    for source in (first, "first.csv"):
        more = f"learn_from: [{source}]\ninitial: [{{kind: b}}]"
        one = ("", "--slots", "1")  # more would have the order of results to chance
        rows = project.work_off(SPEC.format(method="bayes", seed=2, cap=3, more=more), *one)
        assert rows[0]["config"]["kind"] == "b"
        learnt.append([row["config"] for row in rows])
        found = sweep.load("latest", f"sqlite:///{project.folder}/.sweep/store.db")
        assert len(found.spec.knowledge) == 14
        assert found.spec.learn_from == (source,)
    assert learnt[0] == learnt[1]
    ignorant = project.work_off(SPEC.format(method="bayes", seed=2, cap=3, more="initial: [{kind: b}]"), *one)
    assert [row["config"] for row in ignorant] != learnt[0]
    assert project.json("audit", "latest")["verdict"] == "same"
    # It is a part of the record: the source may go.
    (project.folder / "first.csv").unlink()
    more = "learn_from: [first.csv]\ninitial: [{kind: b}]"
    project.write("again.yaml", SPEC.format(method="bayes", seed=2, cap=4, more=more))
    project.sweep("edit", found.id, "again.yaml", "--yes")
    assert len(found.refresh().spec.knowledge) == 14
    assert found.spec.run_cap == 4


def test_a_model_that_knows_the_place_begins_there(tmp_path: Path) -> None:
    chance = random.Random(1)
    rows = [(chance.random(), chance.choice(["a", "True", "3", "0.5"])) for _ in range(60)]
    lines = [f"{x},{k},{(x - 0.7) ** 2 + (k != '3')}" for x, k in rows]
    (tmp_path / "r.csv").write_text("x,k,loss\n" + "\n".join(lines) + "\n")
    made, said = with_knowledge(None, spec(learn_from=["r.csv"]), tmp_path)
    assert said == []
    assert len(made.knowledge) == 60
    assert {repr(known.config["k"]) for known in made.knowledge} == {"'a'", "True", "3", "0.5"}
    for engine in ("optuna-tpe", "skopt-et"):
        informed, ignorant = (
            make_searcher(
                SweepSpec(
                    method="bayes", engine=engine, space=made.space, seed=5, metric=made.metric, knowledge=k
                )
            )
            for k in (made.knowledge, ())
        )
        configs = informed.propose([], 3).configs
        assert sum(config["k"] == 3 for config in configs) >= 2
        assert sorted(abs(config["x"] - 0.7) for config in configs)[1] < 0.2
        assert configs != ignorant.propose([], 3).configs


def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "config.x,k,state,objective\n0.5,a,completed,1\n0.5,a,failed,1\n7,a,completed,1\n0.5,z,pruned,1\n"
        "0.1,3.0,pruned,2\n0.1,a,completed,nan\n0.1,,completed,1\n"
    )
    made, said = with_knowledge(None, spec(learn_from=["r.csv"]), tmp_path)
    assert [(known.config, known.score) for known in made.knowledge] == [
        ({"x": 0.5, "k": "a"}, 1.0),
        ({"x": 0.1, "k": 3}, 2.0),
    ]
    assert said == ["learn_from: 2 of 5 results of r.csv lie in the space and are used"]
    lines = [f"{i / 5000},a,{i}" for i in range(5000)]
    (tmp_path / "many.csv").write_text("x,k,loss\n" + "\n".join(lines) + "\n")
    made, said = with_knowledge(None, spec(learn_from=["many.csv"]), tmp_path)
    assert len(made.knowledge) == MOST
    assert [made.knowledge[0].score, made.knowledge[-1].score] == [0.0, 4999.0]
    assert said == ["learn_from: the best and the last of 5,000 results are used, 1,000 in all"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read: No such file"),
        ("", "has no column loss .or objective, or score.; it is empty"),
        ("x,y\n1,2\n", "has no column loss .or objective, or score.; it has x, y"),
        ("loss\n1\n", r"has no column for any parameter .x, k."),
        ("x,k,loss\n9,a,1\n", "none of the 1 results of r.csv lies in the space"),
        ("x,k,loss\n0.5,a,inf\n", "r.csv has no result with a finite value"),
    ],
)
def test_a_table_that_teaches_nothing_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "r.csv").write_text(text)
    with pytest.raises(CannotLearn, match=words):
        with_knowledge(None, spec(learn_from=["r.csv"]), tmp_path)


def test_a_sweep_without_the_metric_or_one_that_is_not_there_is_refused(project: Project) -> None:
    project.work_off(SPEC.format(method="random", seed=1, cap=1, more=""), PROGRAM)
    text = SPEC.format(method="bayes", seed=2, cap=2, more="learn_from: [latest]").replace(
        "name: loss", "name: error"
    )
    project.write("other.yaml", text)
    said = project.mistake("create", "other.yaml")
    assert "minimizes loss, and this one minimizes error: their results do not compare" in said
    project.write("other.yaml", text.replace("[latest]", "[zzzz]"))
    assert "zzzz" in project.mistake("create", "other.yaml")
    with pytest.raises(
        CannotLearn, match="there is no store here that could have sweep abc; name a CSV file"
    ):
        sweep.Optimizer(content(learn_from=["abc"]))
