"""The supervised step on pseudo-labels: batch (image, index) -> pseudo_labels[index] -> cross-entropy.

The only part that Lightning trains. reassign.py decides the labels.
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
from deepcluster.system.seeding import mix, seed_device
from deepcluster.training.optimizer import Optimizer
from deepcluster.training.train_metrics import TrainMetrics

CHECK_EVERY_N_STEPS = 50  # reading the loss makes a GPU wait, so it is not read at every step


class DeepClusterModule(pl.LightningModule):
    """Backbone and head, trained to predict each image's cluster (Caron et al. 2018, section 3.2).

    `pseudo_labels` (N,) int64 is a plain attribute: workers hold no copy that could go stale, and DDP does not
    re-send it at every step as it would a buffer (docs/design.md, contract 1).

    Args:
        view: the augmentation.
        optimizer: its settings.
        seed: of the run.
        card: what rebuilds the network; every checkpoint holds it for eval.py.
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
        self.card = card
        self.pseudo_labels: Tensor | None = None  # set by take_labels
        self.train_metrics = TrainMetrics()
        self._metrics_epoch = -1  # the epoch whose batches train_metrics has counted

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
        # Dropout's noise depends on epoch, batch and rank only, so that a resumed run draws the same.
        seed_device(self.device, mix(self.seed, "dropout", self.current_epoch, batch_idx, self.global_rank))
        targets = self.pseudo_labels[batch.indices]
        logits = self.head(self.backbone(batch.images))
        loss = functional.cross_entropy(logits.float(), targets)
        self._forget_epoch_before()
        self.train_metrics.update(loss.detach(), logits.detach(), targets)
        if batch_idx % CHECK_EVERY_N_STEPS == 0:
            self._refuse_divergence(float(loss.detach()))
        return loss

    def epoch_metrics(self, *, over_ranks: bool) -> dict[str, float]:
        """Mean loss and accuracy on the pseudo-labels over the epoch so far; a collective call if `over_ranks`.

        Raises:
            ValueError: if the loss is not finite.
        """
        self._forget_epoch_before()
        if not self.train_metrics.update_called:
            return {}
        with self.train_metrics.sync_context(should_sync=over_ranks):
            means: dict[str, float] = self.train_metrics.compute()
        self._refuse_divergence(means["train/loss"])
        return means

    def _forget_epoch_before(self) -> None:
        if self._metrics_epoch != self.current_epoch:  # no hook does this: Lightning skips hooks after some resumes
            self.train_metrics.reset()
            self._metrics_epoch = self.current_epoch

    def _refuse_divergence(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise ValueError(
                f"the training loss is {loss} in epoch {self.current_epoch}: training has diverged; lower "
                f"optimizer.lr={self.optimizer_settings.lr} and start again"
            )

    def follow(self, assignment: Assignment, generator: torch.Generator) -> None:
        """Draw new weights of the head for new clusters, and drop the optimizer's state for the old ones."""
        self.head.redraw(assignment.n_outputs, generator)
        for parameter in self.head.parameters():
            self.trainer.optimizers[0].state.pop(parameter, None)

    def take_labels(self, labels: Tensor) -> None:
        """Train on these pseudo-labels (N,) from the next step on."""
        self.pseudo_labels = labels.to(self.device)

    def configure_optimizers(self) -> Any:
        """The optimizer of :func:`sgd`, and its schedule for Lightning."""
        settings = self.optimizer_settings
        # Lightning cannot clip gradients of a fused optimizer under mixed precision.
        fused = self.device.type in ("cpu", "cuda") and not self.trainer.gradient_clip_val
        optimizer = sgd(self.backbone, self.head, settings, fused=fused)
        if settings.schedule == "constant":
            return optimizer
        n_steps = int(self.trainer.estimated_stepping_batches)
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=n_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["deepcluster"] = self.card
        with self.train_metrics.sync_context():  # on all processes; the first one writes the file
            checkpoint["epoch_sums"] = {"sums": self.train_metrics.sums.cpu(), "epoch": self._metrics_epoch}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._metrics_epoch = checkpoint["epoch_sums"]["epoch"]
        sums = checkpoint["epoch_sums"]["sums"]  # over all processes of the run before
        self.train_metrics.add(sums if self.global_rank == 0 else torch.zeros_like(sums))


def sgd(backbone: Backbone, head: ClusterHead, settings: Optimizer, *, fused: bool) -> torch.optim.SGD:
    """One SGD with two parameter groups; equals the 2018 code's two optimizers (docs/design.md, contract 5)."""
    trainable = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    groups = [
        {"params": trainable, "momentum": settings.momentum},
        {"params": list(head.parameters()), "momentum": settings.head_momentum},
    ]
    return torch.optim.SGD(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=fused)
