"""LARS: SGD with a rate for each tensor of weights, in proportion to its norm (You et al. 2017)."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """SGD with momentum, whose change of a tensor w with gradient g is scaled to the norm of w.

        change = trust (g + weight_decay w),  trust = trust_coefficient ||w|| / (||g|| + weight_decay ||w||)
        buffer = momentum buffer + change,    w = w - lr buffer

    This is algorithm 1 of the paper, with the rate outside of the buffer as in torch's SGD: the two differ only while
    the rate changes. Trust is 1 where a norm is 0.

    Args:
        groups: tensors, or groups of them, each with any of the other arguments.
        adapts: false makes trust 1, which is plain SGD: for biases and norms.
    """

    def __init__(
        self,
        groups: Iterable[Any],
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        adapts: bool = True,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(groups, {**defaults, "trust_coefficient": trust_coefficient, "adapts": adapts})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the weights once; returns what `closure`, which computes gradients, returns."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._change(weights, [weight.grad for weight in weights], group)
        return loss

    def _change(self, weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        changes = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
        if group["adapts"]:
            torch._foreach_mul_(changes, _trust(weights, gradients, group).unbind())
        if group["momentum"]:
            changes = self._with_momentum(weights, changes, group["momentum"])
        torch._foreach_add_(weights, changes, alpha=-group["lr"])

    def _with_momentum(self, weights: list[Tensor], changes: list[Tensor], momentum: float) -> list[Tensor]:
        for weight in weights:
            if "momentum_buffer" not in self.state[weight]:
                self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
        buffers = [self.state[weight]["momentum_buffer"] for weight in weights]
        torch._foreach_mul_(buffers, momentum)
        torch._foreach_add_(buffers, changes)
        return buffers


def _trust(weights: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> Tensor:
    """A factor for each tensor: (n,)."""
    sizes = torch.stack(torch._foreach_norm(weights))
    slopes = torch.stack(torch._foreach_norm(gradients))
    trust = group["trust_coefficient"] * sizes / (slopes + group["weight_decay"] * sizes)
    return torch.where((sizes > 0) & (slopes > 0), trust, torch.ones_like(trust))
