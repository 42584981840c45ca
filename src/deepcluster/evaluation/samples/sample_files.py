"""Writes what is known of single images: clusters.csv, duplicates.csv, odd.csv, embeddings.npy. Next: places.py."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.data.images import ImageSet
from deepcluster.data.settings import Folder, Source
from deepcluster.evaluation.clusters.clusters_file import Column, write_clusters
from deepcluster.evaluation.samples.duplicates import (
    Groups,
    distinct,
    file_ranks,
    group_copies,
    group_numbers,
    write_duplicates,
)
from deepcluster.evaluation.samples.near_copies import near_copies
from deepcluster.evaluation.samples.odd import FEWEST_USUAL, Usual, odd_scores, write_odd
from deepcluster.evaluation.samples.places import find_places
from deepcluster.evaluation.samples.settings import AboutImages
from deepcluster.evaluation.samples.small_pictures import SmallPictures, small_pictures
from deepcluster.evaluation.samples.statistics import N as N_STATISTICS
from deepcluster.features.extraction import FeaturePass
from deepcluster.system.atomic import opened_atomically
from deepcluster.system.tables import write_csv
from deepcluster.system.words import command

CLUSTERS, DUPLICATES, ODD = "clusters.csv", "duplicates.csv", "odd.csv"
STATISTICS = "statistics.npy"  # (N, 43) float32, see statistics.py
EMBEDDINGS, EMBEDDED = "embeddings.npy", "embeddings.csv"  # rows, and the names of their images


class Progress(Protocol):
    """Shows progress to the user."""

    def bar(self, title: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar of `total` units; yields ``advance(n)``."""

    def say(self, line: str) -> None:
        """Print a line."""


