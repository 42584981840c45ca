"""What every evaluation of eval.py is given: a network, images, a folder. run/evaluate.py builds it."""

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
from deepcluster.data.settings import Data
from deepcluster.data.sources.load import load
from deepcluster.data.view_settings import View
from deepcluster.data.views import feature_view
from deepcluster.evaluation.kept_work import KeptWork, facts_of
from deepcluster.features.extraction import FeaturePass, feature_pass
from deepcluster.features.settings import Extraction
from deepcluster.models.backbone import Backbone
from deepcluster.weights.recognise import Weights


class Teller(Protocol):
    """Who shows progress; system/progress.py is one."""

    def bar(self, title: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """A progress bar of `total` units; yields ``advance(n)``."""

    def say(self, line: str) -> None:
        """Print a line."""


@dataclass(kw_only=True)
class Untrained:
    """Networks before any training: what an evaluation without a checkpoint measures.

    Args:
        draw: seed -> the network with which `train.py seed=SEED` starts, in eval mode.
        init: how its weights start: the settings of the group `init`.
    """

    draw: Callable[[int], Backbone]
    init: dict[str, Any]


@dataclass(kw_only=True)
class EvaluationContext:
    """A network to evaluate, the images to do it with, and where results go. Images are read when first asked for.

    Args:
        backbone: in eval mode.
        stored: the file that it came from, with its clusters if it holds any.
        data_settings: which images; None if they are unknown.
        view: how they are cropped: as the network wants them.
        extraction: how features are computed.
        folder: for files that the evaluation writes.
        seed: of all that it draws.
        progress: shows the user what is being done.
        device: where to compute.
        dtype: of the convolutions of a feature pass.
        untrained: without a checkpoint, the networks that can be drawn; `backbone` is then one before its init, and
            `stored` holds nothing but the card.
        run_data: the images that the file's run learned from; None if they are unknown.
        images_unknown: why `data_settings` is None, and what to do.
        loaded_images: the training images, where they have been read before.
    """

    backbone: Backbone
    stored: Weights
    data_settings: Data | None
    extraction: Extraction
    folder: Path
    seed: int
    progress: Teller
    device: torch.device
    dtype: torch.dtype = torch.float32
    untrained: Untrained | None = None
    view: View = field(default_factory=View)
    run_data: Data | None = None
    images_unknown: str = "the images are unknown: say data=... as well"
    loaded_images: ImageSet | None = None

    @property
    def card(self) -> dict[str, Any]:
        """The network's description: arch, in_channels, image_size, resize, mean, std."""
        assert self.stored.card is not None
        return self.stored.card

    @property
    def data(self) -> Data:
        """The images' settings.

        Raises:
            ValueError: if they are not known.
        """
        if self.data_settings is None:
            raise ValueError(self.images_unknown)
        return self.data_settings

    @cached_property
    def train_images(self) -> ImageSet:
        """The images to learn from, or the only ones."""
        if self.loaded_images is not None:
            return self.loaded_images
        images = load(self.data, "train")
        assert images is not None
        return images

    @cached_property
    def test_images(self) -> ImageSet | None:
        """The images to test on, if the source has such."""
        return load(self.data, "test")

    def source(
        self,
        images: ImageSet,
        *,
        convolutional: bool = True,
        backbone: Backbone | None = None,
        taps: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
    ) -> FeaturePass:
        """The pass over images in the feature view.

        Args:
            convolutional: through the last convolutional stage, flattened, which probes read; else the features.
            backbone: another network of the same architecture; None: the one to evaluate.
            taps: through these stages, see :func:`feature_pass`.

        Raises:
            ValueError: if the network takes other channels.
        """
        self.check_channels(images)
        return feature_pass(
            backbone or self.backbone,
            images,
            feature_view(self.view, images, self.card["mean"], self.card["std"]),
            batch_size=self.extraction.batch_size,
            num_workers=n_workers(self.data, images),
            device=self.device,
            dtype=self.dtype,
            convolutional=convolutional,
            taps=taps,
        )

    def kept_work(self, settings: Any) -> KeptWork:
        """Pieces in this folder that the weights, the images, the seed and these settings (a dataclass) decide."""
        facts = facts_of(
            self.backbone,
            card=self.card,
            data=self.data.for_comparison("on_broken"),
            view=self.view,
            seed=self.seed,
            dtype=str(self.dtype),
            evaluation=settings,
        )
        return KeptWork(folder=self.folder, facts=facts, say=self.progress.say)

    def check_channels(self, images: ImageSet) -> None:
        """Refuse images of other channels than the network's.

        Raises:
            ValueError: naming both.
        """
        if images.n_channels != self.card["in_channels"]:
            raise ValueError(
                f"the network takes {self.card['in_channels']} channels, data={self.data.source} has "
                f"{images.n_channels}"
            )
