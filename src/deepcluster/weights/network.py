"""Build a network from its description, with random weights or those of a file.

from deepcluster.weights import load_backbone
backbone, card = load_backbone("runs/mine")  # or a 2018 .pth.tar, a ResNet of torchvision, an exported file
"""

import re
from pathlib import Path
from typing import Any

import torch

from deepcluster.models.backbone import Backbone
from deepcluster.system.machine import free_memory, in_gb
from deepcluster.system.seeding import mix
from deepcluster.system.targets import build, check_target
from deepcluster.weights.fit import fit_weights
from deepcluster.weights.recognise import Weights, read_weights_with_card

MOST = 2**16  # channels, or pixels of a side: about what image files can have
NO_DOWNLOAD = {"weights": None, "pretrained": False}  # arguments of networks that download weights -> their "no"


def load_backbone(path: str | Path) -> tuple[Backbone, dict[str, Any]]:
    """Load the network of a file that tells its architecture: in eval mode, on the CPU, with its description.

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
    """Build the network that a card describes.

    Args:
        card: arch (the config group), in_channels and image_size; other keys are not read.
        weights: to load; the network is then in eval mode. None: it keeps its random initial weights.
        seed: of the run, from which random weights are drawn. None: torch's generator is used as it is.

    Raises:
        ValueError: if the card does not describe one of our networks, or the weights do not fit it.
    """
    arch = card["arch"]
    check_target(arch, "arch", supplied=("in_channels", "image_size"))
    if weights is not None:  # download no weights, as these replace them
        arch = {**arch, **{name: off for name, off in NO_DOWNLOAD.items() if name in arch}}
    if seed is not None:
        torch.manual_seed(mix(seed, "init"))
    sizes = {name: card[name] for name in ("in_channels", "image_size")}
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
            raise ValueError(f"a network's {name} must be a whole number in [1, {MOST}], got {value!r}")
    try:
        backbone: Backbone = build(arch, "arch", **sizes)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, RuntimeError) and not re.search("memory|allocat|overflow|too (large|big)", str(error)):
            raise
        numbers = ", ".join(f"{name}={value}" for name, value in sizes.items())
        raise ValueError(
            f"a network of {arch['_target_']} with {numbers} does not fit into memory, {in_gb(free_memory())} are free"
        ) from error
    if weights is None:
        return backbone
    backbone.load_state_dict(fit_weights(weights, backbone, card=card).state)
    return backbone.eval()
