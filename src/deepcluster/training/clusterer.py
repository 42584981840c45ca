"""From images and a network to Assignments: rows, reduction, clustering, on all processes. Next: reassign.py."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from deepcluster.clustering.assignment import Assignment
from deepcluster.clustering.matching import matched
from deepcluster.clustering.method import Clustering
from deepcluster.clustering.pca import FittedReduction
from deepcluster.clustering.ranks import Ranks
from deepcluster.clustering.reduction import Reduction
from deepcluster.clustering.soft import soft_labels
from deepcluster.clustering.spectral import by_graph
from deepcluster.data.images import ImageSet
from deepcluster.data.views import FeatureView
from deepcluster.features.bank import MemoryBank
from deepcluster.features.extraction import FeaturePass, RowSource, feature_pass, reduced_features, timed
from deepcluster.features.other_rows import OtherSource
from deepcluster.features.reuse import UntrainedFeatures
from deepcluster.features.settings import Extraction
from deepcluster.features.storage import Storage
from deepcluster.models.backbone import Backbone
from deepcluster.system import collectives, distributed
from deepcluster.system.progress import Progress
from deepcluster.system.seeding import mix

OTHER_ROWS = "other rows"  # the space of assignments that did not come from the network's own rows
NOT_REDUCED = Reduction(dim=None, whiten=False, l2=False)


class Network(NamedTuple):
    """The network of a reassignment: backbone, embedding of E dimensions, scores of the head, memory bank or None."""

    backbone: Backbone
    embedding: nn.Module
    dim: int
    scores: Callable[[Tensor], list[Tensor]]
    bank: MemoryBank | None = None


class _Rows(NamedTuple):
    """Rows that some labelings cluster.

    columns: those of each labeling; None: all. backbone: the network whose features they are; None: others.
    """

    source: RowSource
    dim: int
    reduction: Reduction
    labelings: list[int]
    columns: list[slice] | None = None
    backbone: Backbone | None = None


@dataclass(kw_only=True)
class Clusterer:
    """From images and a network to Assignments: the unsupervised half of DeepCluster.

    Args:
        images: the N training images.
        view: how the network sees them: without augmentation.
        extraction: how features are computed.
        reduction: PCA, whitening, L2.
        clustering: k-means, PIC, ...; of H labelings.
        seed: of the run; mixed with the moment, so that each clustering starts from its own seed as in the original.
        rows: what a reassignment clusters: "features", "embedding" or "scores" of a pass, or the "bank".
        clustered_dim: numbers P of such a row after the reduction; None: those of reduced features.
        other: makes other rows than the network's own, when they are first needed; None: there are none.
        other_dim: numbers D of such a row.
        other_reduction: theirs.
        other_neighbours: cluster them by their graph of so many neighbours; None: as the network's own rows.
        dtype: number type in which features are computed.
        num_workers: processes that read images.
        storage: where the reduced features are kept; all ranks use rank 0's.
        progress: draws bars.
        untrained: keeps the untrained network's reduced features for all clusterings before the first training step;
            None: each clustering computes its own.
        softness: the temperature of the soft labels that a reassignment gives (clustering/soft.py); 0: hard ones only.
        n_soft: clusters in an image's soft label.
    """

    images: ImageSet
    view: FeatureView
    extraction: Extraction
    reduction: Reduction
    clustering: Clustering
    seed: int
    rows: str = "features"
    clustered_dim: int | None = None
    other: Callable[[torch.device], OtherSource] | None = None
    other_dim: int = 0
    other_reduction: Reduction = field(default_factory=Reduction)
    other_neighbours: int | None = None
    dtype: torch.dtype = torch.float32
    num_workers: int = 0
    storage: Storage = field(default_factory=Storage)
    progress: Progress = field(default_factory=Progress)
    untrained: UntrainedFeatures | None = None
    softness: float = 0.0
    n_soft: int = 5

    @property
    def labelings(self) -> list[Clustering]:
        """The clusterings of the H labelings."""
        return self.clustering.labelings()

    def shares(self, backbone: Backbone) -> tuple[bool, str]:
        """Whether each of several processes clusters its share of the features; and the reason, as text."""
        return self.clustering.shares(len(self.images), self.row_dim(backbone))

    def row_dim(self, backbone: Backbone) -> int:
        """The numbers P of a row that a reassignment clusters."""
        return self.clustered_dim or self.reduction.output_dim(backbone.feature_dim)

    def with_clustering(self, clustering: Clustering) -> "Clusterer":
        """The same with another clustering."""
        n_images, dim = len(self.images), self.clustered_dim
        if self.rows == "scores":
            dim = sum(labeling.capacity(n_images) for labeling in clustering.labelings())
        return replace(self, clustering=clustering, clustered_dim=dim)

    def feature_pass(
        self,
        backbone: Backbone,
        *,
        device: torch.device,
        num_workers: int | None = None,
        convolutional: bool = False,
        then: Callable[[Tensor], Tensor] | None = None,
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
            then=then,
        )

    def assign(
        self, backbone: Backbone, *, device: torch.device, moment: str, keep_features: bool = False
    ) -> tuple[Assignment, dict[str, float]]:
        """Cluster the images once by the backbone's features, on all ranks, for figures.

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
        rows = self._features(backbone, device, [0])
        clustering = self.labelings[0].of_features()
        assignments, seconds = self._cluster_rows(rows, [clustering], device, moment, keep_features=keep_features)
        return assignments[0], seconds

    def assign_all(
        self,
        backbone: Backbone,
        *,
        device: torch.device,
        moment: str,
        continued: Sequence[Assignment] = (),
    ) -> tuple[list[Assignment], dict[str, float]]:
        """Cluster the images for all labelings by the backbone's features, on all ranks: the final clusters.

        The first labeling's assignment is that of :meth:`assign`.

        Args:
            continued: of each labeling an assignment, with labels of some of the images, whose clusters go on: they
                are where the iterations start (if the clustering can), and give the numbers.
        """
        clusterings = [labeling.of_features() for labeling in self.labelings]
        if continued:
            clusterings = [labeling.continuing() for labeling in clusterings]
        rows = self._features(backbone, device, list(range(len(clusterings))))
        before = dict(enumerate(continued))
        assignments, seconds = self._cluster_rows(rows, clusterings, device, moment, previous=before)
        return [assignments[h] for h in sorted(assignments)], seconds

    def reassign(
        self,
        network: Network,
        *,
        device: torch.device,
        moment: str,
        previous: Sequence[Assignment | None],
    ) -> tuple[list[Assignment], dict[str, float]]:
        """Cluster the images for all labelings by the network's own rows, on all ranks.

        Args:
            moment: see :meth:`assign`.
            previous: the last assignment of each labeling, for a warm start and for matching.

        Returns:
            An assignment for each labeling, the same on every rank, and the seconds by phase.
        """
        by_labeling: dict[int, Assignment] = {}
        seconds = {"features_s": 0.0, "reduction_s": 0.0, "clustering_s": 0.0}
        before = {h: assignment for h, assignment in enumerate(previous) if assignment is not None}
        for rows in self._own_rows(network, device):
            assignments, spent = self._cluster_rows(
                rows, self.labelings, device, moment, previous=before, softness=self.softness
            )
            by_labeling |= {h: replace(assignment, space=self.rows) for h, assignment in assignments.items()}
            for name, value in spent.items():
                seconds[name] += value
        return [by_labeling[h] for h in sorted(by_labeling)], seconds

    def clusterings_of_other(self, n_labelings: int) -> list[Clustering]:
        """What clusters other rows than the network's own: as the labelings in turn, k-means in place of scores."""
        labelings = [labeling.of_features() for labeling in self.labelings]
        clusterings = [labelings[i % len(labelings)] for i in range(n_labelings)]
        if self.other_neighbours is None:
            return clusterings
        return [by_graph(clustering, self.other_neighbours) for clustering in clusterings]

    def assign_other(
        self, n_labelings: int, *, device: torch.device, moment: str
    ) -> tuple[list[Assignment], dict[str, float]]:
        """Cluster other rows than the network's own, on all ranks.

        Args:
            n_labelings: that are wanted.
            moment: see :meth:`assign`.
        """
        assert self.other is not None
        with distributed.shared_failure("making the rows of another extractor"):
            other = self.other(device)
        rows = _Rows(other.source, other.dim, self.other_reduction, list(range(n_labelings)))
        clusterings = self.clusterings_of_other(n_labelings)
        assignments, seconds = self._cluster_rows(rows, clusterings, device, moment, softness=self.softness)
        return [replace(assignments[h], space=OTHER_ROWS) for h in sorted(assignments)], seconds

    def _features(self, backbone: Backbone, device: torch.device, labelings: list[int]) -> _Rows:
        collectives.broadcast_buffers(backbone)
        source = self.feature_pass(backbone, device=device)
        return _Rows(source, backbone.feature_dim, self.reduction, labelings, backbone=backbone)

    def _own_rows(self, network: Network, device: torch.device) -> list[_Rows]:
        """What the labelings cluster: all the same rows, each view of the bank in turn, or their own scores."""
        labelings, backbone = list(range(len(self.labelings))), network.backbone
        if self.rows == "features":
            return [self._features(backbone, device, labelings)]
        if self.rows == "bank":
            assert network.bank is not None
            network.bank.share()
            n_views, dim = len(network.bank.rows), network.bank.rows.shape[2]
            return [
                _Rows(network.bank.view(v), dim, self.reduction, labelings[v::n_views])
                for v in range(min(n_views, len(labelings)))
            ]
        for module in (backbone, network.embedding):
            collectives.broadcast_buffers(module)
        embedding = copy.deepcopy(network.embedding).eval().requires_grad_(False)
        if self.rows == "embedding":
            source = self.feature_pass(backbone, device=device, then=embedding)
            return [_Rows(source, network.dim, self.reduction, labelings)]

        def scores(features: Tensor) -> Tensor:
            logits = network.scores(embedding(features))
            return torch.cat([part.log_softmax(dim=1) for part in logits], dim=1)

        n_images = len(self.images)
        ends = torch.tensor([labeling.capacity(n_images) for labeling in self.labelings]).cumsum(0).tolist()
        columns = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
        source = self.feature_pass(backbone, device=device, then=scores)
        return [_Rows(source, ends[-1], NOT_REDUCED, labelings, columns)]

    def _cluster_rows(
        self,
        rows: _Rows,
        clusterings: Sequence[Clustering],
        device: torch.device,
        moment: str,
        *,
        previous: Mapping[int, Assignment] | None = None,
        keep_features: bool = False,
        softness: float = 0.0,
    ) -> tuple[dict[int, Assignment], dict[str, float]]:
        """Reduce the rows and cluster them for each of their labelings: number -> assignment; seconds by phase."""
        n_images, dim = len(self.images), rows.reduction.output_dim(rows.dim)
        spent_before = dict(rows.source.seconds)  # other rows are kept, and may have been read
        several = distributed.world_size() > 1
        shares = several and all(clusterings[h].shares(n_images, dim)[0] for h in rows.labelings)

        def compute() -> tuple[FittedReduction, Tensor | None]:
            with self.progress.bar(f"{moment}: features", n_images, "img") as advance:
                return reduced_features(
                    rows.source,
                    rows.dim,
                    rows.reduction,
                    buffer_mb=self.extraction.buffer_mb,
                    seed=mix(self.seed, moment, "reduction"),
                    gather=not shares,
                    progress=advance,
                    storage=distributed.on_rank_zero("the choice of a storage", lambda: self.storage),
                )

        if self.untrained is None or rows.backbone is None:
            fitted, reduced = compute()
        else:
            fitted, reduced = self.untrained.reduced(
                rows.backbone, rows.reduction, n_images, compute, keep_features=keep_features
            )
        seconds = {name: value - spent_before[name] for name, value in rows.source.seconds.items()}
        assignments = {}
        for h in rows.labelings:
            before = (previous or {}).get(h)
            with timed(seconds, "clustering_s"):
                assignment = self._labeling(
                    clusterings[h],
                    h,
                    rows,
                    reduced,
                    before,
                    shares=shares,
                    device=device,
                    moment=moment,
                    softness=softness,
                )
            assignments[h] = replace(assignment, reduction=fitted)
        return assignments, seconds

    def _labeling(
        self,
        clustering: Clustering,
        h: int,
        rows: _Rows,
        reduced: Tensor | None,
        previous: Assignment | None,
        *,
        shares: bool,
        device: torch.device,
        moment: str,
        softness: float,
    ) -> Assignment:
        """Cluster reduced rows for labeling h: in one process, or each process its share together with the others."""
        seed = mix(self.seed, moment, "k-means", *([h] if h else []))
        start, n_images = None if previous is None else previous.labels, len(self.images)
        ranks = process_ranks() if shares else None

        def cluster() -> Assignment:
            assert reduced is not None  # rank 0 has all rows, or every rank has its own
            mine = reduced if rows.columns is None else reduced[:, rows.columns[h]].contiguous()
            with self.progress.bar(f"{moment}: {clustering.kind}", clustering.n_updates, "it") as advance:

                def progress(done: int, total: int) -> None:
                    advance(1)

                if ranks is None:
                    found = clustering.fit(mine, seed=seed, device=device, progress=progress, start=start)
                else:
                    found = clustering.fit_share(
                        mine,
                        n_images=n_images,
                        ranks=ranks,
                        seed=seed,
                        device=device,
                        progress=progress,
                        start=start,
                    )
            if softness == 0:
                return found
            soft = soft_labels(
                mine,
                found.centroids.to(device),
                temperature=softness,
                n_kept=self.n_soft,
                n_images=n_images,
                ranks=ranks,
            )
            return replace(found, soft=soft)

        if shares:
            assignment = cluster()
        else:
            state = distributed.on_rank_zero("clustering", lambda: cluster().state_dict())
            assignment = Assignment.from_state_dict(state)
        if clustering.match and previous is not None:
            assignment = matched(assignment, previous.labels, previous.k)
        return assignment


def process_ranks() -> Ranks:
    """The process group in the form that the algorithms of `clustering` take."""
    return Ranks(
        rank=distributed.rank(),
        size=distributed.world_size(),
        sum=collectives.sum_over_ranks,
        together=distributed.shared_failure,
    )
