"""The report on the digits sweep: every checklist item that the record can answer has evidence, and nothing else is answered."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from sweep.analysis import text
from sweep.api import load_views
from sweep.stores import open_store
from tests.integration.conftest import Project

DIGITS = Path(__file__).parents[2] / "sweeps/digits"
RUNS = 3
NOT_SHOWN = "The record does not show it."
AUTHOR = {
    1: "data_statistics",
    2: "data_splits",
    3: "excluded_data",
    4: "data_link",
    5: "data_collection",
    8: "evaluation",
    9: "pretrained",
    13: "measure",
}
"""What only the author knows, by the number of the item."""
SHOWN = {6, 7, 10, 11, 12, 15, 16}
"""What the record of this sweep answers."""


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The digits sweep with fewer trials and shorter runs, worked off, one run executed again."""
    folder = tmp_path_factory.mktemp("digits")
    for name in ("sweep.yaml", "train.py"):
        shutil.copy(DIGITS / name, folder / name)
    made = Project(folder)
    made.write("sweep.yaml", (folder / "sweep.yaml").read_text().replace("run_cap: 30", f"run_cap: {RUNS}"))
    made.write("train.py", (folder / "train.py").read_text().replace('"epochs": 60', '"epochs": 12'))
    sweep = made.create()
    made.sweep("agent", sweep)
    made.sweep("reproduce", "best", code=0)
    yield made
    made.end()


def items(project: Project, *arguments: str) -> dict[int, dict[str, Any]]:
    found = json.loads(project.sweep("report", "latest", "--json", *arguments))
    return {item["number"]: item for item in found["checklist"]}


def test_every_item_that_the_record_can_answer_has_evidence_and_nothing_else_is_answered(
    digits: Project,
) -> None:
    found = items(digits, "--format", "md")
    assert list(found) == list(range(1, 17))
    evidence = {number: item["evidence"] for number, item in found.items()}
    assert {number for number, kind in evidence.items() if kind == "complete"} == SHOWN
    assert {number for number, kind in evidence.items() if kind == "partial"} == {8, 13}
    for number in set(found) - SHOWN - {8, 13, 14}:
        assert (found[number]["answer"], found[number]["sources"]) == (NOT_SHOWN, [])
    assert found[14]["answer"] == "Each config was run with one seed: the record shows no variation."
    assert {number: item["asked"].split(":")[0] for number, item in found.items() if item["asked"]} == {
        number: f"about.{key}" for number, key in AUTHOR.items()
    }
    assert not re.search(r"(?i)\byes\b", json.dumps(found))


def test_what_is_answered_is_what_the_record_says(digits: Project) -> None:
    found = items(digits, "--format", "md")
    runs = digits.runs()
    states = {state: sum(run["state"] == state for run in runs) for state in ("completed", "pruned")}
    attempts = sum(len(run["attempts"]) for run in runs)
    assert f"in {attempts} attempts" in found[12]["answer"]
    assert all(f"{count} {state}" in found[12]["answer"] for state, count in states.items() if count)
    assert f"{sum(run['steps'] for run in runs):,} value" in found[12]["answer"]
    best = max(runs, key=lambda run: run["objective"])
    assert f"sweep reproduce {best['id']}" in found[10]["answer"]
    whole = [run["duration_s"] for run in runs if run["state"] == "completed"]
    mean_s = sum(whole) / len(whole)  # of rounded ones
    assert any(text.duration(mean_s + off_s) in found[15]["answer"] for off_s in (-0.005, 0, 0.005))
    assert re.search(r"Energy: (not measured|[\d.,]+ (kWh|Wh|J))", found[15]["answer"])
    with closing(open_store(None, digits.folder)) as store:
        views = load_views(store, best["sweep"])
    assert views.created.record["code"]["tree"][:12] in found[7]["answer"]
    assert views.agents[0].record["hardware"]["cpu"]["model"] in found[16]["answer"]


def test_the_documents_have_everything_and_need_nothing(digits: Project) -> None:
    digits.sweep("report", "latest", "--format", "html,md", "-o", "paper.html")
    page, plain = (digits.folder / name for name in ("paper.html", "paper.md"))
    html, markdown = page.read_text(), plain.read_text()
    assert html.count("data:image/png;base64,") >= 3
    assert not re.findall(r'(?:src|href)="(?!#|data:)', html)
    runs = digits.runs()
    for document in (html, markdown):
        assert all(run["id"] in document for run in runs)
        assert "IDENTICAL" in document
        assert "kill_after" in document
        assert "scikit-learn==" in document
    for run in runs:
        assert f"--learning_rate={run['config']['learning_rate']!r}" in markdown
    assert digits.sweep("report", "latest", "-o", "-").startswith("# Report on sweep ")


