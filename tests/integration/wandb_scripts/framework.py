"""A trainer with a logger of its own: reinit, commit=False, nested config, watch, save, alert, resume, settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.lib import runid


class Logger:
    """What a framework puts between a trainer and wandb."""

    def __init__(self, config: dict[str, Any], **options: Any) -> None:
        self._experiment: Any = None
        self._config, self._options = config, options

    @property
    def experiment(self) -> Any:
        if self._experiment is None:
            self._experiment = wandb.init(config=self._config, **self._options)
            self._experiment.define_metric("trainer/step")
            self._experiment.define_metric("*", step_metric="trainer/step", step_sync=True)
        return self._experiment

    def log_hyperparams(self, values: dict[str, Any]) -> None:
        self.experiment.config.update(values, allow_val_change=True)

    def log_metrics(self, values: dict[str, float], step: int, last: bool = True) -> None:
        self.experiment.log({**values, "trainer/step": step}, commit=last)

    def close(self) -> None:
        self.experiment.finish()
        self._experiment = None


class Model:
    weight = 5.0


class Trainer:
    def __init__(self, logger: Logger, epochs: int) -> None:
        self.logger, self.epochs = logger, epochs

    def fit(self, model: Model) -> None:
        run = self.logger.experiment
        run.watch(model, log="all", log_freq=10)
        for epoch in range(self.epochs):
            model.weight -= run.config["optimizer"]["lr"] * model.weight
            self.logger.log_metrics({"train/loss": model.weight**2}, epoch, last=False)
            self.logger.log_metrics({"loss": model.weight**2 + 0.5}, epoch)
        run.unwatch(model)

    def checkpoint(self, model: Model) -> None:
        path = Path(wandb.run.dir) / "checkpoints" / "last.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(model.weight))
        notes = Path("notes") / f"{os.getpid()}.txt"
        notes.parent.mkdir(exist_ok=True)
        notes.write_text("saved")
        wandb.save(str(notes), policy="now")


def main() -> None:
    assert wandb.run is None
    wandb.login()
    options: dict[str, Any] = {
        "project": "frames",
        "id": runid.generate_id(),
        "resume": "allow",
        "settings": wandb.Settings(init_timeout=60),
    }
    logger = Logger({"optimizer": {"name": "sgd", "lr": 0.01}, "seed": 1}, **options)
    logger.log_hyperparams({"epochs": 3, "seed": 2})
    model = Model()
    trainer = Trainer(logger, logger.experiment.config.epochs)
    trainer.fit(model)
    trainer.checkpoint(model)
    wandb.alert(title="Done", text="the training is over", level=wandb.AlertLevel.WARN)
    logger.close()
    assert wandb.run is None

    again = wandb.init(project="frames", reinit=True, name="evaluation", config={"phase": "test"})
    again.log({"test/loss": model.weight**2})
    again.finish()


if __name__ == "__main__":
    main()
