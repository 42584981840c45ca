"""The group `other_rows`: rows to cluster that do not come from the network that is trained.

The first clusters of an untrained network fit the images badly. Rows that fit them better from the start can serve the
first reassignments, or heads of their own beside the method's. Each kind has a file other_rows_KIND.py. Read without
importing torch. Next: clusterer.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from deepcluster.clustering.reduction import Reduction
from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    import torch

    from deepcluster.data.images import ImageSet
    from deepcluster.features.extraction import RowSource


class OtherSource(NamedTuple):
    """Rows that another extractor gives. source: a pass over all N images. dim: D. report: a line for the user."""

    source: RowSource
    dim: int
    report: str


@dataclass(kw_only=True)
class OtherRows:
    """No other rows: all clusters come from the network's own.

    Args:
        kind: "none".
    """

    ABSENT: ClassVar[dict[str, str]] = {
        name: "choose rows first: other_rows=coates, pixels, patches_and_pixels, network or file"
        for name in ("reassignments", "n_beside", "weight", "fade_epochs", "reduction", "n_neighbours")
    }

    kind: str = "none"

    def serves(self, number: int) -> bool:
        """Whether reassignment `number` (from 0) clusters these rows in place of the network's own."""
        return False


@dataclass(kw_only=True)
class UsedRows(OtherRows):
    """What all kinds of other rows share.

    Args:
        reassignments: the first so many reassignments cluster these rows in place of the network's own; null: all of
            them, so that nothing changes after the first; 0: none.
        n_beside: heads beside the method's own, which learn labelings of these rows.
        weight: of their loss beside the method's own.
        fade_epochs: their weight falls linearly to 0 over so many epochs; null: it stays.
        reduction: of these rows, before they are clustered.
        n_neighbours: cluster them by their graph of so many nearest neighbours, as clustering=spectral does, whose
            clusters fit the images better; null: as the network's own rows are clustered.
    """

    ABSENT: ClassVar[dict[str, str]] = {}

    reassignments: int | None = setting(None, at_least=0, hint="null serves all reassignments")
    n_beside: int = setting(0, at_least=0)
    weight: float = setting(1.0, above=0)
    fade_epochs: float | None = setting(None, above=0)
    reduction: Reduction = field(default_factory=Reduction)
    n_neighbours: int | None = setting(None, at_least=1, hint="null clusters them as the network's own rows")

    def __post_init__(self) -> None:
        check(self, "other_rows")

    def serves(self, number: int) -> bool:
        return self.reassignments is None or number < self.reassignments

    def check_images(self, images: ImageSet) -> int:
        """Refuse images that have no such rows, too few of them, or rows that the reduction does not suit.

        Returns:
            Numbers D of a row.

        Raises:
            ValueError: naming the key, the limit and the way out.
        """
        dim = self.row_dim(images)
        if self.n_neighbours is not None and len(images) <= self.n_neighbours:
            raise ValueError(
                f"other_rows.n_neighbours={self.n_neighbours} needs at least {self.n_neighbours + 1} images, there are "
                f"{len(images)}; lower it, or null clusters them as the network's own rows"
            )
        of = f"numbers of a row of other_rows={self.kind}"
        self.reduction.check(len(images), dim, key="other_rows.reduction", of=of)
        return dim

    def learning_bytes(self, images: ImageSet) -> float:
        """Memory that :meth:`build` takes to learn what the rows need, but for blocks of a fixed size."""
        return 0.0

    def row_dim(self, images: ImageSet) -> int:
        """Numbers D of a row.

        Raises:
            ValueError: if these images have no such rows.
        """
        raise NotImplementedError

    def build(
        self,
        images: ImageSet,
        *,
        seed: int,
        batch_size: int,
        num_workers: int,
        device: torch.device,
    ) -> OtherSource:
        """Learn what the rows need, and give a pass over all images; on every process the same.

        Raises:
            ValueError: if the rows cannot be had for these images.
        """
        raise NotImplementedError


def side_of(images: ImageSet, size: int | None, *, most: int) -> int:
    """The side to which images are resized: `size`; if it is None, their own short side, at most `most`."""
    from deepcluster.data.images import size_of_first

    return size or min(most, min(size_of_first(images)) or most)
