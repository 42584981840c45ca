"""The training images for Lightning: one loader per process, whose epochs begin with a reassignment."""

from typing import Protocol

import pytorch_lightning as pl

from deepcluster.data.loader import EpochLoader


class LoaderOfProcess(Protocol):
    """An EpochLoader without its process."""

    def __call__(self, *, rank: int, world_size: int) -> EpochLoader:
        """The loader of process number `rank` of `world_size`."""


class TrainingImages(pl.LightningDataModule):
    """Builds the loader once the process knows its rank."""

    def __init__(self, loader: LoaderOfProcess) -> None:
        super().__init__()
        self._build = loader
        self._loader: EpochLoader | None = None

    def train_dataloader(self) -> EpochLoader:
        assert self.trainer is not None
        self._loader = self._build(rank=self.trainer.global_rank, world_size=self.trainer.world_size)
        return self._loader

    def teardown(self, stage: str) -> None:
        if self._loader is not None:
            self._loader.close()
