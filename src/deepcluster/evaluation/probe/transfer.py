"""Fine-tuning on labels, all of them or a share: evaluation=transfer. The training loop: supervised.py."""

import csv
import io
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from deepcluster.data.loader import n_workers
from deepcluster.data.views import feature_view, train_view
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.probe.label_share import draw_labelled
from deepcluster.evaluation.probe.representation import LabelledSplit
from deepcluster.evaluation.probe.stage_probe import probe_split
from deepcluster.evaluation.probe.supervised import Split, Supervised, accuracies
from deepcluster.evaluation.same_work import fingerprint
from deepcluster.models.backbone import Backbone
from deepcluster.models.head import ClusterHead
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import generator, mix
from deepcluster.system.targets import build
from deepcluster.weights import checkpoint

SCHEDULES = ("cosine", "constant")
OUTPUT = "class"
NAME = "finetuned.ckpt"
# Arguments of networks that would download trained weights: those of the checkpoint, or none, are wanted.
NOT_DOWNLOADED = (("weights", None), ("pretrained", False))


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
class Transfer(Evaluator):
    """Fine-tune the whole network with a new head on the labels of `data`, and test it.

    The training view is the one of `data` (random resized crops, flips). Nothing is chosen on the test images: the
    accuracy is that of the last epoch. A frozen backbone with a linear classifier is evaluation=linear_probe.

    Args:
        kind: "transfer".
        epochs: passes over the labelled images.
        min_steps: if these are fewer steps, as with 1 % of a small set, passes are added until there are so many.
        batch_size: images per step.
        lr: rate of the new head.
        backbone_lr: rate of the backbone.
        momentum: of both.
        weight_decay: of both.
        schedule: "cosine" from the rates to 0, or "constant".
        label_share: share of the labels to learn from, equally many of each class and at least one: 0.01, 0.1, 1.
        compare_scratch: also train a freshly drawn network of the same architecture, by the same recipe.
        max_images, test_share: as of evaluation=linear_probe.
        n_seeds: repetitions, for mean and deviation: other images if label_share < 1, other order, head and scratch.
    """

    kind: str = "transfer"
    epochs: int = 20
    min_steps: int = 200
    batch_size: int = 64
    lr: float = 0.1
    backbone_lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: str = "cosine"
    label_share: float = 1.0
    compare_scratch: bool = False
    max_images: int | None = None
    test_share: float = 0.2
    n_seeds: int = 1

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("min_steps", 0), ("batch_size", 2), ("max_images", 10), ("n_seeds", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"evaluation.{name} must be at least {least}, got {value}")
        if not self.lr > 0:
            raise ValueError(f"evaluation.lr must be above 0, got {self.lr}")
        if not self.backbone_lr > 0:
            raise ValueError(
                f"evaluation.backbone_lr must be above 0, got {self.backbone_lr}; a frozen backbone is "
                "evaluation=linear_probe"
            )
        if not 0 <= self.momentum < 1:
            raise ValueError(f"evaluation.momentum must be in [0, 1), got {self.momentum}")
        if not self.weight_decay >= 0:
            raise ValueError(f"evaluation.weight_decay must be at least 0, got {self.weight_decay}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"evaluation.schedule must be one of {', '.join(SCHEDULES)}, got {self.schedule}")
        if not 0 < self.label_share <= 1:
            raise ValueError(f"evaluation.label_share must be above 0 and at most 1, got {self.label_share}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"evaluation.test_share must be between 0 and 1, got {self.test_share}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Fine-tune; writes finetuned.ckpt, which ckpt= and init=weights read, and transfer.csv, epoch by epoch.

        Returns:
            n_labels, transfer_epochs, transfer_accuracy; with at least 10 classes transfer_top5_accuracy; with
            compare_scratch the same of the fresh network as scratch_...; with several seeds means, and their
            deviations as ..._std.

        Raises:
            ValueError: if labels are missing, the images do not fit the network, or the loss is not finite.
        """
        if not any(parameter.requires_grad for parameter in context.backbone.parameters()):
            raise ValueError("this network has nothing that gradients train; read it with evaluation=linear_probe")
        split = probe_split(context, max_images=self.max_images, test_share=self.test_share)
        same = fingerprint(context, replace(self, n_seeds=1, compare_scratch=False))  # each training has its own file
        starts = ["transfer", *(["scratch"] if self.compare_scratch else [])]
        histories: dict[tuple[str, int], list[dict[str, float]]] = {}
        for number in range(self.n_seeds):
            indices = self._drawn(context, split, number)
            if number == 0:
                context.progress.say(
                    f"fine-tuning on {len(indices):,} of {len(split.train_indices):,} labelled images for "
                    f"{self.n_epochs(len(indices))} epochs, {len(split.test_indices):,} test images"
                )
            for start in starts:
                history, network = self._train(context, split, indices, start, number, same)
                histories[start, number] = history
                if start == "transfer" and number == 0:
                    self._save(context, network, split, len(history))
                context.progress.say(f"{_title(start, number):24} {history[-1]['accuracy']:.1%}")
        write_csv(context.folder / "transfer.csv", histories)
        results: dict[str, float] = {"n_labels": len(indices), "transfer_epochs": len(histories["transfer", 0])}
        for start in starts:
            results |= _summary(start, [histories[start, number][-1] for number in range(self.n_seeds)])
        return results

    def n_epochs(self, n_images: int) -> int:
        """Passes over so many images."""
        n_batches = max(1, -(-n_images // self.batch_size))
        return max(self.epochs, -(-self.min_steps // n_batches))

    def _drawn(self, context: EvaluationContext, split: LabelledSplit, number: int) -> Tensor:
        assert split.train.labels is not None
        seed = mix(context.seed, "label share", number)
        return draw_labelled(split.train.labels, split.train_indices, self.label_share, seed=seed)

    def _train(
        self,
        context: EvaluationContext,
        split: LabelledSplit,
        indices: Tensor,
        start: str,
        number: int,
        same: str,
    ) -> tuple[list[dict[str, float]], Finetuned]:
        """One training from the checkpoint's weights ("transfer") or fresh ones ("scratch")."""
        train, test = Split(images=split.train, indices=indices), Split(images=split.test, indices=split.test_indices)
        seed = mix(context.seed, "transfer", number)
        network = Finetuned(
            fresh_backbone(context, seed=mix(seed, "backbone"), trained=start == "transfer"),
            int(train.labels[split.train_indices].max()) + 1,
            seed=seed,
        ).to(context.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        epochs = self.n_epochs(len(indices))
        n_steps = epochs * max(1, -(-len(indices) // self.batch_size))
        autocast = None if context.dtype == torch.float32 else context.dtype
        card, title = context.card, _title(start, number)
        view = feature_view(context.data, split.test, card["mean"], card["std"])

        def tested(epoch: int) -> dict[str, float]:
            with context.progress.bar(f"{title}, test", len(test.indices), "img") as advance:
                found = accuracies(
                    network,
                    test,
                    view,
                    batch_size=context.extraction.batch_size,
                    num_workers=n_workers(context.data, split.test),
                    device=context.device,
                    autocast=autocast,
                    advance=advance,
                )
            return found[OUTPUT]

        trained = [p for p in network.backbone.parameters() if p.requires_grad]
        history = Supervised(
            network=network,
            optimizer=torch.optim.SGD(
                [{"params": trained, "lr": self.backbone_lr}, {"params": network.head.parameters()}],
                lr=self.lr,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
            ),
            rate=lambda initial, step: self._rate(initial, step, n_steps),
            train=train,
            view=train_view(context.data, split.train, card["mean"], card["std"]),
            epochs=epochs,
            batch_size=self.batch_size,
            num_workers=n_workers(context.data, split.train),
            seed=seed,
            device=context.device,
            test=tested,
            file=context.folder / f"{start}_{number}.state",
            fingerprint=same,
            title=title,
            progress=context.progress,
            autocast=autocast,
        ).fit()
        return history, network

    def _rate(self, initial: float, step: int, n_steps: int) -> float:
        return initial if self.schedule == "constant" else initial * (0.5 + 0.5 * math.cos(math.pi * step / n_steps))

    def _save(self, context: EvaluationContext, network: Finetuned, split: LabelledSplit, epochs: int) -> None:
        file = context.folder / NAME
        line = {name: value.detach().cpu() for name, value in network.head.linear.named_parameters()}
        extra = {"classifier": line, "classes": split.train.classes}
        write_atomically(
            file, checkpoint.backbone_checkpoint(network.backbone, context.card, epochs=epochs, extra=extra)
        )
        context.progress.say(f"network    {file}")


def fresh_backbone(context: EvaluationContext, *, seed: int, trained: bool) -> Backbone:
    """A new backbone of the checkpoint's architecture; with its weights if `trained`, else as `seed` draws them."""
    card = context.card
    arch = {**card["arch"], **{name: off for name, off in NOT_DOWNLOADED if name in card["arch"]}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone: Backbone = build(arch, "arch", in_channels=card["in_channels"], image_size=card["image_size"])
    if trained:
        backbone.load_state_dict(context.backbone.state_dict())
    return backbone


def _title(start: str, number: int) -> str:
    name = "fine-tuned" if start == "transfer" else "from scratch"
    return name if number == 0 else f"{name}, seed {number + 1}"


def _summary(start: str, last: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over seeds, and deviations if there are several."""
    results: dict[str, float] = {}
    for key in ("accuracy", "top5_accuracy"):
        values = [row[key] for row in last if key in row]
        if values:
            results[f"{start}_{key}"] = statistics.fmean(values)
        if len(values) > 1:
            results[f"{start}_{key}_std"] = statistics.stdev(values)
    return results


def write_csv(file: Path, histories: dict[tuple[str, int], list[dict[str, float]]]) -> None:
    """One line per start, seed and epoch."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for history in histories.values() for row in history for name in row))
    writer = csv.DictWriter(text, ["start", "seed", *names], lineterminator="\n", restval="")
    writer.writeheader()
    for (start, number), history in histories.items():
        writer.writerows({"start": start, "seed": number, **row, "epoch": int(row["epoch"])} for row in history)
    write_atomically(file, text.getvalue().encode())
