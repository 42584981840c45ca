"""The group `head`: how embeddings become scores of clusters. Read without importing torch. Next: heads.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from deepcluster.models.heads import Head


@dataclass(kw_only=True)
class HeadSettings:
    """A kind of head.

    Args:
        kind: its name, by which a stored config finds this class.
    """

    ABSENT: ClassVar[dict[str, str]] = {}

    kind: str

    def __post_init__(self) -> None:
        check(self, "head")

    def build(self, dim: int, capacities: Sequence[int], *, relu: bool) -> Head:
        """Build the head.

        Args:
            dim: of the embedding, E.
            capacities: the most clusters K of each of the H labelings.
            relu: put a ReLU in front, where the embedding is the backbone's features before their last ReLU.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class LinearSettings(HeadSettings):
    """A linear layer for each labeling, as in the 2018 code.

    Args:
        kind: "linear".
        redraw: draw the weights anew at each reassignment (the paper). false keeps them, which makes sense only if
            clusters keep their numbers: clustering.match=true.
    """

    kind: str = "linear"
    redraw: bool = True

    def build(self, dim: int, capacities: Sequence[int], *, relu: bool) -> Head:
        from deepcluster.models.heads import LinearHead

        return LinearHead(dim, capacities, relu=relu, redraws=self.redraw)


@dataclass(kw_only=True)
class CentroidSettings(HeadSettings):
    """The centroids themselves, compared by cosine: DeepCluster-v2 (Caron et al. 2020, appendix).

    Args:
        kind: "centroids".
        temperature: cosines are divided by it (DeepCluster-v2: 0.1).
        trained: also learn them between reassignments; false keeps them fixed, as DeepCluster-v2 does.
    """

    ABSENT: ClassVar[dict[str, str]] = {"redraw": "its weights are the centroids of each reassignment"}

    kind: str = "centroids"
    temperature: float = setting(0.1, above=0)
    trained: bool = False

    def build(self, dim: int, capacities: Sequence[int], *, relu: bool) -> Head:
        from deepcluster.models.heads import CosineHead

        return CosineHead(dim, capacities, temperature=self.temperature, follows_centroids=True, trained=self.trained)


@dataclass(kw_only=True)
class PrototypeSettings(HeadSettings):
    """Learned unit vectors, compared by cosine: the prototypes of SwAV (Caron et al. 2020).

    Args:
        kind: "prototypes".
        temperature: cosines are divided by it (SwAV: 0.1).
        frozen_steps: the first training steps during which they stay as they are drawn (SwAV: 313 on ImageNet, an
            epoch of batches of 4096).
    """

    ABSENT: ClassVar[dict[str, str]] = {"redraw": "its weights are learned and never drawn anew"}

    kind: str = "prototypes"
    temperature: float = setting(0.1, above=0)
    frozen_steps: int = setting(0, at_least=0)

    def build(self, dim: int, capacities: Sequence[int], *, relu: bool) -> Head:
        from deepcluster.models.heads import CosineHead

        return CosineHead(
            dim,
            capacities,
            temperature=self.temperature,
            follows_centroids=False,
            trained=True,
            frozen_steps=self.frozen_steps,
        )
