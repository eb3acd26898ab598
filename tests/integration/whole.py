"""A whole sweep, from `create` to `plot`, for tests in which everything around it is odd."""

from __future__ import annotations

from tests.integration.conftest import Project

HEAD = "program: train.py\nmethod: grid\nmetric: {name: loss, goal: minimize}\n"
SPEC = HEAD + "parameters: {x: {values: [1, 2, 3]}}\n"
TRAIN = """
import sweep
run = sweep.init()
for i in range(3):
    run.log({"loss": run.config.x + i, "text": "\\u00fc"})
print("end \\u00fc")
"""


def whole(project: Project, *, spec: str = SPEC, **env: str) -> None:
    """From `create` to `plot`, as a person would, with nothing out of the ordinary."""
    project.write("train.py", TRAIN)
    project.write("sweep.yaml", spec)
    sweep = project.sweep("create", "sweep.yaml", **env).strip()
    project.sweep("agent", sweep, **env)
    assert [run["objective"] for run in project.runs(sweep)] == [1, 2, 3]
    assert "3 done" in project.sweep("ls", **env)
    for args in (
        ["status", sweep],
        ["runs", sweep],
        ["show", f"{sweep}-0"],
        ["best", sweep],
        ["export", sweep],
    ):
        project.sweep(*args, **env)
    assert project.sweep("logs", f"{sweep}-1", **env).startswith("end ")
    project.sweep("plot", sweep, **env)
