"""The training images for Lightning: one loader per process. Each of its epochs begins with a reassignment."""

from typing import Protocol

import pytorch_lightning as pl
import torch

from deepcluster.data.crop_loader import CropLoader, Crops
from deepcluster.data.loader import EpochLoader
from deepcluster.data.multi_crop import MultiCrop


class LoaderOfProcess(Protocol):
    """Builds the loader of a process."""

    def __call__(self, *, rank: int, world_size: int) -> EpochLoader:
        """The loader of process number `rank` of `world_size`."""


class TrainingImages(pl.LightningDataModule):
    """Builds the loader when Lightning knows the process's rank and device.

    Args:
        build_loader: called with `rank` and `world_size`.
        view: cuts the crops of its batches, on the device.
    """

    def __init__(self, build_loader: LoaderOfProcess, view: MultiCrop) -> None:
        super().__init__()
        self._build_loader = build_loader
        self._view = view
        self._loader: EpochLoader | None = None

    @property
    def loader(self) -> EpochLoader:
        """The process's loader, built when first asked for."""
        assert self.trainer is not None
        if self._loader is None:
            self._loader = self._build_loader(rank=self.trainer.global_rank, world_size=self.trainer.world_size)
        return self._loader

    def train_dataloader(self) -> CropLoader:
        assert self.trainer is not None
        return CropLoader(self.loader, self._view, self.trainer.strategy.root_device)

    def transfer_batch_to_device(self, batch: Crops, device: torch.device, dataloader_idx: int) -> Crops:
        """The crops as they are: the loader has cut them on the device."""
        return batch

    def teardown(self, stage: str) -> None:
        if self._loader is not None:
            self._loader.close()
            self._loader = None
