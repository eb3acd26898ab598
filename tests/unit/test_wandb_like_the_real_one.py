"""The same programs under the real wandb, offline, and under the stand-in: they must print the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wandb_programs import with_real, with_stand_in

BEGIN = """
import json, warnings
warnings.simplefilter("ignore")
import wandb

said = []
def tell(*values):
    said.append([plain(value) for value in values])
def plain(value):
    if hasattr(value, "keys") and not isinstance(value, dict):
        value = {key: plain(value[key]) for key in value.keys()}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items() if str(k) not in ("_step", "_runtime", "_timestamp", "_wandb")}
    return list(value) if isinstance(value, tuple) else value
def raised(function):
    try:
        function()
    except Exception as error:
        return type(error).__name__
    return "nothing"
"""
END = "\nprint('SAID', json.dumps(said, sort_keys=True))\n"

STEPS = """
run = wandb.init(project="p")
tell(run.step)
run.log({"a": 1}); tell(run.step)
run.log({"a": 2}, commit=False); tell(run.step)
run.log({"b": 3}); tell(run.step)
run.log({"a": 4}, step=10); tell(run.step)
run.log({"b": 5}, step=10); tell(run.step)
run.log({"c": 6}); tell(run.step)
run.log({"a": 7}, step=3); tell(run.step)
run.log({"d": 8}, step=20, commit=True); tell(run.step)
wandb.log({"n": {"x": 1, "y": {"z": 2}}}); tell(wandb.run.step)
tell({key: run.summary[key] for key in "abcd"}, run.summary["n"]["x"])
tell(raised(lambda: run.log([1])), raised(lambda: run.log({1: 2})), raised(lambda: run.log("x")))
run.finish()
tell(wandb.run, raised(lambda: run.log({"a": 1})), raised(lambda: wandb.log({"a": 1})))
tell(raised(lambda: wandb.config.lr), raised(lambda: wandb.config["lr"]), raised(lambda: wandb.summary["x"]))
"""

CONFIG = """
import argparse, dataclasses, enum, pathlib
import numpy as np
class Colour(enum.Enum):
    RED = 1
@dataclasses.dataclass
class Data:
    a: int = 1
    b: tuple = (1, 2)
config = {"lr": 0.1, "nested": {"depth": 2, "t": (1, 2)}, "colour": Colour.RED, "data": Data(), "n": np.float64(2.5),
          "i": np.int64(3), "path": pathlib.PurePosixPath("/x/y"), "none": None, "set": {1}, "array": np.arange(3),
          "f": len, "--dash": 1, "cut": slice(1, 2, 3)}
with wandb.init(project="p", config=config) as run:
    found = dict(wandb.config)
    tell({key: found[key] for key in ("lr", "nested", "colour", "data", "n", "i", "path", "none", "set", "array",
                                      "f", "dash", "cut")})
    c = wandb.config
    tell(type(c.nested).__name__, "lr" in c, "zz" in c, c.get("zz"), c.get("zz", 3), sorted(c.keys()), c["lr"], c.as_dict()["lr"])
    tell(raised(lambda: setattr(c, "lr", 0.2)), raised(lambda: c.update({"lr": 0.3})), raised(lambda: setattr(c, "lr", 0.1)))
    c.update({"lr": 0.3}, allow_val_change=True)
    c.setdefaults({"lr": 9, "new": 1})
    c.update(argparse.Namespace(x=1, y=[1, 2]))
    c["later"] = 5
    tell(c.lr, c.new, c.x, c.y, c.later, raised(lambda: c.zz), raised(lambda: c["zz"]), raised(lambda: c.update(3)))
with wandb.init(project="p", config={"a": 1, "b": 2}, config_exclude_keys=["a"]) as run:
    tell(dict(run.config))
with wandb.init(project="p", config={"a": 1, "b": 2}, config_include_keys=["a"], name="n", group="g", tags=["t"],
                notes="x", job_type="j", settings=wandb.Settings(run_notes="no")) as run:
    tell(dict(run.config), run.name, run.group, run.tags, run.notes, run.job_type, run.project)
    tell(raised(lambda: wandb.init(project="p", reinit="create_new", config={}, config_include_keys=["a"], config_exclude_keys=["b"])))
    again = wandb.init(project="other")
    tell(again is run)
open("config-defaults.yaml", "w").write("wandb_version: 1\\nlr:\\n  desc: null\\n  value: 0.5\\nplain: {value: 2}\\n")
open("own.yaml", "w").write("lr: {value: 0.7}\\n")
with wandb.init(project="p") as run:
    tell(dict(run.config))
with wandb.init(project="p", config="own.yaml") as run:
    tell(dict(run.config))
