"""Batches -> crops on the training device. Next: training/module.py looks up pseudo_labels[crops.indices]."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from deepcluster.data.loader import Batch, EpochLoader
from deepcluster.data.multi_crop import MultiCrop

TOGETHER = 2**20  # numbers of crops cut at once, 4 MB: a small network's steps would wait for many small operations


class Crops(NamedTuple):
    """V crops (B, C, S, S) float32 of each of B images, large ones first, and the images' indices (B,)."""

    crops: list[Tensor]
    indices: Tensor


class CropLoader:
    """The training crops of one epoch after another, cut on the device; those of several small batches at once.

    An image's crop depends on its own random numbers alone, so it is the same whatever is cut with it.

    Args:
        loader: gives the batches; it counts those that were given out, and stands where they end.
        view: cuts the crops.
    """

    def __init__(self, loader: EpochLoader, view: MultiCrop, device: torch.device) -> None:
        self.loader = loader
        self.view = view
        self.device = device
        numbers = loader.batch_size * loader.images.n_channels * view.n_pixels
        self.n_together = 1 if view.on_files else max(1, TOGETHER // numbers)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Crops]:
        for batch, sizes in self.loader.groups(self.n_together):
            whole = crops_of(batch, self.view, self.device)
            parts = [torch.split(part, sizes) for part in (*whole.crops, whole.indices)]
            for *crops, indices in zip(*parts, strict=True):
                self.loader.batches_done += 1
                yield Crops(crops, indices)

    def state_dict(self) -> dict[str, Any]:
        """See :meth:`EpochLoader.state_dict`."""
        return self.loader.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`EpochLoader.load_state_dict`."""
        self.loader.load_state_dict(state)


def crops_of(batch: Batch, view: MultiCrop, device: torch.device) -> Crops:
    """The crops of a batch, each with its own random numbers."""
    images, indices, draws = (part.to(device, non_blocking=True) for part in batch)
    crops = view(images, draws)
    return Crops([crop.contiguous(memory_format=torch.channels_last) for crop in crops], indices)
