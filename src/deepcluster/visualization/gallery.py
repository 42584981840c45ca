"""A gallery of clusters, for a person to look through: evaluation=gallery of eval.py. Next: gallery_members.py."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.clustering.metrics import size_statistics
from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.clusters_file import write_clusters
from deepcluster.evaluation.clusters.nearest_centroid import clustered, origin, stored_assignment
from deepcluster.evaluation.context import EvaluationContext, Evaluator
from deepcluster.system.atomic import write_atomically
from deepcluster.visualization.gallery_html import Pages
from deepcluster.visualization.gallery_members import ORDERS, Members, choose_members, in_order
from deepcluster.visualization.gallery_sheets import sheet
from deepcluster.visualization.thumbnails import thumbnail_size, thumbnails

FORMATS = ("html", "png")
SPLITS = ("train", "test")
PER_SHEET = 20  # clusters on a PNG
ON_SHEET = 64  # pixels of a thumbnail there, at most: photographs as PNG are large


@dataclass(kw_only=True)
class Gallery(Evaluator):
    """Show the members of each cluster: those nearest to its centroid, the farthest, and random ones.

    Distances are Euclidean in the reduced space, where the images were clustered.

    Args:
        kind: "gallery".
        order: of the clusters: largest, smallest, compact, loose (mean distance to the centroid), pure, mixed
            (share of the commonest label), number (as the run counts).
        n_clusters: the first so many in that order; null: all.
        n_members: nearest, farthest and random members, so many each.
        formats: "html": index.html and, for many clusters, page_001.html ...; "png": clusters_001.png ...
        clusters_per_page: of the web pages.
        thumbnail: side of the thumbnails in pixels; images in memory that are smaller stay as they are.
        split: "train" or "test" images.
        clusters: "auto": the run's own last assignment if these are its images, else the nearest centroids; "own"
            and "nearest" demand the one or the other.
    """

    kind: str = "gallery"
    order: str = "largest"
    n_clusters: int | None = None
    n_members: int = 6
    formats: list[str] = field(default_factory=lambda: ["html", "png"])
    clusters_per_page: int = 100
    thumbnail: int = 96
    split: str = "train"
    clusters: str = "auto"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"evaluation.order must be one of {', '.join(ORDERS)}, got {self.order!r}")
        if self.split not in SPLITS:
            raise ValueError(f"evaluation.split must be one of {', '.join(SPLITS)}, got {self.split!r}")
        if not self.formats or [name for name in self.formats if name not in FORMATS]:
            raise ValueError(f"evaluation.formats must name some of {', '.join(FORMATS)}, got {list(self.formats)}")
        if self.n_clusters is not None and self.n_clusters < 1:
            raise ValueError(f"evaluation.n_clusters must be at least 1 or null for all, got {self.n_clusters}")
        if not 1 <= self.n_members <= 50:
            raise ValueError(f"evaluation.n_members must be 1 to 50, got {self.n_members}")
        if self.clusters_per_page < 1:
            raise ValueError(f"evaluation.clusters_per_page must be at least 1, got {self.clusters_per_page}")
        if not 8 <= self.thumbnail <= 512:
            raise ValueError(f"evaluation.thumbnail must be 8 to 512 pixels, got {self.thumbnail}")

    def run(self, context: EvaluationContext) -> dict[str, float]:
        """Write the pages, clusters.csv (the cluster of each image) and gallery.csv (the numbers of each cluster).

        Returns:
            n_images, clusters_used, largest_share and entropy of the sizes, mean_distance, nearest_centroid_share
            (images whose cluster is that of the nearest centroid), and with labels purity (share of the labelled
            images that have their cluster's commonest label).

        Raises:
            ValueError: if the file holds no clusters, there are no test images, or an order by purity has no labels.
        """
        stored_assignment(context)
        images = context.train_images if self.split == "train" else context.test_images
        if images is None:
            raise ValueError(f"data={context.data.source} has no test images; set evaluation.split=train")
        labels = images.labels
        if labels is not None and not bool((labels >= 0).any()):
            labels = None
        if labels is None and ORDERS[self.order][0] == "purity":
            raise ValueError(
                f"evaluation.order={self.order} needs labels, data={context.data.source} has none; "
                "there are largest, smallest, compact, loose, number"
            )
        seen = clustered(context, images, self.clusters)
        write_clusters(context.folder / "clusters.csv", images, seen.clusters)
        found = choose_members(
            seen.clusters, seen.distances, labels, k=seen.k, n_members=self.n_members, seed=context.seed
        )
        ordered = in_order(found, self.order)
        names = None if labels is None else class_names(images, labels)
        write_csv(context.folder / "gallery.csv", images, ordered, names)
        where = origin(seen.own)
        self._write_pages(
            context, images, ordered, names, f"{where}; K = {seen.k:,}, {len(found):,} used{older(context)}"
        )
        sizes = size_statistics(seen.clusters, seen.k)
        numbers: dict[str, float] = {
            "n_images": len(images),
            "clusters_used": len(found),
            "largest_share": sizes["largest_share"],
            "entropy": sizes["entropy"],
            "mean_distance": float(seen.distances.double().mean()),
            "nearest_centroid_share": seen.nearest_share,
        }
        if labels is not None:
            known = torch.bincount(seen.clusters[labels >= 0], minlength=seen.k)
            right = sum(cluster.purity * int(known[cluster.number]) for cluster in found if cluster.purity is not None)
            numbers["purity"] = right / int(known.sum())
        context.progress.say(f"{len(images):,} images in {len(found):,} clusters ({where}){older(context)}")
        return numbers

    def _write_pages(
        self,
        context: EvaluationContext,
        images: ImageSet,
        ordered: list[Members],
        names: dict[int, str] | None,
        origin_told: str,
    ) -> None:
        shown = ordered if self.n_clusters is None else ordered[: self.n_clusters]
        size = thumbnail_size(images, self.thumbnail)
        n_shown = sum(len(cluster.shown) for cluster in shown)
        with context.progress.bar("thumbnails", n_shown * len(self.formats), "img") as advance:

            def pictures(indices: list[int], side: int = size) -> dict[int, Tensor]:
                chosen = torch.tensor(indices)
                return {i: picture.clone() for i, picture in thumbnails(context, images, chosen, side, advance)}

            if "png" in self.formats:
                for page, start in enumerate(range(0, len(shown), PER_SHEET)):
                    rows = shown[start : start + PER_SHEET]
                    small = pictures([i for c in rows for i in c.shown], min(size, ON_SHEET))
                    content = sheet(rows, small, names, self.n_members)
                    write_atomically(context.folder / f"clusters_{page + 1:03d}.png", content)
                remove_later(context.folder, "clusters", "png", page + 1)
                context.progress.say(f"pictures   {context.folder / 'clusters_001.png'} (of {page + 1})")
            if "html" in self.formats:
                self._write_html(context, images, shown, names, size, pictures, origin_told)
                context.progress.say(f"web page   {context.folder / 'index.html'}")

    def _write_html(
        self,
        context: EvaluationContext,
        images: ImageSet,
        shown: list[Members],
        names: dict[int, str] | None,
        size: int,
        pictures: Callable[[list[int]], dict[int, Tensor]],
        origin_told: str,
    ) -> None:
        samples = images.samples
        part = "" if self.n_clusters is None else f", the {len(shown):,} first by evaluation.order={self.order}"
        pages = Pages(
            title=f"Clusters of {self._where(context)}",
            facts=[
                f"{len(images):,} images; {origin_told}{part}",
                f"Network: {context.stored.path.parent.parent.name or context.stored.path.name}, "
                f"epochs trained: {context.stored.epoch}. Distances: to the centroid, in the space that was clustered.",
            ],
            shown=shown,
            order=self.order,
            names=names,
            samples=lambda i: str(samples[i]),
            per_page=self.clusters_per_page,
            size=size,
            n_members=self.n_members,
        )
        for name, content in pages.write(pictures):
            write_atomically(context.folder / name, content)
        remove_later(context.folder, "page", "html", 0 if pages.single else len(pages.chunks))

    @staticmethod
    def _where(context: EvaluationContext) -> str:
        data = context.data
        named = data.root is not None and data.source in ("folder", "parquet")  # others' name says what they are
        return Path(str(data.root)).resolve().name if named else data.source


def older(context: EvaluationContext) -> str:
    """What is to be said of clusters that are older than the network, as in a checkpoint of a run that goes on.

    Such checkpoints hold the head; final.ckpt, without, is written after a last clustering.
    """
    stale = context.stored.head is not None and context.stored.epoch > 0
    return "; its centroids are from before the last epoch of training, the distances from after it" if stale else ""


def remove_later(folder: Path, name: str, ending: str, n_pages: int) -> None:
    """Remove NAME_001.ENDING ... after the first `n_pages`, which an earlier call with other settings left there."""
    for file in folder.glob(f"{name}_*.{ending}"):
        number = file.stem.removeprefix(f"{name}_")
        if number.isdecimal() and len(number) >= 3 and int(number) > n_pages:
            file.unlink()


def class_names(images: ImageSet, labels: Tensor) -> dict[int, str]:
    """The name of each label that occurs, its number where it has none."""
    known: list[int] = torch.unique(labels[labels >= 0]).tolist()
    return {c: images.classes[c] if images.classes else str(c) for c in known}


def write_csv(path: Path, images: ImageSet, ordered: list[Members], names: dict[int, str] | None) -> None:
    """gallery.csv: one line per cluster, in the gallery's order."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    labelled = names is not None
    writer.writerow(["cluster", "size", "mean_distance", "nearest", *(["majority", "purity"] if labelled else [])])
    for c in ordered:
        row: list[object] = [c.number, c.size, f"{c.mean_distance:.6g}", images.samples[c.nearest[0]]]
        if names is not None:
            row += ["", ""] if c.majority is None else [names[c.majority], f"{c.purity:.4f}"]
        writer.writerow(row)
    write_atomically(path, text.getvalue().encode("utf-8", "surrogateescape"))
