"""The callbacks of wandb that are common in training scripts: they log what wandb's log, and need the library they are for."""
