"""evaluation=transfer: fine-tuning on all labels or a share of them. Next: transfer_training.py."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Transfer(Evaluator):
    """Fine-tune the whole network with a new head on the labels of `data`, and test it.

    Images are cropped and flipped as `view` says. Nothing is chosen on the test images: accuracy is that of the last
    epoch. For a linear classifier on a frozen backbone, see evaluation=linear_probe.

    Args:
        kind: "transfer".
        epochs: passes over the labelled images.
        min_steps: smallest number of steps; passes are added if `epochs` gives fewer, as with 1 % of a small set.
        batch_size: images per step.
        lr: learning rate of the new head.
        backbone_lr: learning rate of the backbone.
        momentum: of SGD, for both.
        weight_decay: L2 penalty, for both.
        schedule: "cosine": rates fall to 0 along a cosine; "constant".
        label_share: share of the labels to train on, such as 0.01, 0.1 or 1: equally many of each class, at least one.
        compare_scratch: also train an untrained network of the same architecture with the same recipe.
        max_images: use at most this many training images, drawn at random; null: all.
        test_share: share of the labelled images that is held out if no test set has labels.
        n_seeds: repetitions, for mean and standard deviation; each draws other images (if label_share < 1), another
            order, head and untrained network.
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

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Fine-tune; writes finetuned.ckpt, which ckpt= and init=weights read, and transfer.csv, epoch by epoch.

        Returns:
            n_labels, transfer_epochs, transfer_accuracy and, with at least 10 classes, transfer_top5_accuracy; with
            compare_scratch the same for the untrained network as scratch_...; with several seeds these are means, and
            ..._std are the standard deviations.

        Raises:
            ValueError: if labels are missing, the images do not fit the network, or the loss is not finite.
        """
        from deepcluster.evaluation.probe.labelled_split import draw_labelled, split_to_probe
        from deepcluster.evaluation.probe.transfer_training import TransferTraining, save_network
        from deepcluster.system.seeding import mix
        from deepcluster.system.tables import write_records

        if not any(parameter.requires_grad for parameter in context.backbone.parameters()):
            raise ValueError(
                "this network has no trainable weights, so it cannot be fine-tuned; use evaluation=linear_probe"
            )
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
            # each seed and start has its own file
            kept_work=context.kept_work(replace(self, n_seeds=1, compare_scratch=False)),
        )
        starts = ["transfer", *(["scratch"] if self.compare_scratch else [])]
        last_epochs: dict[str, list[dict[str, float]]] = {start: [] for start in starts}
        rows: list[dict[str, object]] = []
        for number in range(self.n_seeds):
            indices = draw_labelled(
                split.train_y, split.train_indices, self.label_share, seed=mix(context.seed, "label share", number)
            )
            epochs = self.n_epochs(len(indices))
            if number == 0:
                more = f" (evaluation.epochs={self.epochs} has fewer steps than evaluation.min_steps={self.min_steps})"
                context.progress.say(
                    f"fine-tuning on {len(indices):,} of {len(split.train_indices):,} labelled images for {epochs} "
                    f"epochs{more if epochs > self.epochs else ''}, {len(split.test_indices):,} test images"
                )
            for start in starts:
                title = _title(start, number)
                network, history = training.train(indices, start, number, epochs=epochs, title=title)
                if start == "transfer" and number == 0:
                    save_network(context, network, classes=split.train.classes, epochs=epochs)
                context.progress.say(f"{title:24} {history[-1]['accuracy']:.1%}")
                last_epochs[start].append(history[-1])
                rows += [{"start": start, "seed": number, **row, "epoch": int(row["epoch"])} for row in history]
        write_records(context.folder / "transfer.csv", rows)
        results: dict[str, float] = {"n_labels": len(indices), "transfer_epochs": epochs}
        for start in starts:
            results |= _summary(start, last_epochs[start])
        return results

    def n_epochs(self, n_images: int) -> int:
        """Number of passes over n_images images."""
        # a single image that is left over joins the last batch (data/loader.py)
        n_batches = max(1, n_images // self.batch_size + (n_images % self.batch_size > 1))
        return max(self.epochs, -(-self.min_steps // n_batches))

    def rate(self, initial: float, step: int, n_steps: int) -> float:
        """The learning rate at a step, counted from 0, if it starts at `initial`."""
        return initial if self.schedule == "constant" else initial * (0.5 + 0.5 * math.cos(math.pi * step / n_steps))


def _title(start: str, number: int) -> str:
    name = "fine-tuned" if start == "transfer" else "from scratch"
    return name if number == 0 else f"{name}, seed {number + 1}"


def _summary(start: str, last_epochs: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean accuracies over the seeds' last epochs, and standard deviations if there are several seeds."""
    results: dict[str, float] = {}
    for key in ("accuracy", "top5_accuracy"):
        values = [row[key] for row in last_epochs if key in row]
        if values:
            results[f"{start}_{key}"] = statistics.fmean(values)
        if len(values) > 1:
            results[f"{start}_{key}_std"] = statistics.stdev(values)
    return results
