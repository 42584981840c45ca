"""The cluster of each image by a trained network and its last centroids: clusters.csv."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from deepcluster.atomic import write_atomically
from deepcluster.clustering import metrics
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters import stored_assignment
from deepcluster.evaluation.context import EvaluationContext, Evaluator


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
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labelled = images.labels is not None
    writer.writerow(["sample", "cluster", *(["label"] if labelled else [])])
    names = images.classes
    for i, (sample, cluster) in enumerate(zip(images.samples, clusters.tolist(), strict=True)):
        row: list[Any] = [sample, cluster]
        if images.labels is not None:
            label = int(images.labels[i])
            row.append("" if label < 0 else names[label] if names else label)
        writer.writerow(row)
    # A file name need not be UTF-8; its bytes come back as they are.
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))
