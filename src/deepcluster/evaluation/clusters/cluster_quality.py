"""How well do clusters fit the labels, on images that were clustered and on others? evaluation=cluster_quality.

label_fit.py computes it.
"""

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
    """NMI, AMI, ARI, purity, one-to-one and many-to-one accuracy, of the run's clusters and of a fresh k-means.

    The run's own clusters ("own"): on the images that it learned from, those that the checkpoint holds; on all others
    the nearest of its centroids. With clustering=pic the two rules differ, because PIC's clusters are not the cells
    around centroids: test figures are then those of the second rule. `own_train_nearest_share` is the share of the
    training images to which both rules give the same cluster. It is also below 1 for last.ckpt, whose network has
    learned since its clusters were made.

    The fresh ones ("fresh"): k-means of the training images, with features reduced as in the run (if the file tells
    how), test images to their nearest centroid; mean and standard deviation over seeds.

    Args:
        kind: "cluster_quality".
        k: clusters of the fresh k-means; null: as many as the labels have classes.
        n_seeds: runs of the fresh k-means; 0: none.
        n_iter: its iterations.
        reduction: how features are reduced when the file holds no clusters; `dim` is lowered to what there is.
        nmi_average: mean of the two entropies by which NMI is divided; AMI's is always the arithmetic one.
    """

    kind: str = "cluster_quality"
    k: int | None = setting(None, at_least=2, hint="null takes the number of classes")
    n_seeds: int = setting(5, at_least=0)
    n_iter: int = setting(20, at_least=1)
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=256))
    nmi_average: str = setting("arithmetic", one_of=("arithmetic", "geometric"))

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Measure.

        Returns:
            n_train and n_test, the images with a label; for each of own_train, own_test, fresh_train, fresh_test what
            :func:`~deepcluster.evaluation.clusters.label_fit.label_fit` gives (own_train_nmi ...): of the fresh ones
            the mean over seeds, and with several seeds `_std`, the standard deviation; own_train_nearest_share,
            fresh_k. What cannot be had (no clusters in the file, no labelled test images) is left out.

        Raises:
            ValueError: if there are no labels of two classes, or fewer images than clusters.
        """
        from deepcluster.evaluation.clusters import label_fit

        train = context.train_images
        n_classes = label_fit.n_classes(train)
        if n_classes < 2:
            raise ValueError(
                f"data={context.data.source} has no labels of two classes, with which clusters could be compared; "
                "evaluation=assign needs none"
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
        for line in label_fit.lines(results):
            context.progress.say(line)
        return results
