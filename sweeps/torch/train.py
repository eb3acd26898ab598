"""A small convolutional network on scikit-learn's handwritten digits, which goes on where it was when it is killed.

Runs alone (`python train.py`) with the defaults below, or as a run of `sweep.yaml`; on a GPU where there is one. The checkpoint holds
everything that the next epoch depends on, so that a run that was killed ends with the very same weights as one that was not.
"""

import hashlib
import os
import random

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, Dataset

import sweep

DEFAULTS = {
    "learning_rate": 0.01,
    "weight_decay": 0.001,
    "channels": 8,
    "dropout": 0.2,
    "batch_size": 64,
    "epochs": 12,
    "workers": 2,
}


class Digits(Dataset):
    """Pictures of 8 x 8 pixels with their labels; `shifted` moves each by up to one pixel, at random."""

    def __init__(self, pictures, labels, shifted=False):
        self.pictures = torch.as_tensor(pictures, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
        self.labels = torch.as_tensor(labels)
        self.shifted = shifted

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        picture = self.pictures[index]
        if self.shifted:
            picture = torch.roll(picture, torch.randint(-1, 2, (2,)).tolist(), dims=(1, 2))
        return picture, self.labels[index]


def load_data():
    """Train, validation and test parts of the digits; always the same split, whatever the run's seed."""
    pictures, labels = load_digits(return_X_y=True)
    rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    train, val = train_test_split(rest, test_size=0.25, random_state=0, stratify=labels[rest])
    return [Digits(pictures[part], labels[part], shifted=part is train) for part in (train, val, test)]


def make_model(config):
    return nn.Sequential(
        nn.Conv2d(1, config.channels, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(config.channels, 2 * config.channels, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(config.dropout),
        nn.Linear(2 * config.channels * 16, 10),
    )


def seed_everything(seed):
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)  # all GPUs as well
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # `determinism: strict` sets it, too
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def seed_worker(_):
    """PyTorch seeds itself in a DataLoader's worker, from the loader's generator; NumPy and `random` are ours to seed."""
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)


def random_states(generator):
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "loader": generator.get_state(),
    }


def restore_random_states(states, generator):
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    torch.cuda.set_rng_state_all(states["cuda"])
    generator.set_state(states["loader"])


def save(state, path):
    """Write a checkpoint at once or not at all: whoever is killed in the middle leaves the one before."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def train_epoch(model, loader, optimizer, device):
    """The mean training loss of one epoch."""
    model.train()
    total = 0.0
    for pictures, labels in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pictures.to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        total += loss.item() * len(labels)
    return total / len(loader.dataset)


@torch.no_grad()
def evaluate(model, data, device):
    """Loss and accuracy on all of `data`."""
    model.eval()
    answers = model(data.pictures.to(device))
    labels = data.labels.to(device)
    accuracy = (answers.argmax(dim=1) == labels).float().mean().item()
    return nn.functional.cross_entropy(answers, labels).item(), accuracy


def digest(model):
    """Says in the record whether two runs ended with the same weights, to the last bit."""
    found = hashlib.sha256()
    for value in model.state_dict().values():
        found.update(value.cpu().numpy().tobytes())
    return found.hexdigest()[:16]


def main():
    run = sweep.init(config=DEFAULTS)
    config = run.config
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    seed_everything(run.seed)
    train, val, test = load_data()
    generator = torch.Generator().manual_seed(run.seed)  # shuffles, and seeds the workers
    loader = DataLoader(
        train,
        batch_size=config.batch_size,
        shuffle=True,
        num_workers=config.workers,
        worker_init_fn=seed_worker,
        generator=generator,
    )
    model = make_model(config).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)

    first = 0
    checkpoint = run.checkpoint_dir / "last.pt"
    if checkpoint.exists():
        # Our own file, so it may hold more than tensors. On the CPU first: random states live there.
        state = torch.load(checkpoint, map_location="cpu", weights_only=False)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        restore_random_states(state["random"], generator)
        first = state["epoch"]
        print(f"attempt {run.attempt} goes on with epoch {first}")

    for epoch in range(first, config.epochs):
        loss = train_epoch(model, loader, optimizer, device)
        scheduler.step()
        val_loss, accuracy = evaluate(model, val, device)
        # First the row, then the checkpoint: whoever is killed between them logs the same row a second time, at the same step.
        run.log({"loss": loss, "val": {"loss": val_loss, "accuracy": accuracy}}, step=epoch)
        state = {
            "epoch": epoch + 1,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "random": random_states(generator),
        }
        save(state, checkpoint)
        print(f"epoch {epoch:2d}  loss {loss:.4f}  val/accuracy {accuracy:.4f}")
    run.summary["test/accuracy"] = evaluate(model, test, device)[1]
    run.summary["weights"] = digest(model)


if __name__ == "__main__":
    main()
