"""A node on which runs fail as they do not elsewhere: two agents of real processes, one of them on a node that breaks."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import Project

SPEC = """
command: [sh, -c, 'test "$WHERE" = bad && test -e broken && exit 7; sleep 0.2']
method: grid
parameters: {x: {min: 1, max: 200}}
"""


def done(project: Project, host: str) -> int:
    """How many runs have completed on a node."""
    return sum(
        a["host"] == host for run in project.runs() for a in run["attempts"] if a["outcome"] == "completed"
    )


def test_a_bad_node_is_set_aside_and_its_runs_go_elsewhere(project: Project) -> None:
    project.write("sweep.yaml", SPEC)
    sweep = project.create()
    good = project.agent(sweep, "--slots", "2", SWEEP_NODE="good", WHERE="good")
    bad = project.agent(sweep, "--slots", "2", SWEEP_NODE="bad", WHERE="bad")
    project.wait_for(lambda: done(project, "good") and done(project, "bad"))
    project.write("broken", "")
    said = project.wait_end(bad, 3)
    project.sweep("pause", sweep)  # so that something is left for this node when it is mended
    assert "error: this node is set aside: " in said
    assert "different runs in a row failed on bad (the last: exit), and none of " in said
    assert f"when that is mended: `sweep agent {sweep}` takes this node back" in said
    assert "set aside bad: " in project.sweep("status", sweep)
    told = {agent["host"]: agent["aside"] for agent in project.json("status", sweep)["agents"]}
    assert told["good"] == "" and told["bad"] in said
    [gone] = [agent for agent in project.json("agents", sweep, "--all") if agent["host"] == "bad"]
    assert gone["aside"] == told["bad"]
    assert f"{sweep}: node bad is set aside: {told['bad']}" in project.run("agents").stderr
    # Mended, an agent that is started there takes it back.
    Path(project.folder / "broken").unlink()
    before = done(project, "bad")
    again = project.agent(sweep, "--slots", "2", SWEEP_NODE="bad", WHERE="bad")
    project.wait_for(
        lambda: [a["state"] for a in project.json("status", sweep)["agents"]].count("joined") == 2
    )
    assert "set aside" not in project.sweep("status", sweep) + project.run("agents").stderr
    project.sweep("resume", sweep)
    for agent in (good, again):
        project.wait_end(agent)
    assert done(project, "bad") > before
    runs = project.runs()
    assert {run["state"] for run in runs} == {"completed"}, "retry is 0: what failed there was not charged"
    attempts = [a for run in runs for a in run["attempts"]]
    assert {a["host"] for a in attempts if a["outcome"] == "failed"} == {"bad"}
    assert len([a for a in attempts if a["outcome"] == "failed"]) >= 3
