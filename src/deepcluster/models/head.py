"""The head: features -> scores of pseudo-labels, drawn anew at each reassignment. Next: features/inference.py."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.models.init import LINEAR_STD


class ClusterHead(nn.Module):
    """ReLU, then a linear layer of which the first K rows are in use.

    The 2018 code throws its last layer away at each reassignment and builds an optimizer for the new one.
    Here the parameters stay the same objects and only their values are drawn anew, so that the optimizer and
    DDP keep their hold on them; with momentum 0 in the head's parameter group nothing of the old head stays.

    Args:
        feature_dim: features D.
        capacity: the most clusters K that can ever be in use (k-means: K itself; PIC finds fewer).
    """

    def __init__(self, feature_dim: int, capacity: int) -> None:
        super().__init__()
        if feature_dim < 1 or capacity < 1:
            raise ValueError(f"a head needs feature_dim >= 1 and capacity >= 1, got {feature_dim} and {capacity}")
        self.linear = nn.Linear(feature_dim, capacity)
        nn.init.normal_(self.linear.weight, 0.0, LINEAR_STD)
        nn.init.zeros_(self.linear.bias)
        self.n_active = capacity

    @property
    def capacity(self) -> int:
        return self.linear.out_features

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, K) of features (B, D); unused rows have no logit, so no probability and no gradient."""
        return F.linear(F.relu(features), self.linear.weight[: self.n_active], self.linear.bias[: self.n_active])

    @torch.no_grad()
    def redraw(self, k: int, generator: torch.Generator) -> None:
        """Draw K rows anew, weight N(0, 0.01^2) and bias 0, in place; the other rows become 0.

        The numbers come from the generator's device and are copied, so that all ranks and devices agree.

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
        """The number of rows in use, so that a checkpoint brings it back."""
        return torch.tensor(self.n_active)

    def set_extra_state(self, state: Any) -> None:
        self.n_active = int(state)
