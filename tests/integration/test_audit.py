"""`sweep audit`: an untouched record comes out the same, and a touched copy of it is caught at the first touched decision."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sweep.api.auditing import Audit, audit
from sweep.api.transfer import import_lines
from sweep.stores.memory import MemoryStore
from tests.integration.conftest import Project

SPEC = """\
method: bayes
engine: optuna-tpe
command: ["${interpreter}", train.py, "${args}"]
metric: {name: loss}
seed: 1
run_cap: 20
early_terminate: {type: hyperband, min_iter: 1, eta: 2}
parameters:
  kind: {values: [a, b]}
  x: {min: 0.0, max: 1.0, when: {kind: a}}
  y: {min: 0.0, max: 1.0}
"""
PROGRAM = """\
import time
import sweep

run = sweep.init()
for step in range(4):
    run.log({"loss": run.config.get("x", 0.5) + run.config.y + 1 / (step + 1)})
    time.sleep(0.05)
"""
Line = dict[str, Any]


def entries(lines: list[Line], kind: str) -> list[Line]:
    return [line["entry"] for line in lines if line.get("entry", {}).get("entry", {}).get("type") == kind]


def touch_a_proposal(lines: list[Line]) -> int:
    touched = entries(lines, "TrialsProposed")[-1]
    touched["entry"]["configs"][0]["y"] += 1e-9
    return int(touched["position"])


def touch_a_result(lines: list[Line]) -> int:
    """The first result is made better: the first decision that would have been another one is named."""
    reported = entries(lines, "ObjectiveReported")[0]
    reported["entry"]["values"] = [value - 5.0 for value in reported["entry"]["values"]]
    return 0


def touch_a_reason(lines: list[Line]) -> int:
    touched = entries(lines, "RunPruned")[0]
    touched["entry"]["reason"] = "it looked bad"
    return int(touched["position"])


def touch_a_seed(lines: list[Line]) -> int:
    touched = entries(lines, "RunAdded")[3]
    touched["entry"]["seed"] += 1
    return int(touched["position"])


def touch_what_a_run_got(lines: list[Line]) -> int:
    touched = entries(lines, "RunAssigned")[5]
    touched["entry"]["config"]["y"] = 0.5
    return int(touched["position"])


def copied(exported: list[str], touch: Callable[[list[Line]], Any]) -> tuple[list[Line], Any]:
    lines = [json.loads(line) for line in exported]
    return lines, touch(lines)


def audited(lines: list[Line]) -> Audit:
    """What an audit of this copy finds."""
    store = MemoryStore()
    return audit(store, import_lines(store, [json.dumps(line) for line in lines]))


def test_a_record_is_derived_again_and_a_touched_copy_is_caught(project: Project) -> None:
    sweep = project.work_off(SPEC, PROGRAM, "--slots", "2")[0]["sweep"]
    whole = project.json("audit", "latest")
    assert (whole["verdict"], whole["proposals"], whole["difference"]) == ("same", 20, None)
    assert whole["prunings"] > 0
    said = project.sweep("audit", "latest")
    assert said.startswith(
        f"sweep {sweep}: 20 proposals and {whole['prunings']} prunings derived again, all as recorded"
    )
    exported = project.sweep("export", "latest").splitlines()
    for touch in (touch_a_proposal, touch_a_result, touch_a_reason, touch_a_seed, touch_what_a_run_got):
        lines, position = copied(exported, touch)
        found = audited(lines)
        assert found.verdict == "differs", touch.__name__
        assert found.difference is not None
        assert found.difference.position == position or not position, touch.__name__
    # The command says it in words, and with its exit code.
    lines, position = copied(exported, touch_a_reason)
    project.write("touched.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    store = f"sqlite:///{project.folder}/touched.db"
    project.sweep("import", "touched.jsonl", "--store", store)
    words = project.sweep("audit", "latest", "--store", store, code=5)
    assert f"entry {position} of the journal differs" in words
    assert "recorded: it looked bad" in words and "derived:  iteration" in words


def test_another_version_or_another_machine_is_inconclusive_and_no_accusation(project: Project) -> None:
    project.work_off(SPEC.replace("run_cap: 20", "run_cap: 6"), PROGRAM, "--slots", "1")
    exported = project.sweep("export", "latest").splitlines()

    def older(lines: list[Line]) -> None:
        entries(lines, "TrialsProposed")[1]["entry"]["engine_version"] = "0+optuna-0.1"

    lines, _ = copied(exported, older)
    found = audited(lines)
    assert (found.verdict, found.difference) == ("inconclusive", None)
    assert "the engine was optuna-tpe 0+optuna-0.1, and here it is optuna-tpe" in found.unknown[0].what
    assert len(found.unknown) == 1 and found.proposals > 0
    project.write("older.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    store = f"sqlite:///{project.folder}/older.db"
    project.sweep("import", "older.jsonl", "--store", store)
    assert "1 decision could not be derived here" in project.sweep(
        "audit", "latest", "--store", store, code=6
    )

    def elsewhere(lines: list[Line]) -> None:
        entries(lines, "AgentJoined")[0]["entry"]["record"]["hardware"]["cpu"]["model"] = "another processor"
        touch_a_proposal(lines)
        entries(lines, "RunAssigned")[-1]["entry"]["config"]["y"] += 1e-9

    found = audited(copied(exported, elsewhere)[0])
    assert (found.verdict, found.difference) == ("inconclusive", None)
    assert "comes out differently here" in found.unknown[0].what
    assert "another processor" in found.unknown[0].what
