"""Plain twin of the 2018 probe's training: one nn.Linear on given features, the rate as a formula at each step."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def train_probe_2018(layer: nn.Linear, x: Tensor, y: Tensor, batches: list[Tensor], *, lr: float, wd: float) -> None:
    """SGD written out: momentum 0.9, L2 on weight and bias, lr / sqrt(1 + lr wd t)."""
    momenta = [torch.zeros_like(p) for p in layer.parameters()]
    for t, rows in enumerate(batches):
        gradients = torch.autograd.grad(F.cross_entropy(layer(x[rows]), y[rows]), list(layer.parameters()))
        with torch.no_grad():
            for p, g, m in zip(layer.parameters(), gradients, momenta, strict=True):
                m.mul_(0.9).add_(g + wd * p)
                p.sub_(lr / (1 + lr * wd * t) ** 0.5 * m)
