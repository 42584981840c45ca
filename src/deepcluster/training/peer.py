"""Co-teaching's second network: it sees the same batches, and each network learns from images that the other chose.

Labels that are wrong are learned late, so images of small losses have better labels. A network that chooses by its own
losses believes its own mistakes; another network, from another start, makes others (Han et al. 2018, "Co-teaching:
robust training of deep neural networks with extremely noisy labels"). Rows to cluster, evaluations and exports are the
first network's. Next: module.py takes the step.
"""

from collections.abc import Sequence

from torch import nn

from deepcluster.models.backbone import Backbone
from deepcluster.models.heads import Head, NewClusters
from deepcluster.system.seeding import generator


class Peer(nn.Module):
    """Backbone, embedding and head like the first network's, with other first weights.

    Args:
        embedding: features (B, D) -> (B, E).
    """

    def __init__(self, backbone: Backbone, embedding: nn.Module, head: Head) -> None:
        super().__init__()
        self.backbone = backbone
        self.embedding = embedding
        self.head = head

    def follow(self, clusters: Sequence[NewClusters | None]) -> list[nn.Parameter]:
        """Adapt the head to new clusters, see :meth:`Head.follow`; what is drawn anew is not the first head's."""
        return self.head.follow(
            [
                None if new is None else new._replace(generator=generator(new.generator.initial_seed(), "co-teaching"))
                for new in clusters
            ]
        )
