"""A function, wandb.sweep and wandb.agent."""

import wandb

sweep_config = {
    "method": "grid",
    "name": "from a script",
    "metric": {"name": "loss", "goal": "minimize"},
    "parameters": {"lr": {"values": [0.1, 0.2]}, "width": {"value": 4}},
}


def train() -> None:
    with wandb.init(config={"epochs": 3}) as run:
        weight = 5.0
        for _ in range(run.config.epochs):
            weight -= run.config.lr * weight
            wandb.log({"loss": weight**2, "width": wandb.config.width})


if __name__ == "__main__":
    sweep_id = wandb.sweep(sweep_config, project="scripts")
    wandb.agent(sweep_id, function=train, count=5)
    print("sweep", sweep_id)
