"""The files of a gallery: pages of clusters as PNG and as HTML, and gallery.csv. Called by gallery.py."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Data
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.atomic import write_atomically
from deepcluster.system.tables import write_csv
from deepcluster.visualization.gallery_html import Pages
from deepcluster.visualization.gallery_members import Members
from deepcluster.visualization.gallery_sheets import sheet
from deepcluster.visualization.thumbnails import thumbnail_size, thumbnails

PER_SHEET = 20  # clusters on a PNG
ON_SHEET = 64  # pixels of a thumbnail there, at most: photographs as PNG are large


@dataclass(kw_only=True)
class GalleryPages:
    """Writes the pages into the context's folder; pages that an earlier call left beyond the last one are removed.

    Args:
        context: the network, the folder, and who shows progress.
        images: of the clusters.
        shown: the clusters, in their order.
        names: of the labels that occur; None without labels.
        n_members: thumbnails of each of nearest, farthest and random.
        thumbnail: their side in pixels, at most.
    """

    context: EvaluationContext
    images: ImageSet
    shown: list[Members]
    names: dict[int, str] | None
    n_members: int
    thumbnail: int

    def write(self, formats: Sequence[str], *, order: str, clusters_per_page: int, whose: str) -> None:
        """Write the pages.

        Args:
            formats: "html", "png" or both.
            order: the name of the clusters' order.
            clusters_per_page: of the web pages.
            whose: which clusters they are, for the web page.
        """
        size = thumbnail_size(self.images, self.thumbnail)
        folder, n_shown = self.context.folder, sum(len(cluster.shown) for cluster in self.shown)
        with self.context.progress.bar("thumbnails", n_shown * len(formats), "img") as advance:

            def pictures(indices: list[int], side: int) -> dict[int, Tensor]:
                chosen = torch.tensor(indices)
                return {i: one.clone() for i, one in thumbnails(self.context, self.images, chosen, side, advance)}

            if "png" in formats:
                chunks = [self.shown[i : i + PER_SHEET] for i in range(0, len(self.shown), PER_SHEET)]
                for page, rows in enumerate(chunks, start=1):
                    small = pictures([i for cluster in rows for i in cluster.shown], min(size, ON_SHEET))
                    write_atomically(
                        folder / f"clusters_{page:03d}.png", sheet(rows, small, self.names, self.n_members)
                    )
                _remove_later(folder, "clusters", "png", len(chunks))
                self.context.progress.say(f"pictures   {folder / 'clusters_001.png'} (of {len(chunks)})")
            if "html" in formats:
                pages = self._web_pages(order, clusters_per_page, size, whose)
                for name, content in pages.write(lambda indices: pictures(indices, size)):
                    write_atomically(folder / name, content)
                _remove_later(folder, "page", "html", 0 if pages.single else len(pages.chunks))
                self.context.progress.say(f"web page   {folder / 'index.html'}")

    def _web_pages(self, order: str, per_page: int, size: int, whose: str) -> Pages:
        stored, samples = self.context.stored, self.images.samples
        return Pages(
            title=f"Clusters of {_name_of(self.context.data)}",
            facts=[
                f"{len(self.images):,} images; {whose}",
                f"Network: {stored.path.parent.parent.name or stored.path.name}, epochs trained: {stored.epoch}. "
                "Distances: to the centroid, in the space that was clustered.",
            ],
            shown=self.shown,
            order=order,
            names=self.names,
            samples=lambda i: str(samples[i]),
            per_page=per_page,
            size=size,
            n_members=self.n_members,
        )


def _name_of(data: Data) -> str:
    """The folder's name for sources of the user's own files; the other sources' names say what they are."""
    if data.root is not None and data.source in ("folder", "parquet"):
        return Path(data.root).resolve().name
    return data.source


def _remove_later(folder: Path, name: str, ending: str, n_pages: int) -> None:
    """Remove NAME_001.ENDING ... after the first `n_pages`, which an earlier call with other settings left there."""
    for file in folder.glob(f"{name}_*.{ending}"):
        number = file.stem.removeprefix(f"{name}_")
        if number.isdecimal() and len(number) >= 3 and int(number) > n_pages:
            file.unlink()


def older(context: EvaluationContext) -> str:
    """What is to be said of clusters that are older than the network, as in a checkpoint of a run that goes on.

    Such checkpoints hold the head; final.ckpt holds none, and is written after a last clustering.
    """
    stale = context.stored.head is not None and context.stored.epoch > 0
    return "; its centroids are from before the last epoch of training, the distances from after it" if stale else ""


def class_names(images: ImageSet, labels: Tensor) -> dict[int, str]:
    """The name of each label that occurs, its number where it has none."""
    present: list[int] = torch.unique(labels[labels >= 0]).tolist()
    return {c: images.classes[c] if images.classes else str(c) for c in present}


def write_table(path: Path, images: ImageSet, ordered: Sequence[Members], names: dict[int, str] | None) -> None:
    """gallery.csv: one line per cluster, in the gallery's order."""

    def rows() -> Iterator[list[object]]:
        for c in ordered:
            row: list[object] = [c.number, c.size, f"{c.mean_distance:.6g}", images.samples[c.nearest[0]]]
            if names is not None:
                row += ["", ""] if c.majority is None else [names[c.majority], f"{c.purity:.4f}"]
            yield row

    columns = ["cluster", "size", "mean_distance", "nearest", *([] if names is None else ["majority", "purity"])]
    write_csv(path, columns, rows())
