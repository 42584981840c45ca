"""Mean loss and accuracy on the pseudo-labels, over the images of an epoch that have one."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

MOST_WAITING = 2**18  # scores, 1 MB


class _Batch(NamedTuple):
    loss: Tensor
    logits: Tensor
    targets: Tensor
    other: Tensor | None


class TrainMetrics(Metric):
    """Sums in float64 over a process's images; `sync_context` of torchmetrics adds the other processes' sums.

    Batches wait until there are some, which are counted together: counting each would add a fiftieth to a small
    network's step of a few milliseconds. MeanMetric and MulticlassAccuracy of torchmetrics compute the same in float32;
    they take longer still, and lose the seventh digit.

    Args:
        also: the name of another loss, whose sum is the fourth: of heads beside the method's own (training/beside.py),
            or of a second network (training/peer.py); None: there is none.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, *, also: str | None = None) -> None:
        super().__init__(sync_on_compute=False, compute_with_cache=False)
        self.also = also
        zeros = torch.zeros(3 if also is None else 4, dtype=torch.float64)  # loss, correct, images, the other loss
        self.add_state("sums", zeros, dist_reduce_fx="sum")
        self._waiting: list[_Batch] = []

    def wait(self, loss: Tensor, logits: Tensor, targets: Tensor, other: Tensor | None = None) -> None:
        """Take a batch, which `count` adds to the sums.

        Args:
            loss: its mean loss, ().
            logits: (B, K).
            targets: (B,) pseudo-labels; -1 for an image without one, which counts nowhere.
            other: the mean of the other loss, (); None if there is none.
        """
        is_like_others = not self._waiting or self._waiting[0].logits.shape == logits.shape
        if not is_like_others or len(self._waiting) * logits.numel() >= MOST_WAITING:
            self.count()
        self._waiting.append(_Batch(loss, logits, targets, other))

    def count(self) -> None:
        """Add the batches that wait."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self.update(waiting)

    def update(self, batches: Sequence[_Batch]) -> None:
        """Add batches of one size."""
        losses, logits, labels, others = (list(part) for part in zip(*batches, strict=True))
        targets = torch.stack(labels)
        correct = (torch.stack(logits).max(dim=2).indices == targets).sum(dim=1)
        n_images = (targets >= 0).sum(dim=1)
        sums = [torch.stack(losses) * n_images, correct, n_images]
        if self.also is not None:
            sums.append(torch.stack(others) * n_images)
        total = self.sums
        for of_batch in torch.stack(sums, dim=1):  # one after the other: a sum of their sum has other last digits
            total += of_batch

    def reset(self) -> None:
        """Forget all batches, also those that wait."""
        self._waiting = []
        super().reset()

    def add(self, sums: Tensor) -> None:
        """Add the sums (3,) or (4,) from a checkpoint; one without the fourth leaves this epoch's unknown."""
        known = torch.full_like(self.sums, math.nan)
        n_known = min(len(sums), len(known))
        known[:n_known] = sums[:n_known]
        self.sums += known
        self._update_count += 1  # as Metric does at each update

    def compute(self) -> dict[str, float]:
        """Means over the images, by metric name; none if no image had a label."""
        loss, correct, n_images, *other = self.sums.tolist()
        if n_images == 0:
            return {}
        means = {"train/loss": loss / n_images, "train/accuracy": correct / n_images}
        if self.also is not None and not math.isnan(other[0]):
            means[self.also] = other[0] / n_images
        return means
