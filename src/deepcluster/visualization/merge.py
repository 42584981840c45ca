"""evaluation=merge: a coarser view of the same clusters. Next: tree_picture.py draws the tree."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from torch import Tensor

    from deepcluster.evaluation.clusters.merged_clusters import MergedClusters
    from deepcluster.evaluation.context import EvaluationContext

N_TOLD = 30  # groups on the screen; all are in merged.csv


@dataclass(kw_only=True)
class Merge(Evaluator):
    """Join a run's clusters to fewer groups by a tree: of two groups those whose images are nearest on average.

    Clusters keep their numbers; groups are numbered from the largest. Nothing is clustered anew, so that a group is a
    list of clusters, and groups of any number fit into each other.

    Args:
        kind: "merge".
        k: number of groups, at most the run's clusters.
        head: which labeling, counted from 0, where images are clustered several times.
        clusters: "auto": the run's own last assignment if these are its images, else the nearest centroids; "own"
            and "nearest" accept only the one or the other.
    """

    makes = "files"

    kind: str = "merge"
    k: int | None = setting(None, at_least=2)
    head: int = setting(0, at_least=0)
    clusters: str = setting("auto", one_of=("auto", "own", "nearest"))

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write merged.csv (the group of each cluster), clusters.csv (of each image) and merged.svg (the tree).

        Returns:
            n_images, n_groups, n_clusters and, with labels, how well groups and clusters agree with them, as
            groups_nmi_labels, clusters_nmi_labels, ... (metrics.label_metrics).

        Raises:
            ValueError: if `k` is missing or above the number of clusters, or the checkpoint holds no clusters.
        """
        from deepcluster.clustering.metrics import label_metrics
        from deepcluster.evaluation.clusters.clustered_images import cluster_images, own_labels, stored_assignment
        from deepcluster.evaluation.clusters.clusters_file import Column, write_clusters
        from deepcluster.evaluation.clusters.merged_clusters import merge_clusters
        from deepcluster.system.atomic import write_atomically
        from deepcluster.system.tables import write_csv
        from deepcluster.visualization.tree_picture import draw_tree

        context = context.of_labeling(self.head)
        assignment = stored_assignment(context)
        if self.k is None:
            raise ValueError(
                f"evaluation=merge needs evaluation.k=NUMBER, the groups into which the run's {assignment.k} clusters "
                "are joined"
            )
        merged, images = merge_clusters(assignment, self.k), context.train_images
        clusters = own_labels(context, images, self.clusters)
        if clusters is None or bool((clusters < 0).any()):
            clusters = cluster_images(context, images, self.clusters).clusters
        groups, say = merged.of_images(clusters), context.progress.say
        rows = _rows(merged, clusters, images.labels, images.classes)
        columns = ["cluster", "group", "images", *([] if images.labels is None else ["label", "share"])]
        in_order = sorted(rows, key=lambda row: (row.group, row.cluster))
        write_csv(context.folder / "merged.csv", columns, [row.cells()[: len(columns)] for row in in_order])
        write_clusters(context.folder / "clusters.csv", images, clusters, [Column(name="group", values=groups)])
        picture = context.folder / "merged.svg"
        write_atomically(picture, draw_tree(merged, [row.words() for row in rows]).encode())
        for line in _told(in_order):
            say(line)
        say(f"merged     {context.folder / 'merged.csv'}, clusters.csv (each image's group), {picture.name} (the tree)")
        results: dict[str, float] = {"n_images": len(images), "n_groups": self.k, "n_clusters": assignment.k}
        if images.labels is not None:
            for whose, labeling in (("groups", groups), ("clusters", clusters)):
                fit = label_metrics(labeling, images.labels)
                results |= {f"{whose}_{name}": value for name, value in fit.items()}
        return results


class _Row(NamedTuple):
    """A cluster: its number, group and images, the commonest label among them and its share; None: none has a label."""

    cluster: int
    group: int
    images: int
    label: object | None = None
    share: float = 0.0

    def cells(self) -> list[object]:
        """As in merged.csv."""
        return [*self[:4], None if self.label is None else f"{self.share:.3f}"]

    def words(self) -> str:
        """As in the picture."""
        return f"{self.images:,} images" + ("" if self.label is None else f", {self.label} {self.share:.0%}")


def _rows(merged: MergedClusters, clusters: Tensor, labels: Tensor | None, classes: list[str] | None) -> list[_Row]:
    """The clusters by their numbers."""
    import torch

    from deepcluster.clustering.metrics import label_shares

    k = merged.tree.k
    sizes = torch.bincount(clusters[clusters >= 0], minlength=k).tolist()
    rows = [_Row(number, group, sizes[number]) for number, group in enumerate(merged.groups.tolist())]
    if labels is None:
        return rows
    commonest, shares = (part.tolist() for part in label_shares(labels, clusters, k))
    names = [None if label < 0 else classes[label] if classes else label for label in commonest]
    return [row._replace(label=name, share=share) for row, name, share in zip(rows, names, shares, strict=True)]


def _told(rows: list[_Row]) -> list[str]:
    """The groups, a line each: images and the numbers of their clusters."""
    lines = []
    for group, of in itertools.groupby(rows, key=lambda row: row.group):
        members = list(of)
        n_images, numbers = sum(row.images for row in members), ", ".join(str(row.cluster) for row in members)
        lines.append(f"group {group}: {n_images:,} images in cluster{'s' if len(members) > 1 else ''} {numbers}")
    return lines if len(lines) <= N_TOLD else [*lines[:N_TOLD], f"... {len(lines)} groups in all"]
