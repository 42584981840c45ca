"""Write a page: data, thumbnails, then the program that shows them. Called by evaluation.py."""

import hashlib
import os
import shutil
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepcluster.clustering.neighbours import nearest_neighbours
from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Folder, Parquet
from deepcluster.evaluation.bundle import names_of_clusters
from deepcluster.evaluation.clusters.clustered_images import ClusteredImages, clusters_origin
from deepcluster.evaluation.clusters.merged_clusters import MergedClusters
from deepcluster.evaluation.context import EvaluationContext
from deepcluster.system.seeding import mix
from deepcluster.visualization.page import run_files
from deepcluster.visualization.page.arrange import Arrangement, arrange, cluster_table
from deepcluster.visualization.page.chunks import write_chunk, write_in_chunks
from deepcluster.visualization.page.neighbour_map import layout
from deepcluster.visualization.page.sheets import ACROSS, COVER_ACROSS, COVER_DOWN, LOSSLESS, file_ending, write_sheets
from deepcluster.visualization.thumbnails import thumbnail_size, thumbnails

NAMES_PER_CHUNK, SIMILAR_PER_CHUNK = 10_000, 5_000
PARTS = ("data", "sheets", "covers")  # folders of a page; an earlier page's are removed


@dataclass(kw_only=True)
class PageMaker:
    """Makes the page of some clustered images.

    Args:
        context: the network, the folder and the progress bar.
        images: the N images.
        clustering: theirs.
        thumbnail: most pixels of a thumbnail's side.
        n_similar: neighbours of each image.
        merged: the clusters in groups; None: there are none.
        is_of_run: these are the run's images and its clusters, so the page belongs into its folder and shows its files.
    """

    context: EvaluationContext
    images: ImageSet
    clustering: ClusteredImages
    thumbnail: int
    n_similar: int
    is_of_run: bool
    merged: MergedClusters | None = None
    arranged: Arrangement = field(init=False)

    def __post_init__(self) -> None:
        labels = self.images.labels
        self.labels = None if labels is None or not bool((labels >= 0).any()) else labels
        self.arranged = arrange(self.clustering, self.labels)
        run = self.context.stored.home
        self.run = run if self.is_of_run and (run / "config.yaml").is_file() else None

    @property
    def folder(self) -> Path:
        """Where the page goes."""
        return (self.run or self.context.folder) / "page"

    @cached_property
    def places(self) -> dict[str, int]:
        """A picture's name -> its number on the page."""
        return dict(zip(self.images.samples, self.arranged.place.tolist(), strict=True))

    def write(self, rows: Tensor) -> None:
        """Write all files, index.html last: a page that is cut short has none.

        Args:
            rows: (N, P) float32, reduced, as they were clustered.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "index.html").unlink(missing_ok=True)
        for part in PARTS:
            shutil.rmtree(self.folder / part, ignore_errors=True)
        data = self.folder / "data"
        data.mkdir()
        overview = self._overview()
        overview["images"] |= self._write_pictures()
        self._write_neighbours(data, rows)
        self._write_columns(data)
        overview |= self._write_of_run(data)
        write_chunk(data, "overview", overview)
        self._write_program()
        self.context.progress.say(f"page       {(self.folder / 'index.html').resolve().as_uri()}")

    def _overview(self) -> dict[str, Any]:
        samples, stored = self.images.samples, self.context.stored
        digest = hashlib.blake2b(digest_size=8)
        for sample in samples:
            digest.update(sample.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(self.clustering.clusters.numpy().tobytes())
        data = self.context.data
        root = os.path.abspath(data.root) if isinstance(data, Folder) else None
        return {
            "key": digest.hexdigest(),
            "network": stored.home.name or stored.path.name,
            "epochs": stored.epoch,
            "origin": clusters_origin(self.clustering.own),
            "k": self.clustering.k,
            "n": len(self.images),
            "classes": self.images.classes,
            "clusters": cluster_table(self.arranged, self.merged),
            "images": {
                "root": root,
                "relative": None if root is None else os.path.relpath(root, self.folder).replace(os.sep, "/"),
                "source": data.source,
                "names_per_chunk": NAMES_PER_CHUNK,
                "similar_per_chunk": SIMILAR_PER_CHUNK,
                "n_similar": min(self.n_similar, len(self.images) - 1),
            },
        }

    def _write_pictures(self) -> dict[str, Any]:
        size = thumbnail_size(self.images, self.thumbnail)
        with self.context.progress.bar("thumbnails", len(self.images), "img") as advance:
            order = torch.from_numpy(self.arranged.order)
            pictures = (picture for _, picture in thumbnails(self.context, self.images, order, size, advance))
            write_sheets(pictures, self.arranged.sizes, self.arranged.numbers, self.folder, size=size)
        return {
            "size": size,
            "ending": file_ending(size),
            "sharp": size <= LOSSLESS,
            "across": ACROSS,
            "cover": [COVER_ACROSS, COVER_DOWN],
        }

    def _write_neighbours(self, data: Path, rows: Tensor) -> None:
        n = min(self.n_similar, len(rows) - 1)
        order, place = self.arranged.order, self.arranged.place
        with self.context.progress.bar("neighbours", 100, "%") as advance:
            nearest, squared = nearest_neighbours(rows, n, backend="faiss", progress=lambda: advance(1))
        similar = place[nearest[order]].astype(np.int32)
        write_in_chunks(data, "similar", similar, SIMILAR_PER_CHUNK)
        seed = mix(self.context.seed, "map")
        points = layout(nearest, np.sqrt(squared), rows[:, :2].numpy(), seed=seed)[order]
        write_chunk(data, "map", {"x": _spread(points[:, 0], points), "y": _spread(points[:, 1], points)})

    def _write_columns(self, data: Path) -> None:
        order, samples = self.arranged.order, self.images.samples
        columns: dict[str, NDArray[Any]] = {"distance": self.clustering.distances.numpy()[order].astype(np.float32)}
        if self.labels is not None:
            columns["label"] = self.labels.numpy()[order].astype(np.int32)
        if self.run is not None and (margins := run_files.margins(self.run, self.places)) is not None:
            columns["margin"] = margins
        write_chunk(data, "columns", columns)
        write_in_chunks(data, "names", [samples[i] for i in order.tolist()], NAMES_PER_CHUNK)

    def _write_of_run(self, data: Path) -> dict[str, Any]:
        """What other files of the run tell."""
        if self.run is None:
            return {"names": {}, "figures": None, "changes": None, "scan": None, "n_odd": 0, "n_duplicates": 0}
        odd, duplicates = run_files.odd_pictures(self.run, self.places), run_files.duplicates(self.run, self.places)
        write_chunk(data, "odd", odd)
        write_chunk(data, "duplicates", duplicates)
        return {
            "names": names_of_clusters(None, self.run, self.clustering.k),
            "figures": run_files.figures(self.run),
            "changes": run_files.changes(self.run, self.places),
            "scan": run_files.scan(self.run, self.folder),
            "n_odd": len(odd.get("images", ())),
            "n_duplicates": len(duplicates),
        }

    def _write_program(self) -> None:
        web = files("deepcluster.visualization.page") / "web"
        for file in web.iterdir():
            if file.name != "index.html":
                (self.folder / file.name).write_bytes(file.read_bytes())
        data = self.context.data
        title = Path(data.root).resolve().name if isinstance(data, Folder | Parquet) else data.source
        index = (web / "index.html").read_text(encoding="utf-8").replace("TITLE", escape(title))
        (self.folder / "index.html").write_text(index, encoding="utf-8", errors="backslashreplace")


def _spread(values: NDArray[np.float32], points: NDArray[np.float32]) -> NDArray[np.uint16]:
    """One coordinate as 0..65535; both have the same scale, that of the wider one, and lie in the middle."""
    low, high = points.min(axis=0), points.max(axis=0)
    side = max(float((high - low).max()), 1e-12)
    middle = (float(values.min()) + float(values.max())) / 2
    return np.round(((values - middle) / side + 0.5) * 65535).astype(np.uint16)
