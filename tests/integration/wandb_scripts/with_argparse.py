"""argparse, and a config that is updated."""

import argparse

import wandb


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--name", default="nobody")
    args = parser.parse_args()

    run = wandb.init(config=args, name=f"lr-{args.lr}", group="argparse", job_type="train")
    wandb.config.update({"device": "cpu"})
    wandb.config.update(args)
    wandb.config.update({"epochs": 5}, allow_val_change=True)

    weight = 5.0
    for epoch in range(wandb.config.epochs):
        weight -= wandb.config["lr"] * weight
        wandb.log({"train/loss": weight**2}, step=epoch)
        wandb.log({"loss": weight**2 + 1}, step=epoch)
    wandb.log({"loss": 1000.0}, step=1)
    print(run.name, wandb.config)
    wandb.finish()


if __name__ == "__main__":
    main()
