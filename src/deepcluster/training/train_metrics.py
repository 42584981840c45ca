"""Mean loss and accuracy on the pseudo-labels, over the images of an epoch that have one."""

import math

import torch
from torch import Tensor
from torchmetrics import Metric


class TrainMetrics(Metric):
    """Sums in float64 over a process's images; `sync_context` of torchmetrics adds the other processes' sums.

    MeanMetric and MulticlassAccuracy of torchmetrics would compute the same in float32 with four states. They take
    60 microseconds more per step (LeNet's whole step takes a few milliseconds) and lose the seventh digit.

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

    def update(self, loss: Tensor, logits: Tensor, targets: Tensor, other: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            loss: its mean loss, ().
            logits: (B, K).
            targets: (B,) pseudo-labels; -1 for an image without one, which counts nowhere.
            other: the mean of the other loss, (); None if there is none.
        """
        correct = (logits.max(dim=1).indices == targets).sum()
        n_images = (targets >= 0).sum()
        sums = [loss * n_images, correct, n_images]
        self.sums += torch.stack(sums if other is None else [*sums, other * n_images])

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
