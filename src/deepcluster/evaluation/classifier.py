"""A trained probe as a file: the stage it reads, how maps are pooled, and the line that tells the classes."""

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
    """logits = weight x features + bias, of the pooled maps of one stage.

    Args:
        stage: whose maps are read.
        weight: (C, M); a standardisation is folded in.
        bias: (C,).
        classes: the C names, or None.
        resize: length of an image's short side before the centre crop of the network's size.
        accuracy: on the test images, when it was saved.
    """

    stage: Stage
    weight: Tensor
    bias: Tensor
    classes: list[str] | None
    resize: int
    accuracy: float

    @torch.no_grad()
    def __call__(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Logits (B, C) of normalised images (B, channels, H, W); `backbone`: that of the training, in eval mode."""
        name = self.stage.name
        features = backbone.taps(images, {name: self.stage.pooling})[name].flatten(1)
        return F.linear(features.float(), self.weight.to(features.device), self.bias.to(features.device))

    def save(self, folder: Path) -> None:
        """Write linear_probe_STAGE.pt; tensors and plain values only."""
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
    """Read what evaluation=linear_probe saved, such as linear_probe_conv3.pt.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged or something else.
    """
    content = checkpoint.read_torch_file(Path(file))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{file} is no classifier that evaluation=linear_probe saved")
    pooling = Pooling.from_state(content["pooling"])
    return StageClassifier(
        stage=Stage(name=content["stage"], pooling=pooling, shape=tuple(content["shape"])),
        weight=content["weight"],
        bias=content["bias"],
        classes=content["classes"],
        resize=content["resize"],
        accuracy=content["accuracy"],
    )
