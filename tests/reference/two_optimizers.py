"""Plain twin of the 2018 head: a new linear layer and a new optimizer at each reassignment.

As in the 2018 code's main.py: the backbone's SGD (momentum) lives on, the top layer is
thrown away and its SGD (momentum 0) with it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def train_2018(
    backbone: nn.Module,
    feature_dim: int,
    cycles: Sequence[tuple[int, int, Sequence[tuple[Tensor, Tensor]]]],
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
) -> nn.Linear:
    """Train in place through cycles of (k, seed of the new top layer, batches); return the last top layer."""
    optimizer = torch.optim.SGD(backbone.parameters(), lr=lr, momentum=momentum, weight_decay=weight_decay)
    for k, seed, batches in cycles:
        top_layer = nn.Linear(feature_dim, k)
        with torch.no_grad():
            top_layer.weight.normal_(0, 0.01, generator=torch.Generator().manual_seed(seed))
            top_layer.bias.zero_()
        top_optimizer = torch.optim.SGD(top_layer.parameters(), lr=lr, weight_decay=weight_decay)
        for images, labels in batches:
            loss = F.cross_entropy(top_layer(F.relu(backbone(images))), labels)
            optimizer.zero_grad()
            top_optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            top_optimizer.step()
    return top_layer
