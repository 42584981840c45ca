"""A DeepCluster run of a second: 96 grey images of 16 px, LeNet5, six clusters. For tests of the loop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from deepcluster.clustering.history import write_samples
from deepcluster.clustering.kmeans import KMeans
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import MemoryImages
from deepcluster.data.loader import EpochLoader
from deepcluster.data.multi_crop import multi_crop
from deepcluster.data.sampler import Sampler
from deepcluster.data.view_settings import SmallCrops, View
from deepcluster.data.views import feature_view
from deepcluster.features.other_rows import OtherRows, OtherSource
from deepcluster.features.rows import Rows
from deepcluster.features.settings import Extraction
from deepcluster.models.lenet import LeNet5
from deepcluster.run.module import build_module
from deepcluster.system import distributed
from deepcluster.system.progress import Progress
from deepcluster.system.seeding import generator
from deepcluster.training.checkpointing import AtomicCheckpointIO, LastCheckpoint
from deepcluster.training.clusterer import Clusterer
from deepcluster.training.datamodule import TrainingImages
from deepcluster.training.embedding import Embedding
from deepcluster.training.head_settings import HeadSettings, LinearSettings
from deepcluster.training.health_check import HealthCheck
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.monitor_settings import Monitor
from deepcluster.training.optimizer import OptimizerSettings, SGDSettings
from deepcluster.training.reassign import ReassignCallback
from deepcluster.training.report import EpochReport
from deepcluster.training.schedule import Schedule
from deepcluster.training.target_settings import LookupSettings, TargetSettings
from deepcluster.training.world_size_change import WorldSizeChange

N_IMAGES, K, BATCH = 96, 6, 16
MEAN, STD = [0.5], [0.25]
CARD: dict[str, Any] = {
    "arch": {"_target_": "deepcluster.models.lenet.LeNet5", "batch_norm": True},
    "in_channels": 1,
    "image_size": 16,
    "resize": 16,
    "mean": MEAN,
    "std": STD,
}


@dataclass(kw_only=True)
class Method:
    """The choices that tell the methods apart; those of DeepCluster if nothing is said."""

    embedding: Embedding = field(default_factory=Embedding)
    rows: Rows = field(default_factory=Rows)
    head: HeadSettings = field(default_factory=LinearSettings)
    targets: TargetSettings = field(default_factory=LookupSettings)
    other_rows: OtherRows = field(default_factory=OtherRows)
    other: Callable[[MemoryImages], OtherSource] | None = None
    n_large: int = 1
    small: SmallCrops = field(default_factory=SmallCrops)

    def other_source(self, pictures: MemoryImages) -> Callable[[torch.device], OtherSource] | None:
        build = self.other
        return None if build is None else lambda device: build(pictures)


class Killed(Exception):
    """Stands for a kill: nothing of ours may catch it or tidy up after it."""


def images(n: int = N_IMAGES) -> MemoryImages:
    """Blobs at places that differ from image to image, in noise; pixel (0, 0) holds the image's index."""
    pixels = torch.randint(0, 40, (n, 1, 16, 16), generator=generator("tiny images"), dtype=torch.uint8)
    for i in range(n):
        top, left = i % 4 * 3, i // 4 % 4 * 3
        pixels[i, 0, top : top + 4, left : left + 4] += 150
        pixels[i, 0, 0, 0] = i
    return MemoryImages(images=pixels, samples=[f"train/{i}" for i in range(n)], labels=torch.arange(n) % 4)


@dataclass
class Seen(pl.Callback):
    """Records every batch that was trained on: (epoch, batch number, indices, pseudo-labels used)."""

    batches: list[tuple[int, int, Tensor, Tensor]] = field(default_factory=list)
    kill_after: tuple[int, int] | None = None
    on_batch: Callable[[pl.Trainer, int], None] | None = None

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, DeepClusterModule)
        labels = torch.empty(0)  # of methods that need none
        if pl_module.pseudo_labels is not None:
            labels = pl_module.pseudo_labels[0][batch.indices].clone()
        self.batches.append((trainer.current_epoch, batch_idx, batch.indices.clone(), labels))

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.on_batch is not None:
            self.on_batch(trainer, batch_idx)
        if self.kill_after == (trainer.current_epoch, batch_idx):
            raise Killed

    def of_epoch(self, epoch: int) -> tuple[Tensor, Tensor]:
        """All indices and labels that the epoch trained on, in order."""
        mine = [(indices, labels) for e, _, indices, labels in self.batches if e == epoch]
        return torch.cat([i for i, _ in mine]), torch.cat([labels for _, labels in mine])


