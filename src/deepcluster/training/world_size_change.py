"""Resume a run with another number of processes: the epoch continues at its next image, none is seen twice.

With the same number of processes a resume is exact (docs/design.md, contract 7). With another number a step takes more
or fewer images, so the weights become different. Lightning counts batches: here its counts are converted to batches of
the new size.
"""

import math
from typing import Any

import pytorch_lightning as pl

from deepcluster.data.loader import moved
from deepcluster.system.progress import Progress


class WorldSizeChange(pl.Callback):
    """Converts a checkpoint to the present number of processes while it is loaded.

    Args:
        n_per_epoch: images drawn per epoch over all processes.
        batch_size: of each process.
        progress: prints a line about the change.
    """

    def __init__(self, *, n_per_epoch: int, batch_size: int, progress: Progress) -> None:
        self.n_per_epoch = n_per_epoch
        self.batch_size = batch_size
        self.progress = progress

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        loaders = checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])
        if not loaders or loaders[0].get("world_size", trainer.world_size) == trainer.world_size:
            return
        before = loaders[0]
        state = moved(before, self.n_per_epoch, self.batch_size, trainer.world_size)
        checkpoint["loops"]["fit_loop"]["state_dict"]["combined_loader"] = [state]
        steps = [max(1, math.ceil(s["n_batches"] / trainer.accumulate_grad_batches)) for s in (before, state)]
        convert_counts(checkpoint, state["batches_done"], steps_ratio=steps[1] / steps[0])
        total = trainer.world_size * self.batch_size
        where = f", within epoch {state['epoch'] + 1} after {state['images_before']:,} of {self.n_per_epoch:,} images"
        self.progress.say(
            f"processes  {trainer.world_size} in place of {before['world_size']}: steps of {total} images from here on"
            + (where if state["images_before"] else "")
        )


def convert_counts(checkpoint: dict[str, Any], batches_done: int, *, steps_ratio: float) -> None:
    """Convert Lightning's counts within the epoch, and the steps of a rate's way, to batches of another size; in place.

    Args:
        batches_done: how many batches of the new size the epoch has done.
        steps_ratio: new steps per epoch / old steps per epoch.
    """
    counts = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    shift = batches_done - counts["ready"]
    for name in counts:  # batches that are started but not completed stay so
        counts[name] += shift
    for rate in checkpoint.get("lr_schedulers", []):  # its length comes from the present steps: training/optimizers.py
        rate["last_epoch"] = round(rate["last_epoch"] * steps_ratio)
