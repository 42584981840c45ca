"""What eval.py hands to every evaluation: a network, images, a folder. run/evaluate.py builds it."""

import copy
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import n_workers
from deepcluster.data.reading_settings import Reading
from deepcluster.data.settings import Folder, Source
from deepcluster.data.sources.load import load
from deepcluster.data.view_settings import View
from deepcluster.data.views import feature_view
from deepcluster.evaluation.kept_work import KeptWork, facts_of
from deepcluster.features.extraction import FeaturePass, feature_pass
from deepcluster.features.settings import Extraction
from deepcluster.models.backbone import Backbone
from deepcluster.weights.recognise import Weights


class ProgressDisplay(Protocol):
    """Shows progress to the user; Progress of system/progress.py is the one that eval.py uses."""

    def bar(self, title: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar of `total` units; yields ``advance(n)``."""

    def say(self, line: str) -> None:
        """Print a line."""


@dataclass(kw_only=True)
class Untrained:
    """The untrained networks that an evaluation without a checkpoint measures.

    Args:
        draw: gives, for a seed, the network with which `train.py seed=SEED` starts, in eval mode.
        init: settings of the group `init`: how the weights are initialised.
    """

    draw: Callable[[int], Backbone]
    init: dict[str, Any]


@dataclass(kw_only=True)
class EvaluationContext:
    """A network to evaluate, the images for it, and where results go. Images are read when first used.

    Args:
        backbone: in eval mode.
        stored: content of the checkpoint that the network came from, with its clusters if it holds any.
        data_settings: which images to use; None if they are unknown.
        reading: how they are read.
        extraction: batch size of the feature passes.
        folder: where the evaluation writes its files.
        seed: seed of everything that the evaluation draws.
        progress: shows progress to the user.
        device: where to compute.
        dtype: type in which the convolutions of a feature pass compute.
        untrained: the networks to draw if there is no checkpoint; then `backbone` is one whose weights are not
            initialised, and `stored` holds only the card.
        view: how images are cropped, fitting the network.
        run_data: the images that the checkpoint's run learned from; None if they are unknown.
        images_unknown: the error message if `data_settings` is None: why, and what to do.
        loaded_images: the training images, if they have been read already.
        loaded_rows: their rows (N, P) float32, reduced as the checkpoint's clusters were, if these are known already.
    """

    backbone: Backbone
    stored: Weights
    data_settings: Source | None
    extraction: Extraction
    folder: Path
    seed: int
    progress: ProgressDisplay
    device: torch.device
    dtype: torch.dtype = torch.float32
    untrained: Untrained | None = None
    reading: Reading = field(default_factory=Reading)
    view: View = field(default_factory=View)
    run_data: Source | None = None
    images_unknown: str = "the images are unknown: add data=..."
    loaded_images: ImageSet | None = None
    loaded_rows: Tensor | None = None

    def of_labeling(self, number: int) -> "EvaluationContext":
        """The same with the clusters of another labeling, counted from 0.

        Raises:
            ValueError: if the checkpoint has none of that number.
        """
        context = copy.copy(self)  # with the images that it has read
        context.stored = self.stored.of_labeling(number)
        return context

    @property
    def card(self) -> dict[str, Any]:
        """The network's description: arch, in_channels, image_size, resize, mean, std."""
        assert self.stored.card is not None
        return self.stored.card

    @property
    def data(self) -> Source:
        """Settings of the images.

        Raises:
            ValueError: if they are unknown.
        """
        if self.data_settings is None:
            raise ValueError(self.images_unknown)
        return self.data_settings

    @cached_property
    def train_images(self) -> ImageSet:
        """The training images, or all images of a source without test images."""
        if self.loaded_images is not None:
            return self.loaded_images
        images = self._load("train")
        assert images is not None
        return images

    @cached_property
    def test_images(self) -> ImageSet | None:
        """The test images, if the source has any."""
        return self._load("test")

    def _load(self, split: str) -> ImageSet | None:
        root, of_run = (part.root if isinstance(part, Folder) else None for part in (self.data, self.run_data))
        if root is not None and root == of_run and not os.path.exists(root):
            raise FileNotFoundError(
                f"the run's images are no longer in data.root={root}; data.root=DIR says where they are now"
            )
        return load(self.data, self.reading, split)

    def rows_of(self, images: ImageSet) -> Tensor | None:
        """Their reduced rows (N, P), if they are known already."""
        return self.loaded_rows if images is self.loaded_images else None

    def feature_pass(
        self,
        images: ImageSet,
        *,
        convolutional: bool = True,
        backbone: Backbone | None = None,
        taps: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> FeaturePass:
        """A forward pass over the images in the feature view.

        Args:
            convolutional: give the maps of the last convolutional stage, flattened, which probes read; else the
                features.
            backbone: another network of the same architecture; None: the one to evaluate.
            taps: give the maps of these stages, see :func:`~deepcluster.features.extraction.feature_pass`.

        Raises:
            ValueError: if the number of channels is not the network's.
        """
        self.check_channels(images)
        return feature_pass(
            backbone or self.backbone,
            images,
            feature_view(self.view, images, self.card["mean"], self.card["std"]),
            batch_size=self.extraction.batch_size,
            num_workers=self.n_workers(images, self.extraction.batch_size),
            device=self.device,
            dtype=self.dtype,
            convolutional=convolutional,
            taps=taps,
        )

    def n_workers(self, images: ImageSet, batch_size: int) -> int:
        """How many processes read the images, for batches of so many crops."""
        size = int(self.card["image_size"])
        return n_workers(self.reading.num_workers, images, batch_size=batch_size, size=size)

    def kept_work(self, settings: Any) -> KeptWork:
        """Finished work in this folder, valid for these weights, images, seed and settings (a dataclass)."""
        facts = facts_of(
            self.backbone,
            card=self.card,
            data=self.data.which,
            pixels=self.reading.pixels,
            view=self.view,
            seed=self.seed,
            dtype=str(self.dtype),
            evaluation=settings,
        )
        return KeptWork(folder=self.folder, facts=facts, say=self.progress.say)

    def check_channels(self, images: ImageSet) -> None:
        """Refuse images whose number of channels is not the network's.

        Raises:
            ValueError: naming both numbers.
        """
        if images.n_channels != self.card["in_channels"]:
            raise ValueError(
                f"the network takes {self.card['in_channels']} channels, data={self.data.source} has "
                f"{images.n_channels}"
            )
