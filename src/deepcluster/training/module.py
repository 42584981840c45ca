"""The supervised step on pseudo-labels: batch (image, index) -> pseudo_labels[index] -> cross-entropy.

The only part that Lightning trains. Who decides the labels stands in reassign.py.
"""

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.loader import Batch
from deepcluster.data.views import TrainView
from deepcluster.models.backbone import Backbone
from deepcluster.models.head import ClusterHead
from deepcluster.system import collectives
from deepcluster.system.seeding import mix, seed_device
from deepcluster.training.optimizer import Optimizer

CHECK_EVERY_N_STEPS = 50  # looking at the loss makes a GPU wait, so not at every step


class DeepClusterModule(pl.LightningModule):
    """Backbone and head, trained to predict each image's cluster (Caron et al. 2018, section 3.2).

    `pseudo_labels` (N,) int64 is a plain attribute: workers hold no copy that could go stale, and DDP does not
    re-send it at every step as it would a buffer (docs/design.md, contract 1).
    """

    def __init__(
        self,
        backbone: Backbone,
        head: ClusterHead,
        *,
        view: TrainView,
        optimizer: Optimizer,
        seed: int,
        card: dict[str, Any],
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.view = view
        self.optimizer_settings = optimizer
        self.seed = seed
        self.card = card  # what eval.py needs to build the network again; goes into every checkpoint
        self.pseudo_labels: Tensor | None = None  # by take_labels
        self._sums = torch.zeros(3, dtype=torch.float64)  # loss, correct, images of the epoch below
        self._sums_epoch = -1

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Crop, flip and normalise on the training device, each image with its own draws."""
        images = self.view(batch.images, batch.draws)
        return batch._replace(images=images.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy between the head's logits and the pseudo-labels of the batch.

        Raises:
            ValueError: if the loss is not finite.
        """
        assert self.pseudo_labels is not None, "no assignment has been delivered"
        # Dropout's noise depends on where we are and not on what ran before, so that a resumed run draws the same.
        seed_device(self.device, mix(self.seed, "dropout", self.current_epoch, batch_idx, self.global_rank))
        targets = self.pseudo_labels[batch.indices]
        logits = self.head(self.backbone(batch.images))
        loss = functional.cross_entropy(logits.float(), targets)
        with torch.no_grad():
            correct = (logits.max(dim=1).indices == targets).sum()
            if self._sums_epoch != self.current_epoch:  # not in a hook: Lightning skips those after some resumes
                self._sums, self._sums_epoch = self._sums.new_zeros(3).to(loss.device), self.current_epoch
            n = torch.full((), len(targets), device=loss.device)
            self._sums += torch.stack([loss.detach() * n, correct, n])
        if batch_idx % CHECK_EVERY_N_STEPS == 0:
            self._refuse_divergence(float(loss.detach()))
        return loss

    def epoch_metrics(self, *, over_ranks: bool) -> dict[str, float]:
        """Mean loss and accuracy on the pseudo-labels over the epoch so far; a collective call if `over_ranks`.

        Raises:
            ValueError: if the loss is not finite.
        """
        mine = self._sums if self._sums_epoch == self.current_epoch else torch.zeros_like(self._sums)
        sums = collectives.sum_over_ranks([mine])[0] if over_ranks else mine
        loss, correct, n = sums.tolist()
        if not n:
            return {}
        self._refuse_divergence(loss / n)
        return {"train/loss": loss / n, "train/accuracy": correct / n}

    def _refuse_divergence(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ValueError(
                f"the training loss is {loss} in epoch {self.current_epoch}: training has diverged; lower "
                f"optimizer.lr={self.optimizer_settings.lr} and start again"
            )

    def follow(self, assignment: Assignment, generator: torch.Generator) -> None:
        """Draw the head anew for new clusters, and forget the optimizer's state, which is of the old ones."""
        self.head.redraw(assignment.n_outputs, generator)
        for parameter in self.head.parameters():
            self.trainer.optimizers[0].state.pop(parameter, None)

    def take_labels(self, labels: Tensor) -> None:
        """Learn these pseudo-labels (N,) from the next step on."""
        self.pseudo_labels = labels.to(self.device)

    def configure_optimizers(self) -> Any:
        """The optimizer of :func:`sgd`, and its schedule for Lightning."""
        settings = self.optimizer_settings
        # Under mixed precision Lightning clips no gradients of a fused optimizer.
        fused = self.device.type in ("cpu", "cuda") and not self.trainer.gradient_clip_val
        optimizer = sgd(self.backbone, self.head, settings, fused=fused)
        if settings.schedule == "constant":
            return optimizer
        n_steps = int(self.trainer.estimated_stepping_batches)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=n_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["deepcluster"] = self.card
        checkpoint["epoch_sums"] = {"sums": self._sums.cpu(), "epoch": self._sums_epoch}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._sums = checkpoint["epoch_sums"]["sums"].to(self.device)
        self._sums_epoch = checkpoint["epoch_sums"]["epoch"]


def sgd(backbone: Backbone, head: ClusterHead, settings: Optimizer, *, fused: bool) -> torch.optim.SGD:
    """One SGD with two parameter groups; equals the 2018 code's two optimizers (docs/design.md, contract 5)."""
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    groups = [
        {"params": trained, "momentum": settings.momentum},
        {"params": list(head.parameters()), "momentum": settings.head_momentum},
    ]
    return torch.optim.SGD(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused)
