"""The head: features -> scores of pseudo-labels, drawn anew at each reassignment. Next: features/inference.py."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.models.stages import LINEAR_STD


class ClusterHead(nn.Module):
    """ReLU, then a linear layer of which the first K rows are in use.

    At each reassignment the 2018 code builds a new last layer and a new optimizer for it. Here the parameters stay the
    same objects, which the optimizer and DDP know, and only their values are drawn again. With momentum 0 in the head's
    parameter group nothing of the old head remains.

    Args:
        feature_dim: features D.
        capacity: the most clusters K that can ever be in use (k-means: K itself; PIC finds fewer).
        relu: put a ReLU in front, as features are taken before the backbone's last one.
    """

    def __init__(self, feature_dim: int, capacity: int, *, relu: bool = True) -> None:
        super().__init__()
        if feature_dim < 1 or capacity < 1:
            raise ValueError(f"a head needs feature_dim >= 1 and capacity >= 1, got {feature_dim} and {capacity}")
        self.linear = nn.Linear(feature_dim, capacity)
        nn.init.normal_(self.linear.weight, 0.0, LINEAR_STD)
        nn.init.zeros_(self.linear.bias)
        self.n_active = capacity
        self.relu = relu

    @property
    def capacity(self) -> int:
        return self.linear.out_features

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, D); unused rows give no logit and get no gradient."""
        inputs = F.relu(features) if self.relu else features
        return F.linear(inputs, self.linear.weight[: self.n_active], self.linear.bias[: self.n_active])

    @torch.no_grad()
    def redraw(self, k: int, generator: torch.Generator) -> None:
        """Draw K rows again, weights N(0, 0.01^2) and bias 0, in place; the other rows become 0.

        They are drawn on the generator's device and copied, so that they are the same on all ranks and devices.

        Raises:
            ValueError: if k is above the capacity.
        """
        if not 1 <= k <= self.capacity:
            raise ValueError(f"the head has room for {self.capacity} clusters, got {k}; build it larger")
        rows = torch.empty(k, self.linear.in_features, device=generator.device)
        rows.normal_(0.0, LINEAR_STD, generator=generator)
        self.linear.weight[:k].copy_(rows)
        self.linear.weight[k:].zero_()
        self.linear.bias.zero_()
        self.n_active = k

    def get_extra_state(self) -> Tensor:
        """The number of rows in use, which torch stores in the state dict."""
        return torch.tensor(self.n_active)

    def set_extra_state(self, state: Any) -> None:
        self.n_active = int(state)
