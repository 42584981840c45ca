"""What a run consists of, loaded, built and checked, before anything long starts. Next: run.py.

Also what the run will need of the machine, told and checked.
"""

import tempfile
from pathlib import Path

import torch

from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import n_workers
from deepcluster.data.sources.load import load
from deepcluster.data.statistics import statistics
from deepcluster.data.views import FeatureView, feature_view, train_view
from deepcluster.features.precision import choose_precision, set_matmul_precision
from deepcluster.run.parts import Parts, choose_device
from deepcluster.settings.train import TrainConfig, check_sizes
from deepcluster.system.progress import Progress
from deepcluster.training.clusterer import Clusterer
from deepcluster.training.processes import n_processes
from deepcluster.weights.network import build_backbone


def prepare(config: TrainConfig, *, initialise: bool = True, folder: Path | None = None) -> Parts:
    """Load the images, build the network and check that all fits, with a line about each.

    Args:
        initialise: let the group `init` change the weights.
        folder: of the run, where reduced features that are more than memory go; None: the system's for such files.

    Raises:
        ValueError: see :func:`train`.
    """
    progress = Progress()
    images = load(config.data, "train")
    assert images is not None
    test_images = load(config.data, "test")
    mean, std = statistics(images, config.data)
    size, resize = config.data.size, config.data.resize or config.data.size
    card = {
        "arch": config.arch,
        "in_channels": images.n_channels,
        "image_size": size,
        "resize": resize,
        "mean": mean,
        "std": std,
    }
    backbone = build_backbone(card, seed=config.seed)
    check_sizes(
        config.clustering,
        config.reduction,
        config.reassign,
        n_images=len(images),
        feature_dim=backbone.feature_dim,
    )
    storage = config.extraction.storage(
        len(images),
        config.reduction.output_dim(backbone.feature_dim),
        unit_length=config.reduction.l2,
        folder=folder or Path(tempfile.gettempdir()),
    )
    if config.trainer["max_epochs"] > 0 and not any(p.requires_grad for p in backbone.parameters()):
        raise ValueError(
            f"trainer.max_epochs={config.trainer['max_epochs']}, but this network has no weights that training could "
            "change; set trainer.max_epochs=0 to measure it as it starts"
        )
    device = choose_device(config.trainer)
    if initialise:
        for line in config.init.apply(backbone, card=card, images=images, seed=config.seed, device=device):
            progress.say(f"init       {line}")
    precision = choose_precision(config.trainer["precision"], device)
    set_matmul_precision(device)
    backbone = backbone.to(memory_format=torch.channels_last)
    n = n_processes(config.trainer)
    num_workers = n_workers(config.data, images, n // int(config.trainer.get("num_nodes", 1)))

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
    where_clustered = ""
    if n > 1:
        shares, why = config.clustering.shares(len(images), config.reduction.output_dim(backbone.feature_dim))
        where_clustered = f", on {f'all {n} processes, each with its share' if shares else 'the first process'} ({why})"
        progress.say(
            f"processes  {n}, each with batches of {config.data.batch_size}: steps of "
            f"{n * config.data.batch_size} images"
        )
    progress.say(f"clustering {config.clustering.describe(device)}{where_clustered}")
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
        storage=storage,
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
