"""One run, from settings to summary.json: images -> untrained figures -> the loop -> final clusters -> table.

train.py calls `train`. Each step here is one call; what it does stands in its own room.
"""

import dataclasses
import json
import logging
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from PIL.Image import Image
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import write_samples
from deepcluster.evaluation.clusters.clusters_file import write_clusters
from deepcluster.evaluation.probe.representation import labelled_split, measure
from deepcluster.models.head import ClusterHead
from deepcluster.run import resuming
from deepcluster.run.estimate import tell_needs
from deepcluster.run.parts import Parts, choose_device
from deepcluster.run.prepare import prepare
from deepcluster.run.summary import figures_table, print_summary
from deepcluster.run.untrained import UNTRAINED, measure_untrained, measures_untrained, probe_source, untrained_features
from deepcluster.settings.resume import what_is_learned
from deepcluster.settings.stored import write_config
from deepcluster.settings.train import TrainConfig
from deepcluster.system import distributed
from deepcluster.system.atomic import write_atomically
from deepcluster.system.quoting import argument
from deepcluster.system.targets import build
from deepcluster.tracking.logger import Pictured
from deepcluster.tracking.recorder import Place
from deepcluster.training.checkpointing import AtomicCheckpointIO, LastCheckpoint
from deepcluster.training.datamodule import TrainingImages
from deepcluster.training.lightning_processes import FollowChildren, trainer_arguments
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.other_processes import OtherProcesses
from deepcluster.training.processes import check_start
from deepcluster.training.reassign import ReassignCallback
from deepcluster.training.record import RunRecord, recording
from deepcluster.training.report import EpochReport, TrainingBar
from deepcluster.visualization.clusters_picture import clusters_picture
from deepcluster.weights import checkpoint


def train(
    config: TrainConfig,
    folder: Path,
    *,
    follow: Callable[[Any], None] | None = None,
    shared: Path | None = None,
) -> dict[str, Any]:
    """Run DeepCluster in `folder`, from the start or from the folder's last checkpoint.

    Args:
        follow: called with the processes that Lightning has started, if any; to watch over them.
        shared: a folder where the jobs of a sweep keep what they can share; None: this run is alone.

    Returns:
        The content of summary.json.

    Raises:
        ValueError: if a setting, the data or a checkpoint does not fit; FileNotFoundError if data is missing.
    """
    with ExitStack() as ends:  # what must end however the run does
        return _train(config, folder, ends, follow=follow, shared=shared)


def _train(
    config: TrainConfig,
    folder: Path,
    ends: ExitStack,
    *,
    follow: Callable[[Any], None] | None,
    shared: Path | None,
) -> dict[str, Any]:
    started = time.perf_counter()
    _quiet()
    if config.resume is None and distributed.is_main_process() and (folder / "config.yaml").is_file():
        raise ValueError(  # a sweep's jobs come here; settings.run_folder has told it to a single run
            f"{folder} already holds a run; continue it with {argument('resume', folder)}, or choose another output_dir"
        )
    named = config.output_dir is not None or config.resume is not None
    check_start(config.trainer, choose_device(config.trainer), folder_is_named=named)
    goes_on = bool(resuming.checkpoints(folder))
    figures = resuming.untrained_figures(folder / UNTRAINED) if goes_on else None
    # The weights of a run that goes on come from its checkpoint, unless the untrained network is measured again.
    initialise = not goes_on or (figures is None and measures_untrained(config))
    parts = prepare(config, initialise=initialise, folder=folder)
    kept_as = str(parts.clusterer.storage.dtype).removeprefix("torch.")
    config = dataclasses.replace(config, extraction=dataclasses.replace(config.extraction, store_dtype=kept_as))
    stored = None
    if goes_on:
        this_run = resuming.ThisRun(
            card=parts.card,
            settings=what_is_learned(config),
            n_images=len(parts.images),
            capacity=config.clustering.capacity(len(parts.images)),
            k_is_fixed=config.clustering.k_is_fixed,
        )
        stored = resuming.choose(folder, this_run, parts.progress.say)
        if config.trainer["max_epochs"] < stored.epoch:
            raise ValueError(
                f"trainer.max_epochs={config.trainer['max_epochs']} is less than the {stored.epoch} epochs that "
                f"{folder} has trained; raise it, or leave it out"
            )
        parts.progress.say(f"resuming after epoch {stored.epoch} from {stored.path}")
    elif config.resume is not None:
        parts.progress.say(f"{folder} has no checkpoint yet: beginning again")
    if stored is None:
        parts.clusterer.untrained = untrained_features(config, parts, shared)
    tell_needs(config, parts, folder, epochs_done=0 if stored is None else stored.epoch)
    if config.estimate:
        return {}
    record = ends.enter_context(_recording(config, parts, folder))
    reassign = ReassignCallback(
        clusterer=parts.clusterer,
        schedule=config.reassign,
        sampler=config.sampler,
        labels=parts.images.labels,
        folder=folder / "assignments",
        seed=config.seed,
        nmi_average=config.evaluation.nmi_average,
        record=record,
    )
    follower: list[pl.Callback] = [] if follow is None else [FollowChildren(follow)]
    trainer = _trainer(config, parts, reassign, record, folder, follower)
    # Until here nothing was computed and all was checked; from here on the folder holds a run.
    if distributed.is_main_process():
        write_samples(folder / "assignments", parts.images.samples)
        write_config(config, folder)
        if stored is not None:
            resuming.put_aside(folder, stored.path)
    split = None
    if config.evaluation.enabled and distributed.is_main_process():
        split = labelled_split(parts.images, parts.test_images, config.evaluation, seed=config.seed)
    untrained, reassign.assignment = (figures, None) if figures else measure_untrained(config, parts, split, folder)

    module = DeepClusterModule(
        parts.backbone,
        ClusterHead(parts.backbone.feature_dim, config.clustering.capacity(len(parts.images))),
        view=parts.train_view,
        optimizer=config.optimizer,
        seed=config.seed,
        card=parts.card,
    )
    batches = TrainingImages(
        parts.images,
        parts.train_view,
        config.data,
        seed=config.seed,
        n_per_epoch=reassign.n_images_per_epoch,
        num_workers=parts.num_workers,
        before_epoch=lambda: reassign.prepare(trainer),
    )
    if config.trainer["max_epochs"] > 0:
        goes_on_from = None if stored is None else str(stored.path)
        trainer.fit(module, datamodule=batches, ckpt_path=goes_on_from, weights_only=True)

    device = trainer.strategy.root_device
    assignment, final = reassign.final(module.backbone, device=device)
    if not distributed.is_main_process():
        return {}
    trained = dict(final)
    if split is not None:
        parts.progress.say("measuring the trained network")
        trained |= measure(
            split, probe_source(config, parts, module.backbone, device), config.evaluation, seed=config.seed
        )
    _save_final(folder, parts, module, assignment, epoch=trainer.current_epoch)
    summary: dict[str, Any] = {
        "trained": _figures(trained),
        "untrained": _figures(untrained),
        "clusters_used": int(final["clusters_used"]),
        "k": assignment.n_outputs,
        "repaired_clusters": reassign.n_repaired,
        "drawn": {  # how evenly the clusters were drawn, in the last epoch that had new ones
            name: reassign.latest.get(f"cluster/drawn_{name}") for name in ("perplexity", "largest_share")
        },
        "nmi_average": config.evaluation.nmi_average,
        "merged_clusters": reassign.n_merged,
        "epochs": trainer.current_epoch,
        "n_images": len(parts.images),
        "seed": config.seed,
        "seconds": {
            **{name.removesuffix("_s"): round(value, 3) for name, value in reassign.seconds.items()},
            "this_process": round(time.perf_counter() - started, 3),
        },
    }
    write_atomically(folder / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())
    write_clusters(folder / "clusters.csv", parts.images, assignment.labels)
    both = [("final", trained), ("untrained", untrained)]
    numbers = {f"{who}/{name}": value for who, of in both for name, value in of.items()}
    record.ended(trainer.current_epoch, assignment, numbers, figures_table(summary))
    print_summary(summary, folder, config)
    return summary


