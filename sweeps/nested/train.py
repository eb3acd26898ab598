"""Gradient descent on a noisy quadratic: reads its config from the JSON file that the command names."""

import argparse
import json
import random
from pathlib import Path

import sweep


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    config = json.loads(Path(parser.parse_args().config).read_text())
    run = sweep.init()
    rng = random.Random(run.seed)
    momentum = 0.9 if config["optimizer"]["name"] == "momentum" else 0.0
    weight, velocity = 4.0, 0.0
    for epoch in range(config["epochs"]):
        for _ in range(10):
            gradient = 2 * weight + rng.gauss(0.0, config["data"]["noise"])
            velocity = momentum * velocity - config["optimizer"]["lr"] * gradient
            weight = max(-1e6, min(1e6, weight + velocity))
        run.log({"val": {"loss": weight * weight}}, step=epoch)


if __name__ == "__main__":
    main()
