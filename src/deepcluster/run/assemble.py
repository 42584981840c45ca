"""Build a run: conductor, Trainer, module, batches and record. Next: train.py fits them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from PIL.Image import Image
from pytorch_lightning.loggers import Logger
from pytorch_lightning.profilers import PassThroughProfiler

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import FOLDER
from deepcluster.data.loader import EpochLoader
from deepcluster.evaluation.probe.labelled_split import labelled_split
from deepcluster.run.parts import Parts
from deepcluster.run.untrained import Probes
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.targets import build
from deepcluster.tracking.settings import PictureSettings
from deepcluster.tracking.tracked_run import TrackedRun
from deepcluster.training.checkpointing import AtomicCheckpointIO, LastCheckpoint
from deepcluster.training.datamodule import TrainingImages
from deepcluster.training.health_check import HealthCheck
from deepcluster.training.lightning_processes import cluster_environment, trainer_arguments
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.reassign import ReassignCallback
from deepcluster.training.record import RunRecord, recording
from deepcluster.training.report import EpochReport, TrainingBar
from deepcluster.training.world_size_change import WorldSizeChange
from deepcluster.visualization.clusters_picture import clusters_picture
from deepcluster.weights import checkpoint


@dataclass(kw_only=True)
class Assembled:
    """A run that is ready to train."""

    trainer: pl.Trainer
    module: DeepClusterModule
    batches: TrainingImages
    conductor: ReassignCallback
    probes: Probes
    record: RunRecord


class NoProfiler(PassThroughProfiler):
    """Profiles nothing, as Lightning's own, whose fifty contexts take a fiftieth of a small network's step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self._nothing


def open_record(config: TrainConfig, parts: Parts, folder: Path) -> AbstractContextManager[RunRecord]:
    """Open metrics.csv and the chosen tracker."""
    tracked = {name: value for name, value in asdict(config).items() if name not in ("resume", "output_dir")}
    tracked["folder"] = str(folder.resolve())
    tracked["extraction"] = {**tracked["extraction"], "store_dtype": parts.clusterer.storage.dtype_name}

    def picture(assignment: Assignment, title: str) -> Image:
        assert isinstance(config.logger, PictureSettings)
        return clusters_picture(
            parts.images,
            parts.card,
            assignment,
            n_clusters=config.logger.n_clusters,
            n_members=config.logger.n_members,
            seed=config.seed,
            title=title,
        )

    return recording(
        config.logger,
        TrackedRun(folder=folder, config=tracked, say=parts.progress.say),
        picture=picture,
        labels=parts.images.labels,
        classes=parts.images.classes,
    )


def assemble(
    config: TrainConfig,
    parts: Parts,
    folder: Path,
    record: RunRecord,
    *,
    learned: dict[str, Any],
    follow: Callable[[Any], None] | None = None,
) -> Assembled:
    """Build and connect conductor, trainer, module and batches. Nothing is computed or written yet.

    Args:
        learned: the settings that a resumed run cannot change, by their full names; every checkpoint holds them.
        follow: see :func:`deepcluster.run.train.train`.
    """
    batch_size = config.reading.batch_size
    conductor = ReassignCallback(
        clusterer=parts.clusterer,
        schedule=config.reassign,
        sampler=config.sampler,
        labels=parts.images.labels,
        folder=folder / FOLDER,
        seed=config.seed,
        nmi_average=config.evaluation.nmi_average,
        record=record,
        other_rows=config.other_rows,
        needs_labels=config.targets.needs_labels,
    )
    health = HealthCheck(config.monitor, conductor, batch_size=batch_size)
    n_per_epoch = conductor.n_images_per_epoch
    callbacks: list[pl.Callback] = [
        conductor,
        WorldSizeChange(n_per_epoch=n_per_epoch, batch_size=batch_size, progress=parts.progress),
        health,
        EpochReport(conductor, parts.progress, record, health),
        *build_callbacks(config.callbacks),  # they may monitor the report's numbers; the checkpoint comes last
        LastCheckpoint(
            folder,
            every_n_epochs=config.checkpoint.every_n_epochs,
            every_n_steps=config.checkpoint.every_n_steps,
            entries={checkpoint.SETTINGS: learned},
        ),
    ]
    trainer = build_trainer(
        config.trainer,
        callbacks,
        record.loggers,
        precision=parts.precision.trainer,
        keep_previous=config.checkpoint.keep_previous,
        bars=parts.progress.bars,
        follow=follow,
    )
    module = parts.module(parts.backbone)
    batches = TrainingImages(
        partial(
            EpochLoader,
            parts.images,
            parts.train_view,
            batch_size=batch_size,
            num_workers=parts.num_workers,
            persistent_workers=config.reading.persistent_workers,
            seed=config.seed,
            n_per_epoch=n_per_epoch,
            before_epoch=lambda: conductor.begin_epoch(trainer),
        ),
        parts.train_view,
    )
    split, evaluation = None, config.evaluation
    if evaluation.enabled and distributed.is_main_process():
        split = labelled_split(
            parts.images,
            parts.test_images,
            max_images=evaluation.max_images,
            test_share=evaluation.test_share,
            seed=config.seed,
            n_least=evaluation.knn.k,
        )
    probes = Probes(
        split=split,
        crop=parts.train_view.crops[0],
        view=parts.view,
        clusterer=parts.clusterer,
        settings=evaluation,
        seed=config.seed,
    )
    return Assembled(
        trainer=trainer,
        module=module,
        batches=batches,
        conductor=conductor,
        probes=probes,
        record=record,
    )


def build_callbacks(callbacks: dict[str, Any]) -> list[pl.Callback]:
    """Build the user's callbacks, in their order.

    Args:
        callbacks: the group `callbacks`: name -> `_target_` and arguments; None switches one off.

    Raises:
        ValueError: if a callback refuses its arguments.
    """
    built = []
    for name, node in callbacks.items():
        if node is not None:
            try:
                built.append(build(node, f"callbacks.{name}"))
            except TypeError as error:
                raise ValueError(f"callbacks.{name}: {error}") from error
    return built


def build_trainer(
    settings: dict[str, Any],
    callbacks: list[pl.Callback],
    loggers: list[Logger],
    *,
    precision: str,
    keep_previous: bool,
    bars: bool,
    follow: Callable[[Any], None] | None = None,
) -> pl.Trainer:
    """Build the Trainer.

    Args:
        settings: the group `trainer`.
        precision: one of Lightning's names; it replaces the group's "auto".
        keep_previous: see :class:`AtomicCheckpointIO`.
        bars: show progress bars.
        follow: see :func:`deepcluster.run.train.train`.

    Raises:
        ValueError: if the Trainer refuses a setting.
    """
    try:
        trainer: pl.Trainer = build(
            {"profiler": NoProfiler(), **trainer_arguments(settings, follow), "precision": precision},
            "trainer",
            callbacks=[*callbacks, *([TrainingBar()] if bars else [])],
            logger=loggers,
            plugins=[
                AtomicCheckpointIO(keep_previous=keep_previous),
                cluster_environment(settings.get("num_nodes", 1)),
            ],
            enable_progress_bar=bars,
            enable_checkpointing=True,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    except TypeError as error:  # Lightning raises it for wrong values too, such as trainer.devices=abc
        raise ValueError(f"trainer: {error}") from error
    return trainer
