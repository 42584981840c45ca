"""The first fill of a memory bank: a real pass over all images, before the first training step.

DeepCluster-v2 does the same: crops as in training, the network in training mode, so that BatchNorm normalises by its
batches and not by the statistics of no images (Caron et al. 2020, main_deepclusterv2.py). Next: clusterer.py.
"""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from deepcluster.data.loader import random_batches
from deepcluster.data.multi_crop import MultiCrop
from deepcluster.features.bank import MemoryBank
from deepcluster.system import distributed
from deepcluster.system.seeding import mix, seed_device
from deepcluster.training.clusterer import Clusterer


class Embeds(Protocol):
    """The part of the module that a fill needs."""

    view: MultiCrop

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def embed(self, crops: list[Tensor]) -> Tensor:
        """Embeddings (V B, E) of V crops, crop by crop."""


@torch.no_grad()
def fill_bank(bank: MemoryBank, module: Embeds, clusterer: Clusterer, *, seed: int) -> None:
    """Write the rows of images that have none yet, of each large crop; each process fills its share of the images.

    Usually no image has rows; a run that follows another brings those of the images that it knows.
    """
    view = module.view
    is_empty = bank.written < 0
    n_beside = max(0, clusterer.extraction.batch_size - int(is_empty.sum()))  # BatchNorm needs others beside few images
    passed = torch.cat([torch.nonzero(is_empty).flatten(), torch.nonzero(~is_empty).flatten()[:n_beside]])
    mine = passed[distributed.rank() :: distributed.world_size()]
    seed = mix(seed, "first rows of the bank", distributed.rank())
    images, batch_size = clusterer.images, clusterer.extraction.batch_size
    batches = random_batches(images, view, mine, batch_size, clusterer.num_workers, seed, joins_last=True)
    seed_device(module.device, seed)  # of dropout
    with distributed.shared_failure("the first fill of the memory bank"):
        for batch in batches:
            crops = view(batch.images.to(module.device), batch.draws)[: view.n_large]
            embeddings = [functional.normalize(module.embed([crop]).float(), dim=1) for crop in crops]
            new = is_empty[batch.indices]
            bank.write(batch.indices[new], torch.stack(embeddings)[:, new.to(module.device)], step=0)
