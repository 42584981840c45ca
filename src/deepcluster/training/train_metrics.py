"""Mean loss and accuracy on the pseudo-labels, over the images of an epoch."""

import torch
from torch import Tensor
from torchmetrics import Metric


class TrainMetrics(Metric):
    """Sums in float64 over a process's images; `sync_context` of torchmetrics adds the other processes' sums.

    MeanMetric and MulticlassAccuracy of torchmetrics would compute the same in float32 with four states. They take
    60 microseconds more per step (LeNet's whole step takes a few milliseconds) and lose the seventh digit.
    """

    full_state_update = False
    sums: Tensor

    def __init__(self) -> None:
        super().__init__(sync_on_compute=False, compute_with_cache=False)
        self.add_state("sums", torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")  # loss, correct, images

    def update(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        """Add a batch.

        Args:
            loss: its mean loss, ().
            logits: (B, K).
            targets: (B,) pseudo-labels.
        """
        correct = (logits.max(dim=1).indices == targets).sum()
        n_images = torch.full((), len(targets), device=loss.device)
        self.sums += torch.stack([loss * n_images, correct, n_images])

    def add(self, sums: Tensor) -> None:
        """Add the sums (3,) from a checkpoint."""
        self.sums += sums.to(self.sums.device)
        self._update_count += 1  # as Metric does at each update

    def compute(self) -> dict[str, float]:
        """Means over the images, by metric name."""
        loss, correct, n_images = self.sums.tolist()
        return {"train/loss": loss / n_images, "train/accuracy": correct / n_images}
