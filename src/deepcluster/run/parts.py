"""The parts of a run: images, network, clusterer, device. train.py builds them first and prints a few lines on them."""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import torch

from deepcluster.clustering.method import Clustering
from deepcluster.data.contents import tell_copies
from deepcluster.data.images import ImageSet, MemoryImages, size_of_first
from deepcluster.data.loader import n_workers
from deepcluster.data.multi_crop import MultiCrop, multi_crop
from deepcluster.data.sources.load import load as load_images
from deepcluster.data.statistics import statistics
from deepcluster.data.view_settings import View
from deepcluster.data.views import FeatureView, feature_view
from deepcluster.features.precision import Precision, choose_precision, set_matmul_precision
from deepcluster.features.reuse import same_images
from deepcluster.models.backbone import Backbone
from deepcluster.run.build_clusterer import build_clusterer, untrained_features
from deepcluster.run.module import build_module
from deepcluster.settings.train import TrainConfig, check_sizes
from deepcluster.system import distributed
from deepcluster.system.progress import Progress
from deepcluster.system.seeding import mix
from deepcluster.training.clusterer import Clusterer
from deepcluster.training.module import DeepClusterModule
from deepcluster.training.processes import n_processes
from deepcluster.weights.network import build_backbone
from deepcluster.weights.onnx_start import check_channels

SHOWN_BROKEN = 5  # broken images that are named; of more only the number is printed
DEFAULT_NETWORK = ".LeNet5"  # in train.yaml
LARGE = 1.5  # images this many times larger than the network's input get a hint


@dataclass(kw_only=True)
class Parts:
    """The parts of a run, built and checked before anything long starts.

    Args:
        images: the N training images.
        test_images: those of the source's test split, if it has one.
        view: builds the view without augmentation, for a set of images.
        train_view: the augmentation.
        crop_size: side of the large crops as the settings have it, which the network may be unable to take.
        backbone: the network, on the CPU.
        card: what rebuilds the network: arch, in_channels, image_size, resize, mean, std.
        clusterer: clusters the images by the network's features.
        device: where the run computes.
        num_workers: processes that read images.
        progress: prints lines and draws bars.
        init_report: lines on what the group `init` did to the weights.
        module: builds what Lightning trains, around a backbone.
        n_networks: that are trained together, each of this architecture.
        chooses_k: K is the largest that may be chosen, as none is chosen yet.
    """

    images: ImageSet
    test_images: ImageSet | None
    view: Callable[[ImageSet], FeatureView]
    train_view: MultiCrop
    crop_size: int
    backbone: Backbone
    card: dict[str, Any]
    clusterer: Clusterer
    device: torch.device
    precision: Precision
    num_workers: int
    progress: Progress
    init_report: list[str]
    module: partial[DeepClusterModule]
    n_networks: int = 1
    chooses_k: bool = False

    def with_clustering(self, clustering: Clustering) -> "Parts":
        """The same with another clustering."""
        return replace(
            self,
            clusterer=self.clusterer.with_clustering(clustering),
            module=partial(self.module, clustering=clustering),
            chooses_k=False,
        )

    def describe(self, source: str, batch_size: int, n_processes: int) -> list[str]:
        """The lines that are printed at the start of a run.

        Args:
            source: the value of data.source.
            batch_size: images per step and process.
        """
        return [
            *(f"init       {line}" for line in self.init_report),
            self._describe_images(source),
            *self._describe_sizes(),
            *([] if (copies := tell_copies(self.images.contents)) is None else [f"images     {copies}"]),
            self._describe_network(),
            *self._describe_processes(batch_size, n_processes),
            self._describe_precision(),
            *self._describe_broken(),
        ]

    def _describe_images(self, source: str) -> str:
        n_test = "no" if self.test_images is None else f"{len(self.test_images):,}"
        in_memory = isinstance(self.images, MemoryImages)
        where = "in memory" if in_memory else f"decoded at each access by {self.num_workers or 1} processes"
        return f"images     {source}: {len(self.images):,} to learn from, {n_test} to test, {where}"

    def _describe_sizes(self) -> list[str]:
        """A hint if the images are large, but network and size are the defaults, which suit small images."""
        side = self.card["image_size"]
        if side != View().size or not self.card["arch"]["_target_"].endswith(DEFAULT_NETWORK):
            return []
        height, width = size_of_first(self.images)
        if min(height, width) < LARGE * side:
            return []
        return [
            f"images     they are {width}x{height} px, the network sees view.size={side}: for photographs, "
            "experiment=photographs suits better"
        ]

    def _describe_network(self) -> str:
        arch, side = self.card["arch"], self.card["image_size"]
        name = arch.get("name") or arch["_target_"].rpartition(".")[2]
        millions = sum(p.numel() for p in self.backbone.parameters() if p.requires_grad) / 1e6
        what = self.backbone.told or f"{millions:.1f} M parameters"
        shape = f"{self.images.n_channels}x{side}x{side}"
        crop = self.train_view.crops[0].size
        crops = "" if crop == self.crop_size == side else f", learns from crops of {crop}x{crop}"
        if crop != self.crop_size:
            crops += f", as it cannot take view.train_size={self.crop_size}"
        second = "; a second one learns beside it (targets.co_teaching)" if self.n_networks > 1 else ""
        return f"network    {name}: {what}, {shape} -> {self.backbone.feature_dim} features{crops}{second}"

    def _describe_processes(self, batch_size: int, n: int) -> list[str]:
        at_most = "at most " if self.chooses_k else ""
        clustering = f"clustering {at_most}{self.clusterer.clustering.describe(self.device)}"
        if n == 1:
            return [clustering]
        shares, why = self.clusterer.shares(self.backbone)
        where = f"all {n} processes, each with its share" if shares else "the first process"
        return [
            f"processes  {n}, each with batches of {batch_size}: steps of {n * batch_size} images",
            f"{clustering}, on {where} ({why})",
        ]

    def _describe_precision(self) -> str:
        if self.backbone.needs_weights:
            return "precision  as the ONNX file says: trainer.precision changes nothing"
        return f"precision  {self.precision.trainer} on {self.device.type}: {self.precision.reason}"

    def _describe_broken(self) -> list[str]:
        broken = self.images.skipped
        lines = [f"left out   {path}: {reason}" for path, reason in broken[:SHOWN_BROKEN]]
        if len(broken) > SHOWN_BROKEN:
            lines.append(f"left out   ... {len(broken):,} broken images in all")
        return lines


