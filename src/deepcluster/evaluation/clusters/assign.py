"""evaluation=assign: writes clusters.csv, the cluster of each image by a trained network and its last centroids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Assign(Evaluator):
    """Assign the images of `data` to the checkpoint's clusters.

    Args:
        kind: "assign".
        head: which labeling, counted from 0, where images are clustered several times.
    """

    makes = "files"

    kind: str = "assign"
    head: int = setting(0, at_least=0)

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write clusters.csv.

        Returns:
            n_images, clusters_used and, if there are labels, their agreement with the clusters (metrics.label_metrics).

        Raises:
            ValueError: if the checkpoint holds no clusters, or no such labeling.
        """
        import torch

        from deepcluster.clustering.metrics import label_metrics
        from deepcluster.evaluation.clusters.clustered_images import stored_assignment
        from deepcluster.evaluation.clusters.clusters_file import write_clusters

        assignment, images = stored_assignment(context.of_labeling(self.head)), context.train_images
        clusters = torch.empty(len(images), dtype=torch.int64)
        feature_pass = context.feature_pass(images, convolutional=False)
        with context.progress.bar("assign", len(images), "img") as advance:
            for indices, features in feature_pass.stream(torch.arange(len(images))):
                clusters[indices] = assignment.apply(features.float().cpu())
                advance(len(indices))
        file = context.folder / "clusters.csv"
        write_clusters(file, images, clusters)
        n_used = len(torch.unique(clusters))
        context.progress.say(f"{len(images):,} images in {n_used} clusters: {file}")
        results: dict[str, float] = {"n_images": len(images), "clusters_used": n_used}
        return results if images.labels is None else results | label_metrics(clusters, images.labels)
