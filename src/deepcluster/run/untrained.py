"""Measure the networks of a run; keep the untrained one's figures, with which the trained one's are compared."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.describe import describe
from deepcluster.data.images import ImageSet
from deepcluster.data.views import FeatureView, TrainView
from deepcluster.evaluation.clusters.two_crops import two_crop_figures, two_crop_rows
from deepcluster.evaluation.probe.knn_and_probe import measure_features
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.features.extraction import FeaturePass, feature_pass
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import write_atomically
from deepcluster.training.clusterer import Clusterer

UNTRAINED = "untrained.json"  # in the run's folder


@dataclass(kw_only=True)
class Probes:
    """Figures of a network of the run: k-NN, probe and clusters by the labels; without labels, of two crops.

    Args:
        split: the labelled images; None: there are too few.
        crop: the training view, of one crop.
        view: builds the view without augmentation, for a set of images.
        clusterer: batch size, workers and number type are as in its feature pass.
        settings: the group `evaluation`.
        seed: of the run.
    """

    split: LabelledSplit | None
    crop: TrainView
    view: Callable[[ImageSet], FeatureView]
    clusterer: Clusterer
    settings: Evaluation
    seed: int

    @property
    def k(self) -> int:
        """Clusters of the run, at most."""
        return self.clusterer.labelings[0].capacity(len(self.clusterer.images))

    def measure(self, backbone: Backbone, device: torch.device) -> dict[str, float]:
        """See :func:`measure_features`, and :func:`two_crop_figures`; empty if evaluation.enabled=false."""
        if not self.settings.enabled:
            return {}
        average, batch_size = self.settings.nmi_average, self.clusterer.extraction.batch_size

        def source(images: ImageSet) -> FeaturePass:
            return feature_pass(
                backbone,
                images,
                self.view(images),
                batch_size=batch_size,
                num_workers=self.clusterer.num_workers,
                device=device,
                dtype=self.clusterer.dtype,
                convolutional=True,
            )

        if self.split is None:
            rows = two_crop_rows(
                source(self.clusterer.images).network,
                self.clusterer.images,
                self.crop,
                batch_size=batch_size,
                num_workers=self.clusterer.num_workers,
                device=device,
                seed=self.seed,
            )
            return two_crop_figures(rows, self.k, seed=self.seed, average=average)
        knn, linear_probe = self.settings.knn, self.settings.linear_probe
        return measure_features(
            self.split, source, knn=knn, linear_probe=linear_probe, seed=self.seed, nmi_average=average
        )


def measures_untrained(evaluation: Evaluation, max_epochs: int) -> bool:
    """Whether the untrained network is measured at the start; with 0 epochs it is measured at the end anyway."""
    return evaluation.enabled and evaluation.untrained and max_epochs > 0


def measure_untrained(
    probes: Probes, clusterer: Clusterer, backbone: Backbone, device: torch.device, file: Path
) -> tuple[dict[str, float], Assignment]:
    """Measure the network before training and write its figures to `file`.

    Returns:
        The figures, and the assignment with which the first epoch's is compared. Both cluster the same features with
        different seeds, so the first NMI tells how much two clusterings of an untrained network agree.
    """
    clusterer.progress.say("measuring the untrained network")
    baseline, _ = clusterer.assign(backbone, device=device, moment="untrained", keep_features=True)
    second, _ = clusterer.assign(backbone, device=device, moment="untrained again", keep_features=True)
    figures = describe(second, baseline, clusterer.images.labels, probes.settings.nmi_average)
    figures |= probes.measure(backbone, device)
    write_atomically(file, json.dumps(figures, indent=2).encode())
    return figures, baseline


def stored_figures(file: Path) -> dict[str, float] | None:
    """The untrained network's figures in `file`; None if it is missing or damaged: they must be measured again."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(content, dict) and all(isinstance(value, int | float) for value in content.values())
    return content if is_whole and "objective" in content else None
