"""The linear probe; its rate is chosen on held-out images. Settings: recipes.py. Next: softmax_regression.py."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.evaluation.probe.recipes import LinearProbe
from deepcluster.evaluation.probe.softmax_regression import SoftmaxRegressions


@dataclass(kw_only=True)
class ProbeResult:
    """A trained probe and its accuracy.

    Args:
        accuracy: share of the test images classified correctly.
        learning_rate: the chosen rate.
        held_out_accuracies: one per rate, on the held-out part; empty if there was only one rate.
        weight: (C, M), for features as they are: logits = weight x features + bias.
        bias: (C,).
    """

    accuracy: float
    learning_rate: float
    held_out_accuracies: list[float]
    weight: Tensor = field(compare=False)
    bias: Tensor = field(compare=False)


def fit_probe(
    train_x: Tensor,
    train_y: Tensor,
    test_x: Tensor,
    test_y: Tensor,
    settings: LinearProbe,
    seed: int,
    advance: Callable[[int], object] = lambda n: None,
) -> ProbeResult:
    """Train on features (N, M) with labels (N,), test on (n, M) and (n,); runs on the features' device.

    `advance` is called with 1 after each epoch: settings.epochs times, twice as often if there are several rates.

    Raises:
        ValueError: if features and labels do not fit together, or an image has no label.
    """
    check_labelled(train_x, train_y, "training")
    check_labelled(test_x, test_y, "test")
    n_classes = int(train_y.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    rates = list(settings.learning_rates)
    held_out_accuracies: list[float] = []
    if len(rates) > 1:
        order = torch.randperm(len(train_x), generator=generator).to(train_x.device)
        n_held_out = max(1, round(settings.held_out * len(train_x)))
        if n_held_out == len(train_x):
            raise ValueError(f"a probe needs at least 2 labelled training images, there are {len(train_x)}")
        held_out, rest = order[:n_held_out], order[n_held_out:]
        regressions = SoftmaxRegressions(train_x, train_y, rest, n_classes, rates, settings, generator, advance)
        held_out_accuracies = regressions.accuracies(train_x[held_out], train_y[held_out])
        rates = [rates[held_out_accuracies.index(max(held_out_accuracies))]]
    everything = torch.arange(len(train_x), device=train_x.device)
    regression = SoftmaxRegressions(train_x, train_y, everything, n_classes, rates, settings, generator, advance)
    weight, bias = regression.folded(0)
    return ProbeResult(
        accuracy=regression.accuracies(test_x, test_y)[0],
        learning_rate=rates[0],
        held_out_accuracies=held_out_accuracies,
        weight=weight,
        bias=bias,
    )


def check_labelled(x: Tensor, y: Tensor, part: str) -> None:
    """Check that features are (N, M) and labels (N,), none of them negative.

    Raises:
        ValueError: if not; `part` names the set.
    """
    if x.ndim != 2 or y.shape != x.shape[:1] or len(x) == 0:
        raise ValueError(f"{part} features {tuple(x.shape)} and labels {tuple(y.shape)} do not fit together")
    if int(y.min()) < 0:
        n_unlabelled = int((y < 0).sum())
        raise ValueError(f"{n_unlabelled} {part} images have no label; leave them out before evaluating")
