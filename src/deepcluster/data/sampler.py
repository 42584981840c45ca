"""The group `sampler`: how an epoch draws its images from the assignment. Next: draw.py does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(kw_only=True)
class Sampler:
    """How the images of an epoch are drawn.

    Args:
        kind: "uniform" shows every cluster equally often (the paper, section 3.3); "proportional" shows every
            image equally often; "official" is what the 2018 code really does, for reproductions: it draws
            uniformly over clusters, then uses these indices on a list in cluster order, which gives back
            about the proportional law.
    """

    kind: str = setting("uniform", one_of=("uniform", "proportional", "official"))

    def __post_init__(self) -> None:
        check(self, "sampler")

    def indices(self, labels: Tensor, k: int, n: int, generator: Generator) -> Tensor:
        """Draw the n images of an epoch.

        Args:
            labels: (N,) int64 pseudo-labels in 0..k-1; clusters without images are passed over. An image without a
                label (-1) is in no cluster: "uniform" and "official" do not draw it, "proportional" draws it as any.
            k: number of clusters.
            n: how many images to draw.

        Returns:
            (n,) int64 indices of images, shuffled.

        Raises:
            ValueError: if images are drawn from clusters, and none has one.
        """
        from deepcluster.data import draw

        assert len(labels) > 0 and int(labels.min()) >= -1 and int(labels.max()) < k, "labels must be in -1..k-1"
        if self.kind == "proportional":
            return draw.proportional(len(labels), n, generator)
        clustered = (labels >= 0).nonzero().flatten()
        if len(clustered) == 0:
            raise ValueError(
                f"sampler={self.kind} draws images from clusters, and none of {len(labels):,} images is in one; set "
                "sampler=proportional"
            )
        law = draw.uniform if self.kind == "uniform" else draw.official
        return clustered[law(labels[clustered], k, n, generator)]