def test_what_the_author_gives_later_is_in_the_next_report(digits: Project, tmp_path: Path) -> None:
    before = items(digits, "--format", "md")
    shutil.copytree(digits.folder, tmp_path / "edited")
    digits = Project(tmp_path / "edited")
    spec = (digits.folder / "sweep.yaml").read_text()
    about = {key: f"what the author says of {key}" for key in AUTHOR.values()}
    digits.write("told.yaml", f"{spec}\nabout: {json.dumps({**about, 'question': 'Which layers?'})}\n")
    digits.sweep("edit", "latest", "told.yaml", "--yes")
    assert digits.status().state == "ended"
    found = items(digits, "--format", "html")
    assert {number for number, item in found.items() if item["evidence"] == "complete"} == {*SHOWN, *AUTHOR}
    for number, key in AUTHOR.items():
        assert f"{about[key]} (stated by the author, about.{key})" in found[number]["answer"]
    same = set(found) - set(AUTHOR)
    assert {number: found[number] for number in same} == {number: before[number] for number in same}
    folder = next(digits.folder.glob("sweep-*"))
    assert "Which layers?" in (folder / "report.html").read_text()
    assert (folder / ".gitignore").read_text() == "*\n"


def test_mistakes(digits: Project) -> None:
    assert "html and md" in digits.mistake("report", "latest", "--format", "pdf")
    assert "one document" in digits.mistake("report", "latest", "--format", "html,md", "-o", "-")
    assert "cannot write" in digits.mistake("report", "latest", "-o", "nowhere/report.html")
    assert "about.dataset" in digits.mistake("validate", str(with_about(digits, "dataset: x")))
    said = digits.run("validate", str(with_about(digits, "notes: 'ghp_" + "a1B2" * 9 + "'"))).stderr
    assert "looks like a secret" in said


def with_about(project: Project, line: str) -> Path:
    return project.write("other.yaml", (DIGITS / "sweep.yaml").read_text() + f"\nabout:\n  {line}\n")


HELD_BACK = """\
program: train.py
method: grid
seed: 5
metric: {name: loss}
report_metric: test_loss
confirm: {top: 1, seeds: 4}
inputs: [data.csv]
parameters: {x: {values: [0.1, 0.2]}}
"""
TRAIN = """
import random, sweep
run = sweep.init()
noise = random.Random(f"{run.seed} {run.config.x}").gauss(0, 0.05)
run.log({"loss": run.config.x + noise, "test_loss": run.config.x + 1})
"""


def test_a_report_has_the_result_on_fresh_seeds_and_showing_it_is_a_look(project: Project) -> None:
    project.write("data.csv", "1,2\n")
    runs = project.work_off(HELD_BACK, TRAIN)
    found = items(project, "--format", "md")
    assert found[14]["evidence"] == "complete"
    assert "n = 2 seeds" in found[14]["answer"]
    digest = blake3(b"1,2\n").hexdigest()
    assert (found[4]["evidence"], found[4]["sources"]) == ("partial", ["Data"])
    assert f"data.csv ({digest[:12]})" in found[4]["answer"]
    assert project.status().looks == 1
    said = project.sweep("report", "latest", "-o", "-")
    assert project.status().looks == 1, "the same figures by the same command"
    assert "looked at 1 time" in said
    assert all(run["id"] in said for run in runs)
    assert digest in said
    assert f"of {len(runs)} runs it has all that executing it again takes" in said
    assert re.search(rf"`random` +\| seeded true +\| +{len(runs)} \|", said)
    result = project.json("best", "latest")["result"]
    assert result["looks"] == 2
    assert f"{result['rows'][0]['confirmed']['mean']:.3f}"[:4] in found[14]["answer"]
    project.sweep("report", "latest", "-o", "with.html")
    page = (project.folder / "with.html").read_text()
    assert "The result on fresh seeds" in page
    assert "looked at 2 times" in page
    for name in ("a.tar.gz", "b.tar.gz"):
        project.sweep("bundle", "latest", "-o", name)
    assert project.status().looks == 3, "both bundles show the same figures"
    assert (project.folder / "a.tar.gz").read_bytes() == (project.folder / "b.tar.gz").read_bytes()
