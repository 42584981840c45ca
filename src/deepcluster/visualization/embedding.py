"""Features in the plane, by t-SNE or UMAP: evaluation=embedding of eval.py. Next: embedding_charts.py draws them."""

import csv
import io
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE, trustworthiness
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.nearest_centroid import origin
from deepcluster.evaluation.context import EvaluationContext, Evaluator
from deepcluster.system.atomic import write_atomically
from deepcluster.system.seeding import mix
from deepcluster.visualization import embedding_charts
from deepcluster.visualization.sample_space import Sample, draw_sample
from deepcluster.visualization.thumbnails import thumbnail_size, thumbnails

METHODS = ("tsne", "umap")
METRICS = ("cosine", "euclidean")
SPLITS = ("train", "test")
MOST_IMAGES = 50_000  # t-SNE of so many takes an hour
MOST_TRUSTED = 5_000  # trustworthiness ranks all pairs: n x n numbers


@dataclass(kw_only=True)
class Embedding(Evaluator):
    """Draw the features of a sample of images in the plane, coloured by cluster and by label, and as thumbnails.

    Args:
        kind: "embedding".
        method: "tsne" (van der Maaten and Hinton 2008, scikit-learn's) or "umap" (McInnes et al. 2018, umap-learn).
        n_images: images in the picture, drawn at random.
        split: "train" or "test" images.
        dim: directions of the sample's PCA, without whitening, before each image's features get length 1.
        metric: "cosine" or "euclidean", between these.
        perplexity: of t-SNE: about how many neighbours count; at most a third of the images.
        n_neighbors: of UMAP: how many neighbours count.
        min_dist: of UMAP: how close points may lie.
        k: neighbours for trustworthiness and for the agreement of labels.
        clusters: "auto": the run's own last assignment if these are its images, else the nearest centroids; "own"
            and "nearest" demand the one or the other.
        thumbnails: side of the mosaic of thumbnails, in thumbnails; 0 draws none.
    """

    kind: str = "embedding"
    method: str = "tsne"
    n_images: int = 3000
    split: str = "train"
    dim: int = 50  # van der Maaten and Hinton 2008, section 4.2: 30 by PCA; scikit-learn's advice is 50
    metric: str = "cosine"
    perplexity: float = 30.0
    n_neighbors: int = 15
    min_dist: float = 0.1
    k: int = 10
    clusters: str = "auto"
    thumbnails: int = 48

    def __post_init__(self) -> None:
        for name, allowed in (("method", METHODS), ("metric", METRICS), ("split", SPLITS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"evaluation.{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if not 20 <= self.n_images <= MOST_IMAGES:
            raise ValueError(f"evaluation.n_images must be 20 to {MOST_IMAGES:,}, got {self.n_images}")
        for name, least in (("dim", 2), ("n_neighbors", 2), ("k", 1), ("thumbnails", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"evaluation.{name} must be at least {least}, got {getattr(self, name)}")
        if self.thumbnails > 200:
            raise ValueError(f"evaluation.thumbnails must be at most 200 in a row, got {self.thumbnails}")
        if self.perplexity <= 1:
            raise ValueError(f"evaluation.perplexity must be above 1, got {self.perplexity}")
        if not 0 <= self.min_dist <= 1:
            raise ValueError(f"evaluation.min_dist must be between 0 and 1, got {self.min_dist}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write embedding.csv and embedding_clusters.png, embedding_labels.png, embedding_thumbnails.png.

        Returns:
            n_images; trustworthiness in the plane, 1 if no image came among another's k nearest that was not near
            before (Venna and Kaski 2001; of at most 5,000 images); and with labels knn_label_agreement, the mean
            share of an image's k nearest in the plane that have its label, and knn_label_agreement_features, the
            same before, in the reduced features.

        Raises:
            ImportError: if matplotlib, or for "umap" umap-learn, is missing.
            ValueError: if there are too few images or no test images; see :func:`draw_sample`.
        """
        embedding_charts.check_library()
        if self.method == "umap":
            umap_library()
        images = context.train_images if self.split == "train" else context.test_images
        if images is None:
            raise ValueError(f"data={context.data.source} has no test images; set evaluation.split=train")
        n = min(self.n_images, len(images))
        if n <= 2 * self.k:  # scikit-learn: k < n / 2
            raise ValueError(
                f"evaluation.k={self.k} needs more than {2 * self.k} images, there are {n}; "
                "lower it, or give more images"
            )
        sample = draw_sample(context, images, n=n, dim=self.dim, clusters=self.clusters)
        context.progress.say(f"embedding  {n:,} of {len(images):,} images by {self.method}")
        plane = self.embed(sample.features.numpy(), seed=context.seed)
        write_csv(context, images, sample, plane)
        self._draw(context, images, sample, plane)
        return {"n_images": n, **self.numbers(sample, plane)}

    def embed(self, features: NDArray[np.float32], *, seed: int) -> NDArray[np.float64]:
        """(n, P) -> (n, 2), the same for the same seed.

        UMAP is repeatable with one thread only, and takes one; so is t-SNE for a number of threads.
        """
        random_state = mix(seed, "embedding", self.method) % 2**32
        if self.method == "tsne":
            perplexity = min(self.perplexity, (len(features) - 1) / 3)
            made: Any = TSNE(perplexity=perplexity, metric=self.metric, init="pca", random_state=random_state)
        else:
            made = umap_library()(
                n_neighbors=min(self.n_neighbors, len(features) - 1),
                min_dist=self.min_dist,
                metric=self.metric,
                random_state=random_state,
                n_jobs=1,
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # UMAP's of one thread, of graphs in several parts
            plane: NDArray[np.float64] = made.fit_transform(features).astype(np.float64)
        return plane

    def numbers(self, sample: Sample, plane: NDArray[np.float64]) -> dict[str, float]:
        """How faithful the plane is; see :meth:`run`."""
        n = min(len(plane), MOST_TRUSTED)
        first = torch.randperm(len(plane), generator=torch.Generator().manual_seed(0))[:n].numpy()
        features = sample.features.numpy()
        result = {
            "trustworthiness": float(
                trustworthiness(features[first], plane[first], n_neighbors=self.k, metric=self.metric)
            )
        }
        if sample.labels is not None:
            result["knn_label_agreement"] = label_agreement(plane, sample.labels, self.k, "euclidean")
            result["knn_label_agreement_features"] = label_agreement(features, sample.labels, self.k, self.metric)
        return {name: value for name, value in result.items() if np.isfinite(value)}

    def _draw(self, context: EvaluationContext, images: ImageSet, sample: Sample, plane: NDArray[np.float64]) -> None:
        what = f"{len(plane):,} images, {'t-SNE' if self.method == 'tsne' else 'UMAP'} of the features"
        files = []
        if sample.clusters is not None:
            assert context.stored.assignment is not None
            title = f"{what}, coloured by cluster ({context.stored.assignment.k:,}, {origin(sample.own)})"
            files.append(context.folder / "embedding_clusters.png")
            embedding_charts.by_cluster(plane, sample.clusters.numpy(), title, files[-1])
        if sample.labels is not None:
            files.append(context.folder / "embedding_labels.png")
            names = images.classes or [str(c) for c in range(int(sample.labels.max()) + 1)]
            embedding_charts.by_label(plane, sample.labels.numpy(), names, f"{what}, coloured by label", files[-1])
        if self.thumbnails:
            places = embedding_charts.thin(plane, self.thumbnails)
            size = thumbnail_size(images, 48)
            kept = sample.indices[torch.tensor([row for row, _, _ in places])]
            with context.progress.bar("thumbnails", len(kept), "img") as advance:
                pictures = [picture for _, picture in thumbnails(context, images, kept, size, advance)]
            files.append(context.folder / "embedding_thumbnails.png")
            embedding_charts.mosaic(pictures, [(row, column) for _, row, column in places], files[-1])
        for file in files:
            context.progress.say(f"picture    {file}")


def umap_library() -> Any:
    """The class UMAP.

    Raises:
        ImportError: if umap-learn is not installed.
    """
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError(f"evaluation.method=umap needs an extra: pip install -e '.[viz]' ({error})") from error
    return UMAP


def label_agreement(points: NDArray[Any], labels: Tensor, k: int, metric: str) -> float:
    """Mean share of the k nearest labelled points that have a point's own label; NaN if there are not k others."""
    known = labels.numpy() >= 0
    points, classes = points[known], labels.numpy()[known]
    if len(points) <= k:
        return float("nan")
    neighbours = NearestNeighbors(n_neighbors=k, metric=metric).fit(points).kneighbors(return_distance=False)
    return float((classes[neighbours] == classes[:, None]).mean())


def write_csv(context: EvaluationContext, images: ImageSet, sample: Sample, plane: NDArray[np.float64]) -> None:
    """embedding.csv: identity, place, cluster and label of each image of the sample."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["sample", "x", "y", "cluster", "label"])
    for i, index in enumerate(sample.indices.tolist()):
        label = -1 if sample.labels is None else int(sample.labels[i])
        name = "" if label < 0 else images.classes[label] if images.classes else str(label)
        cluster = "" if sample.clusters is None else int(sample.clusters[i])
        writer.writerow([images.samples[index], f"{plane[i, 0]:.6g}", f"{plane[i, 1]:.6g}", cluster, name])
    file = context.folder / "embedding.csv"
    write_atomically(file, text.getvalue().encode("utf-8", "surrogateescape"))
