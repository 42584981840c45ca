"""One evaluation, from a checkpoint to results.json or clusters.csv. eval.py calls `evaluate`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from deepcluster import checkpoint
from deepcluster.atomic import write_atomically
from deepcluster.clustering import metrics
from deepcluster.config import TrainConfig, typed
from deepcluster.config import load as load_config
from deepcluster.data.images import ImageSet
from deepcluster.data.loader import n_workers
from deepcluster.data.settings import Data
from deepcluster.data.sources import load
from deepcluster.data.views import feature_view
from deepcluster.evaluation.representation import Evaluation, labelled_split, measure
from deepcluster.models.backbone import Backbone
from deepcluster.summary import write_clusters
from deepcluster.targets import build, check_target
from deepcluster.training.features import Extraction, FeaturePass, feature_pass
from deepcluster.training.precision import choose_precision
from deepcluster.training.progress import Progress


@dataclass(kw_only=True)
class Evaluated(Evaluation):
    """Settings of the group `evaluation` of eval.py.

    Args:
        kind: "representation" (k-NN, linear probe) or "assign" (each image's cluster).
    """

    kind: str = "representation"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("representation", "assign"):
            raise ValueError(f'evaluation.kind must be "representation" or "assign", got "{self.kind}"')


@dataclass(kw_only=True)
class EvalConfig:
    """configs/eval.yaml, typed. The network is the checkpoint's: `arch` only takes what data=folder brings along."""

    ckpt: str
    data: Data | None = None
    arch: dict[str, Any] | None = None
    evaluation: Evaluated = field(default_factory=Evaluated)
    extraction: Extraction = field(default_factory=Extraction)
    seed: int = 1
    output_dir: str | None = None


def evaluate(config: EvalConfig, folder: Path) -> dict[str, Any]:
    """Evaluate a checkpoint; results go to `folder`.

    Returns:
        The content of results.json.

    Raises:
        ValueError: if the checkpoint, the images or what is asked of them do not fit together.
    """
    stored = checkpoint.load(config.ckpt)
    card, progress = stored.card, Progress()
    data = config.data or _data_of_run(stored.path)
    data.size, data.resize, data.n_channels = card["image_size"], card["resize"], card["in_channels"]
    check_target(card["arch"], "arch", supplied=("in_channels", "image_size"))
    # The weights come from the checkpoint: nothing is downloaded to be overwritten.
    arch = {
        **card["arch"],
        **{name: off for name, off in (("weights", None), ("pretrained", False)) if name in card["arch"]},
    }
    backbone: Backbone = build(arch, "arch", in_channels=card["in_channels"], image_size=card["image_size"])
    backbone.load_state_dict(stored.backbone)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def source(images: ImageSet, convolutional: bool = True) -> FeaturePass:
        if images.n_channels != card["in_channels"]:
            raise ValueError(
                f"the network takes {card['in_channels']} channels, data={data.source} has {images.n_channels}"
            )
        return feature_pass(
            backbone,
            images,
            feature_view(data, images, card["mean"], card["std"]),
            config.extraction,
            num_workers=n_workers(data, images),
            device=device,
            dtype=choose_precision("auto", device).extraction,
            convolutional=convolutional,
        )

    images = load(data, "train")
    assert images is not None
    results: dict[str, Any] = {"ckpt": str(stored.path), "epochs": stored.epoch, "n_images": len(images)}
    if config.evaluation.kind == "assign":
        if stored.assignment is None:
            raise ValueError(f"{stored.path} holds no clusters; it was saved before the first clustering")
        clusters = torch.empty(len(images), dtype=torch.int64)
        with progress.bar("assign", len(images), "img") as advance:
            for indices, features in source(images, convolutional=False).stream(torch.arange(len(images))):
                clusters[indices] = stored.assignment.apply(features.float().cpu())
                advance(len(indices))
        write_clusters(folder / "clusters.csv", images, clusters)
        results["clusters_used"] = len(torch.unique(clusters))
        if images.labels is not None:
            results |= metrics.label_metrics(clusters, images.labels, config.evaluation.nmi_average)
        progress.say(f"{len(images):,} images in {results['clusters_used']} clusters: {folder / 'clusters.csv'}")
    else:
        split = labelled_split(images, load(data, "test"), config.evaluation, seed=config.seed)
        if split is None:
            raise ValueError(f"data={data.source} has no labels to measure with; evaluation=assign needs none")
        results |= measure(split, source, config.evaluation, seed=config.seed)
        for name in ("knn_accuracy", "linear_probe_accuracy"):
            progress.say(f"{name:24} {results[name]:.1%}")
    write_atomically(folder / "results.json", (json.dumps(results, indent=2) + "\n").encode())
    progress.say(f"results    {folder / 'results.json'}")
    return results


def _data_of_run(path: Path) -> Data:
    """The images that the checkpoint's run learned from."""
    file = path.parent.parent / "config.yaml"
    if not file.is_file():
        raise ValueError(f"{path} lies outside a run's folder, so its images are unknown: say data=... as well")
    stored = typed(load_config(file))
    assert isinstance(stored, TrainConfig)
    return stored.data
