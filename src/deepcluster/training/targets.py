"""Targets: a batch's scores -> its loss. Next: module.py takes the step.

A lookup compares each crop with its image's cluster. SwAV compares it with the balanced assignment of the image's
other large crop.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from deepcluster.clustering.assignment import SoftLabels
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.sinkhorn import sinkhorn_knopp

ROUNDING = 1e-3  # of a number of images: 0.15 of 100 are 15 of them, and 15.000001 in float32


class Scored(NamedTuple):
    """A batch of B images after the forward pass: V crops of each, large ones first, H labelings.

    scores: H tensors (V, B, K), float32. embedding: (V, B, E). labels: (H, B) int64, -1 without a label; None if
    nothing was clustered. all_labelled: no image of the set has a label of -1. n_large: crops that targets are made
    from. epoch: from 0. rescore: embedding (n, E) -> H tensors (n, K), for the queue. soft: of each labeling, (B, M);
    None: labels are hard.
    """

    scores: list[Tensor]
    embedding: Tensor
    labels: Tensor | None
    all_labelled: bool
    n_large: int
    epoch: int
    rescore: Callable[[Tensor], list[Tensor]]
    soft: list[SoftLabels] | None = None


class Loss(NamedTuple):
    """A batch's mean loss (), and for the accuracy one crop's logits (B, K) and targets (B,) of the first labeling."""

    value: Tensor
    logits: Tensor
    targets: Tensor


class Targets:
    """What scores are compared with: a lookup of labels, or SwAV's balanced assignments."""

    def loss(self, batch: Scored) -> Loss:
        """The loss of a batch."""
        raise NotImplementedError

    def losses(self, batches: Sequence[Scored]) -> list[Loss]:
        """The losses of one network, or of two that see the same images and choose for each other which count."""
        return [self.loss(batch) for batch in batches]

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, the same on every process; called on all of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""


class Lookup(Targets):
    """Mean cross-entropy of all crops and labelings with the image's pseudo-label; an image without one has no loss.

    Args:
        label_smoothing, kept_share, kept_from_epoch, kept_ramp_epochs: see LookupSettings.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        kept_share: float = 1.0,
        kept_from_epoch: int = 0,
        kept_ramp_epochs: int = 0,
    ) -> None:
        self.label_smoothing = label_smoothing
        self.kept_share = kept_share
        self.kept_from_epoch = kept_from_epoch
        self.kept_ramp_epochs = kept_ramp_epochs

    def share_at(self, epoch: int) -> float:
        """The share of a batch that is learned from in an epoch (from 0), R of Han et al. 2018."""
        n_epochs = epoch - self.kept_from_epoch + 1
        if n_epochs < 1:
            return 1.0
        if n_epochs >= self.kept_ramp_epochs:
            return self.kept_share
        return 1 - (1 - self.kept_share) * n_epochs / self.kept_ramp_epochs

    def loss(self, batch: Scored) -> Loss:
        return self.losses([batch])[0]

    def losses(self, batches: Sequence[Scored]) -> list[Loss]:
        labels = batches[0].labels
        assert labels is not None, "no assignment has been delivered"
        by_labeling = [self._of_labeling(h, labels[h], batches) for h in range(len(labels))]
        values = [
            losses[0] if len(losses) == 1 else torch.stack(losses).mean() for losses in zip(*by_labeling, strict=True)
        ]
        return [
            Loss(value, batch.scores[0][0].detach(), labels[0]) for value, batch in zip(values, batches, strict=True)
        ]

    def _of_labeling(self, h: int, labels: Tensor, batches: Sequence[Scored]) -> list[Tensor]:
        """Each network's mean over the images (B,) that count for it."""
        share, first = self.share_at(batches[0].epoch), batches[0]
        if first.all_labelled and first.soft is None and share == 1:
            return [self._cross_entropy(batch.scores[h], labels, reduction="mean") for batch in batches]
        losses = [self._by_image(batch, h, labels) for batch in batches]
        known = labels >= 0
        chosen = [known if share == 1 else self._smallest(loss.detach(), known, share) for loss in losses]
        # One network learns from its own choice, each of two from the other's.
        return [
            (loss * counts).sum() / counts.sum().clamp_min(1)
            for loss, counts in zip(losses, reversed(chosen), strict=True)
        ]

    def _by_image(self, batch: Scored, h: int, labels: Tensor) -> Tensor:
        """The loss of each image (B,), the mean over its crops; without a label it means nothing."""
        scores = batch.scores[h]
        if batch.soft is None:
            return self._cross_entropy(scores, labels, reduction="none").view(len(scores), -1).mean(dim=0)
        soft, logs = batch.soft[h], functional.log_softmax(scores, dim=2)
        nearest = logs.gather(2, soft.numbers.long().expand(len(logs), -1, -1))
        each = -(soft.shares * nearest).sum(dim=2)
        if self.label_smoothing > 0:
            each = (1 - self.label_smoothing) * each - self.label_smoothing * logs.mean(dim=2)
        return each.mean(dim=0)

    def _cross_entropy(self, scores: Tensor, labels: Tensor, *, reduction: str) -> Tensor:
        """Of all crops (V, B, K) with hard labels (B,)."""
        targets = labels if len(scores) == 1 else labels.repeat(len(scores))
        return functional.cross_entropy(
            scores.flatten(0, 1),
            targets,
            ignore_index=-1,
            label_smoothing=self.label_smoothing,
            reduction=reduction,
        )

    def _smallest(self, losses: Tensor, known: Tensor, share: float) -> Tensor:
        """The share of the images (B,) with a label that have the smallest losses, as (B,) bool."""
        n_kept = (share * known.sum() - ROUNDING).ceil()
        order = losses.masked_fill(~known, torch.inf).argsort()
        places = torch.empty_like(order)
        places[order] = torch.arange(len(order), device=order.device)
        return places < n_kept  # the last ones have no label


