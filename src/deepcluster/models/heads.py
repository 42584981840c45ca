"""Heads for H labelings: embedding (B, E) -> H matrices of scores (B, K). Next: training/targets.py makes a loss.

A labeling is one of several clusterings of the same images. The conductor (training/reassign.py) calls `follow` after
each reassignment, whatever the kind of head.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.models.head import ClusterHead


class NewClusters(NamedTuple):
    """What a head needs to know of a labeling that was clustered again.

    n_outputs: K, with clusters that no image has. centroids: (K, P). generator: for weights that are drawn anew.
    is_first: whether this is the first clustering that the labeling gets.
    """

    n_outputs: int
    centroids: Tensor
    generator: torch.Generator
    is_first: bool


class Head(nn.Module):
    """What all heads offer."""

    temperature = 1.0  # cosines were divided by it

    def scores(self, embedding: Tensor) -> list[Tensor]:
        """The logits of each labeling: (B, E) -> H tensors (B, K), float32."""
        raise NotImplementedError

    def follow(self, clusters: Sequence[NewClusters | None]) -> list[nn.Parameter]:
        """Adapt to new clusters.

        Args:
            clusters: one for each labeling; None where the clusters are as before.

        Returns:
            The parameters of which nothing of the old values is left, so that the optimizer must forget them.
        """
        return []

    def begin_step(self) -> None:
        """Called at the start of each training step."""

    def before_update(self, step: int) -> None:
        """Called when the gradients of training step number `step` (from 0) are there, before they are applied."""


class LinearHead(ClusterHead, Head):
    """A linear layer for each labeling. The first is this module itself, so that checkpoints of one labeling stay.

    Args:
        dim: E.
        capacities: H numbers, see :class:`ClusterHead`.
        relu: a ReLU in front.
        redraws: draw the rows of a labeling anew after each of its reassignments.
    """

    def __init__(self, dim: int, capacities: Sequence[int], *, relu: bool = True, redraws: bool = True) -> None:
        super().__init__(dim, capacities[0], relu=relu)
        self.redraws = redraws
        self.others = nn.ModuleList(ClusterHead(dim, capacity, relu=relu) for capacity in capacities[1:])

    @property
    def labelings(self) -> list[ClusterHead]:
        return [self, *(head for head in self.others if isinstance(head, ClusterHead))]

    def scores(self, embedding: Tensor) -> list[Tensor]:
        return [head(embedding) for head in self.labelings]

    def follow(self, clusters: Sequence[NewClusters | None]) -> list[nn.Parameter]:
        redrawn: list[nn.Parameter] = []
        for head, new in zip(self.labelings, clusters, strict=True):
            if new is not None and (self.redraws or new.is_first or new.n_outputs != head.n_active):
                head.redraw(new.n_outputs, new.generator)
                redrawn += list(head.linear.parameters())
        return redrawn


class CosineHead(Head):
    """Unit vectors for each labeling: a logit is the cosine between embedding and vector, divided by a temperature.

    They are the centroids of the last reassignment (DeepCluster-v2), or learned prototypes (SwAV).

    Args:
        dim: E.
        capacities: K of each labeling.
        follows_centroids: take over the centroids after each reassignment.
        trained: the optimizer changes them; at the start of each step they are brought back to unit length.
        frozen_steps: the first training steps that leave them as they are.
    """

    def __init__(
        self,
        dim: int,
        capacities: Sequence[int],
        *,
        temperature: float,
        follows_centroids: bool,
        trained: bool,
        frozen_steps: int = 0,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.follows_centroids = follows_centroids
        self.trained = trained
        self.frozen_steps = frozen_steps
        self.vectors = nn.ParameterList(
            nn.Parameter(F.normalize(torch.randn(k, dim), dim=1), requires_grad=trained) for k in capacities
        )

    def scores(self, embedding: Tensor) -> list[Tensor]:
        with torch.autocast(embedding.device.type, enabled=False):  # cosines of bfloat16 have three digits
            unit = F.normalize(embedding.float(), dim=1) / self.temperature
            return [unit @ vectors.T for vectors in self.vectors]

    @torch.no_grad()
    def follow(self, clusters: Sequence[NewClusters | None]) -> list[nn.Parameter]:
        if not self.follows_centroids:
            return []
        changed = []
        for vectors, new in zip(self.vectors, clusters, strict=True):
            if new is not None:
                vectors.copy_(F.normalize(new.centroids.to(vectors.device), dim=1))
                changed.append(vectors)
        return changed

    def before_update(self, step: int) -> None:
        if step < self.frozen_steps:
            for vectors in self.vectors:
                vectors.grad = None  # the optimizer passes over it: no decay, no momentum

    @torch.no_grad()
    def begin_step(self) -> None:  # not after the update: a checkpoint may be written between
        if self.trained:
            for vectors in self.vectors:
                vectors.copy_(F.normalize(vectors, dim=1))
