"""Fine-tunes on VOC2007. Next: supervised.py, the training loop."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.views import TrainView
from deepcluster.evaluation.context import ProgressDisplay
from deepcluster.evaluation.kept_work import KeptWork, facts_of, samples_digest
from deepcluster.evaluation.supervised import Supervised, TrainingBatches
from deepcluster.evaluation.voc07.classifier import Classifier, masked_loss
from deepcluster.evaluation.voc07.lists import VocSplit
from deepcluster.evaluation.voc07.settings import FineTuning
from deepcluster.models.backbone import Backbone

NAME = "voc07"
HOW_LONG = ("n_iterations", "state_every")  # settings that do not affect the weights after a given iteration


def fine_tune(
    backbone: Backbone,
    split: VocSplit,
    view: TrainView,
    settings: FineTuning,
    *,
    folder: Path,
    seed: int,
    num_workers: int,
    device: torch.device,
    progress: ProgressDisplay,
) -> Classifier:
    """Train a classifier from the start, or continue from voc07.state in `folder`.

    Raises:
        ValueError: if voc07.state belongs to another training, or the loss is not finite.
    """
    model = Classifier(backbone, len(split.classes), settings, seed=seed).to(device)
    trainable = [weight for weight in model.parameters() if weight.requires_grad]
    labels = split.labels.to(device)

    def loss(images: Tensor, indices: Tensor) -> Tensor:
        return masked_loss(model(images), labels[indices.to(device)])

    def row(iteration: int, mean_loss: float) -> dict[str, float]:
        progress.say(f"iteration {iteration:>6,}  loss {mean_loss:.3f}  lr {settings.rate(iteration - 1):.2g}")
        return {"iteration": iteration, "loss": mean_loss}

    Supervised(
        network=model,
        optimizer=torch.optim.SGD(
            trainable, settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        ),
        rate=lambda _, iteration: settings.rate(iteration),
        loss=loss,
        batches=TrainingBatches(
            split.images,
            torch.arange(len(split.images)),
            view,
            batch_size=settings.batch_size,
            num_workers=num_workers,
            seed=seed,
        ),
        n_steps=settings.n_iterations,
        state_every=settings.state_every,
        max_grad_norm=settings.max_grad_norm,
        row=row,
        device=device,
        kept_work=KeptWork(folder=folder, facts=_facts(backbone, split, settings, seed), say=progress.say),
        name=NAME,
        title="fine-tune",
        progress=progress,
        advice=f"evaluation.training.lr={settings.lr:g}",
        length_key="evaluation.training.n_iterations",
    ).fit()
    return model.eval()


def _facts(backbone: Backbone, split: VocSplit, settings: FineTuning, seed: int) -> dict[str, str]:
    images = samples_digest(split.images.samples)
    deciding = {name: value for name, value in asdict(settings).items() if name not in HOW_LONG}
    return facts_of(backbone, train_split=split.name, images=images, seed=seed, evaluation={"training": deciding})
