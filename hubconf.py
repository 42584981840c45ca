"""Backbones for torch.hub, trained or untrained, without installing the package.

    import torch
    network = torch.hub.load("PATH_OF_THIS_REPOSITORY", "backbone", path="runs/mine", source="local")

A backbone takes normalised images (B, C, H, W) and returns features (B, D). The card of a trained one,
`network.card`, holds mean and standard deviation of the normalisation.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))  # torch.hub imports this file from a plain clone

from deepcluster.models.backbone import Backbone
from deepcluster.weights.network import build_backbone, load_backbone
from deepcluster.weights.recognise import read_weights

dependencies = ["torch", "torchvision", "numpy", "scipy"]


def backbone(path: str) -> Backbone:
    """A trained backbone in eval mode.

    Args:
        path: a run's folder or checkpoint, an exported backbone.safetensors, a 2018 .pth.tar of AlexNet or VGG-16,
            a state dict of a torchvision ResNet, such as DeepCluster-v2's release.
    """
    network, card = load_backbone(path)
    network.card = card  # type: ignore[assignment]
    return network


def alexnet(path: str | None = None, **settings: Any) -> Backbone:
    """DeepCluster's AlexNet; settings: in_channels, image_size, channels, hidden, feature_dim, dropout, sobel ...

    Args:
        path: a file with weights of this network; None: random weights, drawn as in the 2018 code.
    """
    return _network("alexnet.AlexNet", path, settings)


def vgg16(path: str | None = None, **settings: Any) -> Backbone:
    """DeepCluster's VGG-16; settings and path as in `alexnet`."""
    return _network("vgg.VGG16", path, settings)


def resnet50(path: str | None = None, **settings: Any) -> Backbone:
    """torchvision's ResNet-50 without its classifier; settings: in_channels, image_size, small_images, sobel ...

    Args:
        path: a file with weights of this network, such as DeepCluster-v2's release; None: random weights, drawn as in
            torchvision.
    """
    return _network("resnet.resnet", path, {"name": "resnet50", **settings})


def _network(name: str, path: str | None, settings: dict[str, Any]) -> Backbone:
    """A network of deepcluster.models, in eval mode.

    Args:
        name: "FILE.CLASS".
        path: a file of weights; None: random weights.
        settings: in_channels (3), image_size (224) and the class's own.
    """
    arch = {"_target_": f"deepcluster.models.{name}", **settings}
    card = {"arch": arch, "in_channels": arch.pop("in_channels", 3), "image_size": arch.pop("image_size", 224)}
    return build_backbone(card, weights=None if path is None else read_weights(path)).eval()
