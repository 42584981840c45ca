"""The embedding: features (B, D) -> (B, E), between backbone and head. Next: models/heads.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from deepcluster.system.setting import check, setting

if TYPE_CHECKING:
    from torch import nn


@dataclass(kw_only=True)
class Embedding:
    """No embedding: the head reads the backbone's features, as in the 2018 code.

    Args:
        kind: "none".
    """

    ABSENT: ClassVar[dict[str, str]] = {
        name: "embedding=mlp has it; embedding=none passes the features on" for name in ("hidden", "dim")
    }

    kind: str = "none"

    def __post_init__(self) -> None:
        check(self, "embedding")

    @property
    def is_identity(self) -> bool:
        """Whether the embedding is the backbone's features themselves."""
        return True

    def output_dim(self, feature_dim: int) -> int:
        """E, for D features."""
        return feature_dim

    def n_weights(self, feature_dim: int) -> int:
        """The weights of :meth:`build`'s module."""
        import torch

        with torch.device("meta"):
            return sum(weight.numel() for weight in self.build(feature_dim).parameters())

    def build(self, feature_dim: int) -> nn.Module:
        """The module, features (B, D) to embedding (B, E)."""
        from torch import nn

        return nn.Identity()


@dataclass(kw_only=True)
class MLPEmbedding(Embedding):
    """Linear, BatchNorm, ReLU, Linear: the projection head of DeepCluster-v2 and SwAV; cosines are taken of it.

    Args:
        kind: "mlp".
        hidden: units of the layer between (ImageNet's ResNet-50: 2048).
        dim: E (128).
    """

    ABSENT: ClassVar[dict[str, str]] = {}

    kind: str = "mlp"
    hidden: int = setting(512, at_least=2)
    dim: int = setting(128, at_least=2)

    @property
    def is_identity(self) -> bool:
        return False

    def output_dim(self, feature_dim: int) -> int:
        return self.dim

    def build(self, feature_dim: int) -> nn.Module:
        from torch import nn

        return nn.Sequential(
            nn.ReLU(),  # features come before the backbone's last ReLU
            nn.Linear(feature_dim, self.hidden),
            nn.BatchNorm1d(self.hidden),
            nn.ReLU(),
            nn.Linear(self.hidden, self.dim),
        )
