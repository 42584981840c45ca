"""What a row is judged by: k-NN, linear probes, clusters and rank of rows, by the project's own evaluations.

Columns with `_whitened` are of the same rows, whitened as in the table of a run. The probe is train.py's own, with its
defaults; of each of the last stages it reads at most 10,000 numbers. All come from one pass and are held in float16.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from deepcluster.data.images import ImageSet
from deepcluster.evaluation.clusters.class_clusters import nmi_of_class_clusters
from deepcluster.evaluation.probe.knn_and_probe import measure_rows
from deepcluster.evaluation.probe.linear_probe import fit_probe
from deepcluster.evaluation.probe.recipes import Knn, LinearProbe
from deepcluster.evaluation.probe.stage_features import collect_stages
from deepcluster.evaluation.probe.stages import Pooling, Stage, chosen_stages
from deepcluster.evaluation.probe.whitened import whitened
from deepcluster.features.extraction import FeaturePass
from deepcluster.models.backbone import FEATURES, MAX_CONVOLUTIONAL, Backbone, pool_maps
from deepcluster.system.processor import float32_products
from deepcluster.system.seeding import mix
from deepcluster.training.health import effective_rank

LAST = "last"  # the last maps
N_STAGES = 3  # the last ones, whose maps are probed before their pooling, besides the last maps
N_RANK = 10_000  # images of the effective rank, at most


@dataclass(kw_only=True)
class Labelled:
    """Two sets of images, all labelled: to learn from, and to judge on."""

    train: ImageSet
    test: ImageSet

    @property
    def labels(self) -> tuple[Tensor, Tensor]:
        assert self.train.labels is not None and self.test.labels is not None
        return self.train.labels, self.test.labels


@dataclass(kw_only=True)
class Judge:
    """Gives figures of rows.

    Args:
        images: the labels are theirs.
        probe: settings of the linear probe.
        seed: of the run.
        device: where to compute.
    """

    images: Labelled
    probe: LinearProbe
    seed: int
    device: torch.device

    def network(self, backbone: Backbone, pass_of: Callable[..., FeaturePass]) -> dict[str, float]:
        """Figures of a network's last maps, and probes of its last stages.

        Args:
            pass_of: gives, for a set of images and the words of `feature_pass`, the pass over them.

        Returns:
            Those of :meth:`rows`; probe_STAGE for each; effective_rank, of the features.
        """
        stages, taps = last_stages(backbone)
        scales: list[float] = []
        found = [
            collect_stages(pass_of(images, taps=taps), torch.arange(len(images)), stages, scales)
            for images in (self.images.train, self.images.test)
        ]
        train_y, test_y = (labels.to(self.device) for labels in self.images.labels)
        figures: dict[str, float] = {}
        for stage in stages:
            train_x, test_x = (matrices.pop(0).to(self.device) for matrices in found)
            if stage.name == FEATURES:
                figures["effective_rank"] = effective_rank(test_x[:N_RANK].float())
            if stage.name == LAST:
                figures |= self.rows(train_x.float(), test_x.float())
            if stage.name not in (FEATURES, LAST):
                with float32_products(self.device):
                    result = fit_probe(train_x, train_y, test_x, test_y, self.probe, mix(self.seed, "probe"))
                figures[f"probe_{stage.name}"] = result.accuracy
        return figures

    def baseline(self, train_x: Tensor, test_x: Tensor) -> dict[str, float]:
        """Figures of rows that no network gives."""
        return {**self.rows(train_x, test_x), "effective_rank": effective_rank(test_x[:N_RANK])}

    def rows(self, train_x: Tensor, test_x: Tensor) -> dict[str, float]:
        """Figures of rows (N, M) and (n, M), float32.

        Returns:
            knn, nmi, knn_whitened, nmi_whitened, probe_last.
        """
        train_y, test_y = (labels.to(self.device) for labels in self.images.labels)
        train_x, test_x = train_x.to(self.device), test_x.to(self.device)
        with float32_products(self.device):
            plain = measure_rows(
                *(train_x, train_y, test_x, test_y),
                device=self.device,
                knn=Knn(),
                linear_probe=self.probe,
                seed=self.seed,
            )
            one, other = whitened(train_x, test_x, seed=self.seed)
            return {
                "knn": plain["knn_accuracy"],
                "knn_whitened": plain["knn_whitened_accuracy"],
                "probe_last": plain["linear_probe_accuracy"],
                "nmi": plain["nmi_classes"],
                "nmi_whitened": nmi_of_class_clusters(one, train_y, other, test_y, seed=self.seed),
            }


def last_stages(backbone: Backbone) -> tuple[list[Stage], dict[str, Callable[[Tensor], Tensor]]]:
    """What is read of a network, in one pass: the last stages' maps, the last maps, the features.

    Returns:
        The parts of a row; and stage -> what is read of its maps, in the same order. The last maps, which a run's own
        k-NN and probe read, come with the last stage: they are its maps after the pooling behind it, if there is one.
    """
    names = backbone.stages[-N_STAGES:]
    if not names:
        (features,) = chosen_stages(backbone, FEATURES, max_features=MAX_CONVOLUTIONAL)
        return [replace(features, name=LAST)], {FEATURES: Pooling()}
    *stages, last_stage, features = chosen_stages(backbone, [*names, FEATURES], max_features=MAX_CONVOLUTIONAL)
    children = dict(backbone.features.named_children())
    place = list(children).index(names[-1]) if names[-1] in children else len(children)  # timm's are one module
    behind = nn.Sequential(*list(children.values())[place + 1 :]).eval()

    def last_maps(maps: Tensor) -> Tensor:
        last = pool_maps(behind(maps)).flatten(1)
        return torch.cat([last_stage.pooling(maps).flatten(1), last], dim=1) if len(behind) else last

    with torch.inference_mode():
        maps = torch.zeros(1, backbone.in_channels, *2 * [backbone.image_size])
        n_read = last_maps(backbone.cpu().stage(maps, names[-1])).shape[1]
    n_own = last_stage.n_features if len(behind) else 0
    parts = [*stages, *([last_stage] if n_own else []), Stage(name=LAST, pooling=Pooling(), shape=(n_read - n_own,))]
    taps = {stage.name: stage.pooling for stage in stages}
    return [*parts, features], {**taps, names[-1]: last_maps, FEATURES: features.pooling}
