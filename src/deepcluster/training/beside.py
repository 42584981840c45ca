"""Linear heads that are learned beside the method's own, from clusters of other rows than the network's features.

Labels from rows that fit the images well from the start (features/other_rows.py) pull the network where its own first
clusters would not lead it; they may fade while its own become better. Next: module.py adds the loss.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from deepcluster.models.head import ClusterHead


class BesideHeads(nn.Module):
    """One linear head for each labeling of the other rows; their labels never change.

    Args:
        feature_dim: D.
        ks: clusters of each labeling.
        weight: of their mean loss beside the method's own.
        fade_epochs: the weight falls linearly to 0 over so many epochs; None: it stays.
    """

    def __init__(self, feature_dim: int, ks: Sequence[int], *, weight: float, fade_epochs: float | None) -> None:
        super().__init__()
        self.heads = nn.ModuleList(ClusterHead(feature_dim, k) for k in ks)
        self.weight = weight
        self.fade_epochs = fade_epochs
        self.labels: Tensor | None = None  # (G, N) int64, a plain attribute as the module's pseudo_labels

    def weight_at(self, epoch: float) -> float:
        """The weight of the loss in an epoch."""
        if self.fade_epochs is None:
            return self.weight
        return self.weight * max(0.0, 1 - epoch / self.fade_epochs)

    def loss(self, features: Tensor, indices: Tensor) -> Tensor:
        """The mean cross-entropy () of all heads and crops, before it is weighted.

        Args:
            features: (V B, D) of V crops of each image, crop by crop.
            indices: (B,) of the images.
        """
        assert self.labels is not None, "no labels have been delivered"
        labels = self.labels[:, indices].repeat(1, len(features) // len(indices))
        losses = [
            functional.cross_entropy(head(features).float(), targets)
            for head, targets in zip(self.heads, labels, strict=True)
        ]
        return torch.stack(losses).mean()

    def take_labels(self, labels: Sequence[Tensor], device: torch.device) -> None:
        """Learn these labels, (N,) of each head."""
        self.labels = torch.stack(list(labels)).to(device)