class SwappedSinkhorn(Targets):
    """SwAV's swapped prediction: each crop predicts the balanced assignments of the image's other large crops.

    Args:
        epsilon, n_iter, queue, queue_from_epoch: see SinkhornSettings.
        temperature: by which the head has divided cosines.
        ranks: what the G processes offer to each other.
    """

    def __init__(
        self,
        *,
        epsilon: float,
        n_iter: int,
        queue: int,
        queue_from_epoch: int,
        temperature: float,
        ranks: Callable[[], Ranks] = Ranks,
    ) -> None:
        self.epsilon = epsilon
        self.n_iter = n_iter
        self.queue_length = queue
        self.queue_from_epoch = queue_from_epoch
        self.temperature = temperature
        self.ranks = ranks
        self.queue: Tensor | None = None  # (n_large, n <= L / G, E), the newest first

    def loss(self, batch: Scored) -> Loss:
        n_crops, n_large = len(batch.embedding), batch.n_large
        log_shares = [functional.log_softmax(scores, dim=2) for scores in batch.scores]
        plans = self._plans(batch)
        losses = []
        for logs, plan in zip(log_shares, plans, strict=True):
            for large in range(n_large):
                others = [crop for crop in range(n_crops) if crop != large]
                losses.append(-(plan[large] * logs[others]).sum(dim=2).mean())
        self._remember(batch)
        return Loss(torch.stack(losses).mean(), batch.scores[0][-1].detach(), plans[0][0].argmax(dim=1))

    @torch.no_grad()
    def _plans(self, batch: Scored) -> list[Tensor]:
        """H tensors (n_large, B, K): how each large crop is shared out over the prototypes."""
        n_images, ranks = batch.embedding.shape[1], self.ranks()
        if self.queue is not None:
            self.queue = self.queue.to(batch.embedding.device)  # a checkpoint is read on the CPU
        plans = [torch.empty_like(scores[: batch.n_large]) for scores in batch.scores]
        for crop in range(batch.n_large):
            scores = [of_labeling[crop].detach() for of_labeling in batch.scores]
            if self.queue is not None and batch.epoch >= self.queue_from_epoch and self._is_full():
                earlier = batch.rescore(self.queue[crop])
                scores = [torch.cat(pair) for pair in zip(scores, earlier, strict=True)]
            for plan, of_labeling in zip(plans, scores, strict=True):
                shares = sinkhorn_knopp(
                    of_labeling * self.temperature, epsilon=self.epsilon, n_iter=self.n_iter, ranks=ranks
                )
                plan[crop] = shares[:n_images]
        return plans

    def _is_full(self) -> bool:
        assert self.queue is not None
        return self.queue.shape[1] >= self.queue_length // self.ranks().size

    def _remember(self, batch: Scored) -> None:
        length = self.queue_length // self.ranks().size
        if length == 0:
            return
        new = batch.embedding[: batch.n_large].detach().float()
        self.queue = new if self.queue is None else torch.cat([new, self.queue], dim=1)
        self.queue = self.queue[:, :length]

    def state_dict(self) -> dict[str, Any]:
        ranks = self.ranks()
        if self.queue is None:
            return {}
        if ranks.size == 1:
            return {"queues": self.queue.cpu()[None]}
        mine = torch.zeros(ranks.size, *self.queue.shape)
        mine[ranks.rank] = self.queue.cpu()
        return {"queues": ranks.sum([mine])[0]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Each process takes its queue; another number of processes shares out the images anew."""
        queues, ranks = state.get("queues"), self.ranks()
        if queues is None:
            self.queue = None
        elif len(queues) == ranks.size:
            self.queue = queues[ranks.rank]
        else:  # (G, n_large, n, E) -> images of all processes in turn
            all_images = queues.permute(1, 2, 0, 3).flatten(1, 2)
            n_each = min(all_images.shape[1], self.queue_length) // ranks.size  # as many on every process
            self.queue = all_images[:, ranks.rank :: ranks.size][:, :n_each].contiguous()
