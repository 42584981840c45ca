"""A plain training loop on labels, that goes on where it was stopped. For probe_original.py and transfer.py."""

import io
import math
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import EpochLoader, feature_batches
from deepcluster.data.views import FeatureView, TrainView
from deepcluster.evaluation.context import Teller
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import generator, mix

TOP = 5  # top-5 accuracy is told where there are at least TOP_FROM classes
TOP_FROM = 10


@dataclass(kw_only=True)
class Split:
    """Labelled images of a set, as indices into it."""

    images: ImageSet
    indices: Tensor

    @property
    def labels(self) -> Tensor:
        """(N,) of the whole set, -1 where there is none."""
        assert self.images.labels is not None
        return self.images.labels


@dataclass(kw_only=True)
class Supervised:
    """One training on labels: cross-entropy, summed over all outputs of the network.

    Crops, order and dropout are functions of (seed, epoch, batch), and the state after each epoch is in `file`, so a
    training that was stopped and goes on gives the same weights as one that was not, bit for bit on a CPU.

    Args:
        network: normalised images -> logits (B, C) by name. Only its state_dict is saved; its train() and eval() are
            called.
        optimizer: of its parameters; each group's "initial_lr" is set to its rate at the start.
        rate: from a group's initial rate and the step, from 0, to its rate.
        train: images to learn from.
        view: how they are cropped.
        test: called after an epoch; its numbers go into the history.
        file: of the state.
        fingerprint: of all that decides the result (same_work.py).
        title: for the progress bar.
        autocast: type in which to compute, or None for float32.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    rate: Callable[[float, int], float]
    train: Split
    view: TrainView
    epochs: int
    batch_size: int
    num_workers: int
    seed: int
    device: torch.device
    test: Callable[[int], dict[str, float]]
    file: Path
    fingerprint: str
    title: str
    progress: Teller
    autocast: torch.dtype | None = None

    def fit(self) -> list[dict[str, float]]:
        """Train to the last epoch.

        Returns:
            One row per epoch: epoch (from 1), loss and what `test` gave.

        Raises:
            ValueError: if the loss is not finite, or the file is the state of another training.
        """
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        history = self._restore()
        if history and len(history) < self.epochs:
            self.progress.say(f"{self.title}: going on after epoch {len(history)} of {self.epochs}")
        epoch, n = len(history), len(self.train.indices)
        loader = EpochLoader(
            self.train.images,
            self.view,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=True,
            seed=self.seed,
            n_per_epoch=n,
            before_epoch=lambda: (epoch, self._order(epoch)),
        )
        try:
            with _own_random_numbers(self.device):
                for epoch in range(len(history), self.epochs):
                    loss = self._epoch(loader, epoch)
                    row = {"epoch": float(epoch + 1), "loss": loss, **self.test(epoch)}
                    history.append(row)
                    self._save(history)
        finally:
            loader.close()
        return history

    def _order(self, epoch: int) -> Tensor:
        shuffled = torch.randperm(len(self.train.indices), generator=generator(self.seed, "order", epoch))
        return self.train.indices[shuffled]

    def _epoch(self, loader: EpochLoader, epoch: int) -> float:
        """One pass; the mean loss per output.

        Raises:
            ValueError: if it is not finite.
        """
        self.network.train()
        total, step = torch.zeros((), device=self.device), epoch * len(loader)
        n_outputs = 1
        with self.progress.bar(f"{self.title}, epoch {epoch + 1}/{self.epochs}", len(loader), "batch") as advance:
            for number, batch in enumerate(loader):
                for group in self.optimizer.param_groups:
                    group["lr"] = self.rate(group["initial_lr"], step + number)
                torch.manual_seed(mix(self.seed, "dropout", epoch, number))
                images = self.view(batch.images.to(self.device, non_blocking=True), batch.draws)
                targets = self.train.labels[batch.indices].to(self.device)
                with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
                    outputs = self.network(images.contiguous(memory_format=torch.channels_last))
                n_outputs = len(outputs)
                loss = sum((F.cross_entropy(one.float(), targets) for one in outputs.values()), torch.zeros(()))
                self.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                self.optimizer.step()
                total += loss.detach() * len(targets)
                advance(1)
        mean = float(total) / len(self.train.indices) / n_outputs
        if not math.isfinite(mean):
            raise ValueError(f"{self.title}: the loss is {mean} in epoch {epoch + 1}: lower the learning rate")
        return mean

    def _save(self, history: list[dict[str, float]]) -> None:
        state = {
            "fingerprint": self.fingerprint,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "history": history,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(self.file, buffer.getbuffer())

    def _restore(self) -> list[dict[str, float]]:
        """The history of a training that was stopped, its state taken over; empty for a new one."""
        if not self.file.is_file():
            return []
        try:
            state: dict[str, Any] = torch.load(self.file, map_location=self.device, weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError):
            self.progress.say(f"{self.file.name} is damaged: it is written anew")  # the atomic write leaves no such
            return []
        if not isinstance(state, dict) or state.get("fingerprint") != self.fingerprint:
            raise ValueError(
                f"{self.file} is the state of a training of other weights, images or settings; choose another "
                "output_dir, or repeat the call that made it"
            )
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        history: list[dict[str, float]] = state["history"]
        return history


@torch.inference_mode()
def accuracies(
    network: nn.Module,
    test: Split,
    view: FeatureView,
    *,
    batch_size: int,
    num_workers: int,
    device: torch.device,
    autocast: torch.dtype | None = None,
    advance: Callable[[int], object] = lambda n: None,
) -> dict[str, dict[str, float]]:
    """Share of right answers of each output of a network on test images, by name.

    Of views that give ten crops (B, 10, C, H, W) the crops' softmax is averaged (original: eval_linear.py).

    Returns:
        By output "accuracy" and, with at least 10 classes, "top5_accuracy".
    """
    network.eval()
    right: dict[str, Tensor] = {}
    for batch in feature_batches(test.images, view, test.indices, batch_size=batch_size, num_workers=num_workers):
        images = view(batch.images.to(device, non_blocking=True))
        n_crops = images.shape[1] if images.ndim == 5 else 1
        targets = test.labels[batch.indices].to(device)
        pixels = images.flatten(0, 1) if images.ndim == 5 else images
        with torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
            outputs = network(pixels.contiguous(memory_format=torch.channels_last))
        for name, logits in outputs.items():
            chances = logits.float().softmax(dim=1).unflatten(0, (-1, n_crops)).mean(dim=1)
            best = chances.topk(min(TOP, chances.shape[1]), dim=1).indices == targets[:, None]
            counts = torch.stack([best[:, 0].sum(), best.any(dim=1).sum()])
            right[name] = right.get(name, torch.zeros_like(counts)) + counts
            n_classes = chances.shape[1]
        advance(len(batch.indices))
    n = len(test.indices)
    results: dict[str, dict[str, float]] = {}
    for name, counts in right.items():
        first, fifth = counts.tolist()
        results[name] = {"accuracy": first / n}
        if n_classes >= TOP_FROM:
            results[name]["top5_accuracy"] = fifth / n
    return results


@contextmanager
def _own_random_numbers(device: torch.device) -> Iterator[None]:
    """Seeds that the training sets do not reach the rest of the program."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
