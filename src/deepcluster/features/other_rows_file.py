"""`other_rows=file`: rows that another program has written. Next: row_table.py reads them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.clustering.reduction import Reduction
from deepcluster.features.other_rows import OtherSource, UsedRows
from deepcluster.system.setting import IS_PATH, MAY_CHANGE, setting

if TYPE_CHECKING:
    import torch

    from deepcluster.data.images import ImageSet


@dataclass(kw_only=True)
class FileRows(UsedRows):
    """Rows of a file, one for each image; rows of other images in it are left out.

    Args:
        kind: "file".
        path: a .npy of (N, D) numbers, or a .parquet with a column `path`, `id` or `sample` of the images' names (as in
            a run's clusters.csv), whose other columns are numbers, or one column of lists of them.
        names: of a .npy, a text file with an image's name in each line; null: the rows stand in the images' order.
    """

    kind: str = "file"
    path: str = field(metadata={MAY_CHANGE: True, IS_PATH: True})
    names: str | None = setting(None, may_change=True, is_path=True)
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=64))

    def row_dim(self, images: ImageSet) -> int:
        from deepcluster.features.row_table import read_row_table

        return read_row_table(self.path, self.names, images.samples).dim

    def build(
        self, images: ImageSet, *, seed: int, batch_size: int, num_workers: int, device: torch.device
    ) -> OtherSource:
        from deepcluster.features.row_table import read_row_table

        source = read_row_table(self.path, self.names, images.samples)
        return OtherSource(source, source.dim, f"file: {len(images):,} rows of {source.dim} from {self.path}")
