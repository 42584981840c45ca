"""`other_rows=network`: features of a trained network that stays as it is, from a file or of torchvision and timm."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepcluster.clustering.reduction import Reduction
from deepcluster.features.other_rows import OtherSource, UsedRows
from deepcluster.system.setting import setting

if TYPE_CHECKING:
    import torch

    from deepcluster.data.images import ImageSet
    from deepcluster.models.backbone import Backbone


@dataclass(kw_only=True)
class NetworkRows(UsedRows):
    """Rows of a frozen network: its D features of central crops, as it was trained to see them.

    Args:
        kind: "network".
        path: a file of weights that tells its architecture: a run's folder, a checkpoint, an exported backbone, a 2018
            .pth.tar, a state dict of a torchvision ResNet, AlexNet or VGG-16.
        name: in place of a path, a ResNet of torchvision or a model of timm, with their trained weights, downloaded if
            needed.
        size: side of the crops; null: what the file says; of a named network 224.
    """

    kind: str = "network"
    path: str | None = setting(None, may_change=True, is_path=True)
    name: str | None = None
    size: int | None = setting(None, at_least=8)
    reduction: Reduction = field(default_factory=lambda: Reduction(dim=128))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.path is None) == (self.name is None):
            raise ValueError(
                "other_rows=network needs a file, other_rows.path=FILE, or in its place a network of torchvision or "
                "timm, other_rows.name=resnet18"
            )

    def row_dim(self, images: ImageSet) -> int:
        return self._load(images)[0].feature_dim

    def build(
        self, images: ImageSet, *, seed: int, batch_size: int, num_workers: int, device: torch.device
    ) -> OtherSource:
        import torch

        from deepcluster.features.image_rows import image_rows
        from deepcluster.features.inference import inference_copy

        backbone, card = self._load(images)
        frozen = inference_copy(backbone, dtype=torch.float32, channels_last=True).to(device)
        source = image_rows(
            frozen,
            images,
            side=card["image_size"],
            resize=card["resize"],
            mean=card["mean"],
            std=card["std"],
            batch_size=batch_size,
            num_workers=num_workers,
            device=device,
        )
        return OtherSource(
            source, backbone.feature_dim, f"network: {backbone.feature_dim} features of {self.path or self.name}"
        )

    def _load(self, images: ImageSet) -> tuple[Backbone, dict[str, Any]]:
        """The network, and how it sees images.

        Raises:
            ValueError: if there is no such network, or it does not see images of so many channels.
        """
        import torch

        from deepcluster.weights.network import build_backbone
        from deepcluster.weights.pretrained import pretrained_card
        from deepcluster.weights.recognise import read_weights_with_card

        weights = None if self.path is None else read_weights_with_card(self.path)
        card = pretrained_card(str(self.name), "other_rows.name") if weights is None else weights.card
        assert card is not None
        if self.size is not None:
            card = {**card, "image_size": self.size, "resize": self.size}
        if images.n_channels not in (1, card["in_channels"]):  # a grey image becomes one of any channels
            raise ValueError(
                f"other_rows=network: {self.path or self.name} sees images of {card['in_channels']} channels, these "
                f"have {images.n_channels}; set data.n_channels={card['in_channels']}, or choose another network"
            )
        with torch.random.fork_rng(devices=[]):  # the random weights before those of the file
            return build_backbone(card, weights=weights), card