def _recording(config: TrainConfig, parts: Parts, folder: Path) -> AbstractContextManager[RunRecord]:
    """metrics.csv and the chosen logger."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("resume", "output_dir")}
    settings["folder"] = str(folder.resolve())

    def picture(assignment: Assignment, title: str) -> Image:
        assert isinstance(config.logger, Pictured)
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
        Place(folder=folder, config=settings, say=parts.progress.say),
        picture=picture,
        labels=parts.images.labels,
        classes=parts.images.classes,
    )


def _trainer(
    config: TrainConfig,
    parts: Parts,
    reassign: ReassignCallback,
    record: RunRecord,
    folder: Path,
    more: list[pl.Callback],
) -> pl.Trainer:
    callbacks: list[pl.Callback] = [
        *more,
        reassign,
        OtherProcesses(
            n_per_epoch=reassign.n_images_per_epoch, batch_size=config.data.batch_size, progress=parts.progress
        ),
        EpochReport(reassign, parts.progress, record),
        LastCheckpoint(
            folder,
            every_n_epochs=config.checkpoint.every_n_epochs,
            every_n_steps=config.checkpoint.every_n_steps,
            entries={checkpoint.SETTINGS: what_is_learned(config)},
        ),
    ]
    if parts.progress.bars:
        callbacks.append(TrainingBar())
    try:
        trainer: pl.Trainer = build(
            {**trainer_arguments(config.trainer), "precision": parts.precision.trainer},
            "trainer",
            callbacks=callbacks,
            logger=False,
            plugins=[AtomicCheckpointIO(keep_previous=config.checkpoint.keep_previous)],
            enable_progress_bar=parts.progress.bars,
            enable_checkpointing=True,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    except TypeError as error:  # which Lightning also raises for values, such as trainer.devices=abc
        raise ValueError(f"trainer: {error}") from error
    return trainer


def _save_final(folder: Path, parts: Parts, module: DeepClusterModule, assignment: Assignment, *, epoch: int) -> None:
    """checkpoints/final.ckpt: the trained backbone with the clusters that belong to it, to use on new images."""
    weights: dict[str, Tensor] = {f"backbone.{k}": v.cpu() for k, v in module.backbone.state_dict().items()}
    content = {
        checkpoint.CARD: parts.card,
        "epoch": epoch - 1,
        "state_dict": weights,
        "callbacks": {"final": {"assignment": assignment.state_dict()}},
    }
    AtomicCheckpointIO().save_checkpoint(content, folder / "checkpoints" / "final.ckpt")


def _figures(numbers: dict[str, float]) -> dict[str, float | None]:
    """The figures of one network that summary.json promises, None where they cannot be had."""
    names = ["knn_accuracy", "linear_probe_accuracy", "linear_probe_lr", "nmi_labels", "nmi_previous"]
    names += [
        "clusters_used",
        "n_repaired",
        "largest_share",
        "entropy",
        "purity",
        "one_to_one_accuracy",
        "ari_labels",
        "ami_labels",
    ]
    return {name: numbers.get(name) for name in names}


def _quiet() -> None:
    """Lightning's banners and hints say nothing that our own lines do not."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning.pytorch", "faiss.loader"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    warnings.filterwarnings("ignore", category=FutureWarning)
