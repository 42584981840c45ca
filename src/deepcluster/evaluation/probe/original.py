"""The 2018 linear probe: crops and flips, SGD on raw features, all stages in one loop. Next: stage_probe.py.

original: eval_linear.py. There one stage is trained at a time and the trained classifier is thrown away.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import n_workers
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.classifier import StageClassifier, file_of
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.probe.fast import StageResult
from deepcluster.evaluation.probe.probe_views import N_CROPS, RandomCropView, TenCropView
from deepcluster.evaluation.probe.representation import LabelledSplit
from deepcluster.evaluation.probe.stages import Stage
from deepcluster.evaluation.probe.supervised import Split, Supervised, accuracies
from deepcluster.features.inference import inference_copy
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import mix

MOMENTUM = 0.9  # original: eval_linear.py
CROP = (256, 224)  # original: crops of 224 from squares of 256


@dataclass(kw_only=True)
class OriginalProbe:
    """The 2018 recipe (original: eval_linear.py); defaults are its own.

    The rate at step t is lr / sqrt(1 + lr weight_decay t) (Bottou). The paper used other rates for other stages.

    Args:
        epochs: passes over the training images.
        batch_size: images per step.
        lr: rate at the start; conv3 of the paper: 0.01.
        weight_decay: L2 penalty; the script of the paper's figures has 1e-7, the code's default is 1e-4.
        resize: short side of an image before crops of the network's size are cut; null: the network's own if
            that leaves room, else 8/7 of its size, as 256 is of 224.
        flip: mirror every second training image; null: as data.flip says.
        ten_crops: test on ten crops, their softmax averaged, in place of the central one.
        test_each_epoch: also tell the best epoch on the test images, which is the 2018 figure.
    """

    epochs: int = 90
    batch_size: int = 256
    lr: float = 0.01
    weight_decay: float = 1e-4
    resize: int | None = None
    flip: bool | None = None
    ten_crops: bool = False
    test_each_epoch: bool = True

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"evaluation.original.{name} must be at least 1, got {getattr(self, name)}")
        if not self.lr > 0:
            raise ValueError(f"evaluation.original.lr must be above 0, got {self.lr}")
        if not self.weight_decay >= 0:
            raise ValueError(f"evaluation.original.weight_decay must be at least 0, got {self.weight_decay}")

    def side(self, size: int, resize: int | None) -> int:
        """Short side before crops of `size`, for a network whose features see `resize`.

        Raises:
            ValueError: if the crops do not fit.
        """
        if self.resize is not None and self.resize < size:
            raise ValueError(
                f"evaluation.original.resize={self.resize} is smaller than the network's images of {size} pixels; "
                "raise it"
            )
        if self.resize is not None:
            return self.resize
        return resize if resize is not None and resize > size else round(size * CROP[0] / CROP[1])

    def rate(self, initial: float, step: int) -> float:
        """The rate at a step, from 0."""
        return initial / math.sqrt(1 + initial * self.weight_decay * step)


class StageHeads(nn.Module):
    """One linear layer for each stage of a frozen backbone; only the layers are parameters, and saved.

    They start by torch's own law, each from its stage's name and the seed, whatever other stages are probed.
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
    fingerprint: str,
) -> list[StageResult]:
    """Train and test one linear layer per stage, all in one loop; goes on where it was stopped.

    Writes linear_probe_epochs.csv: loss and test accuracies epoch by epoch.

    Args:
        split: images to learn from and to test on.
        n_seeds: how often; the seed draws the layers' start, the order and the crops.
        fingerprint: of all that decides the result (same_work.py).

    Returns:
        One result per stage and seed.

    Raises:
        ValueError: if crops do not fit into the images, or the loss is not finite.
    """
    side = settings.side(context.card["image_size"], context.card["resize"])
    frozen = inference_copy(context.backbone, dtype=context.dtype, channels_last=True).to(context.device)
    results: list[StageResult] = []
    histories: list[list[dict[str, float]]] = []
    for number in range(n_seeds):
        heads, history = _train(context, split, frozen, stages, settings, side, number, fingerprint)
        histories.append(history)
        tested = [row for row in history if f"accuracy_{stages[0].name}" in row]
        for stage, layer in zip(stages, heads.layers, strict=True):
            key = f"accuracy_{stage.name}"
            results.append(
                StageResult(
                    stage=stage.name,
                    seed=number,
                    accuracy=history[-1][key],
                    learning_rate=settings.lr,
                    best_test_epoch_accuracy=max(row[key] for row in tested) if settings.test_each_epoch else None,
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
                    accuracy=history[-1][key],
                ).save(context.folder / file_of(stage.name))
    write_epochs(context.folder / "linear_probe_epochs.csv", histories)
    return results


def _train(
    context: EvaluationContext,
    split: LabelledSplit,
    frozen: Backbone,
    stages: Sequence[Stage],
    settings: OriginalProbe,
    side: int,
    number: int,
    fingerprint: str,
) -> tuple[StageHeads, list[dict[str, float]]]:
    """One seed's training: the layers and their history."""
    seed = mix(context.seed, "original probe", number)
    train, test = (
        Split(images=split.train, indices=split.train_indices),
        Split(images=split.test, indices=split.test_indices),
    )
    heads = StageHeads(frozen, stages, int(train.labels[train.indices].max()) + 1, seed=seed).to(context.device)
    view = view_of_tests(context, split.test, side, ten_crops=settings.ten_crops)
    n_test = max(1, context.extraction.batch_size // (N_CROPS if settings.ten_crops else 1))
    title = "probe" if number == 0 else f"probe, seed {number + 1}"

    def tested(epoch: int) -> dict[str, float]:
        if not settings.test_each_epoch and epoch + 1 < settings.epochs:
            return {}
        with context.progress.bar(f"{title}, test", len(test.indices), "img") as advance:
            found = accuracies(
                heads,
                test,
                view,
                batch_size=n_test,
                num_workers=n_workers(context.data, test.images),
                device=context.device,
                advance=advance,
            )
        return {f"accuracy_{name}": values["accuracy"] for name, values in found.items()}

    history = Supervised(
        network=heads,
        optimizer=torch.optim.SGD(
            heads.parameters(), lr=settings.lr, momentum=MOMENTUM, weight_decay=settings.weight_decay
        ),
        rate=settings.rate,
        train=train,
        view=RandomCropView(
            context.card["image_size"],
            side,
            context.data.flip if settings.flip is None else settings.flip,
            context.card["mean"],
            context.card["std"],
            on_files=not isinstance(split.train, MemoryImages),
        ),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        num_workers=n_workers(context.data, split.train),
        seed=seed,
        device=context.device,
        test=tested,
        file=context.folder / f"linear_probe_original_{number}.state",
        fingerprint=fingerprint,
        title=title,
        progress=context.progress,
    ).fit()
    return heads, history


def view_of_tests(context: EvaluationContext, images: ImageSet, side: int, *, ten_crops: bool) -> FeatureView:
    """The central crop, or ten crops, of images whose short side is brought to `side`."""
    make = TenCropView if ten_crops else FeatureView
    card, on_files = context.card, not isinstance(images, MemoryImages)
    return make(card["image_size"], side, card["mean"], card["std"], on_files=on_files)


def write_epochs(file: Path, histories: Sequence[Sequence[dict[str, float]]]) -> None:
    """One line per seed and epoch."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for history in histories for row in history for name in row))
    writer = csv.DictWriter(text, ["seed", *names], lineterminator="\n", restval="")
    writer.writeheader()
    for number, history in enumerate(histories):
        writer.writerows({"seed": number, **row, "epoch": int(row["epoch"])} for row in history)
    write_atomically(file, text.getvalue().encode())
