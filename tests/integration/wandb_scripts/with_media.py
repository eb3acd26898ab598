"""A context manager, define_metric, summary, a table, an image, an artifact."""

import json
import tempfile
from pathlib import Path

import numpy as np
import wandb

with wandb.init(config={"lr": 0.1}) as run:
    run.define_metric("epoch")
    run.define_metric("accuracy", step_metric="epoch", summary="max")
    run.define_metric("val/*", step_metric="epoch", summary="min,mean")

    for epoch in range(5):
        accuracy = (epoch + 1) * run.config.lr if epoch < 4 else 0.0
        run.log({"accuracy": accuracy, "val/loss": 5.0 - epoch, "epoch": epoch})

    table = wandb.Table(columns=["input", "output"])
    for number in range(3):
        table.add_data(number, number**2)
    picture = np.zeros((4, 6, 3), dtype=np.uint8)
    picture[:, :, 0] = 255
    run.log({"table": table, "picture": wandb.Image(picture, caption="red")})
    run.log({"histogram": wandb.Histogram(np.arange(10)), "chart": wandb.plot.line(table, "input", "output")})

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        path.write_text(json.dumps({"lr": run.config.lr}))
        artifact = wandb.Artifact("model", type="model", metadata={"accuracy": accuracy})
        artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=["best"])

    run.summary.update({"test": {"accuracy": 0.5}})
    run.summary["best_accuracy"] = run.summary["accuracy"]["max"]
