"""The 2018 linear probe: crops and flips, SGD on raw features, all stages in one loop. Next: supervised.py.

original: eval_linear.py. It trains one stage at a time and does not save the classifier.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from deepcluster.data.images import MemoryImages
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.classifier import StageClassifier
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.kept_work import KeptWork
from deepcluster.evaluation.probe.class_scores import accuracies, summed_cross_entropy
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.probe_views import N_CROPS, RandomCropView, TenCropView
from deepcluster.evaluation.probe.recipes import OriginalProbe
from deepcluster.evaluation.probe.stage_results import StageResult
from deepcluster.evaluation.probe.stages import Stage
from deepcluster.evaluation.supervised import Supervised, TrainingBatches
from deepcluster.features.inference import inference_copy
from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import mix
from deepcluster.system.tables import write_records

MOMENTUM = 0.9  # original: eval_linear.py


class StageHeads(nn.Module):
    """One linear layer for each stage of a frozen backbone; only the layers are parameters and are saved.

    Layers are initialised as torch does. The random numbers depend on the seed and the stage's name, not on which other
    stages are probed.
    """

    def __init__(self, frozen: Backbone, stages: Sequence[Stage], n_classes: int, *, seed: int) -> None:
        super().__init__()
        self.stages = list(stages)
        self.layers = nn.ModuleList()
        for stage in stages:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(mix(seed, "layer", stage.name))
                self.layers.append(nn.Linear(stage.n_features, n_classes))
        self._frozen = (frozen,)  # a tuple hides it from state_dict and train()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Logits (B, C) by stage, of normalised images (B, channels, H, W)."""
        with torch.no_grad():
            maps = self._frozen[0].taps(images, {stage.name: stage.pooling for stage in self.stages})
        pairs = zip(self.stages, self.layers, strict=True)
        return {stage.name: layer(maps[stage.name].flatten(1)) for stage, layer in pairs}


def probe_original(
    context: EvaluationContext,
    split: LabelledSplit,
    stages: Sequence[Stage],
    settings: OriginalProbe,
    *,
    n_seeds: int,
    kept_work: KeptWork,
) -> list[StageResult]:
    """Train and test one linear layer per stage, all in one loop; continues where it was stopped.

    Writes linear_probe_epochs.csv, loss and test accuracies of each epoch, and the classifiers of the first seed.

    Args:
        split: images to train and to test on.
        n_seeds: repetitions; the seed draws initial weights, order and crops.
        kept_work: saved state of each seed's training.

    Returns:
        One result for each stage and seed.

    Raises:
        ValueError: if crops do not fit into the images, or the loss is not finite.
    """
    side = settings.side(context.card["image_size"], context.card["resize"])
    frozen = inference_copy(context.backbone, dtype=context.dtype, channels_last=True).to(context.device)
    results: list[StageResult] = []
    rows: list[dict[str, float]] = []
    for number in range(n_seeds):
        heads, history = _train(context, split, frozen, stages, settings, side, number, kept_work)
        rows += [{"seed": number, **row, "epoch": int(row["epoch"])} for row in history]
        for stage, layer in zip(stages, heads.layers, strict=True):
            curve = [row[f"accuracy_{stage.name}"] for row in history if f"accuracy_{stage.name}" in row]
            best = max(curve) if settings.test_each_epoch else None
            results.append(
                StageResult(
                    stage=stage.name,
                    seed=number,
                    accuracy=curve[-1],
                    learning_rate=settings.lr,
                    best_test_epoch_accuracy=best,
                )
            )
            if number == 0:
                assert isinstance(layer, nn.Linear)
                StageClassifier(
                    stage=stage,
                    weight=layer.weight,
                    bias=layer.bias,
                    classes=split.train.classes,
                    resize=side,
                    accuracy=curve[-1],
                ).save(context.folder)
    write_records(context.folder / "linear_probe_epochs.csv", rows)
    return results


def _train(
    context: EvaluationContext,
    split: LabelledSplit,
    frozen: Backbone,
    stages: Sequence[Stage],
    settings: OriginalProbe,
    side: int,
    number: int,
    kept_work: KeptWork,
) -> tuple[StageHeads, list[dict[str, float]]]:
    """Train with one seed; returns the layers and the training's history."""
    card, device = context.card, context.device
    seed = mix(context.seed, "original probe", number)
    title = "probe" if number == 0 else f"probe, seed {number + 1}"
    heads = StageHeads(frozen, stages, int(split.train_y.max()) + 1, seed=seed).to(device)

    def row(epoch: int, loss: float) -> dict[str, float]:
        numbers = {"epoch": float(epoch), "loss": loss / len(stages)}
        if settings.test_each_epoch or epoch == settings.epochs:
            with context.progress.bar(f"{title}, test", len(split.test_indices), "img") as advance:
                numbers |= _test(context, split, heads, side, ten_crops=settings.ten_crops, advance=advance)
        return numbers

    flip = context.view.flip if settings.flip is None else settings.flip
    on_files = not isinstance(split.train, MemoryImages)
    batches = TrainingBatches(
        split.train,
        split.train_indices,
        RandomCropView(card["image_size"], side, flip, card["mean"], card["std"], on_files=on_files),
        batch_size=settings.batch_size,
        num_workers=context.n_workers(split.train, settings.batch_size),
        seed=seed,
    )
    assert split.train.labels is not None
    history = Supervised(
        network=heads,
        optimizer=torch.optim.SGD(
            heads.parameters(), lr=settings.lr, momentum=MOMENTUM, weight_decay=settings.weight_decay
        ),
        rate=settings.rate,
        loss=summed_cross_entropy(heads, split.train.labels, device=device),
        batches=batches,
        n_steps=settings.epochs * batches.n_per_epoch,
        row=row,
        device=device,
        kept_work=kept_work,
        name=f"linear_probe_original_{number}",
        title=title,
        progress=context.progress,
        advice=f"evaluation.original.lr={settings.lr:g}",
    ).fit()
    return heads, history


def _test(
    context: EvaluationContext,
    split: LabelledSplit,
    heads: StageHeads,
    side: int,
    *,
    ten_crops: bool,
    advance: Callable[[int], object],
) -> dict[str, float]:
    """accuracy_STAGE on the central crop, or on ten crops, of images whose short side is resized to `side` pixels."""
    card = context.card
    view = (TenCropView if ten_crops else FeatureView)(
        card["image_size"], side, card["mean"], card["std"], on_files=not isinstance(split.test, MemoryImages)
    )
    by_stage = accuracies(
        heads,
        split.test,
        split.test_indices,
        view,
        batch_size=max(1, context.extraction.batch_size // (N_CROPS if ten_crops else 1)),
        num_workers=context.n_workers(split.test, context.extraction.batch_size),
        device=context.device,
        advance=advance,
    )
    return {f"accuracy_{name}": values["accuracy"] for name, values in by_stage.items()}
