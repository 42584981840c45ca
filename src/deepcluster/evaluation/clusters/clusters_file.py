"""Writes clusters.csv: one line for each image with its name, its cluster and, if known, its label."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.system.tables import write_csv

ROWS_AT_ONCE = 65_536  # turned from tensors into Python numbers at a time


def write_clusters(path: Path, images: ImageSet, clusters: Tensor) -> None:
    """Write the clusters (N,) of N images; there is a column of labels if the images have labels."""
    assert len(images.samples) == len(clusters)
    columns = ["sample", "cluster", *([] if images.labels is None else ["label"])]
    write_csv(path, columns, _rows(images, clusters))


def _rows(images: ImageSet, clusters: Tensor) -> Iterator[list[object]]:
    names = images.classes
    for start in range(0, len(clusters), ROWS_AT_ONCE):
        block = clusters[start : start + ROWS_AT_ONCE].tolist()
        labels = None if images.labels is None else images.labels[start : start + ROWS_AT_ONCE].tolist()
        for i, cluster in enumerate(block):
            row: list[object] = [images.samples[start + i], cluster]
            if labels is not None:
                row.append("" if labels[i] < 0 else names[labels[i]] if names else labels[i])
            yield row
