"""The group `rows`: what of the network a reassignment clusters. Read without importing torch. Next: clusterer.py."""

from dataclasses import dataclass

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
