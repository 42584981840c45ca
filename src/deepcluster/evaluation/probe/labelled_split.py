"""Which labelled images to train on and which to test on. Next: knn_and_probe.py, fast.py, original.py."""

from dataclasses import dataclass

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.seeding import generator

FEWEST = 10  # labelled training images that a split needs


@dataclass(kw_only=True)
class LabelledSplit:
    """The images to train on (N,) and to test on (n,): each a set and the indices into it."""

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
    """Split the labelled images; None if there are too few of them or only one class.

    Without a labelled test set, a share of the training images is held out. The network has seen those images, but
    not their labels.

    Args:
        max_images: use at most this many training images, drawn by the seed; None: all.
        test_share: share of the labelled images that is held out if no test set has labels.
        n_least: smallest number of labelled training images; values below 10 count as 10.
    """
    if train.labels is None:
        return None
    labelled = (train.labels >= 0).nonzero()[:, 0]
    labelled = labelled[torch.randperm(len(labelled), generator=generator(seed, "evaluation"))]
    if test is not None and test.labels is not None and bool((test.labels >= 0).any()):
        test_indices, train_indices, test_set = (test.labels >= 0).nonzero()[:, 0], labelled, test
    else:
        n_test = max(1, int(len(labelled) * test_share))
        test_indices, train_indices, test_set = labelled[:n_test].sort().values, labelled[n_test:], train
    train_indices = train_indices[:max_images].sort().values
    if (
        len(train_indices) < max(FEWEST, n_least)
        or len(test_indices) == 0
        or len(torch.unique(train.labels[train_indices])) < 2
    ):
        return None
    return LabelledSplit(train=train, train_indices=train_indices, test=test_set, test_indices=test_indices)


def split_to_probe(context: EvaluationContext, *, max_images: int | None, test_share: float) -> LabelledSplit:
    """The split of an evaluation's images, see :func:`labelled_split`.

    Raises:
        ValueError: if there is none, or the network takes other channels.
    """
    train = context.train_images
    context.check_channels(train)
    split = labelled_split(train, context.test_images, max_images=max_images, test_share=test_share, seed=context.seed)
    if split is None:
        n_labelled = 0 if train.labels is None else int((train.labels >= 0).sum())
        raise ValueError(
            f"data={context.data.source} cannot be measured: a test image and at least {FEWEST} labelled "
            f"training images of two classes are needed, there are {n_labelled} labelled; evaluation=assign needs "
            "no labels"
        )
    return split


def draw_labelled(labels: Tensor, indices: Tensor, share: float, *, seed: int) -> Tensor:
    """A share of the labelled images: share x N / C of each class, at least one, or all if a class has fewer.

    With the same seed, a smaller share is a subset of a larger one. With share = 1 all images are taken.

    Args:
        labels: (N,), labels of the images.
        indices: (N,), the images' places in their set.
        share: in (0, 1].

    Returns:
        The drawn images' places in their set, ascending.
    """
    if share >= 1:
        return indices
    classes = torch.unique(labels)
    n_each = max(1, round(share * len(indices) / len(classes)))
    drawn = []
    for number in classes.tolist():
        members = indices[labels == number]
        order = torch.randperm(len(members), generator=generator(seed, "labels", number))
        drawn.append(members[order[:n_each]])
    return torch.cat(drawn).sort().values
