"""The images of an epoch, drawn from the assignment by three laws. Next: loader.py cuts the indices into batches.

labels: (N,) int64 pseudo-labels in 0..k-1; each function gives (n,) int64 indices of images, shuffled.
"""

import torch
from torch import Tensor


def proportional(n_images: int, n: int, generator: torch.Generator) -> Tensor:
    """n images in passes over all of them, each pass in a new order."""
    n_passes = -(-n // n_images)
    return torch.cat([torch.randperm(n_images, generator=generator) for _ in range(n_passes)])[:n]


def uniform(labels: Tensor, k: int, n: int, generator: torch.Generator) -> Tensor:
    """The quota law of the 2018 code (util.py: UnifLabelSampler), without its loop over clusters.

    Every cluster gives int(n / clusters) + 1 images: large ones without replacement, those with no more
    members than the quota with replacement. All are shuffled and cut to n.
    """
    keys = labels + torch.rand(len(labels), generator=generator, dtype=torch.float64)
    order = torch.argsort(keys)  # cluster after cluster, each in random order
    sizes = torch.bincount(labels, minlength=k)
    starts = torch.cumsum(sizes, 0) - sizes
    starts, sizes = starts[sizes > 0], sizes[sizes > 0]
    quota = n // len(sizes) + 1
    slots = torch.arange(quota).expand(len(sizes), quota)
    repeated = (torch.rand(len(sizes), quota, generator=generator, dtype=torch.float64) * sizes[:, None]).long()
    positions = torch.where(sizes[:, None] <= quota, repeated, slots) + starts[:, None]
    drawn = order[positions.flatten()]
    return drawn[torch.randperm(len(drawn), generator=generator)[:n]]


def official(labels: Tensor, k: int, n: int, generator: torch.Generator) -> Tensor:
    """What the 2018 code really shows: images drawn uniformly over clusters, looked up in a list in cluster order.

    original: UnifLabelSampler yields indices of the data set, but the loader indexes ReassignedDataset, whose list is
    in cluster order: entry i of that list is shown, not image i.
    """
    return torch.argsort(labels, stable=True)[uniform(labels, k, n, generator)]
