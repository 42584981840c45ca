"""The network that is fine-tuned on VOC2007, a backbone with a new head, and its loss. Next: training.py."""

import copy

from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.evaluation.voc07.settings import FineTuning
from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import generator


class Classifier(nn.Module):
    """A backbone and a new linear layer with C outputs; linear layers in the backbone's neck are drawn anew.

    If the neck has linear layers, the backbone's features come before the last ReLU, so it is applied here. Otherwise,
    as with ResNets, the features are used unchanged.

    Args:
        backbone: copied, not changed.
        n_classes: number of classes C.
        settings: which weights are trained, and how new ones are drawn.
        seed: draws the new weights.
    """

    def __init__(self, backbone: Backbone, n_classes: int, settings: FineTuning, *, seed: int) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        linears = [module for module in self.backbone.neck.modules() if isinstance(module, nn.Linear)]
        self.with_relu = bool(linears)
        random = generator(seed, "voc07", "weights")
        for layer in linears:
            layer.weight.data.normal_(0.0, settings.linear_std, generator=random)
            nn.init.constant_(layer.bias, settings.linear_bias)
        # nn.Linear's default initialisation, as in the original, but drawn from our generator
        self.head = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Linear, self.backbone.feature_dim, n_classes
        )
        limit = self.backbone.feature_dim**-0.5
        self.head.weight.data.uniform_(-limit, limit, generator=random)
        nn.init.constant_(self.head.bias, settings.linear_bias)
        self.requires_grad_(True)
        if settings.mode == "fc6_8":
            self.backbone.features.requires_grad_(False)
            for module in self.backbone.features.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.requires_grad_(settings.train_batchnorm)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, C, H, W)."""
        features: Tensor = self.backbone(images)
        return self.head(F.relu(features) if self.with_relu else features)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> "Classifier":
        """In training mode too, the BatchNorm of `features` uses its running statistics, as in the original."""
        super().train(mode)
        self.backbone.features.eval()
        return self


def masked_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of (B, C), summed over classes, mean over images; labels of -1 do not count."""
    known = labels >= 0
    losses = F.binary_cross_entropy_with_logits(logits, labels.clamp(min=0).to(logits.dtype), reduction="none")
    return (losses * known).sum() / len(logits)
