"""Trains a network on whole pictures, and draws the untrained one beside it. Next: supervised.py, the training loop."""

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.kept_work import KeptWork, facts_of, samples_digest
from deepcluster.evaluation.probe.transfer_training import untrained_backbone
from deepcluster.evaluation.supervised import Supervised
from deepcluster.evaluation.voc07.pictures import PictureBatches, PictureReader, Pictures
from deepcluster.evaluation.voc07.settings import PictureTraining
from deepcluster.models.backbone import Backbone
from deepcluster.system.progress import clock
from deepcluster.system.seeding import mix

SCRATCH = "scratch"
N_STATISTICS = 64  # pictures from which an untrained network's BatchNorm has its mean and variance


def starts(context: EvaluationContext, compare_scratch: bool, reader: PictureReader) -> dict[str, Backbone]:
    """Prefix of the results -> the network to start from: the one to evaluate, and perhaps an untrained one."""
    networks = {"": context.backbone}
    if compare_scratch:
        networks[f"{SCRATCH}_"] = _with_statistics(untrained_backbone(context, mix(context.seed, SCRATCH)), reader)
    return networks


def train_on_pictures(
    network: nn.Module,
    loss: Callable[[Pictures, Tensor], Tensor],
    settings: PictureTraining,
    *,
    backbone: Backbone,
    reader: PictureReader,
    context: EvaluationContext,
    name: str,
    what: dict[str, Any],
) -> None:
    """Train from the start, or continue from NAME.state in the evaluation's folder.

    Args:
        network: on the device; trained in place.
        loss: of a batch's pictures and their indices (B,).
        backbone: that it was made from.
        what: further settings that decide the result.

    Raises:
        ValueError: if NAME.state belongs to another training, or the loss is not finite.
    """
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    last_time, say = time.monotonic(), context.progress.say

    def row(iteration: int, mean_loss: float) -> dict[str, float]:
        nonlocal last_time
        now, n_done = time.monotonic(), (iteration - 1) % settings.state_every + 1
        left_s = (now - last_time) / n_done * (settings.n_iterations - iteration)
        last_time = now
        rate = settings.rate(iteration - 1)
        left = f"  about {clock(left_s)} left" if left_s else ""
        say(f"iteration {iteration:>6,}  loss {mean_loss:.3f}  lr {rate:.2g}{left}")
        return {"iteration": iteration, "loss": mean_loss}

    deciding = {key: value for key, value in asdict(settings).items() if key != "state_every"}
    facts = facts_of(
        backbone,
        images=samples_digest(reader.images.samples),
        mean=reader.mean,
        std=reader.std,
        seed=context.seed,
        dtype=str(context.dtype),
        evaluation={**what, "training": deciding},
    )
    Supervised(
        network=network,
        optimizer=torch.optim.SGD(
            trainable, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        ),
        rate=lambda _, iteration: settings.rate(iteration),
        loss=loss,
        batches=PictureBatches(reader, batch_size=settings.batch_size, seed=mix(context.seed, name)),
        n_steps=settings.n_iterations,
        state_every=settings.state_every,
        max_grad_norm=settings.max_grad_norm,
        row=row,
        device=context.device,
        kept_work=KeptWork(folder=context.folder, facts=facts, say=say),
        name=name,
        title=name.replace("_", " "),
        progress=context.progress,
        advice=f"evaluation.training.lr={settings.lr:g}, or set evaluation.training.max_grad_norm=10",
        length_key="evaluation.training.n_iterations",
    ).fit()
    network.eval()


@torch.no_grad()
def _with_statistics(backbone: Backbone, reader: PictureReader) -> Backbone:
    """The network with BatchNorm's mean and variance of some pictures: a fresh one's would be those of no image."""
    norms = [module for module in backbone.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # plain averages
    backbone.features.train()
    for i in range(min(N_STATISTICS, len(reader.images)) if norms else 0):
        image = reader.normalised(reader.read(i), next(backbone.parameters()).device)
        backbone.features(backbone.input_maps(image[None]))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return backbone.eval()
