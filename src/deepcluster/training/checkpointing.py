"""When and how a run's state is written: the old file stays until the new one is whole and on the disk."""

import io
import os
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from deepcluster.system import stop_signals
from deepcluster.system.atomic import write_atomically
from deepcluster.training.module import DeepClusterModule

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"  # in the run's folder checkpoints/


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints atomically and reads them with weights_only=True: tensors and plain containers, no code.

    Args:
        keep_previous: rename the old last.ckpt to previous.ckpt when a new one is written.
    """

    def __init__(self, *, keep_previous: bool = True) -> None:
        super().__init__()
        self.keep_previous = keep_previous

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Save.

        Raises:
            OSError: if the disk is full. The checkpoint before stays intact; the message says how to continue.
        """
        buffer, file = io.BytesIO(), Path(path)
        torch.save(checkpoint, buffer)
        previous = file.with_name(PREVIOUS) if self.keep_previous and file.name == LAST else None
        try:
            write_atomically(file, buffer.getbuffer(), previous=previous)
        except OSError as error:
            size_mb = buffer.getbuffer().nbytes / 2**20
            older = "the checkpoint before it is intact" if file.exists() else "there is none before it"
            raise OSError(
                error.errno,
                f"the checkpoint ({size_mb:.1f} MB) could not be written: {(error.strerror or '').split(';')[0]}; "
                f"{older}. Make room and continue with resume={file.parent.parent}",
                str(file),
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        device: Any = map_location or "cpu"
        return super().load_checkpoint(path, map_location=device, weights_only=True)


class LastCheckpoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` at every n-th epoch's end, at the end of training, and every n steps.

    Args:
        folder: the run's folder.
        every_n_epochs, every_n_steps: see :class:`~deepcluster.training.checkpoint_settings.Checkpointing`.
        entries: plain values that every checkpoint holds too.
    """

    def __init__(
        self,
        folder: Path,
        *,
        every_n_epochs: int = 1,
        every_n_steps: int | None = None,
        entries: dict[str, Any] | None = None,
    ) -> None:
        self.path = folder / "checkpoints" / LAST
        self.every_n_epochs = every_n_epochs
        self.every_n_steps = every_n_steps
        self.entries = entries or {}

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint.update(self.entries)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        stop_signals.listen_again()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:  # the end of the epoch saves
            return
        # Every n steps, not batches: gradients that are accumulated for the next step are in no checkpoint.
        n_batches = (self.every_n_steps or 0) * trainer.accumulate_grad_batches
        if _ends(trainer, trainer.current_epoch) or (n_batches > 0 and (batch_idx + 1) % n_batches == 0):
            self._save(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:  # stopped within the epoch, and saved there
            return
        n_epochs = trainer.current_epoch + 1
        if _ends(trainer, n_epochs) or n_epochs == trainer.max_epochs or n_epochs % self.every_n_epochs == 0:
            self._save(trainer, pl_module)

    def _save(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Save, unless the weights are not finite: the checkpoint before stays.

        Raises:
            ValueError: if they are not.
        """
        assert isinstance(module, DeepClusterModule)
        module.check_weights()
        trainer.save_checkpoint(self.path)


def _ends(trainer: pl.Trainer, n_epochs: int) -> bool:
    """Whether training ends here, after so many whole epochs: it has taken all of trainer.max_steps, or somebody stops
    it, for which Lightning waits until it has had the least epochs and steps."""
    has_least = n_epochs >= (trainer.min_epochs or 0) and trainer.global_step >= (trainer.min_steps or 0)
    return (trainer.should_stop and has_least) or 0 <= trainer.max_steps <= trainer.global_step
