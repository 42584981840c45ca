"""The trainings of evaluation=transfer: new heads on trained or untrained weights. Next: supervised.py."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from deepcluster.data.views import feature_view, train_view
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.kept_work import KeptWork
from deepcluster.evaluation.probe.class_scores import accuracies, summed_cross_entropy
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.supervised import Supervised, TrainingBatches
from deepcluster.models.backbone import Backbone
from deepcluster.models.head import ClusterHead
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import generator, mix
from deepcluster.weights.checkpoint import backbone_checkpoint
from deepcluster.weights.network import NO_DOWNLOAD, build_backbone

OUTPUT = "class"
FILE = "finetuned.ckpt"


class Finetuned(nn.Module):
    """A backbone and a new head on its features: ReLU, then a linear layer, as in training."""

    def __init__(self, backbone: Backbone, n_classes: int, *, seed: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = ClusterHead(backbone.feature_dim, n_classes)
        self.head.redraw(n_classes, generator(seed, "head"))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, C) of normalised images (B, channels, H, W)."""
        return {OUTPUT: self.head(self.backbone(images))}


@dataclass(kw_only=True)
class TransferTraining:
    """The recipe shared by all starts and seeds.

    Args:
        lr, backbone_lr: initial learning rates of the head and of the backbone.
        rate: gives the learning rate at a step from the initial rate, the step and the number of steps.
        kept_work: saved states of the trainings.
    """

    context: EvaluationContext
    split: LabelledSplit
    batch_size: int
    lr: float
    backbone_lr: float
    momentum: float
    weight_decay: float
    rate: Callable[[float, int, int], float]
    kept_work: KeptWork

    def train(
        self, indices: Tensor, start: str, number: int, *, epochs: int, title: str
    ) -> tuple[Finetuned, list[dict[str, float]]]:
        """Train once; returns the network and, for each epoch, its number, loss and accuracies.

        Args:
            indices: (n,), the training images.
            start: "transfer": start from the weights to evaluate; "scratch": from untrained ones.
            number: number of the repetition, from 0.
        """
        context, split, device = self.context, self.split, self.context.device
        seed = mix(context.seed, "transfer", number)
        if start == "transfer":
            backbone = copy.deepcopy(context.backbone)
        else:
            backbone = untrained_backbone(context, mix(seed, "backbone"))
        network = Finetuned(backbone, int(split.train_y.max()) + 1, seed=seed)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        autocast = None if context.dtype == torch.float32 else context.dtype
        batches = TrainingBatches(
            split.train,
            indices,
            train_view(context.view, split.train, context.card["mean"], context.card["std"]),
            batch_size=self.batch_size,
            num_workers=context.n_workers(split.train, self.batch_size),
            seed=seed,
        )
        n_steps = epochs * batches.n_per_epoch
        assert split.train.labels is not None
        history = Supervised(
            network=network,
            optimizer=self._optimizer(network),
            rate=lambda initial, step: self.rate(initial, step, n_steps),
            loss=summed_cross_entropy(network, split.train.labels, device=device, autocast=autocast),
            batches=batches,
            n_steps=n_steps,
            row=lambda epoch, loss: {"epoch": float(epoch), "loss": loss, **self._test(network, title, autocast)},
            device=device,
            kept_work=self.kept_work,
            name=f"{start}_{number}",
            title=title,
            progress=context.progress,
            advice=f"evaluation.lr={self.lr:g} or evaluation.backbone_lr={self.backbone_lr:g}",
        ).fit()
        return network, history

    def _optimizer(self, network: Finetuned) -> torch.optim.Optimizer:
        trainable = [weight for weight in network.backbone.parameters() if weight.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": trainable, "lr": self.backbone_lr},
            {"params": network.head.parameters()},
        ]
        return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def _test(self, network: Finetuned, title: str, autocast: torch.dtype | None) -> dict[str, float]:
        context, split = self.context, self.split
        with context.progress.bar(f"{title}, test", len(split.test_indices), "img") as advance:
            return accuracies(
                network,
                split.test,
                split.test_indices,
                feature_view(context.view, split.test, context.card["mean"], context.card["std"]),
                batch_size=context.extraction.batch_size,
                num_workers=context.n_workers(split.test, context.extraction.batch_size),
                device=context.device,
                autocast=autocast,
                advance=advance,
            )[OUTPUT]


def untrained_backbone(context: EvaluationContext, seed: int) -> Backbone:
    """A network of the same architecture whose weights the seed draws; no weights are downloaded."""
    arch = context.card["arch"]
    untrained = {**arch, **{name: off for name, off in NO_DOWNLOAD.items() if name in arch}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_backbone({**context.card, "arch": untrained})


def save_network(context: EvaluationContext, network: Finetuned, *, classes: list[str] | None, epochs: int) -> None:
    """Write finetuned.ckpt: the backbone, and the head as its classifier."""
    file = context.folder / FILE
    line = {name: value.detach().cpu() for name, value in network.head.linear.named_parameters()}
    extra = {"classifier": line, "classes": classes}
    write_atomically(file, backbone_checkpoint(network.backbone, context.card, epochs=epochs, extra=extra))
    context.progress.say(f"network    {file}")
