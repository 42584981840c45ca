"""From images and a network to an Assignment: features, reduction, clustering, on all processes. Next: reassign.py."""

import dataclasses
from dataclasses import dataclass, field

import torch
from torch import Tensor

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.reduction import Reduction
from deepcluster.data.images import ImageSet
from deepcluster.data.views import FeatureView
from deepcluster.features.extraction import FeaturePass, feature_pass, reduced_features, timed
from deepcluster.features.reuse import UntrainedFeatures
from deepcluster.features.settings import Extraction
from deepcluster.features.storage import Storage
from deepcluster.models.backbone import Backbone
from deepcluster.system import collectives, distributed
from deepcluster.system.progress import Progress
from deepcluster.system.seeding import mix


@dataclass(kw_only=True)
class Clusterer:
    """From images and a network to an Assignment: the unsupervised half of DeepCluster.

    Args:
        images: the N training images.
        view: how the network sees them: without augmentation.
        extraction: how features are computed.
        reduction: PCA, whitening, L2.
        clustering: k-means, PIC, ...
        seed: of the run; mixed with the moment, so that each clustering starts from its own seed as in the original.
        dtype: number type in which features are computed.
        num_workers: processes that read images.
        storage: where the reduced features are kept; all ranks use rank 0's.
        progress: draws bars.
        untrained: keeps the untrained network's reduced features for all clusterings before the first training step;
            None: each clustering computes its own.
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

    @property
    def store_dtype(self) -> str:
        """The number type of the stored features: "float32" or "float16".

        It is chosen when a run starts. A resumed run keeps it: config.yaml and every checkpoint hold it.
        """
        return str(self.storage.dtype).removeprefix("torch.")

    def shares(self, backbone: Backbone) -> tuple[bool, str]:
        """Whether each of several processes clusters its share of the features; and the reason, as text."""
        return self.clustering.shares(len(self.images), self.reduction.output_dim(backbone.feature_dim))

    def feature_pass(
        self, backbone: Backbone, *, device: torch.device, num_workers: int | None = None, convolutional: bool = False
    ) -> FeaturePass:
        """The pass of the images through the network, see :func:`deepcluster.features.extraction.feature_pass`.

        Args:
            num_workers: processes that read images; None: the clusterer's.
        """
        return feature_pass(
            backbone,
            self.images,
            self.view,
            batch_size=self.extraction.batch_size,
            num_workers=self.num_workers if num_workers is None else num_workers,
            device=device,
            dtype=self.dtype,
            convolutional=convolutional,
        )

    def assign(
        self, backbone: Backbone, *, device: torch.device, moment: str, keep_features: bool = False
    ) -> tuple[Assignment, dict[str, float]]:
        """Cluster the images by the features of `backbone`, on all ranks.

        Args:
            backbone: the network; its mode and weights are not changed.
            moment: names this clustering ("epoch 3"); the same seed and moment give the same assignment.
            keep_features: another clustering of the same untrained network follows and uses the same features.

        Returns:
            The assignment, the same on every rank, and the seconds by phase.

        Raises:
            ValueError: on a rank whose part fails.
            RuntimeError: on the other ranks.
        """
        collectives.broadcast_buffers(backbone)
        shares = distributed.world_size() > 1 and self.shares(backbone)[0]
        source = self.feature_pass(backbone, device=device)

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
            fitted, reduced = self.untrained.reduced(
                backbone, self.reduction, len(self.images), compute, keep_features=keep_features
            )
        seconds = dict(source.seconds)

        def cluster() -> Assignment:
            assert reduced is not None  # rank 0 has all rows, or every rank has its own
            return self._cluster(reduced, shares=shares, device=device, moment=moment)

        with timed(seconds, "clustering_s"):
            if shares:
                assignment = cluster()
            else:
                state = distributed.on_rank_zero("clustering", lambda: cluster().state_dict())
                assignment = Assignment.from_state_dict(state)
        return dataclasses.replace(assignment, reduction=fitted), seconds

    def _cluster(self, reduced: Tensor, *, shares: bool, device: torch.device, moment: str) -> Assignment:
        """Cluster reduced features: all of them, or this process's share together with the other processes."""
        seed = mix(self.seed, moment, "k-means")
        with self.progress.bar(f"{moment}: {self.clustering.kind}", self.clustering.n_updates, "it") as advance:

            def progress(done: int, total: int) -> None:
                advance(1)

            if not shares:
                return self.clustering.fit(reduced, seed=seed, device=device, progress=progress)
            return self.clustering.fit_share(
                reduced, n_images=len(self.images), ranks=process_ranks(), seed=seed, device=device, progress=progress
            )


def process_ranks() -> Ranks:
    """The process group in the form that the algorithms of `clustering` take."""
    return Ranks(
        rank=distributed.rank(),
        size=distributed.world_size(),
        sum=collectives.sum_over_ranks,
        together=distributed.shared_failure,
    )
