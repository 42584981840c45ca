"""A share of the labels, equally many of each class: for semi-supervised learning. Next: transfer.py."""

import torch
from torch import Tensor

from deepcluster.system.seeding import generator


def draw_labelled(labels: Tensor, indices: Tensor, share: float, *, seed: int) -> Tensor:
    """Some of the labelled images: share x N / C of each class, at least one, as far as a class has so many.

    A smaller share of the same seed is part of a larger one.

    Args:
        labels: (N,) of these images.
        indices: (N,) of the labelled images to draw from, in their set.
        share: in (0, 1]; 1 takes all.

    Returns:
        Indices in ascending order.
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
