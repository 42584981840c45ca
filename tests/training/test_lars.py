"""LARS against the published formula, and against torch's SGD where it does not adapt."""

import math

import pytest
import torch
from torch import Tensor, nn

from deepcluster.training.lars import LARS

W, B = [3.0, 4.0], [0.6, 0.8]
GRADIENTS = [([1.0, 0.0], [0.0, 2.0]), ([0.5, -0.5], [1.0, 1.0]), ([0.0, 2.0], [-1.0, 0.0])]  # of three steps


def steps(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter]) -> list[Tensor]:
    for gradients in GRADIENTS:
        for weight, gradient in zip(weights, gradients, strict=True):
            weight.grad = torch.tensor(gradient)
        optimizer.step()
    return [weight.detach().clone() for weight in weights]


def two() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor(values)) for values in (W, B)]


def test_three_steps_of_two_weights_are_those_of_the_papers_formula() -> None:
    """Written out in Python floats: You et al. 2017, algorithm 1."""
    lr, momentum, decay, eta = 0.5, 0.9, 0.1, 0.02
    expected = []
    for number, start in enumerate([W, B]):
        w, v = list(start), [0.0, 0.0]
        for gradients in GRADIENTS:
            g = gradients[number]
            local = eta * math.hypot(*w) / (math.hypot(*g) + decay * math.hypot(*w))
            v = [momentum * vi + lr * local * (gi + decay * wi) for vi, gi, wi in zip(v, g, w, strict=True)]
            w = [wi - vi for wi, vi in zip(w, v, strict=True)]
        expected.append(torch.tensor(w))
    weights = two()
    made = steps(LARS(weights, lr=lr, momentum=momentum, weight_decay=decay, trust_coefficient=eta), weights)
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_where_trust_is_1_it_is_torchs_sgd(momentum: float) -> None:
    ours, theirs = two(), two()
    lars = LARS(ours, lr=0.1, momentum=momentum, weight_decay=0.1, adapts=False)
    sgd = torch.optim.SGD(theirs, lr=0.1, momentum=momentum, weight_decay=0.1)
    torch.testing.assert_close(steps(lars, ours), steps(sgd, theirs), rtol=1e-6, atol=1e-7)


def test_a_weight_of_norm_0_moves_as_by_sgd_and_one_without_gradient_stays() -> None:
    zero, alone = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))
    zero.grad = torch.tensor([1.0, -2.0])
    LARS([zero, alone], lr=0.5, weight_decay=0.1).step()
    assert zero.tolist() == [-0.5, 1.0] and alone.tolist() == [1.0, 1.0]
