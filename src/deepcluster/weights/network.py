"""A network from its description: drawn at random, or with the weights of a file.

from deepcluster.weights import load_backbone
backbone, card = load_backbone("runs/mine")  # or a 2018 .pth.tar, a ResNet of torchvision, an exported file
"""

from pathlib import Path
from typing import Any

import torch

from deepcluster.models.backbone import Backbone
from deepcluster.system.seeding import mix
from deepcluster.system.targets import build, check_target
from deepcluster.weights.fit import fit_weights
from deepcluster.weights.recognise import Weights, read_weights_with_card

DOWNLOADED = {"weights": None, "pretrained": False}  # arguments of networks that download weights, and their "no"


def load_backbone(path: str | Path) -> tuple[Backbone, dict[str, Any]]:
    """The network of any file that tells its architecture, in eval mode on the CPU, and its description.

    Args:
        path: a run's folder or checkpoint, an exported backbone, a 2018 .pth.tar of AlexNet or VGG-16, a state dict
            of a torchvision ResNet (DeepCluster-v2's release is one), AlexNet or VGG-16.

    Returns:
        The backbone: normalised images (B, C, H, W) -> features (B, D); and the card: arch, in_channels,
        image_size, resize, mean, std.

    Raises:
        FileNotFoundError, ValueError: see :func:`read_weights_with_card`.
    """
    weights = read_weights_with_card(path)
    assert weights.card is not None
    return build_backbone(weights.card, weights=weights), weights.card


def build_backbone(card: dict[str, Any], *, weights: Weights | None = None, seed: int | None = None) -> Backbone:
    """The network that a card describes.

    Args:
        card: arch (the config group), in_channels and image_size; what else it tells is not needed.
        weights: those that the network takes; it is then in eval mode. None: it is drawn by its own law.
        seed: of a run, which starts with the weights that are drawn from it. None: torch's generator as it is.

    Raises:
        ValueError: if the description is not that of a network of ours, or tensors do not fit it.
    """
    arch = card["arch"]
    check_target(arch, "arch", supplied=("in_channels", "image_size"))
    if weights is not None:  # nothing is downloaded to be overwritten
        arch = {**arch, **{name: off for name, off in DOWNLOADED.items() if name in arch}}
    if seed is not None:
        torch.manual_seed(mix(seed, "init"))
    backbone: Backbone = build(arch, "arch", in_channels=card["in_channels"], image_size=card["image_size"])
    if weights is None:
        return backbone
    backbone.load_state_dict(fit_weights(weights, backbone, card=card).state)
    return backbone.eval()
