"""evaluation=gallery: the clusters as web pages and pictures, for a person to look through.

images --nearest_centroid--> clusters, distances --gallery_members--> members to show --gallery_pages--> files
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting
from deepcluster.visualization.gallery_orders import ORDERS

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Gallery(Evaluator):
    """Show the members of each cluster: those nearest to its centroid, the farthest, and random ones.

    Distances are Euclidean in the reduced space, where the images were clustered.

    Args:
        kind: "gallery".
        head: which labeling, counted from 0, where images are clustered several times.
        order: of the clusters: largest, smallest, compact, loose (mean distance to the centroid), pure, mixed
            (share of the commonest label), number (as the run counts).
        n_clusters: how many clusters are shown, the first in that order; null: all.
        n_members: how many members of each kind: nearest, farthest, random.
        formats: "html": index.html and, for many clusters, page_001.html ...; "png": clusters_001.png ...
        clusters_per_page: of the web pages.
        thumbnail: side of the thumbnails in pixels; smaller images in memory are not enlarged.
        split: "train" or "test" images.
        clusters: "auto": the run's own last assignment if these are its images, else the nearest centroids; "own"
            and "nearest" accept only the one or the other.
    """

    makes = "pictures"

    kind: str = "gallery"
    head: int = setting(0, at_least=0)
    order: str = setting("largest", one_of=tuple(ORDERS))
    n_clusters: int | None = setting(None, at_least=1, hint="null shows all")
    n_members: int = setting(6, at_least=1, at_most=50)
    formats: list[str] = setting(["html", "png"])
    clusters_per_page: int = setting(100, at_least=1)
    thumbnail: int = setting(96, at_least=8, at_most=512)
    split: str = setting("train", one_of=("train", "test"))
    clusters: str = setting("auto", one_of=("auto", "own", "nearest"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.formats or {*self.formats} - {"html", "png"}:
            raise ValueError(f"evaluation.formats must name some of html, png, got {list(self.formats)}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write the pages, clusters.csv (the cluster of each image) and gallery.csv (the numbers of each cluster).

        Returns:
            n_images, clusters_used, largest_share and entropy of the sizes, mean_distance, nearest_centroid_share
            (images whose cluster is that of the nearest centroid), and with labels purity (share of the labelled
            images that have their cluster's commonest label).

        Raises:
            ValueError: if the file holds no clusters, there are no test images, or an order by purity has no labels.
        """
        from deepcluster.evaluation.clusters.clustered_images import cluster_images, clusters_origin, stored_assignment
        from deepcluster.evaluation.clusters.clusters_file import write_clusters
        from deepcluster.visualization import gallery_members, gallery_pages
        from deepcluster.visualization.sample_space import images_of_split

        context = context.of_labeling(self.head)
        stored_assignment(context)
        images = images_of_split(context, self.split)
        labels = images.labels
        if labels is not None and not bool((labels >= 0).any()):
            labels = None
        if labels is None and ORDERS[self.order].by == "purity":
            raise ValueError(
                f"evaluation.order={self.order} needs labels, data={context.data.source} has none; "
                "without labels, set it to largest, smallest, compact, loose or number"
            )
        clustering = cluster_images(context, images, self.clusters)
        write_clusters(context.folder / "clusters.csv", images, clustering.clusters)
        members = gallery_members.choose_members(
            clustering.clusters,
            clustering.distances,
            labels,
            k=clustering.k,
            n_members=self.n_members,
            seed=context.seed,
        )
        members = gallery_members.in_order(members, self.order)
        names = None if labels is None else gallery_pages.class_names(images, labels)
        gallery_pages.write_table(context.folder / "gallery.csv", images, members, names)
        shown = members[: self.n_clusters]
        pages = gallery_pages.GalleryPages(
            context=context,
            images=images,
            shown=shown,
            names=names,
            n_members=self.n_members,
            thumbnail=self.thumbnail,
        )
        age_note = gallery_pages.age_note(context)
        part = "" if self.n_clusters is None else f", the {len(shown):,} first by evaluation.order={self.order}"
        whose = f"{clusters_origin(clustering.own)}; K = {clustering.k:,}, {len(members):,} used{age_note}{part}"
        pages.write(self.formats, order=self.order, clusters_per_page=self.clusters_per_page, whose=whose)
        context.progress.say(
            f"{len(images):,} images of {context.data.place} in {len(members):,} clusters "
            f"({clusters_origin(clustering.own)}){age_note}"
        )
        return {"n_images": len(images), **gallery_members.figures(clustering, members, labels)}
