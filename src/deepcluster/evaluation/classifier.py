"""A trained linear probe and its file: the stage it reads, how the maps are pooled, weight and bias."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from deepcluster.evaluation.probe.stages import Pooling, Stage
from deepcluster.models.backbone import Backbone
from deepcluster.system.atomic import save_atomically
from deepcluster.weights import checkpoint

FORMAT = "deepcluster linear probe"


@dataclass(kw_only=True)
class StageClassifier:
    """A linear classifier of one stage: logits = weight x features + bias, where features are its pooled maps.

    Args:
        stage: the stage whose maps are read.
        weight: (C, M). If the probe standardised the features, that is part of weight and bias.
        bias: (C,).
        classes: the C names, or None if they are unknown.
        resize: length of an image's short side before the centre crop of the network's size.
        accuracy: on the test images, after training.
    """

    stage: Stage
    weight: Tensor
    bias: Tensor
    classes: list[str] | None
    resize: int
    accuracy: float

    @torch.no_grad()
    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, channels, H, W); `backbone`: the one it was trained on."""
        name = self.stage.name
        features = backbone.taps(images, {name: self.stage.pooling})[name].flatten(1)
        return F.linear(features.float(), self.weight.to(features.device), self.bias.to(features.device))

    def save(self, folder: Path) -> None:
        """Write linear_probe_STAGE.pt. It holds tensors and plain values only."""
        content = {
            "format": FORMAT,
            "stage": self.stage.name,
            "pooling": self.stage.pooling.state(),
            "shape": list(self.stage.shape),
            "weight": self.weight.detach().cpu().contiguous(),
            "bias": self.bias.detach().cpu().contiguous(),
            "classes": self.classes,
            "resize": self.resize,
            "accuracy": self.accuracy,
        }
        save_atomically(folder / f"linear_probe_{self.stage.name}.pt", content)


def load_classifier(file: str | Path) -> StageClassifier:
    """Read a classifier that evaluation=linear_probe saved, such as linear_probe_conv3.pt.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is damaged or holds something else.
    """
    content = checkpoint.read_torch_file(Path(file))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{file} is not a classifier saved by evaluation=linear_probe; give a linear_probe_STAGE.pt")
    pooling = Pooling.from_state(content["pooling"])
    return StageClassifier(
        stage=Stage(name=content["stage"], pooling=pooling, shape=tuple(content["shape"])),
        weight=content["weight"],
        bias=content["bias"],
        classes=content["classes"],
        resize=content["resize"],
        accuracy=content["accuracy"],
    )
