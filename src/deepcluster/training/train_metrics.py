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
        beside: whether heads beside the method's own (training/beside.py) have a loss, which is the fourth sum.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self, *, beside: bool = False) -> None:
        super().__init__(sync_on_compute=False, compute_with_cache=False)
        zeros = torch.zeros(4 if beside else 3, dtype=torch.float64)  # loss, correct, images, loss beside
        self.add_state("sums", zeros, dist_reduce_fx="sum")

    def update(self, loss: Tensor, logits: Tensor, targets: Tensor, beside: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            loss: its mean loss, ().
            logits: (B, K).
            targets: (B,) pseudo-labels; -1 for an image without one, which counts nowhere.
            beside: the mean loss of the heads beside, (); None without them.
        """
        correct = (logits.max(dim=1).indices == targets).sum()
        n_images = (targets >= 0).sum()
        sums = [loss * n_images, correct, n_images]
        self.sums += torch.stack(sums if beside is None else [*sums, beside * n_images])

    def add(self, sums: Tensor) -> None:
        """Add the sums (3,) or (4,) from a checkpoint; one without the fourth leaves this epoch's unknown."""
        known = torch.full_like(self.sums, math.nan)
        n_known = min(len(sums), len(known))
        known[:n_known] = sums[:n_known]
        self.sums += known
        self._update_count += 1  # as Metric does at each update

    def compute(self) -> dict[str, float]:
        """Means over the images, by metric name; none if no image had a label."""
        loss, correct, n_images, *beside = self.sums.tolist()
        if n_images == 0:
            return {}
        means = {"train/loss": loss / n_images, "train/accuracy": correct / n_images}
        if beside and not math.isnan(beside[0]):
            means["train/loss_beside"] = beside[0] / n_images
        return means