@dataclass
class Run:
    """A tiny run, built."""

    module: DeepClusterModule
    reassign: ReassignCallback
    trainer: pl.Trainer
    batches: TrainingImages
    seen: Seen
    folder: Path

    def fit(self, *, resume: bool = False) -> "Run":
        last = self.folder / "checkpoints" / "last.ckpt"
        ckpt = str(last) if resume else None
        self.trainer.fit(self.module, datamodule=self.batches, ckpt_path=ckpt, weights_only=True)
        return self

    def weights(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self.module.state_dict().items()}


def build(
    folder: Path,
    *,
    max_epochs: int = 3,
    num_workers: int = 0,
    persistent_workers: bool = False,
    every_n_steps: int | None = None,
    schedule: Schedule | None = None,
    sampler: Sampler | None = None,
    kill_after: tuple[int, int] | None = None,
    on_batch: Callable[[pl.Trainer, int], None] | None = None,
    dropout_net: Any = None,
    optimizer: OptimizerSettings | None = None,
    seed: int = 7,
    trainer: dict[str, Any] | None = None,
    reduction: Reduction | None = None,
    clustering: Clustering | None = None,
    method: Method | None = None,
) -> Run:
    """Build a tiny run in a folder; the same arguments build the same run."""
    chosen = method or Method()
    seen_as = View(size=16, mean=MEAN, std=STD, crop_scale=[0.5, 1.0], n_large=chosen.n_large, small=chosen.small)
    pictures = images()
    if distributed.is_main_process():  # of several, which would write over each other's file
        write_samples(folder / "assignments", pictures.samples)
    torch.manual_seed(seed)
    backbone = LeNet5(1, 16, batch_norm=True) if dropout_net is None else dropout_net()
    clustering = clustering or KMeans(k=K, n_iter=5)
    clusterer = Clusterer(
        images=pictures,
        view=feature_view(seen_as, pictures, MEAN, STD),
        extraction=Extraction(batch_size=32),
        reduction=reduction or Reduction(dim=8),
        clustering=clustering,
        seed=seed,
        rows=chosen.rows.of,
        other=chosen.other_source(pictures),
        other_reduction=Reduction(dim=None, whiten=False, l2=False),
        num_workers=0,
        progress=Progress(bars=False),
        softness=getattr(chosen.targets, "softness", 0.0),
        n_soft=getattr(chosen.targets, "n_soft", 1),
    )
    reassign = ReassignCallback(
        clusterer=clusterer,
        schedule=schedule or Schedule(),
        sampler=sampler or Sampler(),
        labels=pictures.labels,
        folder=folder / "assignments",
        seed=seed,
        other_rows=chosen.other_rows,
        needs_labels=chosen.targets.needs_labels,
    )
    view = multi_crop(seen_as, pictures, MEAN, STD)
    module = build_module(
        backbone,
        view=view,
        card=CARD,
        n_images=N_IMAGES,
        embedding=chosen.embedding,
        head=chosen.head,
        targets=chosen.targets,
        rows=chosen.rows,
        other_rows=chosen.other_rows,
        clustering=clustering,
        optimizer=optimizer or SGDSettings(),
        seed=seed,
        second=second_of(chosen, seed),
    )
    seen = Seen(kill_after=kill_after, on_batch=on_batch)
    built = pl.Trainer(
        **{
            "max_epochs": max_epochs,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "callbacks": [
                reassign,
                WorldSizeChange(n_per_epoch=reassign.n_images_per_epoch, batch_size=BATCH, progress=Progress()),
                LastCheckpoint(folder, every_n_steps=every_n_steps),
                seen,
            ],
            "plugins": [AtomicCheckpointIO()],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "use_distributed_sampler": False,
            **(trainer or {}),
        }
    )
    batches = TrainingImages(
        partial(
            EpochLoader,
            pictures,
            view,
            batch_size=BATCH,
            num_workers=num_workers,
            persistent_workers=persistent_workers,
            seed=seed,
            n_per_epoch=reassign.n_images_per_epoch,
            before_epoch=lambda: reassign.begin_epoch(built),
        ),
        view,
    )
    return Run(module=module, reassign=reassign, trainer=built, batches=batches, seen=seen, folder=folder)


def second_of(chosen: Method, seed: int) -> LeNet5 | None:
    """The second network of co-teaching."""
    if chosen.targets.n_networks == 1:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return LeNet5(1, 16, batch_norm=True)


def watch(run: Run, settings: Monitor) -> HealthCheck:
    """Have a run watched, as run/assemble.py does; every epoch is reported."""
    health = HealthCheck(settings, run.reassign, batch_size=BATCH)
    report = EpochReport(run.reassign, run.reassign.clusterer.progress, run.reassign.record, health)
    run.trainer.callbacks[2:2] = [health, report]  # type: ignore[attr-defined]
    return health
