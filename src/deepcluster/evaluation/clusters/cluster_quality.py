"""evaluation=cluster_quality: how well clusters fit the labels, on clustered and on new images. Next: label_fit.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deepcluster.clustering.reduction import Reduction
from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class ClusterQuality(Evaluator):
    """NMI, AMI, ARI, purity, one-to-one and many-to-one accuracy of the run's clusters and of a fresh k-means.

    The run's own clusters ("own"): the images that the run learned from have the cluster that the checkpoint holds.
    All others get the cluster of the nearest centroid. With clustering=pic these two rules differ, because PIC's
    clusters are not the cells around their centroids. `own_train_nearest_share` is the share of the training images
    to which both rules give the same cluster. It is also below 1 for last.ckpt, because its network was trained
    further after its clusters were made.

    The fresh clusters ("fresh"): k-means of the training images, on features reduced as in the run (if the checkpoint
    says how). Test images get the cluster of the nearest centroid. Results are mean and standard deviation over seeds.

    Args:
        kind: "cluster_quality".
        head: which labeling, counted from 0, where images are clustered several times.
        k: number of clusters of the fresh k-means; null: the number of classes.
        n_seeds: runs of the fresh k-means; 0: none.
        n_iter: iterations of the fresh k-means.
        reduction: how features are reduced if the checkpoint holds no clusters; a `dim` above the number of features
            or images is lowered.
        nmi_average: which mean of the two entropies NMI is divided by; AMI always takes the arithmetic one.
    """

    kind: str = "cluster_quality"
    head: int = setting(0, at_least=0)
    k: int | None = setting(None, at_least=2, hint="null takes the number of classes")
    n_seeds: int = setting(5, at_least=0)
    n_iter: int = setting(20, at_least=1)
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=256))
    nmi_average: str = setting("arithmetic", one_of=("arithmetic", "geometric"))

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_train and n_test, the numbers of images with a label; own_train_nearest_share; fresh_k; and for each of
            own_train, own_test, fresh_train and fresh_test what
            :func:`~deepcluster.evaluation.clusters.label_fit.label_fit` gives (own_train_nmi ...). The fresh ones are
            means over seeds, with the standard deviation as `_std` if there are several. Without clusters in the
            checkpoint or labelled test images, their numbers are left out.

        Raises:
            ValueError: if the labels do not have two classes, or there are fewer images than clusters.
        """
        from deepcluster.evaluation.clusters import label_fit

        context = context.of_labeling(self.head)
        train = context.train_images
        n_classes = label_fit.n_classes(train)
        if n_classes < 2:
            raise ValueError(
                f"data={context.data.source} has no labels of two classes to compare clusters with; "
                "evaluation=assign needs no labels"
            )
        k = self.k or n_classes
        if self.n_seeds > 0 and k > len(train):
            raise ValueError(f"evaluation.k={k} needs at least that many images, there are {len(train)}; lower it")
        splits = label_fit.labelled_splits(context, self.reduction)
        results: dict[str, float] = {f"n_{split.name}": int((split.labels >= 0).sum()) for split in splits}
        results |= label_fit.own_clusters(context, splits, self.nmi_average)
        if self.n_seeds > 0:
            results |= {"fresh_k": k}
            results |= label_fit.fresh_clusters(
                context, splits, k=k, n_iter=self.n_iter, n_seeds=self.n_seeds, nmi_average=self.nmi_average
            )
        for line in label_fit.table_lines(results):
            context.progress.say(line)
        return results
