"""Write the files of a gallery: pages of clusters as PNG and as HTML, and gallery.csv. Called by gallery.py."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Folder, Parquet, Source
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.atomic import write_atomically
from deepcluster.system.tables import write_csv
from deepcluster.visualization.gallery_html import Pages
from deepcluster.visualization.gallery_members import Members
from deepcluster.visualization.gallery_sheets import gallery_sheet
from deepcluster.visualization.thumbnails import thumbnail_size, thumbnails

PER_SHEET = 20  # clusters on a PNG
ON_SHEET = 64  # most pixels of a thumbnail's side on a PNG, whose file would otherwise be large with photographs


@dataclass(kw_only=True)
class GalleryPages:
    """Writes the pages into the context's folder; removes pages of an earlier call that had more.

    Args:
        context: the network, the folder and the progress bar.
        images: the clustered images.
        shown: the clusters, in their order on the pages.
        names: label -> the class's name; None without labels.
        n_members: thumbnails of each kind: nearest, farthest, random.
        thumbnail: most pixels of a thumbnail's side.
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
            clusters_per_page: on a web page.
            whose: says on the web page which clusters they are.
        """
        size = thumbnail_size(self.images, self.thumbnail)
        folder, n_shown = self.context.folder, sum(len(cluster.shown) for cluster in self.shown)
        with self.context.progress.bar("thumbnails", n_shown * len(formats), "img") as advance:

            def pictures(indices: list[int], side: int) -> dict[int, Tensor]:
                chosen = torch.tensor(indices)
                return {
                    i: picture.clone() for i, picture in thumbnails(self.context, self.images, chosen, side, advance)
                }

            if "png" in formats:
                chunks = [self.shown[i : i + PER_SHEET] for i in range(0, len(self.shown), PER_SHEET)]
                for page, rows in enumerate(chunks, start=1):
                    small = pictures([i for cluster in rows for i in cluster.shown], min(size, ON_SHEET))
                    write_atomically(
                        folder / f"clusters_{page:03d}.png", gallery_sheet(rows, small, self.names, self.n_members)
                    )
                _remove_surplus(folder, "clusters", "png", len(chunks))
                self.context.progress.say(f"pictures   {folder / 'clusters_001.png'} (of {len(chunks)})")
            if "html" in formats:
                pages = self._web_pages(order, clusters_per_page, size, whose)
                for name, content in pages.write(lambda indices: pictures(indices, size)):
                    write_atomically(folder / name, content)
                _remove_surplus(folder, "page", "html", 0 if pages.single else len(pages.chunks))
                self.context.progress.say(f"web page   {folder / 'index.html'}")

    def _web_pages(self, order: str, per_page: int, size: int, whose: str) -> Pages:
        stored, samples = self.context.stored, self.images.samples
        return Pages(
            title=f"Clusters of {_data_name(self.context.data)}",
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


def _data_name(data: Source) -> str:
    """The folder's name for the user's own files; otherwise the source's name, such as cifar10."""
    if isinstance(data, Folder | Parquet):
        return Path(data.root).resolve().name
    return data.source


def _remove_surplus(folder: Path, name: str, ending: str, n_pages: int) -> None:
    """Remove pages NAME_001.ENDING ... beyond the first `n_pages`, which an earlier call left."""
    for file in folder.glob(f"{name}_*.{ending}"):
        number = file.stem.removeprefix(f"{name}_")
        if number.isdecimal() and len(number) >= 3 and int(number) > n_pages:
            file.unlink()


def age_note(context: EvaluationContext) -> str:
    """A note if the clusters are older than the network, as in the last.ckpt of a run; otherwise empty.

    Only such checkpoints hold the head. final.ckpt holds none, and is written after a last clustering.
    """
    stale = context.stored.head is not None and context.stored.epoch > 0
    return "; its centroids are from before the last epoch of training, the distances from after it" if stale else ""


def class_names(images: ImageSet, labels: Tensor) -> dict[int, str]:
    """Label -> its name, or its number if it has no name, for the labels that occur."""
    present: list[int] = torch.unique(labels[labels >= 0]).tolist()
    return {c: images.classes[c] if images.classes else str(c) for c in present}


def write_table(path: Path, images: ImageSet, ordered: Sequence[Members], names: dict[int, str] | None) -> None:
    """Write gallery.csv: a line for each cluster, in the gallery's order."""

    def rows() -> Iterator[list[object]]:
        for c in ordered:
            row: list[object] = [c.number, c.size, f"{c.mean_distance:.6g}", images.samples[c.nearest[0]]]
            if names is not None:
                row += ["", ""] if c.majority is None else [names[c.majority], f"{c.purity:.4f}"]
            yield row

    columns = ["cluster", "size", "mean_distance", "nearest", *([] if names is None else ["majority", "purity"])]
    write_csv(path, columns, rows())
