"""The group `rows`: what of the network a reassignment clusters. Read without importing torch. Next: clusterer.py."""

from dataclasses import dataclass

from deepcluster.clustering.reduction import Reduction
from deepcluster.system.setting import check, setting

ROWS = ("features", "embedding", "scores", "bank")


@dataclass(kw_only=True)
class Rows:
    """What is reduced and clustered: one row for each image.

    Args:
        of: "features": the backbone's, of a pass over the centre crops (the 2018 code); "embedding": of the same pass,
            after the embedding; "bank": the embeddings that the training steps of the last epoch have left, without a
            pass (DeepCluster-v2); "scores": the head's scores of a pass, for clustering=sinkhorn (SeLa).
    """

    of: str = setting("features", one_of=ROWS)

    def __post_init__(self) -> None:
        check(self, "rows")

    def clustered_dim(
        self, reduction: Reduction, n_images: int, *, feature_dim: int, embedding_dim: int, n_scores: int
    ) -> int:
        """The numbers P of a row that is clustered.

        Args:
            feature_dim, embedding_dim: D, E.
            n_scores: clusters of all labelings together.

        Raises:
            ValueError: if the reduction keeps more dimensions than the rows or the images can give.
        """
        if self.of == "scores":
            return n_scores  # they are not reduced
        of_embedding = self.of in ("embedding", "bank")
        row_dim = embedding_dim if of_embedding else feature_dim
        of = (
            f"dimensions of the embedding, which rows={self.of} clusters" if of_embedding else "features of the network"
        )
        reduction.check(n_images, row_dim, of=of)
        return reduction.output_dim(row_dim)
