"""Defaults in a dict, attributes of wandb.config, wandb.log."""

import wandb

defaults = {"lr": 0.1, "epochs": 4, "model": {"depth": 2, "width": 8}}
wandb.init(project="scripts", config=defaults, tags=["plain"], notes="the first one")

config = wandb.config
weight = 5.0
for epoch in range(config.epochs):
    weight -= config.lr * 2 * weight
    wandb.log({"loss": weight**2, "epoch": epoch, "val": {"error": abs(weight)}})

assert config["model"]["depth"] == 2
wandb.run.summary["final"] = weight
