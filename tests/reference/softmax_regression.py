"""Plain twin of the linear probe's training: one nn.Linear, autograd, torch's own SGD and cosine."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def train_softmax_regression(
    x: Tensor, y: Tensor, batches: list[Tensor], n_classes: int, *, lr: float, weight_decay: float
) -> nn.Linear:
    """Train on the given batches of row indices; weights start from 0, the penalty spares the bias."""
    line = nn.Linear(x.shape[1], n_classes)
    nn.init.zeros_(line.weight)
    nn.init.zeros_(line.bias)
    optimizer = torch.optim.SGD(
        [{"params": [line.weight], "weight_decay": weight_decay}, {"params": [line.bias]}],
        lr=lr,
        momentum=0.9,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    for rows in batches:
        optimizer.zero_grad()
        F.cross_entropy(line(x[rows]), y[rows]).backward()
        optimizer.step()
        schedule.step()
    return line
