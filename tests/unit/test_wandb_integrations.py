"""The callbacks for other libraries, with the libraries where they are installed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sweep.agents.standing_in import FOLDER
from wandb_programs import run_python, with_stand_in

LIGHTGBM = """
import collections, wandb
from wandb.integration.lightgbm import wandb_callback, log_summary
Env = collections.namedtuple("Env", "model params iteration begin_iteration end_iteration evaluation_result_list")
run = wandb.init(config={"lr": 1})
callback = wandb_callback()
for number in range(2):
    callback(Env(None, {"lr": 2, "leaves": 3}, number, 0, 2, [("valid", "loss", 1.0 - number, False)]))
Model = collections.namedtuple("Model", "best_score best_iteration")
log_summary(Model({"valid": {"loss": 0.0}}, 1))
print(run.step, run.config, run.summary)
"""
XGBOOST = """
import numpy as np, wandb, xgboost
from wandb.integration.xgboost import WandbCallback
import wandb.xgboost
x = np.arange(40.0).reshape(20, 2)
run = wandb.init()
model = xgboost.XGBRegressor(n_estimators=3, n_jobs=1, callbacks=[WandbCallback()])
model.fit(x, x[:, 0], eval_set=[(x, x[:, 0])], verbose=False)
print(run.step, sorted(run.summary.keys()))
"""
KERAS = """
import wandb
from wandb.integration.keras import WandbMetricsLogger, WandbModelCheckpoint
from wandb.keras import WandbCallback
run = wandb.init()
for callback in (WandbMetricsLogger(log_freq="batch"), WandbMetricsLogger(), WandbCallback(monitor="val_loss")):
    callback.on_train_batch_end(0, {"loss": 2.0})
    callback.on_epoch_end(0, {"val_loss": 0.5})
print(run.step, sorted(run.summary.keys()))
"""


def with_libraries(program: str, folder: Path) -> str:
    """What the program prints, with the modules of this process at hand."""
    path = os.pathsep.join([str(FOLDER), *(part for part in sys.path if part)])
    done = run_python(program, folder, {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lightgbm(tmp_path: Path) -> None:
    done = with_stand_in(LIGHTGBM, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "2 {'lr': 1, 'leaves': 3} {'valid_loss': 0.0, 'iteration': 1, 'best_iteration': 1}\n"
    )


def test_xgboost(tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    assert with_libraries(XGBOOST, tmp_path) == "3 ['epoch', 'validation_0-rmse']\n"


def test_keras(tmp_path: Path) -> None:
    pytest.importorskip("keras")
    expected = "4 ['batch/batch_step', 'batch/loss', 'best_epoch', 'best_val_loss', 'epoch', 'epoch/epoch', 'epoch/val_loss', 'val_loss']\n"
    assert with_libraries(KERAS, tmp_path) == expected


@pytest.mark.parametrize("library", ["keras", "xgboost"])
def test_without_the_library_it_is_an_import_error(library: str, tmp_path: Path) -> None:
    program = f"import sys\nsys.modules[{library!r}] = sys.modules['tensorflow'] = None\nfrom wandb.integration.{library} import WandbCallback\n"
    done = with_stand_in(program, tmp_path)
    assert "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr
    assert "sweep" not in done.stderr.splitlines()[-1]
