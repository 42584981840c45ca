"""Writes clusters.csv: one line for each image with its name, its cluster, what is known of its place, its label."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.system.tables import write_csv

ROWS_AT_ONCE = 65_536  # turned from tensors into Python numbers at a time


@dataclass(kw_only=True)
class Column:
    """A further column, between the cluster and the label.

    Args:
        name: its title.
        values: (N,); NaN and negative whole numbers become empty cells, booleans true and false.
        form: how a number is written.
    """

    name: str
    values: Tensor
    form: str = "{}"

    def cells(self, part: slice) -> list[str]:
        """The cells of some images."""
        values = self.values[part].tolist()
        if self.values.dtype == torch.bool:
            return ["true" if value else "false" for value in values]
        is_whole = not self.values.is_floating_point()
        return ["" if value != value or (is_whole and value < 0) else self.form.format(value) for value in values]


def write_clusters(path: Path, images: ImageSet, clusters: Tensor, further: list[Column] | None = None) -> None:
    """Write the clusters (N,) of N images; there is a column of labels if the images have labels."""
    assert len(images.samples) == len(clusters)
    further = further or []
    columns = ["sample", "cluster", *(column.name for column in further)]
    write_csv(path, [*columns, *([] if images.labels is None else ["label"])], _rows(images, clusters, further))


def _rows(images: ImageSet, clusters: Tensor, further: list[Column]) -> Iterator[list[object]]:
    name_of = _label_names(images)
    for start in range(0, len(clusters), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        cells = [column.cells(part) for column in further]
        labels = None if images.labels is None else images.labels[part].tolist()
        for i, cluster in enumerate(clusters[part].tolist()):
            row: list[object] = [images.samples[start + i], cluster, *(column[i] for column in cells)]
            yield row if labels is None else [*row, name_of(labels[i])]


def _label_names(images: ImageSet) -> Callable[[int], object]:
    names = images.classes
    return lambda label: "" if label < 0 else names[label] if names else label
