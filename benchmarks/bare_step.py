"""A training step with nothing around it, and how Lightning's loop takes turns with it. For cycle.py."""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.crop_loader import Crops
from deepcluster.system.seeding import generator
from deepcluster.training.clusterer import Clusterer, Network
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.targets import Lookup, Scored

WARM_UP_STEPS = 10


@dataclass(frozen=True)
class Clock:
    """Seconds.

    Args:
        device: it is waited for before the time is read.
        of_processor: time of this process's threads on the processor, which other programs hardly change.
    """

    device: torch.device
    of_processor: bool = False

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time() if self.of_processor else time.perf_counter()


class RandomLabels(Clusterer):
    """Stands for the clustering while only training is timed; every cluster gets an image, as k-means promises."""

    def reassign(
        self, network: Network, *, device: torch.device, moment: str, previous: Sequence[Assignment | None]
    ) -> tuple[list[Assignment], dict[str, float]]:
        n, assignments = len(self.images), []
        for h, labeling in enumerate(self.labelings):
            draw, k = generator(self.seed, "random labels", h), labeling.capacity(n)
            labels = torch.cat([torch.arange(k), torch.randint(k, (n - k,), generator=draw)])
            labels = labels[torch.randperm(n, generator=draw)]
            centroids = torch.randn(k, network.dim, generator=draw)  # a head may follow them
            assignments.append(Assignment(labels=labels, k=k, objective=0.0, centroids=centroids))
        return assignments, {}


@dataclass
class Turns(pl.Callback):
    """Stops Lightning's loop between its windows, so that the other side of the ratio has its turn.

    A window is timed from one on_train_batch_start to another, so it holds the reading, transfer, augmentation,
    step and logging of exactly `steps` batches. The first step after a turn is not timed.
    """

    steps: int
    rounds: int
    clock: Clock
    other_side: Callable[[pl.Trainer, Crops, int], None]
    seconds: list[float] = field(default_factory=list)
    epoch_end_s: float = 0.0  # from the last step to the end of the epoch: numbers, line, checkpoint
    _since: float = 0.0

    @property
    def n_steps(self) -> int:
        """Steps until the end of the last window, and one more, whose start is that end."""
        return WARM_UP_STEPS + self.rounds * (self.steps + 1) + 1

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        number, step = divmod(batch_idx - WARM_UP_STEPS, self.steps + 1)
        if number < 0 or step > 1:
            return
        now = self.clock.now()
        if step == 0 and number > 0:
            self.seconds.append(now - self._since)
        if step == 0 and number < self.rounds:
            self.other_side(trainer, batch, number)
        self._since = self.clock.now()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == self.n_steps - 1:
            self._since = self.clock.now()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epoch_end_s = self.clock.now() - self._since


@dataclass
class BareStep:
    """The training step of any method: backbone, embedding, head and loss forwards and backwards, update.

    The crops of one batch are in memory. Without a Trainer, numbers to log, a memory bank and labels that are looked
    up. Equal crops of a batch go through the network together, as in training.

    Args:
        module: what a run trains; this works on copies of its parts.
    """

    module: DeepClusterModule
    clock: Clock
    optimizer: torch.optim.Optimizer | None = None

    def run(self, n: int, batch: Crops, trainer: pl.Trainer) -> float:
        """Seconds of n steps on the crops of `batch`, which are on its device."""
        if self.optimizer is None:
            self.module = copy.deepcopy(self.module).to(self.clock.device).train()
            self.optimizer = self.module.build_optimizer(fused=not trainer.gradient_clip_val)
            self.run(WARM_UP_STEPS, batch, trainer)
        module, optimizer = self.module, self.optimizer
        labels = [batch.indices % k for k in self._n_outputs()]
        started = self.clock.now()
        for _ in range(n):
            optimizer.zero_grad()
            with trainer.precision_plugin.forward_context():  # the very autocast that Lightning enters
                embedded = module.embed(batch.crops)
                loss = self._loss(module.head.scores(embedded), embedded, labels, len(batch.crops))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        return self.clock.now() - started

    def _loss(self, scores: list[Tensor], embedded: Tensor, labels: list[Tensor], n_crops: int) -> Tensor:
        targets = self.module.targets
        if isinstance(targets, Lookup):
            each = [
                functional.cross_entropy(one.float(), of_images.repeat(n_crops))
                for one, of_images in zip(scores, labels, strict=True)
            ]
            return each[0] if len(each) == 1 else torch.stack(each).mean()
        shape = (n_crops, len(labels[0]), -1)
        return targets.loss(
            Scored(
                scores=[one.float().view(*shape) for one in scores],
                embedding=embedded.view(*shape),
                labels=None,
                all_labelled=True,
                n_large=self.module.view.n_large,
                epoch=0,
                rescore=self.module.head.scores,
            )
        ).value

    @torch.no_grad()
    def _n_outputs(self) -> list[int]:
        nothing = torch.zeros(1, self.module.embedding_dim, device=self.clock.device)
        return [scores.shape[1] for scores in self.module.head.scores(nothing)]


def untrained_network(module: DeepClusterModule, backbone: nn.Module) -> Network:
    """The network of a reassignment, with the backbone that has not been trained on random labels."""
    return module.network._replace(backbone=backbone)
