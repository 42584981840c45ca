"""Which labelled images are learned from and which are tested on. Next: measure.py, fast.py, original.py."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.seeding import generator

FEWEST = 10  # labelled training images


@dataclass(kw_only=True)
class LabelledSplit:
    """Which images a probe learns from and which it is tested on: a set and the indices into it, each."""

    train: ImageSet
    train_indices: Tensor
    test: ImageSet
    test_indices: Tensor

    @property
    def train_y(self) -> Tensor:
        """Labels (N,) of the training images."""
        assert self.train.labels is not None
        return self.train.labels[self.train_indices]

    @property
    def test_y(self) -> Tensor:
        """Labels (n,) of the test images."""
        assert self.test.labels is not None
        return self.test.labels[self.test_indices]


def labelled_split(
    train: ImageSet,
    test: ImageSet | None,
    *,
    max_images: int | None,
    test_share: float,
    seed: int,
    n_least: int = FEWEST,
) -> LabelledSplit | None:
    """The labelled images; None when there are too few to measure with, or only one class.

    Without a labelled test set a share of the training images is held out. The network has seen those, though
    never their labels.

    Args:
        max_images: at most so many training images, drawn by the seed; None: all.
        test_share: the share of the labelled images that is held out where no test set has labels.
        n_least: labelled training images that are needed; at least 10 always are.
    """
    if train.labels is None:
        return None
    labelled = (train.labels >= 0).nonzero()[:, 0]
    labelled = labelled[torch.randperm(len(labelled), generator=generator(seed, "evaluation"))]
    if test is not None and test.labels is not None and bool((test.labels >= 0).any()):
        tested, learned, test_set = (test.labels >= 0).nonzero()[:, 0], labelled, test
    else:
        n_test = max(1, int(len(labelled) * test_share))
        tested, learned, test_set = labelled[:n_test].sort().values, labelled[n_test:], train
    learned = learned[:max_images].sort().values
    if len(learned) < max(FEWEST, n_least) or len(tested) == 0 or len(torch.unique(train.labels[learned])) < 2:
        return None
    return LabelledSplit(train=train, train_indices=learned, test=test_set, test_indices=tested)


def split_to_probe(context: EvaluationContext, *, max_images: int | None, test_share: float) -> LabelledSplit:
    """The labelled images of an evaluation, see :func:`labelled_split`.

    Raises:
        ValueError: if there are too few, or the network takes other channels.
    """
    train = context.train_images
    context.check_channels(train)
    split = labelled_split(train, context.test_images, max_images=max_images, test_share=test_share, seed=context.seed)
    if split is None:
        n_labelled = 0 if train.labels is None else int((train.labels >= 0).sum())
        raise ValueError(
            f"data={context.data.source} cannot be measured: that needs a test image and at least {FEWEST} labelled "
            f"training images of two classes, there are {n_labelled} labelled; evaluation=assign needs none"
        )
    return split
