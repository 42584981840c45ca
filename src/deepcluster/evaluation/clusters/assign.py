"""The cluster of each image by a trained network and its last centroids: clusters.csv."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.clustering import metrics
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.nearest_centroid import stored_assignment
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.atomic import opened_atomically

ROWS_AT_ONCE = 65_536


@dataclass(kw_only=True)
class Assign(Evaluator):
    """Assign the images of `data` to the checkpoint's clusters.

    Args:
        kind: "assign".
    """

    kind: str = "assign"

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write clusters.csv.

        Returns:
            n_images, clusters_used and, where there are labels, their agreement with the clusters.

        Raises:
            ValueError: if the file holds no clusters.
        """
        assignment, images = stored_assignment(context), context.train_images
        clusters = torch.empty(len(images), dtype=torch.int64)
        source = context.source(images, convolutional=False)
        with context.progress.bar("assign", len(images), "img") as advance:
            for indices, features in source.stream(torch.arange(len(images))):
                clusters[indices] = assignment.apply(features.float().cpu())
                advance(len(indices))
        file = context.folder / "clusters.csv"
        write_clusters(file, images, clusters)
        n_used = len(torch.unique(clusters))
        context.progress.say(f"{len(images):,} images in {n_used} clusters: {file}")
        results: dict[str, float] = {"n_images": len(images), "clusters_used": n_used}
        return results if images.labels is None else results | metrics.label_metrics(clusters, images.labels)


def write_clusters(path: Path, images: ImageSet, clusters: Tensor) -> None:
    """clusters.csv: one line per image with its identity, its cluster and, where known, its label."""
    assert len(images.samples) == len(clusters)
    names, header = images.classes, ["sample", "cluster", *([] if images.labels is None else ["label"])]
    with opened_atomically(path) as file:
        # A file name need not be UTF-8; its bytes come back as they are.
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(text, lineterminator="\n")
        quoted = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)  # the other leaves a bare \r bare
        writer.writerow(header)
        for start in range(0, len(clusters), ROWS_AT_ONCE):
            block = clusters[start : start + ROWS_AT_ONCE].tolist()
            labels = None if images.labels is None else images.labels[start : start + ROWS_AT_ONCE].tolist()
            for i, cluster in enumerate(block):
                row: list[Any] = [images.samples[start + i], cluster]
                if labels is not None:
                    row.append("" if labels[i] < 0 else names[labels[i]] if names else labels[i])
                (quoted if "\r" in f"{row[0]}{row[-1]}" else writer).writerow(row)
        text.flush()
        text.detach()  # opened_atomically closes the file