def build_parts(
    config: TrainConfig,
    *,
    initialise: bool = True,
    folder: Path | None = None,
    reuse: bool = False,
    shared: Path | None = None,
    before_learning: Callable[[Parts, float], None] = lambda parts, learning_bytes: None,
    progress: Progress | None = None,
) -> Parts:
    """Load the images, build the network and check that all settings fit them.

    With clustering.k=auto the parts have the largest K that may be chosen.

    Args:
        initialise: let the group `init` change the weights.
        folder: the run's, for reduced features that do not fit into memory; None: the system's temporary folder.
        reuse: compute the untrained network's features only once for its clusterings.
        shared: folder in which the jobs of a sweep share these features; None: they are not shared.
        before_learning: called with the other parts and the memory that it takes before the group `init` learns from
            the images.
        progress: prints lines and draws bars; None: as it suits the terminal.

    Raises:
        ValueError: see :func:`train`.
    """
    progress, data, reading, trainer = progress or Progress(), config.data, config.reading, config.trainer
    arch, seen, n_taken = config.init.network(config.arch, config.view)  # refuses before the images are read
    check_channels(n_taken, data.n_channels)
    config = replace(config, arch=arch, view=seen)
    images = load_images(data, reading, "train")
    assert images is not None
    check_channels(n_taken, images.n_channels)
    chooses_k = config.clustering.chooses_k
    config = replace(config, clustering=config.clustering.at_most(len(images)))
    test_images = load_images(data, reading, "test")
    mean, std = statistics(images, config.view, data, reading)
    card = network_card(config.arch, config.view, images.n_channels, mean, std)
    backbone = build_backbone(card, seed=config.seed)
    check_sizes(
        config.clustering, config.reduction, config.reassign, n_images=len(images), feature_dim=backbone.feature_dim
    )
    _check_trainable(backbone, trainer["max_epochs"])
    crops = multi_crop(crops_for(backbone, config.view), images, mean, std)
    device = choose_device(trainer)
    precision = choose_precision(trainer["precision"], device)
    num_workers = n_workers(
        reading.num_workers,
        images,
        batch_size=max(ceil(reading.batch_size * crops.n_pixels / config.view.size**2), config.extraction.batch_size),
        size=config.view.size,
        n_processes=n_processes(trainer) // int(trainer.get("num_nodes", 1)),
    )
    view = partial(feature_view, config.view, mean=mean, std=std)
    clusterer = build_clusterer(
        config,
        images,
        backbone.feature_dim,
        view=view(images),
        dtype=precision.extraction,
        num_workers=num_workers,
        progress=progress,
        folder=folder or Path(tempfile.gettempdir()),
    )
    if reuse:
        images_hash = "" if shared is None else same_images(data, reading, config.view, images)
        clusterer = replace(clusterer, untrained=untrained_features(clusterer, images_hash, card, device, shared))
    second, second_seed = None, mix(config.seed, "co-teaching")
    if config.targets.n_networks > 1:
        second = build_backbone(card, seed=second_seed)
    parts = Parts(
        images=images,
        test_images=test_images,
        view=view,
        train_view=crops,
        crop_size=config.view.crop_size,
        backbone=backbone,
        card=card,
        clusterer=clusterer,
        device=device,
        precision=precision,
        num_workers=num_workers,
        progress=progress,
        init_report=[],
        module=partial(
            build_module,
            view=crops,
            card=card,
            n_images=len(images),
            embedding=config.embedding,
            head=config.head,
            targets=config.targets,
            rows=config.rows,
            other_rows=config.other_rows,
            clustering=config.clustering,
            optimizer=config.optimizer,
            seed=config.seed,
            second=second,
        ),
        n_networks=config.targets.n_networks,
        chooses_k=chooses_k,
    )
    learning_bytes = config.init.learning_bytes(backbone, card) if initialise else 0.0
    # What is learned, the first process learns: before the first step DDP gives its weights to the others.
    is_given = learning_bytes > 0 and trainer["max_epochs"] > 0 and not distributed.is_main_process()
    init_report: list[str] = []
    if (initialise and not is_given) or backbone.needs_weights:
        if learning_bytes > 0:
            before_learning(parts, learning_bytes)
        init_report = config.init.apply(backbone, card=card, images=images, seed=config.seed, device=device)
        if second is not None:
            config.init.apply(second, card=card, images=images, seed=second_seed, device=device)
    set_matmul_precision(device)
    for network in (backbone, second):
        if network is not None:
            network.to(memory_format=torch.channels_last)
    return replace(parts, init_report=init_report)


