"""The training images for Lightning: one loader per process. Each of its epochs begins with a reassignment."""

from typing import Protocol

import pytorch_lightning as pl

from deepcluster.data.loader import EpochLoader


class LoaderOfProcess(Protocol):
    """Builds the loader of a process."""

    def __call__(self, *, rank: int, world_size: int) -> EpochLoader:
        """The loader of process number `rank` of `world_size`."""


class TrainingImages(pl.LightningDataModule):
    """Builds the loader when Lightning knows the process's rank.

    Args:
        build_loader: called with `rank` and `world_size`.
    """

    def __init__(self, build_loader: LoaderOfProcess) -> None:
        super().__init__()
        self._build_loader = build_loader
        self._loader: EpochLoader | None = None

    @property
    def loader(self) -> EpochLoader:
        """The process's loader, built when first asked for."""
        assert self.trainer is not None
        if self._loader is None:
            self._loader = self._build_loader(rank=self.trainer.global_rank, world_size=self.trainer.world_size)
        return self._loader

    def train_dataloader(self) -> EpochLoader:
        return self.loader

    def teardown(self, stage: str) -> None:
        if self._loader is not None:
            self._loader.close()
            self._loader = None
