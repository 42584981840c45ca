"""Softmax regression on standardised features, for several learning rates at once. Used by linear_probe.py."""

from collections.abc import Callable

import torch
from torch import Tensor

from deepcluster.evaluation.probe.recipes import LinearProbe

MOMENTUM = 0.9
ROWS = 4096  # images converted to float32 at a time, as features may be stored in 16 bits
# A feature whose standard deviation is below this share of the largest one is rounding noise. Standardised, it would
# count as much as the others, so it is set to 0.
NOISE = 1e-6


class SoftmaxRegressions:
    """L softmax regressions, one per learning rate. They see the same batches and share two matmuls per step.

    They are trained on construction. The gradient is computed by hand: features times (softmax of the logits - one
    hot). All weights start at 0.

    Args:
        x: features (N, M) of any float type.
        y: labels (N,).
        rows: indices into x of the images to train on.
        n_classes: number of classes C.
        rates: the L learning rates.
        settings: epochs, batch size, weight decay.
        generator: draws the order of the batches.
        advance: called with 1 after each epoch.
    """

    @torch.no_grad()
    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        rows: Tensor,
        n_classes: int,
        rates: list[float],
        settings: LinearProbe,
        generator: torch.Generator,
        advance: Callable[[int], object] = lambda n: None,
    ) -> None:
        self.n_rates, self.n_classes = len(rates), n_classes
        self.mean, self.scale = _moments(x, rows)
        n_outputs = self.n_rates * n_classes
        self.weight = torch.zeros(x.shape[1], n_outputs, device=x.device)
        self.bias = torch.zeros(n_outputs, device=x.device)
        weight_momentum, bias_momentum = torch.zeros_like(self.weight), torch.zeros_like(self.bias)
        rate = torch.tensor(rates, device=x.device).repeat_interleave(n_classes)
        n_steps = settings.epochs * -(-len(rows) // settings.batch_size)
        progress = torch.arange(n_steps, device=x.device) / n_steps
        # Each step uses the same memory: allocating 10 MB takes longer than the computation in it.
        picked = torch.empty(settings.batch_size, x.shape[1], dtype=x.dtype, device=x.device)
        standardised = torch.empty(picked.shape, device=x.device)
        step = 0
        for _ in range(settings.epochs):
            order = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            for batch in torch.split(order, settings.batch_size):
                torch.index_select(x, 0, batch, out=picked[: len(batch)])
                inputs = standardised[: len(batch)].copy_(picked[: len(batch)])
                inputs.sub_(self.mean).mul_(self.scale)
                error = self._logits(inputs).softmax(dim=2)
                error[torch.arange(len(batch), device=x.device), :, y[batch]] -= 1
                error = error.flatten(1) / len(batch)
                gradient = (inputs.T @ error).add_(self.weight, alpha=settings.weight_decay)
                weight_momentum.mul_(MOMENTUM).add_(gradient)
                bias_momentum.mul_(MOMENTUM).add_(error.sum(0))
                rate_now = rate * (0.5 + 0.5 * torch.cos(torch.pi * progress[step]))
                self.weight.sub_(weight_momentum * rate_now)
                self.bias.sub_(bias_momentum * rate_now)
                step += 1
            advance(1)

    @torch.no_grad()
    def accuracies(self, x: Tensor, y: Tensor) -> list[float]:
        """Share of images (n, M) with labels (n,) that each regression classifies correctly."""
        n_right = torch.zeros(self.n_rates, dtype=torch.int64, device=x.device)
        for x_rows, y_rows in zip(torch.split(x, ROWS), torch.split(y, ROWS), strict=True):
            answers = self._logits(self._standardised(x_rows)).argmax(dim=2)
            n_right += (answers == y_rows[:, None]).sum(0)
        return [int(n) / len(x) for n in n_right]

    def folded(self, number: int) -> tuple[Tensor, Tensor]:
        """Weight (C, M) and bias (C,) of regression `number` for features that are not standardised."""
        columns = slice(number * self.n_classes, (number + 1) * self.n_classes)
        weight = self.weight[:, columns].double() * self.scale.double()[:, None]
        bias = self.bias[columns].double() - self.mean.double() @ weight
        return weight.T.float().contiguous(), bias.float()

    def _logits(self, inputs: Tensor) -> Tensor:
        return (inputs @ self.weight + self.bias).view(-1, self.n_rates, self.n_classes)

    def _standardised(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean) * self.scale


def _moments(x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and 1 / standard deviation (M,) of each feature over the rows; 0 for features that do not vary."""
    total = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for part in torch.split(rows, ROWS):
        total += x[part].double().sum(0)
    mean = total / len(rows)
    squares = torch.zeros_like(total)
    for part in torch.split(rows, ROWS):
        squares += (x[part].double() - mean).square().sum(0)
    deviation = (squares / len(rows)).sqrt()
    varies = deviation > NOISE * deviation.max()
    return mean.float(), torch.where(varies, 1 / deviation, 0.0).float()
