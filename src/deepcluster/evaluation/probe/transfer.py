"""Fine-tuning on labels, all of them or a share: evaluation=transfer. The work: transfer_training.py."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


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
    epochs: int = setting(20, at_least=1)
    min_steps: int = setting(200, at_least=0)
    batch_size: int = setting(64, at_least=2)
    lr: float = setting(0.1, above=0)
    backbone_lr: float = setting(0.01, above=0, hint="a frozen backbone is evaluation=linear_probe")
    momentum: float = setting(0.9, at_least=0, below=1)
    weight_decay: float = setting(1e-4, at_least=0)
    schedule: str = setting("cosine", one_of=("cosine", "constant"))
    label_share: float = setting(1.0, above=0, at_most=1)
    compare_scratch: bool = False
    max_images: int | None = setting(None, at_least=10)
    test_share: float = setting(0.2, above=0, below=1)
    n_seeds: int = setting(1, at_least=1)

    def __post_init__(self) -> None:
        check(self, "evaluation")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Fine-tune; writes finetuned.ckpt, which ckpt= and init=weights read, and transfer.csv, epoch by epoch.

        Returns:
            n_labels, transfer_epochs, transfer_accuracy; with at least 10 classes transfer_top5_accuracy; with
            compare_scratch the same of the fresh network as scratch_...; with several seeds means, and their
            deviations as ..._std.

        Raises:
            ValueError: if labels are missing, the images do not fit the network, or the loss is not finite.
        """
        from deepcluster.evaluation.probe.label_share import draw_labelled
        from deepcluster.evaluation.probe.labelled_split import split_to_probe
        from deepcluster.evaluation.probe.transfer_training import TransferTraining, save_network
        from deepcluster.system.seeding import mix
        from deepcluster.system.tables import write_records

        if not any(parameter.requires_grad for parameter in context.backbone.parameters()):
            raise ValueError("this network has nothing that gradients train; read it with evaluation=linear_probe")
        split = split_to_probe(context, max_images=self.max_images, test_share=self.test_share)
        training = TransferTraining(
            context=context,
            split=split,
            batch_size=self.batch_size,
            lr=self.lr,
            backbone_lr=self.backbone_lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            rate=self.rate,
            kept=context.kept_work(replace(self, n_seeds=1, compare_scratch=False)),  # each training has its own file
        )
        starts = ["transfer", *(["scratch"] if self.compare_scratch else [])]
        last: dict[str, list[dict[str, float]]] = {start: [] for start in starts}
        rows: list[dict[str, object]] = []
        for number in range(self.n_seeds):
            indices = draw_labelled(
                split.train_y, split.train_indices, self.label_share, seed=mix(context.seed, "label share", number)
            )
            epochs = self.n_epochs(len(indices))
            if number == 0:
                context.progress.say(
                    f"fine-tuning on {len(indices):,} of {len(split.train_indices):,} labelled images for {epochs} "
                    f"epochs, {len(split.test_indices):,} test images"
                )
            for start in starts:
                title = _title(start, number)
                network, history = training.train(indices, start, number, epochs=epochs, title=title)
                if start == "transfer" and number == 0:
                    save_network(context, network, classes=split.train.classes, epochs=epochs)
                context.progress.say(f"{title:24} {history[-1]['accuracy']:.1%}")
                last[start].append(history[-1])
                rows += [{"start": start, "seed": number, **row, "epoch": int(row["epoch"])} for row in history]
        write_records(context.folder / "transfer.csv", rows)
        results: dict[str, float] = {"n_labels": len(indices), "transfer_epochs": epochs}
        for start in starts:
            results |= _summary(start, last[start])
        return results

    def n_epochs(self, n_images: int) -> int:
        """Passes over so many images."""
        n_batches = max(1, -(-n_images // self.batch_size))
        return max(self.epochs, -(-self.min_steps // n_batches))

    def rate(self, initial: float, step: int, n_steps: int) -> float:
        """The learning rate at a step, from 0, of one that is `initial` at the start."""
        return initial if self.schedule == "constant" else initial * (0.5 + 0.5 * math.cos(math.pi * step / n_steps))


def _title(start: str, number: int) -> str:
    name = "fine-tuned" if start == "transfer" else "from scratch"
    return name if number == 0 else f"{name}, seed {number + 1}"


def _summary(start: str, last: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over seeds of the last epochs' accuracies, and deviations if there are several."""
    results: dict[str, float] = {}
    for key in ("accuracy", "top5_accuracy"):
        values = [row[key] for row in last if key in row]
        if values:
            results[f"{start}_{key}"] = statistics.fmean(values)
        if len(values) > 1:
            results[f"{start}_{key}_std"] = statistics.stdev(values)
    return results
