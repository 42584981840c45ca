"""Two training steps of SwAV's targets, with a queue that the second one uses, on one process or several."""

import torch
from torch import Tensor

from deepcluster.training.target_settings import SinkhornSettings
from deepcluster.training.targets import Scored

TEMPERATURE, QUEUE = 0.1, 1000


def prototypes_scores(embedding: Tensor) -> list[Tensor]:
    return [torch.tanh(embedding) / TEMPERATURE]


def two_swapped_losses(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Both steps' losses (2,) of this process's images (B, E), and the queue that a checkpoint of the run holds."""
    targets = SinkhornSettings(queue=QUEUE).build(temperature=TEMPERATURE)
    losses = []
    for crops in (torch.stack([rows, rows.roll(1, dims=1)]), torch.stack([rows.flip(1), rows])):
        batch = Scored(
            scores=prototypes_scores(crops),
            embedding=crops,
            labels=None,
            all_labelled=False,
            n_large=2,
            epoch=0,
            rescore=prototypes_scores,
        )
        losses.append(targets.loss(batch).value)
    queues: Tensor = targets.state_dict()["queues"]  # (G, 2, B, E)
    return torch.stack(losses), queues.permute(1, 2, 0, 3).flatten(1, 2)
