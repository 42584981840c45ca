"""How a network of a run is measured, and the figures of the untrained one, with which the trained one is compared."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.describe import describe
from deepcluster.data.images import ImageSet
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.probe.labelled_split import LabelledSplit
from deepcluster.evaluation.probe.measure import measure
from deepcluster.evaluation.probe.representation import Evaluation
from deepcluster.features.extraction import FeaturePass, feature_pass
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import write_atomically
from deepcluster.training.clusterer import Clusterer

UNTRAINED = "untrained.json"  # in the run's folder


@dataclass(kw_only=True)
class Probes:
    """Measures a network of the run on labelled images: k-NN and a linear probe.

    Args:
        split: the labelled images; None: there are none, or nothing is to be measured.
        view: how the network sees a set of images.
        clusterer: its settings of extraction hold here too.
        seed: of the run.
    """

    split: LabelledSplit | None
    view: Callable[[ImageSet], FeatureView]
    clusterer: Clusterer
    settings: Evaluation
    seed: int

    def measure(self, backbone: Backbone, device: torch.device) -> dict[str, float]:
        """Accuracies of k-NN and of the linear probe; nothing without labels."""
        if self.split is None:
            return {}

        def source(images: ImageSet) -> FeaturePass:
            return feature_pass(
                backbone,
                images,
                self.view(images),
                batch_size=self.clusterer.extraction.batch_size,
                num_workers=self.clusterer.num_workers,
                device=device,
                dtype=self.clusterer.dtype,
                convolutional=True,
            )

        knn, linear_probe = self.settings.knn, self.settings.linear_probe
        return measure(self.split, source, knn=knn, linear_probe=linear_probe, seed=self.seed)


def measures_untrained(evaluation: Evaluation, max_epochs: int) -> bool:
    """Whether the untrained network is measured too; with 0 epochs the figures at the end are its figures."""
    return evaluation.enabled and evaluation.untrained and max_epochs > 0


def measure_untrained(
    probes: Probes, clusterer: Clusterer, backbone: Backbone, device: torch.device, file: Path
) -> tuple[dict[str, float], Assignment]:
    """Figures of the network before training, which are written to `file`, and its assignment.

    The first epoch clusters the same features with another seed, so the first NMI tells how much two clusterings
    of an untrained network agree. In a resumed run the checkpoint's assignment takes its place.
    """
    clusterer.progress.say("measuring the untrained network")
    baseline, _ = clusterer.assign(backbone, device=device, moment="untrained", reused=True)
    second, _ = clusterer.assign(backbone, device=device, moment="untrained again", reused=True)
    figures = describe(second, baseline, clusterer.images.labels, probes.settings.nmi_average)
    figures |= probes.measure(backbone, device)
    write_atomically(file, json.dumps(figures, indent=2).encode())
    return figures, baseline


def stored_figures(file: Path) -> dict[str, float] | None:
    """The figures that were written; None if the file is missing or damaged, so that they must be measured again."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(content, dict) and all(isinstance(value, int | float) for value in content.values())
    return content if is_whole and "objective" in content else None
