"""Report each epoch: one line and one row at its end, a bar within it. Next: checkpointing.py saves the state."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar

from deepcluster.system.progress import Progress, clock
from deepcluster.training.health_check import HealthCheck
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.reassign import ReassignCallback
from deepcluster.training.record import RunRecord


class EpochReport(pl.Callback):
    """Logs the numbers of each epoch at its end, and prints them in one line.

    It runs before the checkpoint of the epoch is written, so that a run killed just after that lacks no row, and one
    that is stopped because its network has collapsed keeps the checkpoint before.
    """

    def __init__(
        self, reassign: ReassignCallback, progress: Progress, record: RunRecord, health: HealthCheck | None = None
    ) -> None:
        self.reassign = reassign
        self.record = record
        self.progress = progress
        self.health = health
        self.began = (0.0, 0)  # when, and with which epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.began = time.perf_counter(), trainer.current_epoch
        self.record.epoch_began(trainer.current_epoch)  # Lightning skips the epoch's own hook after some resumes

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.record.epoch_began(trainer.current_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, DeepClusterModule)
        numbers = pl_module.epoch_metrics(over_ranks=True)
        numbers["train/lr"] = float(trainer.optimizers[0].param_groups[0]["lr"])
        numbers["time/training_s"] = self.reassign.epoch_training_s
        if self.health is not None:
            numbers |= self.health.report(trainer, pl_module, numbers)
        pl_module.log_dict({**self.reassign.latest, **numbers}, logger=False)  # callbacks may monitor these values
        self.record.epoch_ended(trainer.current_epoch, numbers)
        reassigned = self.reassign.latest if self.reassign.version == trainer.current_epoch else {}
        line = epoch_line(trainer.current_epoch, trainer.max_epochs, {**reassigned, **numbers})
        self.progress.say(line + self._left(trainer))
        if self.health is not None:
            self.health.tell(trainer, pl_module, numbers)

    def _left(self, trainer: pl.Trainer) -> str:
        """The time that the epochs to come will take, if they take as long as those of this process so far."""
        since, first = self.began
        n_done, n_left = trainer.current_epoch + 1 - first, (trainer.max_epochs or 0) - trainer.current_epoch - 1
        return f"  | {clock((time.perf_counter() - since) / n_done * n_left)} left" if n_left > 0 else ""


def epoch_line(epoch: int, max_epochs: int | None, numbers: dict[str, float]) -> str:
    """An epoch as one line: loss, clusters, agreement, seconds."""
    parts = [f"epoch {epoch + 1:>3}/{max_epochs}"]
    for title, name, form in [
        ("loss", "train/loss", "{:.3f}"),
        ("accuracy", "train/accuracy", "{:.3f}"),
        ("| clusters", "cluster/clusters_used", "{:.0f}"),
        ("merged", "cluster/n_merged", "{:.0f}"),
        ("NMI last", "cluster/nmi_previous", "{:.3f}"),
        ("labels", "cluster/nmi_labels", "{:.3f}"),
        ("moved", "cluster/moved_share", "{:.0%}"),
        ("| features", "time/features_s", "{:.1f} s"),
        ("PCA", "time/reduction_s", "{:.1f} s"),
        ("clustering", "time/clustering_s", "{:.1f} s"),
        ("training", "time/training_s", "{:.1f} s"),
    ]:
        if name in numbers and (numbers[name] > 0 or name != "cluster/n_merged"):  # k-means never merges
            parts.append(f"{title} {form.format(numbers[name])}")
        elif name == "cluster/nmi_previous" and "cluster/clusters_used" in numbers:  # no last clusters, or they stayed
            parts.append(f"{title} -")
    return "  ".join(parts)


REFRESH_EVERY_N_STEPS = 10


class TrainingBar(TQDMProgressBar):
    """Lightning's progress bar with the epoch's mean loss and accuracy so far; it disappears at the epoch's end."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=REFRESH_EVERY_N_STEPS, leave=False)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, int | str | float | Any]:
        assert isinstance(pl_module, DeepClusterModule)
        return {
            name.removeprefix("train/"): f"{value:.3f}"
            for name, value in pl_module.epoch_metrics(over_ranks=False).items()
        }
