"""The training images for Lightning: one loader per process, whose epochs begin with a reassignment."""

from collections.abc import Callable

import pytorch_lightning as pl
from torch import Tensor

from deepcluster.data.images import ImageSet
from deepcluster.data.loader import EpochLoader
from deepcluster.data.views import TrainView


class TrainingImages(pl.LightningDataModule):
    """Builds the loader once the process knows its rank.

    Args:
        images: the N training images.
        view: the augmentation.
        batch_size: images per step and process.
        num_workers: processes that read images.
        persistent_workers: keep them from epoch to epoch.
        seed: of the run.
        n_per_epoch: images drawn per epoch over all ranks.
        before_epoch: called when an epoch's first batch is asked for; gives the epoch and its indices.
    """

    def __init__(
        self,
        images: ImageSet,
        view: TrainView,
        *,
        batch_size: int,
        num_workers: int,
        persistent_workers: bool,
        seed: int,
        n_per_epoch: int,
        before_epoch: Callable[[], tuple[int, Tensor]],
    ) -> None:
        super().__init__()
        self.images = images
        self.view = view
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.persistent_workers = persistent_workers
        self.seed = seed
        self.n_per_epoch = n_per_epoch
        self.before_epoch = before_epoch
        self._loader: EpochLoader | None = None

    def train_dataloader(self) -> EpochLoader:
        assert self.trainer is not None
        self._loader = EpochLoader(
            self.images,
            self.view,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            persistent_workers=self.persistent_workers,
            seed=self.seed,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            n_per_epoch=self.n_per_epoch,
            before_epoch=self.before_epoch,
        )
        return self._loader

    def teardown(self, stage: str) -> None:
        if self._loader is not None:
            self._loader.close()