"""

METRICS = """
with wandb.init(project="p") as run:
    metric = run.define_metric("loss", summary="min,max")
    tell(metric.name, metric.summary, metric.step_metric, metric.step_sync)
    run.define_metric("mean", summary="mean")
    run.define_metric("last", summary="last")
    run.define_metric("none", summary="none")
    run.define_metric("first", summary="first")
    run.define_metric("val/*", summary="max", step_metric="epoch")
    run.define_metric("val/b", summary="min")
    run.define_metric("n.x", summary="max")
    run.define_metric("hidden", hidden=True)
    run.define_metric("merged", summary="min")
    run.define_metric("merged", step_metric="epoch")
    for i in range(4):
        run.log({"loss": [3, 1, 4, 2][i], "mean": i, "last": i, "none": i, "first": i + 1, "val/a": -i, "val/b": -i,
                 "n": {"x": -i, "y": i}, "hidden": i, "plain": i, "b": True, "s": "x", "epoch": i, "merged": i})
    run.log({"loss": 100}, step=4)
    run.log({"loss": 0.5}, step=4)
    run.log({"loss": 2.5})
    run.log({"val/a": 9})
    names = ("loss", "mean", "last", "first", "val/a", "val/b", "hidden", "plain", "b", "s", "epoch", "merged")
    tell({name: run.summary[name] for name in names}, "none" in run.summary.keys())
    tell(run.summary["n"]["x"], run.summary["n"]["y"])
    run.summary["plain"] = 100
    run.log({"plain": 5})
    run.summary.update({"u": 1, "d": {"e": {"f": 1}}})
    run.summary["d"]["e"]["g"] = 2
    run.summary.attribute = "x"
    tell(run.summary["plain"], run.summary.get("u"), run.summary["d"]["e"]["g"], run.summary.attribute, run.summary.get("zz"))
    del run.summary["u"]
    tell("u" in run.summary.keys(), raised(lambda: run.summary["zz"]) != "nothing")
    for arguments in ({"name": ""}, {"name": 3}, {"name": "a*b"}, {"name": "a", "summary": "median"}, {"name": "a", "hidden": 3}):
        tell(raised(lambda: run.define_metric(**arguments)))
"""

OTHERS = """
with wandb.init(project="p", mode="disabled", config={"a": 1}) as run:
    tell(run.config.a, run.disabled, run.url)
    run.log({"x": 1})
    tell(run.summary["x"], run.save("x"))
    wandb.log({"y": 1}); wandb.watch(None); wandb.alert("a", "b")
with wandb.init(project="p") as run:
    artifact = wandb.Artifact("name", type="kind", description="d", metadata={"m": 1})
    with artifact.new_file("a.txt") as file:
        file.write("hello")
    open("b.txt", "w").write("b")
    artifact.add_file("b.txt", name="sub/b.txt")
    artifact.add(wandb.Table(columns=["x"], data=[[1], [2]]), "table")
    tell(artifact.name, artifact.type, artifact.description, artifact.metadata, sorted(artifact.manifest.entries))
    tell(raised(lambda: artifact.add_file("zz")))
    tell(raised(lambda: wandb.Artifact("a/b", type="t")), raised(lambda: artifact.add_dir("zz")))
    table = wandb.Table(columns=["a", "b"], data=[[1, "x"], [2, "y"]])
    table.add_data(3, "z")
    table.add_column("c", [7, 8, 9])
    tell(table.columns, table.data, table.get_column("a"), [list(row) for _, row in table.iterrows()])
    tell(raised(lambda: table.add_data(1)), raised(lambda: table.add_column("d", [1])) != "nothing")
    histogram = wandb.Histogram([1, 2, 2, 3, 9.5], num_bins=4)
    tell(histogram.histogram, histogram.bins)
    histogram = wandb.Histogram(np_histogram=([1, 2], [0, 1, 2]))
    tell(histogram.histogram, histogram.bins, raised(lambda: wandb.Histogram(np_histogram=([1], [0]))))
    tell(raised(lambda: wandb.Audio([0.5])), raised(lambda: wandb.Image("zz.png")), raised(lambda: wandb.Plotly(3)))
    chart = wandb.plot.confusion_matrix(y_true=[0, 1, 1, 2], preds=[0, 1, 2, 2], class_names=["a", "b", "c"])
    tell(chart.table.columns, chart.table.data)
    chart = wandb.plot.line_series([[1, 2], [3, 4]], [[5, 6], [7, 8]], keys=["p", "q"])
    tell(chart.table.columns, chart.table.data)
    probabilities = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]
    chart = wandb.plot.roc_curve([0, 1, 1, 0], probabilities, labels=["a", "b"])
    tell(chart.table.columns, sorted(chart.table.data, key=str))
"""


def said(text: str) -> object:
    [line] = [line for line in text.splitlines() if line.startswith("SAID ")]
    return json.loads(line[5:])


@pytest.mark.parametrize(
    "program", [STEPS, CONFIG, METRICS, OTHERS], ids=["steps", "config", "metrics", "others"]
)
def test_both_print_the_same(program: str, tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the real wandb is not installed")
    for name in ("real", "ours"):
        (tmp_path / name).mkdir()
    real = with_real(BEGIN + program + END, tmp_path / "real")
    assert real.returncode == 0, real.stderr
    ours = with_stand_in(BEGIN + program + END, tmp_path / "ours")
    assert ours.returncode == 0, ours.stderr
    for one, other in zip(said(ours.stdout), said(real.stdout), strict=True):  # type: ignore[call-overload]
        assert one == other
