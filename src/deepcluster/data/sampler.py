"""Which images an epoch shows, drawn from the assignment. Next: loader.py cuts the indices into batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

KINDS = ("uniform", "proportional", "official")


@dataclass(kw_only=True)
class Sampler:
    """How the images of an epoch are drawn.

    Args:
        kind: "uniform" shows every cluster equally often (the paper, section 3.3); "proportional" shows every
            image equally often; "official" is what the 2018 code really does, for reproductions: it draws
            uniformly over clusters, then uses these indices on a list in cluster order, which gives back
            about the proportional law.
    """

    kind: str = "uniform"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"sampler.kind must be one of {', '.join(KINDS)}, got {self.kind!r}")

    def indices(self, labels: Tensor, k: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw the n images of an epoch.

        Args:
            labels: (N,) int64 pseudo-labels in 0..k-1; clusters without images are passed over.
            k: number of clusters.
            n: how many images to draw.

        Returns:
            (n,) int64 indices of images, shuffled.
        """
        assert len(labels) > 0 and int(labels.min()) >= 0 and int(labels.max()) < k, "labels must be in 0..k-1"
        if self.kind == "proportional":
            return _passes(len(labels), n, generator)
        drawn = _uniform(labels, k, n, generator)
        if self.kind == "uniform":
            return drawn
        # original: UnifLabelSampler yields indices of the data set, but the loader indexes ReassignedDataset,
        # whose list is in cluster order: entry i of that list is shown, not image i.
        return torch.argsort(labels, stable=True)[drawn]


def _passes(n_images: int, n: int, generator: torch.Generator) -> Tensor:
    """n images in passes over all of them, each pass in a new order."""
    n_passes = -(-n // n_images)
    return torch.cat([torch.randperm(n_images, generator=generator) for _ in range(n_passes)])[:n]


def _uniform(labels: Tensor, k: int, n: int, generator: torch.Generator) -> Tensor:
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
