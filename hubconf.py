"""For torch.hub: trained and untrained backbones, without installing the package.

    import torch
    net = torch.hub.load("PATH_OF_THIS_REPOSITORY", "backbone", path="runs/mine", source="local")

A backbone takes normalised images (B, C, H, W) and gives features (B, D); `net.card` tells the normalisation.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "src"))  # torch.hub imports this file from a plain clone

from deepcluster.models.alexnet import AlexNet
from deepcluster.models.backbone import Backbone
from deepcluster.models.resnet import resnet
from deepcluster.models.vgg import VGG16
from deepcluster.weights.fit import fit, load_backbone
from deepcluster.weights.recognise import read

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
        path: weights of this very network; None: random, by the 2018 law.
    """
    return _with_weights(AlexNet(**settings), path)


def vgg16(path: str | None = None, **settings: Any) -> Backbone:
    """DeepCluster's VGG-16; settings and path as in `alexnet`."""
    return _with_weights(VGG16(**settings), path)


def resnet50(path: str | None = None, **settings: Any) -> Backbone:
    """torchvision's ResNet-50 without its classifier; settings: in_channels, image_size, small_images, sobel ...

    Args:
        path: weights of this very network, such as DeepCluster-v2's release; None: random, by torchvision's law.
    """
    return _with_weights(resnet("resnet50", **settings), path)


def _with_weights(network: Backbone, path: str | None) -> Backbone:
    if path is not None:
        network.load_state_dict(fit(read(path), network).state)
    return network.eval()
