"""How good are the features? k-NN and a linear probe on the last convolutional stage, as one small table.

run.py asks it of the untrained and of the trained network, eval.py of any; the protocols stand in knn.py and
linear_probe.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.clustering.metrics import AVERAGES
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.evaluation.probe.knn import Knn, knn_accuracy
from deepcluster.evaluation.probe.linear_probe import LinearProbe, fit_probe
from deepcluster.features.extraction import FeaturePass, collect
from deepcluster.system.processor import float32_products
from deepcluster.system.seeding import generator, mix


@dataclass(kw_only=True)
class Evaluation:
    """What is measured at the start and at the end of a run. Labels are used here and in the log, nowhere else.

    Args:
        enabled: measure at all; without labels nothing can be measured and nothing is.
        untrained: also measure the untrained network, to compare with.
        max_images: at most so many training images for probe and neighbours, drawn at random.
        test_share: where there is no test set, this share of the labelled images is held out from the probe.
        nmi_average: by which mean of the two entropies NMI divides, wherever it is logged: "arithmetic", or
            "geometric" as in 2018.
        knn: the neighbours' settings.
        linear_probe: the probe's settings.
    """

    enabled: bool = True
    untrained: bool = True
    max_images: int = 50_000
    test_share: float = 0.2
    nmi_average: str = "arithmetic"
    knn: Knn = field(default_factory=Knn)
    linear_probe: LinearProbe = field(default_factory=LinearProbe)

    def __post_init__(self) -> None:
        if self.max_images < 10:
            raise ValueError(f"evaluation.max_images must be at least 10, got {self.max_images}")
        if not 0 < self.test_share < 1:
            raise ValueError(f"evaluation.test_share must be between 0 and 1, got {self.test_share}")
        if self.nmi_average not in AVERAGES:
            raise ValueError(f"evaluation.nmi_average must be one of {', '.join(AVERAGES)}, got {self.nmi_average}")


@dataclass(kw_only=True)
class LabelledSplit:
    """Which images a probe learns from and which it is tested on: a set and the indices into it, each."""

    train: ImageSet
    train_indices: Tensor
    test: ImageSet
    test_indices: Tensor


def labelled_split(train: ImageSet, test: ImageSet | None, settings: Evaluation, *, seed: int) -> LabelledSplit | None:
    """The labelled images, cut down to `max_images`; None when there are no labels to measure with.

    Without a labelled test set a share of the training images is held out. The network has seen those, though
    never their labels.
    """
    if train.labels is None:
        return None
    labelled = (train.labels >= 0).nonzero()[:, 0]
    labelled = labelled[torch.randperm(len(labelled), generator=generator(seed, "evaluation"))]
    if test is not None and test.labels is not None and bool((test.labels >= 0).any()):
        tested = (test.labels >= 0).nonzero()[:, 0]
        learned, tested_set = labelled, test
    else:
        n_test = max(1, int(len(labelled) * settings.test_share))
        tested, learned, tested_set = labelled[:n_test].sort().values, labelled[n_test:], train
    learned = learned[: settings.max_images].sort().values
    if len(learned) < max(10, settings.knn.k) or len(tested) == 0 or len(torch.unique(train.labels[learned])) < 2:
        return None
    return LabelledSplit(train=train, train_indices=learned, test=tested_set, test_indices=tested)


def measure(
    split: LabelledSplit, source: Callable[[ImageSet], FeaturePass], settings: Evaluation, *, seed: int
) -> dict[str, float]:
    """k-NN and linear-probe accuracy on the test images of `split`.

    Args:
        split: from :func:`labelled_split`.
        source: gives the pass over a set of images through the stage to probe.
        settings: the protocols.
        seed: of the probe's held-out split and order.

    Returns:
        knn_accuracy, linear_probe_accuracy in [0, 1], and linear_probe_lr, the rate that was chosen.
    """
    assert split.train.labels is not None and split.test.labels is not None
    learned, tested = source(split.train), source(split.test)
    train_x, test_x = collect(learned, split.train_indices), collect(tested, split.test_indices)
    train_y, test_y = split.train.labels[split.train_indices], split.test.labels[split.test_indices]
    with _on_gpu(learned.device, train_x, test_x, train_y, test_y) as (train_x, test_x, train_y, test_y):
        neighbours = knn_accuracy(train_x, train_y, test_x, test_y, settings.knn)
        probe = fit_probe(train_x, train_y, test_x, test_y, settings.linear_probe, seed=mix(seed, "probe"))
    return {
        "knn_accuracy": neighbours,
        "linear_probe_accuracy": probe.accuracy,
        "linear_probe_lr": probe.learning_rate,
    }


@contextmanager
def _on_gpu(device: torch.device, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors on the GPU, where `device` is one with room for them and for a copy, and its products in float32."""
    if device.type != "cuda":  # other accelerators lack the float64 of the features' moments
        yield tensors
        return
    free, _ = torch.cuda.mem_get_info(device)
    n_bytes = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    with float32_products(device):
        yield tuple(tensor.to(device) for tensor in tensors) if 3 * n_bytes < free else tensors


@dataclass(kw_only=True)
class Representation(Evaluation, Evaluator):
    """The same of a stored network: evaluation=representation of eval.py.

    Args:
        kind: "representation".
    """

    kind: str = "representation"

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_images and what :func:`measure` gives.

        Raises:
            ValueError: if there are no labels.
        """
        split = labelled_split(context.train_images, context.test_images, self, seed=context.seed)
        if split is None:
            raise ValueError(
                f"data={context.data.source} cannot be measured: that needs labels of two classes and "
                f"evaluation.knn.k={self.knn.k} labelled training images; evaluation=assign needs none"
            )
        numbers = measure(split, context.source, self, seed=context.seed)
        for name in ("knn_accuracy", "linear_probe_accuracy"):
            context.progress.say(f"{name:24} {numbers[name]:.1%}")
        return {"n_images": len(context.train_images), **numbers}
