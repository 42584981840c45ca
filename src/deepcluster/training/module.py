"""The supervised step: crops -> features -> embedding -> scores of H labelings, against targets -> loss.

The only part that Lightning trains. reassign.py decides the labels, targets.py what the scores are compared with.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NoReturn

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from deepcluster.clustering.assignment import SoftLabels
from deepcluster.data.crop_loader import Crops
from deepcluster.data.multi_crop import MultiCrop
from deepcluster.features.bank import MemoryBank
from deepcluster.models.backbone import Backbone
from deepcluster.models.heads import Head, NewClusters
from deepcluster.models.stage_modules import freeze, names_of_frozen
from deepcluster.system.seeding import mix, seed_device
from deepcluster.training.beside import BesideHeads
from deepcluster.training.clusterer import Network
from deepcluster.training.optimizer import OptimizerSettings
from deepcluster.training.optimizers import LearningRate, weight_groups
from deepcluster.training.peer import Peer
from deepcluster.training.targets import Lookup, Scored, Targets
from deepcluster.training.train_metrics import TrainMetrics

METHOD = "method"  # key in a checkpoint: the state that only this method has

CHECK_EVERY_N_STEPS = 50  # reading the loss makes a GPU wait, so it is not read at every step


def features_of(backbone: nn.Module, crops: list[Tensor]) -> Tensor:
    """The features (V B, D) of V crops (B, C, S, S), crop by crop: one forward pass for each run of equal sizes."""
    runs: list[list[Tensor]] = []
    for crop in crops:
        if runs and runs[-1][-1].shape == crop.shape:
            runs[-1].append(crop)
        else:
            runs.append([crop])
    features = [backbone(run[0] if len(run) == 1 else torch.cat(run)) for run in runs]
    return features[0] if len(features) == 1 else torch.cat(features)


def _name_of_second_loss(beside: BesideHeads | None, peer: Peer | None) -> str | None:
    if peer is not None:
        return "train/loss_second"
    return None if beside is None else "train/loss_beside"


class DeepClusterModule(pl.LightningModule):
    """Backbone, embedding and head, trained to predict each image's clusters (Caron et al. 2018, section 3.2).

    `pseudo_labels` (H, N) int64 is a plain attribute: workers hold no copy that could go stale, and DDP does not
    re-send it at every step as it would a buffer (docs/design.md, contract 1).

    Args:
        head: scores of H labelings, of K clusters each.
        view: the augmentation.
        optimizer: its settings; it also names the stages that stay as they are.
        seed: of the run.
        card: what rebuilds the network; every checkpoint holds it for eval.py.
        embedding: features (B, D) -> (B, E); None: the features.
        embedding_dim: E.
        targets: what the scores are compared with; None: the image's cluster.
        bank: keeps the embeddings of the large crops; None: nothing does.
        beside: heads that are learned beside, from labels of other rows (training/beside.py); None: none.
        peer: the second network of co-teaching (training/peer.py); None: there is one network.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: Head,
        *,
        view: MultiCrop,
        optimizer: OptimizerSettings,
        seed: int,
        card: dict[str, Any],
        embedding: nn.Module | None = None,
        embedding_dim: int | None = None,
        targets: Targets | None = None,
        bank: MemoryBank | None = None,
        beside: BesideHeads | None = None,
        peer: Peer | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = embedding or nn.Identity()
        self.embedding_dim = embedding_dim or backbone.feature_dim
        self.head = head
        self.beside = beside
        self.peer = peer
        self.targets = targets or Lookup()
        self.bank = bank
        self.view = view
        self.optimizer_settings = optimizer
        self.frozen_stages = names_of_frozen(backbone, optimizer.frozen_stages) if optimizer.frozen_stages else []
        self._freeze()
        self.seed = seed
        self.card = card
        self.pseudo_labels: Tensor | None = None  # set by take_labels
        self.soft_labels: list[SoftLabels] | None = None  # of each labeling, (N, M); None: labels are hard
        self.all_labelled = True
        self.train_metrics = TrainMetrics(also=_name_of_second_loss(beside, peer))
        self._metrics_epoch = -1  # the epoch whose batches train_metrics has counted

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the hook that runs, some forty times in a step; torch asks each time whether it is a weight.
        if isinstance(value, str | None) and name in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def training_step(self, batch: Crops, batch_idx: int) -> Tensor:
        """The loss of a batch: its crops' scores against the targets; of two networks the sum.

        Raises:
            ValueError: if the loss is not finite.
        """
        # Dropout's noise depends on epoch, batch and rank only, so that a resumed run draws the same.
        seed_device(self.device, mix(self.seed, "dropout", self.current_epoch, batch_idx, self.global_rank))
        self.head.begin_step()
        features = features_of(self.backbone, batch.crops)
        embedding = self.embedding(features)
        scored = [self._scored(self.head, embedding, batch)]
        if self.peer is not None:
            self.peer.head.begin_step()
            of_peer = self.peer.embedding(features_of(self.peer.backbone, batch.crops))
            scored.append(self._scored(self.peer.head, of_peer, batch))
        loss, *others = self.targets.losses(scored)
        if self.bank is not None:
            large = embedding.detach().view(len(batch.crops), len(batch.indices), -1)[: self.view.n_large]
            self.bank.write(batch.indices, functional.normalize(large.float(), dim=2), step=self.global_step + 1)
        self._forget_epoch_before()
        total, second = loss.value, None
        for other in others:
            second = other.value
            total = total + second
        if self.beside is not None:
            second = self.beside.loss(features, batch.indices)
            total = total + self.beside.weight_at(self.current_epoch) * second
        second = None if second is None else second.detach()
        self.train_metrics.wait(loss.value.detach(), loss.logits, loss.targets, second)
        if batch_idx % CHECK_EVERY_N_STEPS == 0:
            self._refuse_divergence(float(total.detach()))
        return total

    @property
    def network(self) -> Network:
        """What a reassignment reads of this module."""
        return Network(self.backbone, self.embedding, self.embedding_dim, self.head.scores, self.bank)

    def embed(self, crops: list[Tensor]) -> Tensor:
        """The embeddings (V B, E) of V crops (B, C, S, S), crop by crop."""
        embedding: Tensor = self.embedding(features_of(self.backbone, crops))
        return embedding

    def _scored(self, head: Head, embedding: Tensor, batch: Crops) -> Scored:
        indices, n_crops = batch.indices, len(batch.crops)

        def by_crop(scores: Tensor) -> Tensor:
            return scores.float().view(n_crops, len(indices), -1)

        soft = self.soft_labels
        return Scored(
            scores=[by_crop(scores) for scores in head.scores(embedding)],
            embedding=embedding.view(n_crops, len(indices), -1),
            labels=None if self.pseudo_labels is None else self.pseudo_labels[:, indices],
            all_labelled=self.all_labelled,
            n_large=self.view.n_large,
            epoch=self.current_epoch,
            rescore=head.scores,
            soft=None if soft is None else [SoftLabels(one.numbers[indices], one.shares[indices]) for one in soft],
        )

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Forget the gradients, as the optimizer's own `zero_grad` does with more ado."""
        for group in optimizer.param_groups:
            for weight in group["params"]:
                weight.grad = None

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        if not gradient_clip_val:
            return  # Lightning's checks would end in nothing
        if self.peer is None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        # Each network by itself: large gradients of one would slow the other.
        clip = clip_grad_value_ if gradient_clip_algorithm == "value" else clip_grad_norm_
        of_peer = list(self.peer.parameters())
        own = [weight for name, weight in self.named_parameters() if not name.startswith("peer.")]
        for weights in (own, of_peer):
            clip(weights, float(gradient_clip_val))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        for head in (self.head, *([] if self.peer is None else [self.peer.head])):
            head.before_update(self.global_step)

    def epoch_metrics(self, *, over_ranks: bool) -> dict[str, float]:
        """Mean losses and accuracy on the pseudo-labels over the epoch so far; a collective call if `over_ranks`.

        Raises:
            ValueError: if the loss is not finite.
        """
        self._forget_epoch_before()
        self.train_metrics.count()
        if not self.train_metrics.update_called:
            return {}
        with self.train_metrics.sync_context(should_sync=over_ranks):
            means: dict[str, float] = self.train_metrics.compute()
        self._refuse_divergence(means.get("train/loss", 0.0))
        return means

    def _forget_epoch_before(self) -> None:
        if self._metrics_epoch != self.current_epoch:  # no hook does this: Lightning skips hooks after some resumes
            self.train_metrics.reset()
            self._metrics_epoch = self.current_epoch

    def check_weights(self) -> None:
        """Refuse weights that no run could go on with; for checkpoints, as the loss is not read at every step.

        Raises:
            ValueError: if a weight is not finite.
        """
        if not all(bool(weight.isfinite().all()) for weight in self.parameters()):
            self._end_diverged("weights are not finite")

    def _refuse_divergence(self, loss: float) -> None:
        if not math.isfinite(loss):
            self._end_diverged(f"the training loss is {loss}")

    def _end_diverged(self, what: str) -> NoReturn:
        raise ValueError(
            f"{what} in epoch {self.current_epoch}: training has diverged; lower "
            f"optimizer.lr={self.optimizer_settings.lr} and start again"
        )

    def follow(self, clusters: Sequence[NewClusters | None]) -> None:
        """Adapt the head to new clusters, None where they stay; drop the optimizer's state of weights drawn anew."""
        redrawn = self.head.follow(clusters) + ([] if self.peer is None else self.peer.follow(clusters))
        for parameter in redrawn:
            self.trainer.optimizers[0].state.pop(parameter, None)

    def take_labels(self, labels: Sequence[Tensor], soft: Sequence[SoftLabels] = ()) -> None:
        """Train on these pseudo-labels, (N,) of each labeling, from the next step on.

        Args:
            soft: what the network is to predict in their place; empty: the labels themselves.
        """
        self.pseudo_labels = torch.stack(list(labels)).to(self.device)
        self.all_labelled = bool((self.pseudo_labels >= 0).all())
        self.soft_labels = None
        if soft:
            self.soft_labels = [SoftLabels(*(part.to(self.device) for part in one)) for one in soft]

    def rehearse(self, n_images: int) -> None:
        """Take labels that mean nothing, to time steps before anything is clustered.

        Args:
            n_images: N.
        """
        nothing = torch.zeros(n_images, dtype=torch.int64)
        n_labelings = len(self.head.scores(torch.zeros(1, self.embedding_dim, device=self.device)))
        self.take_labels([nothing] * n_labelings)
        if self.beside is not None:
            self.beside.take_labels([nothing] * len(self.beside.heads), self.device)

    def train(self, mode: bool = True) -> "DeepClusterModule":
        """Set the mode of all modules, but those of frozen stages stay in eval mode."""
        super().train(mode)
        self._freeze()
        return self

    def on_fit_start(self) -> None:
        self._freeze()  # others may have set the backbone's own mode

    def _freeze(self) -> None:
        for network in (self, self.peer):
            if network is not None:
                freeze(network.backbone, self.frozen_stages)

    def configure_optimizers(self) -> Any:
        """The optimizer and, unless the rate is constant, its way over the steps, for Lightning."""
        settings, trainer = self.optimizer_settings, self.trainer
        # Lightning cannot clip gradients of a fused optimizer under mixed precision.
        optimizer = self.build_optimizer(fused=not trainer.gradient_clip_val)
        if settings.schedule == "constant" and settings.warmup_epochs == 0:
            return optimizer
        steps_per_epoch = self._steps_per_epoch()
        n_steps = steps_per_epoch * (trainer.max_epochs or 0)
        if trainer.max_steps >= 0:
            n_steps = min(n_steps, trainer.max_steps)
        share = partial(settings.share_of_lr, n_steps=n_steps, steps_per_epoch=steps_per_epoch)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LearningRate(optimizer, share), "interval": "step"},
        }

    def _steps_per_epoch(self) -> int:
        # Not from trainer.estimated_stepping_batches: that begins the epoch before a resume has restored its place.
        trainer: Any = self.trainer
        limit, n_batches = trainer.limit_train_batches, len(trainer.datamodule.loader)
        n_accumulated: int = trainer.accumulate_grad_batches
        n_batches = min(n_batches, limit) if isinstance(limit, int) else int(n_batches * limit)
        return math.ceil(n_batches / n_accumulated)

    def build_optimizer(self, *, fused: bool) -> torch.optim.Optimizer:
        """The optimizer of all weights that are trained.

        Args:
            fused: with torch's fused kernels, where the device has them.
        """
        others = [self.embedding, *([] if self.beside is None else [self.beside])]
        groups = weight_groups(self.backbone, others, self.head, self.optimizer_settings)
        if self.peer is not None:
            groups += weight_groups(self.peer.backbone, [self.peer.embedding], self.peer.head, self.optimizer_settings)
        return self.optimizer_settings.build(groups, fused=fused and self.device.type in ("cpu", "cuda"))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["deepcluster"] = self.card
        self.train_metrics.count()
        with self.train_metrics.sync_context():  # on all processes; the first one writes the file
            checkpoint["epoch_sums"] = {"sums": self.train_metrics.sums.cpu(), "epoch": self._metrics_epoch}
        checkpoint[METHOD] = {
            "targets": self.targets.state_dict(),
            "bank": None if self.bank is None else self.bank.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._metrics_epoch = checkpoint["epoch_sums"]["epoch"]
        sums = checkpoint["epoch_sums"]["sums"]  # over all processes of the run before
        self.train_metrics.add(sums if self.global_rank == 0 else torch.zeros_like(sums))
        state = checkpoint.get(METHOD, {})  # older checkpoints lack it: their method has no state of its own
        self.targets.load_state_dict(state.get("targets", {}))
        if self.bank is not None:
            self.bank.load_state_dict(state["bank"])