@dataclass(kw_only=True)
class SampleFiles:
    """Writes the files into a folder. Memory grows by about 5 KB an image.

    Args:
        folder: where they go.
        images: the N images.
        test_images: looked through for copies of the images too; None: there are none.
        root: the folder that the names of images begin in; None: they are no files.
        settings: which files.
        batch_size: images read at once; num_workers: processes that read; device: where they are made small.
        seed: of all that is drawn.
    """

    folder: Path
    images: ImageSet
    test_images: ImageSet | None
    root: Path | None
    settings: AboutImages
    batch_size: int
    num_workers: int
    device: torch.device
    seed: int
    progress: Progress

    def write(
        self,
        feature_pass: FeaturePass,
        assignment: Assignment,
        labels: Tensor | None,
        *,
        dim: int,
        rows_to: Tensor | None = None,
    ) -> dict[str, float]:
        """Write all files.

        Args:
            feature_pass: the network's pass over the images.
            assignment: gives centroids and reduction.
            labels: (N,) clusters; None: those of the nearest centroids.
            dim: features D of an image.
            rows_to: (N, P) float32, is filled with the reduced rows; None: nobody needs them.

        Returns:
            What :meth:`find_duplicates` returns.
        """
        n, numbers = len(self.images), dict[str, float]()
        is_small = 4 * n * dim <= 1e6 * self.settings.embeddings_mb
        with self.progress.bar("places of images", n, "img") as advance:
            places = find_places(
                feature_pass,
                assignment,
                labels=labels,
                advance=advance,
                features_to=self.folder / EMBEDDINGS if is_small else None,
                rows_to=rows_to,
            )
        if is_small:
            write_csv(self.folder / EMBEDDED, ["sample"], ([self.images.samples[i]] for i in range(n)))
        elif self.settings.embeddings_mb:
            self.progress.say(
                f"embeddings not written: {n:,} x {dim:,} numbers are {4 * n * dim / 1e6:,.0f} MB, embeddings_mb="
                f"{self.settings.embeddings_mb}; {command('embed', 'RUN')} writes them"
            )
        further = [
            Column(name="distance", values=places.distances, form="{:.5g}"),
            Column(name="margin", values=places.margins, form="{:.5g}"),
            Column(name="rank", values=places.ranks()),
        ]
        small = self.look() if self.settings.duplicates or self.settings.odd else []
        if self.settings.duplicates:
            groups, numbers = self.find_duplicates([each.grey for each in small])
            further.append(Column(name="duplicate_group", values=group_numbers(groups, self.n_all)[:n]))
        if self.settings.odd:
            further.append(Column(name="odd_score", values=self.find_odd(small[0].statistics), form="{:.4f}"))
        write_clusters(self.folder / CLUSTERS, self.images, places.clusters, further)
        return numbers

    @property
    def sets(self) -> list[ImageSet]:
        """The images and the test images."""
        return [self.images] if self.test_images is None else [self.images, self.test_images]

    @property
    def n_all(self) -> int:
        """The number of both."""
        return sum(len(images) for images in self.sets)

    def look(self) -> list[SmallPictures]:
        """Small pictures of each set, in one pass over all images."""
        with self.progress.bar("small pictures", self.n_all, "img") as advance:
            return [
                small_pictures(
                    images,
                    batch_size=self.batch_size,
                    num_workers=self.num_workers,
                    device=self.device,
                    advance=advance,
                )
                for images in self.sets
            ]

    def find_odd(self, statistics: Tensor) -> Tensor:
        """Write odd.csv of the images, say how many are odd, and return the scores (N,).

        The statistics are kept, so that new pictures can be compared with these.
        """
        scores = odd_scores(statistics)
        with opened_atomically(self.folder / STATISTICS) as file:
            np.save(file, statistics.numpy())
        n_odd = write_odd(self.folder / ODD, self.images.samples, scores)
        self.progress.say(
            f"odd ones   {n_odd:,} picture{' is' if n_odd == 1 else 's are'} less like the others than these vary"
        )
        return scores

    def find_duplicates(self, grey: list[Tensor]) -> tuple[Groups, dict[str, float]]:
        """Write duplicates.csv, and say in a line what is in it.

        Args:
            grey: small pictures of each set.

        Returns:
            The groups, whose images are counted over both sets, and the numbers: duplicate_groups; duplicates, images
            that could be left out; duplicates_across, groups with training and with test images (if there are any);
            duplicate_limit, the largest distance of near copies.
        """
        n = len(self.images)
        pictures = grey[0] if len(grey) == 1 else torch.cat(grey)
        first = distinct(_contents(self.sets), len(pictures))
        kept = torch.nonzero(first == torch.arange(len(pictures))).flatten()
        with self.progress.bar("comparing pictures", 100, "%") as advance:
            shown = 0

            def compared(done: int, total: int) -> None:
                nonlocal shown
                advance(100 * done // total - shown)
                shown = 100 * done // total

            near = near_copies(pictures, kept, seed=self.seed, progress=compared)
        groups = group_copies(first, near)
        samples = _Names(self.sets)
        n_more = write_duplicates(self.folder / DUPLICATES, groups, samples, file_ranks(self.sets, self.root))
        across = [group for group in groups if len({copy.image < n for copy in group}) == 2]
        n_exact = sum(copy.is_exact for group in groups for copy in group)
        tests = "" if not across else f"; {len(across):,} of them with training and test images: the test is not fair"
        self.progress.say(
            f"duplicates {len(groups):,} group{'' if len(groups) == 1 else 's'}, {n_more:,} "
            f"picture{'' if n_more == 1 else 's'} more than needed ({n_exact:,} in exact copies){tests}"
        )
        if near.n_left_out:
            self.progress.say(f"duplicates {near.n_left_out:,} less alike pairs were not compared: too many are alike")
        numbers = {
            "duplicate_groups": len(groups),
            "duplicates": n_more,
            **({} if self.test_images is None else {"duplicates_across": len(across)}),
            "duplicate_limit": near.limit,
        }
        return groups, numbers


def root_of_files(source: Source) -> Path | None:
    """The folder that the names of images begin in; None: the images are no files."""
    return Path(source.root) if isinstance(source, Folder) else None


def read_usual(run: Path) -> Usual | None:
    """What is usual among a run's pictures; None if it kept no statistics, other ones (an older run), or of too few."""
    file = run / STATISTICS
    if not file.is_file():
        return None
    try:
        statistics = torch.from_numpy(np.load(file, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{file} is cut or damaged ({error}); delete it to go on without it") from error
    is_comparable = statistics.shape[1:] == (N_STATISTICS,) and len(statistics) >= FEWEST_USUAL
    return Usual.of(statistics) if is_comparable else None


class _Names(Sequence[str]):
    """The names of the images of several sets, one after the other."""

    def __init__(self, sets: Sequence[ImageSet]) -> None:
        self.sets = sets

    def __len__(self) -> int:
        return sum(len(images) for images in self.sets)

    def __getitem__(self, image: int) -> str:  # type: ignore[override]
        for images in self.sets:
            if image < len(images):
                return images.samples[image]
            image -= len(images)
        raise IndexError(image)


def _contents(sets: Sequence[ImageSet]) -> Tensor:
    """(M, 2) int64: numbers over all sets, and contents, where they are known."""
    tables, start = [torch.empty(0, 2, dtype=torch.int64)], 0
    for images in sets:
        if images.contents is not None:
            tables.append(images.contents + torch.tensor([start, 0]))
        start += len(images)
    return torch.cat(tables)