def network_card(
    arch: dict[str, Any], view: View, in_channels: int, mean: list[float], std: list[float]
) -> dict[str, Any]:
    """What rebuilds the network, and how it sees images. Every checkpoint holds it."""
    return {
        "arch": arch,
        "in_channels": in_channels,
        "image_size": view.size,
        "resize": view.resize or view.size,
        "mean": mean,
        "std": std,
    }


def choose_device(trainer: dict[str, Any]) -> torch.device:
    """The device on which Lightning will train, known before the Trainer is built."""
    accelerator = trainer.get("accelerator", "auto")
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", distributed.local_rank())
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _check_trainable(backbone: Backbone, max_epochs: int) -> None:
    if max_epochs > 0 and not any(p.requires_grad for p in backbone.parameters()):
        raise ValueError(
            f"trainer.max_epochs={max_epochs}, but this network has no weights that training could "
            "change; set trainer.max_epochs=0 to measure it as it is"
        )


def crops_for(backbone: Backbone, view: View) -> View:
    """The view with crops that the network can take: where its last layer fits one size only, large ones have that.

    Raises:
        ValueError: if it cannot take the small crops, naming their size and the ways out.
    """
    if not _takes(backbone, view, view.crop_size):
        view = replace(view, train_size=None)
    small = view.of_small_crops().size
    if view.small.n and not _takes(backbone, view, small):
        raise ValueError(
            f"view.small.size={small} does not fit this network, which is built for view.size={view.size}: set "
            f"view.small.size={view.size}, or choose a network that takes several sizes (arch=resnet18), or "
            "view.small.n=0"
        )
    return view


def crops_of_settings(config: TrainConfig) -> View:
    """The view with crops that the network of these settings can take, see :func:`crops_for`; reads no images."""
    view = config.view
    if view.crop_size == view.size and view.small.n == 0:
        return view
    return crops_for(_network_of(config), view)


def takes_images_of(config: TrainConfig, size: int) -> bool:
    """Whether the network of these settings can be built for images of this side, in place of view.size."""
    view = replace(config.view, size=size)
    try:
        _network_of(replace(config, view=view)).eval()(torch.zeros(1, _n_channels(config), size, size))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def _network_of(config: TrainConfig) -> Backbone:
    """The network of settings whose images are not read yet, with random weights."""
    arch, view, _ = config.init.network(config.arch, config.view)
    return build_backbone(network_card(arch, view, _n_channels(config), [], []), seed=config.seed)


def _n_channels(config: TrainConfig) -> int:
    return config.data.n_channels or 3


@torch.no_grad()
def _takes(backbone: Backbone, view: View, size: int) -> bool:
    if size == view.size:
        return True
    try:
        copy.deepcopy(backbone).eval()(torch.zeros(1, backbone.in_channels, size, size))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True
