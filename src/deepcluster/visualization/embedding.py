"""evaluation=embedding: features in the plane, by t-SNE or UMAP.

images --sample_space--> sample --plane--> points (n, 2) --embedding_charts--> pictures
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.evaluation.evaluator import Evaluator
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    from deepcluster.evaluation.context import EvaluationContext


@dataclass(kw_only=True)
class Embedding(Evaluator):
    """Draw the features of a sample of images in the plane, coloured by cluster and by label, and as thumbnails.

    Without ckpt it draws those of the untrained network that arch, init, data, view and the seed name.

    Args:
        kind: "embedding".
        head: which labeling, counted from 0, where images are clustered several times.
        method: "tsne" (van der Maaten and Hinton 2008, scikit-learn's) or "umap" (McInnes et al. 2018, umap-learn).
        n_images: images in the picture, drawn at random. t-SNE of 50,000 images takes an hour.
        split: "train" or "test" images.
        dim: PCA dimension of the sample, without whitening; each image's reduced features are then scaled to length 1.
        metric: "cosine" or "euclidean", between the reduced features.
        perplexity: for t-SNE: about how many neighbours count; at most a third of the images.
        n_neighbors: for UMAP: how many neighbours count.
        min_dist: for UMAP: smallest distance between points of the picture.
        k: neighbours for trustworthiness and for the agreement of labels.
        clusters: "auto": the run's own last assignment if these are its images, else the nearest centroids; "own"
            and "nearest" accept only the one or the other.
        thumbnails: thumbnails along each side of the mosaic; 0 draws no mosaic.
    """

    makes = "pictures"
    needs_checkpoint: ClassVar[bool] = False

    kind: str = "embedding"
    head: int = setting(0, at_least=0)
    method: str = setting("tsne", one_of=("tsne", "umap"))
    n_images: int = setting(3000, at_least=20, at_most=50_000)
    split: str = setting("train", one_of=("train", "test"))
    # van der Maaten and Hinton 2008, section 4.2: 30 by PCA; scikit-learn's advice is 50
    dim: int = setting(50, at_least=2)
    metric: str = setting("cosine", one_of=("cosine", "euclidean"))
    perplexity: float = setting(30.0, above=1)
    n_neighbors: int = setting(15, at_least=2)
    min_dist: float = setting(0.1, at_least=0, at_most=1)
    k: int = setting(10, at_least=1)
    clusters: str = setting("auto", one_of=("auto", "own", "nearest"))
    thumbnails: int = setting(48, at_least=0, at_most=200)

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write embedding.csv and embedding_clusters.png, embedding_labels.png, embedding_thumbnails.png.

        Returns:
            n_images, and what :func:`~deepcluster.visualization.plane.faithfulness` gives.

        Raises:
            ImportError: if matplotlib, or for "umap" umap-learn, is missing.
            ValueError: if there are too few images or no test images; see :func:`draw_sample`.
        """
        from deepcluster.visualization import embedding_charts, plane
        from deepcluster.visualization.sample_space import draw_sample, images_of_split

        context = context.of_labeling(self.head)
        embedding_charts.check_library()
        if self.method == "umap":
            plane.umap_library()
        images = images_of_split(context, self.split)
        n = min(self.n_images, len(images))
        if n <= 2 * self.k:  # scikit-learn: k < n / 2
            raise ValueError(
                f"evaluation.k={self.k} needs more than {2 * self.k} images, there are {n}; "
                "lower it, or give more images"
            )
        sample = draw_sample(context, images, n=n, dim=self.dim, clusters=self.clusters)
        context.progress.say(f"embedding  {n:,} of {len(images):,} images by {self.method}")
        points = plane.project(
            sample.features.numpy(),
            method=self.method,
            metric=self.metric,
            perplexity=self.perplexity,
            n_neighbors=self.n_neighbors,
            min_dist=self.min_dist,
            seed=context.seed,
        )
        plane.write_points(context.folder / "embedding.csv", images, sample, points)
        title = f"{n:,} images, {'t-SNE' if self.method == 'tsne' else 'UMAP'} of the features"
        embedding_charts.write_pictures(context, images, sample, points, title=title, n_thumbnails=self.thumbnails)
        return {"n_images": n, **plane.faithfulness(sample, points, k=self.k, metric=self.metric)}
