"""One run, from settings to summary.json: images -> untrained figures -> the loop -> final clusters -> table.

train.py calls `train`. Each step here is one call; what it does stands in its own room.
"""

import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from deepcluster import checkpoint, distributed
from deepcluster.atomic import write_atomically
from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.history import write_samples
from deepcluster.config import TrainConfig, check_sizes, save
from deepcluster.data.datamodule import TrainingImages
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import n_workers
from deepcluster.data.sources import load
from deepcluster.data.statistics import statistics
from deepcluster.data.views import FeatureView, TrainView, feature_view, train_view
from deepcluster.evaluation.assign import write_clusters
from deepcluster.evaluation.representation import LabelledSplit, labelled_split, measure
from deepcluster.initialise import new_backbone
from deepcluster.models.backbone import Backbone
from deepcluster.models.head import ClusterHead
from deepcluster.summary import argument, print_summary
from deepcluster.targets import build
from deepcluster.training.checkpointing import AtomicCheckpointIO, LastCheckpoint
from deepcluster.training.csv_log import EpochCSV
from deepcluster.training.features import FeaturePass, feature_pass
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.precision import Precision, choose_precision, set_matmul_precision
from deepcluster.training.progress import Progress, TrainingBar
from deepcluster.training.reassign import Clusterer, ReassignCallback, describe
from deepcluster.training.report import EpochReport
from deepcluster.training.reuse import UntrainedFeatures, same_images
from deepcluster.training.wandb_log import wandb_logger


@dataclass(kw_only=True)
class Parts:
    """What a run consists of, built and checked, before anything long starts."""

    images: ImageSet
    test_images: ImageSet | None
    view: Callable[[ImageSet], FeatureView]
    train_view: TrainView
    backbone: Backbone
    card: dict[str, Any]
    clusterer: Clusterer
    device: torch.device
    precision: Precision
    num_workers: int
    progress: Progress


