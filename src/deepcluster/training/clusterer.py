"""Images and a network in, Assignment out: features, reduction and clustering on all processes. Next: reassign.py."""

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.reduction import FittedReduction, Reduction
from deepcluster.data.images import ImageSet
from deepcluster.data.views import FeatureView
from deepcluster.features.extraction import feature_pass, reduced_features, timed
from deepcluster.features.reuse import UntrainedFeatures
from deepcluster.features.settings import Extraction
from deepcluster.features.storage import Storage
from deepcluster.models.backbone import Backbone
from deepcluster.system import collectives, distributed
from deepcluster.system.progress import Progress
from deepcluster.system.seeding import mix


@dataclass(kw_only=True)
class Clusterer:
    """Images and a network in, Assignment out: the unsupervised half of DeepCluster.

    Args:
        images: the N training images.
        view: how the network sees them here: no augmentation.
        reduction: PCA, whitening, L2.
        clustering: the way to cluster.
        seed: of the run; mixed with what names the moment (an epoch), so that each clustering starts anew as
            in the original.
        dtype: in which features are computed.
        num_workers: processes that read images.
        storage: where the reduced features are kept; rank 0's counts.
        untrained: keeps the first network's reduced features for the clusterings before it learns; None keeps none.
    """

    images: ImageSet
    view: FeatureView
    extraction: Extraction
    reduction: Reduction
    clustering: Clustering
    seed: int
    dtype: torch.dtype = torch.float32
    num_workers: int = 0
    storage: Storage = field(default_factory=Storage)
    progress: Progress = field(default_factory=Progress)
    untrained: UntrainedFeatures | None = None

    def assign(self, backbone: Backbone, *, device: torch.device, moment: str) -> tuple[Assignment, dict[str, float]]:
        """Cluster the images by what `backbone` sees in them, on all ranks.

        Args:
            backbone: the network; its mode and its weights stay as they are.
            moment: names this clustering ("epoch 3"); the same seed and moment give the same assignment.

        Returns:
            The assignment, the same on every rank, and the seconds by phase.

        Raises:
            ValueError: on one rank if its part fails; RuntimeError on the others.
        """
        collectives.broadcast_buffers(backbone)
        shares = distributed.world_size() > 1 and self.shares(backbone)[0]
        source = feature_pass(
            backbone,
            self.images,
            self.view,
            batch_size=self.extraction.batch_size,
            num_workers=self.num_workers,
            device=device,
            dtype=self.dtype,
        )

        def compute() -> tuple[FittedReduction, Tensor | None]:
            with self.progress.bar(f"{moment}: features", len(self.images), "img") as advance:
                return reduced_features(
                    source,
                    backbone.feature_dim,
                    self.reduction,
                    buffer_mb=self.extraction.buffer_mb,
                    seed=mix(self.seed, moment, "reduction"),
                    gather=not shares,
                    progress=advance,
                    storage=distributed.on_rank_zero("the choice of a storage", lambda: self.storage),
                )

        if self.untrained is None:
            fitted, reduced = compute()
        else:
            again = moment.startswith("untrained")  # then the first epoch asks for them once more
            fitted, reduced = self.untrained.reduced(backbone, self.reduction, len(self.images), compute, again=again)
        seconds = dict(source.seconds)

        def cluster() -> Assignment:
            assert reduced is not None  # rank 0 has gathered them, or every rank has kept its own
            seed = mix(self.seed, moment, "k-means")
            with self.progress.bar(f"{moment}: {self.clustering.kind}", self.clustering.n_updates, "it") as advance:

                def progress(done: int, total: int) -> None:
                    advance(1)

                if not shares:
                    return self.clustering.fit(reduced, seed=seed, device=device, progress=progress)
                return self.clustering.fit_share(
                    reduced,
                    n_images=len(self.images),
                    ranks=process_ranks(),
                    seed=seed,
                    device=device,
                    progress=progress,
                )

        with timed(seconds, "clustering_s"):
            if shares:
                assignment = cluster()
            else:
                state = distributed.on_rank_zero("clustering", lambda: cluster().state_dict())
                assignment = Assignment.from_state_dict(state)
        return dataclasses.replace(assignment, reduction=fitted), seconds

    def shares(self, backbone: Backbone) -> tuple[bool, str]:
        """Whether several processes cluster together, each with its share of the features, and why."""
        return self.clustering.shares(len(self.images), self.reduction.output_dim(backbone.feature_dim))


def process_ranks() -> Ranks:
    """The process group, as algorithms of `clustering` take it."""
    return Ranks(
        rank=distributed.rank(),
        size=distributed.world_size(),
        sum=collectives.sum_over_ranks,
        together=distributed.shared_failure,
    )
