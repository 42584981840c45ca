"""evaluation=page: the clusters, a map, duplicates and odd pictures as a page that a browser opens from the disk.

images --cluster_images--> clusters, distances, rows --neighbours, map, thumbnails--> files --web/--> a person
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Page(Evaluator):
    """Make a page of all images: RUN/page/ for the run's images and clusters, else page/ in the evaluation's folder.

    Args:
        kind: "page".
        head: which labeling, counted from 0, where images are clustered several times.
        split: "train" or "test" images.
        clusters: "auto": the run's own last assignment if these are its images, else the nearest centroids; "own"
            and "nearest" accept only the one or the other.
        groups: join the clusters to so many groups (evaluation=merge), by which they can be filtered; null: to none.
        thumbnail: side of the thumbnails in pixels; smaller images in memory are not enlarged.
        n_similar: similar pictures that are shown beside a picture.
    """

    makes = "pictures"

    kind: str = "page"
    head: int = setting(0, at_least=0)
    split: str = setting("train", one_of=("train", "test"))
    clusters: str = setting("auto", one_of=("auto", "own", "nearest"))
    groups: int | None = setting(None, at_least=2, hint="null makes no groups")
    thumbnail: int = setting(96, at_least=8, at_most=512)
    n_similar: int = setting(12, at_least=1, at_most=100)

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write the page.

        Returns:
            n_images and :func:`~deepcluster.visualization.page.arrange.figures`.

        Raises:
            ValueError: if the file holds no clusters or fewer than `groups`, or there are fewer than two images.
        """
        from deepcluster.evaluation.clusters.clustered_images import cluster_images, rows_for, stored_assignment
        from deepcluster.evaluation.clusters.merged_clusters import merge_clusters
        from deepcluster.visualization.page.arrange import figures
        from deepcluster.visualization.page.make import PageMaker
        from deepcluster.visualization.sample_space import images_of_split

        context = context.of_labeling(self.head)
        assignment, images = stored_assignment(context), images_of_split(context, self.split)
        if len(images) < 2:
            raise ValueError(f"{context.data.place} holds one picture; a page shows how several lie: give at least two")
        merged = None if self.groups is None else merge_clusters(assignment, self.groups, key="evaluation.groups")
        if (rows := context.rows_of(images)) is not None:
            clustering = cluster_images(context, images, self.clusters)
        else:
            rows = kept = rows_for(len(images), assignment, context.folder)
            clustering = cluster_images(context, images, self.clusters, lambda indices, x: kept.__setitem__(indices, x))
        maker = PageMaker(
            context=context,
            images=images,
            clustering=clustering,
            thumbnail=self.thumbnail,
            n_similar=self.n_similar,
            is_of_run=clustering.own and self.head == 0,
            merged=merged,
        )
        maker.write(rows)
        return {"n_images": len(images), **figures(clustering, maker.labels)}