def train(config: TrainConfig, folder: Path, *, shared: Path | None = None) -> dict[str, Any]:
    """Run DeepCluster in `folder`, from the start or from the folder's last checkpoint.

    Args:
        shared: a folder where the jobs of a sweep keep what they can share; None: this run is alone.

    Returns:
        The content of summary.json.

    Raises:
        ValueError: if a setting, the data or a checkpoint does not fit; FileNotFoundError if data is missing.
    """
    started = time.perf_counter()
    _quiet()
    if config.resume is None and distributed.is_main_process() and (folder / "config.yaml").is_file():
        raise ValueError(  # a sweep's jobs come here; config.run_folder has told it to a single run
            f"{folder} already holds a run; continue it with {argument('resume', folder)}, or choose another output_dir"
        )
    last = folder / "checkpoints" / "last.ckpt"
    resuming = last.is_file()
    parts = prepare(config, resuming=resuming)
    if not resuming:
        parts.clusterer.untrained = _untrained_features(config, parts, shared)
    if resuming:
        stored = checkpoint.load(last)
        checkpoint.check_same_network(stored.card, parts.card, last)
        capacity = config.clustering.capacity(len(parts.images))
        checkpoint.check_same_clusters(stored, capacity, k_is_fixed=config.clustering.k_is_fixed)
        if config.trainer["max_epochs"] < stored.epoch:
            raise ValueError(
                f"trainer.max_epochs={config.trainer['max_epochs']} is less than the {stored.epoch} epochs that "
                f"{folder} has trained; raise it, or leave it out"
            )
        parts.progress.say(f"resuming after epoch {stored.epoch} from {last}")
    reassign = ReassignCallback(
        clusterer=parts.clusterer,
        schedule=config.reassign,
        sampler=config.sampler,
        labels=parts.images.labels,
        folder=folder / "assignments",
        seed=config.seed,
        nmi_average=config.evaluation.nmi_average,
    )
    trainer = _trainer(config, parts, reassign, folder)
    # Until here nothing was computed and all was checked; from here on the folder holds a run.
    if distributed.is_main_process():
        write_samples(folder / "assignments", parts.images.samples)
        save(config, folder)
    split = None
    if config.evaluation.enabled and distributed.is_main_process():
        split = labelled_split(parts.images, parts.test_images, config.evaluation, seed=config.seed)
    untrained, reassign.assignment = _untrained(config, parts, split, folder, resuming=resuming)

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
        trainer.fit(module, datamodule=batches, ckpt_path=str(last) if resuming else None, weights_only=True)

    device = trainer.strategy.root_device
    assignment, final = reassign.final(module.backbone, device=device)
    if not distributed.is_main_process():
        return {}
    trained = dict(final)
    if split is not None:
        parts.progress.say("measuring the trained network")
        trained |= measure(
            split, _probe_source(config, parts, module.backbone, device), config.evaluation, seed=config.seed
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
    for logger in trainer.loggers:
        if not isinstance(logger, EpochCSV):
            logger.log_metrics({f"final/{k}": v for k, v in summary["trained"].items() if v is not None})
    print_summary(summary, folder, config)
    return summary


def prepare(config: TrainConfig, *, resuming: bool = False) -> Parts:
    """Load the images, build the network and check that all fits, with a line about each.

    Raises:
        ValueError: see :func:`train`.
    """
    progress = Progress()
    images = load(config.data, "train")
    assert images is not None
    test_images = load(config.data, "test")
    mean, std = statistics(images, config.data)
    size, resize = config.data.size, config.data.resize or config.data.size
    backbone = new_backbone(config.arch, in_channels=images.n_channels, image_size=size, seed=config.seed)
    card = {
        "arch": config.arch,
        "in_channels": images.n_channels,
        "image_size": size,
        "resize": resize,
        "mean": mean,
        "std": std,
    }
    check_sizes(config, n_images=len(images), feature_dim=backbone.feature_dim)
    if config.trainer["max_epochs"] > 0 and not any(p.requires_grad for p in backbone.parameters()):
        raise ValueError(
            f"trainer.max_epochs={config.trainer['max_epochs']}, but this network has no weights that training could "
            "change; set trainer.max_epochs=0 to measure it as it starts"
        )
    if not resuming:
        for line in config.init.apply(backbone, card=card, images=images, seed=config.seed):
            progress.say(f"init       {line}")
    device = choose_device(config.trainer)
    precision = choose_precision(config.trainer["precision"], device)
    set_matmul_precision(device)
    backbone = backbone.to(memory_format=torch.channels_last)
    devices = config.trainer["devices"]
    num_workers = n_workers(config.data, images, devices if isinstance(devices, int) and devices > 0 else 1)

    def view(of: ImageSet) -> FeatureView:
        return feature_view(config.data, of, mean, std)

    n_parameters = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    n_test = "no" if test_images is None else f"{len(test_images):,}"
    where = (
        "in memory" if isinstance(images, MemoryImages) else f"decoded at each access by {num_workers or 1} processes"
    )
    name = config.arch.get("name") or config.arch["_target_"].rpartition(".")[2]
    progress.say(f"images     {config.data.source}: {len(images):,} to learn from, {n_test} to test, {where}")
    progress.say(
        f"network    {name}: {n_parameters / 1e6:.1f} M parameters, {images.n_channels}x{size}x{size} -> "
        f"{backbone.feature_dim} features"
    )
    progress.say(f"clustering {config.clustering.describe(device)}")
    progress.say(f"precision  {precision.trainer} on {device.type}: {precision.reason}")
    for path, reason in images.skipped[:5]:
        progress.say(f"left out   {path}: {reason}")
    if len(images.skipped) > 5:
        progress.say(f"left out   ... {len(images.skipped):,} broken images in all")
    clusterer = Clusterer(
        images=images,
        view=view(images),
        extraction=config.extraction,
        reduction=config.reduction,
        clustering=config.clustering,
        seed=config.seed,
        dtype=precision.extraction,
        num_workers=num_workers,
        progress=progress,
    )
    return Parts(
        images=images,
        test_images=test_images,
        view=view,
        train_view=train_view(config.data, images, mean, std),
        backbone=backbone,
        card=card,
        clusterer=clusterer,
        device=device,
        precision=precision,
        num_workers=num_workers,
        progress=progress,
    )


def choose_device(trainer: dict[str, Any]) -> torch.device:
    """The device that Lightning will train on, asked before there is a Trainer."""
    accelerator = trainer.get("accelerator", "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _untrained(
    config: TrainConfig, parts: Parts, split: LabelledSplit | None, folder: Path, *, resuming: bool
) -> tuple[dict[str, float], Assignment | None]:
    """Figures of the network before training, and its assignment, with which the first epoch's is compared.

    The first epoch clusters the same features with another seed, so the first NMI tells how much two clusterings
    of an untrained network agree.
    """
    file = folder / "untrained.json"
    if not (config.evaluation.enabled and config.evaluation.untrained and distributed.is_main_process()):
        return {}, None
    if config.trainer["max_epochs"] == 0:  # what is measured at the end is the untrained network
        return {}, None
    if resuming and file.is_file():
        numbers: dict[str, float] = json.loads(file.read_text())
        return numbers, None  # the assignments are in the checkpoint
    parts.progress.say("measuring the untrained network")
    baseline, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained")
    second, _ = parts.clusterer.assign(parts.backbone, device=parts.device, moment="untrained again")
    numbers = describe(second, baseline, parts.images.labels, config.evaluation.nmi_average)
    if split is not None:
        source = _probe_source(config, parts, parts.backbone, parts.device)
        numbers |= measure(split, source, config.evaluation, seed=config.seed)
    write_atomically(file, json.dumps(numbers, indent=2).encode())
    return numbers, baseline


def _untrained_features(config: TrainConfig, parts: Parts, shared: Path | None) -> UntrainedFeatures:
    """What keeps the untrained network's features for its clusterings, and for the other jobs of a sweep."""
    told = () if shared is None else (same_images(config.data, parts.images), parts.card, config.extraction.batch_size)
    return UntrainedFeatures(
        told=(*told, str(parts.precision.extraction), parts.device.type),
        folder=shared,
        limit_mb=config.extraction.reuse_mb,
        progress=parts.progress,
    )


def _probe_source(
    config: TrainConfig, parts: Parts, backbone: Backbone, device: torch.device
) -> Callable[[ImageSet], FeaturePass]:
    def source(images: ImageSet) -> FeaturePass:
        return feature_pass(
            backbone,
            images,
            parts.view(images),
            config.extraction,
            num_workers=parts.num_workers,
            device=device,
            dtype=parts.precision.extraction,
            convolutional=True,
        )

    return source


def _trainer(config: TrainConfig, parts: Parts, reassign: ReassignCallback, folder: Path) -> pl.Trainer:
    loggers: list[Any] = [EpochCSV(folder / "metrics.csv")]
    if config.logger:
        if config.logger["_target_"].endswith("WandbLogger"):
            loggers.append(wandb_logger(config.logger, config, folder, parts.progress))
        else:
            loggers.append(build(config.logger, "logger", save_dir=str(folder)))
    callbacks: list[pl.Callback] = [
        reassign,
        EpochReport(reassign, parts.progress),
        LastCheckpoint(
            folder,
            every_n_epochs=config.checkpoint.every_n_epochs,
            every_n_steps=config.checkpoint.every_n_steps,
        ),
    ]
    if parts.progress.bars:
        callbacks.append(TrainingBar())
    try:
        trainer: pl.Trainer = build(
            {**config.trainer, "precision": parts.precision.trainer},
            "trainer",
            callbacks=callbacks,
            logger=loggers,
            plugins=[AtomicCheckpointIO()],
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
