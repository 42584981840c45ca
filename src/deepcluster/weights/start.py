"""How a new network's weights start: the config group `init`. run.py applies one before the first features.

Each way is a settings dataclass; config.py's OPTIONS names them.
"""

from dataclasses import dataclass
from typing import Any

import torch

from deepcluster.data.images import ImageSet
from deepcluster.models.backbone import Backbone
from deepcluster.models.coates import Coates
from deepcluster.system.seeding import mix
from deepcluster.system.targets import build
from deepcluster.weights import checkpoint, recognise
from deepcluster.weights import fit as weights

CPU = torch.device("cpu")


def new_backbone(arch: dict[str, Any], *, in_channels: int, image_size: int, seed: int) -> Backbone:
    """The network of the group `arch`, drawn by its own law: the one with which a run of this seed starts."""
    torch.manual_seed(mix(seed, "init"))
    backbone: Backbone = build(arch, "arch", in_channels=in_channels, image_size=image_size)
    return backbone


@dataclass(kw_only=True)
class Init:
    """A way to start. The network that it is given was drawn at random already, by its own law.

    Args:
        kind: its name, by which a stored config finds the class again.
    """

    kind: str

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device = CPU
    ) -> list[str]:
        """Change the weights in place.

        Args:
            card: the network's description (checkpoint.py).
            images: the training images.
            seed: of the run.
            device: where long computations go; the network stays where it is.

        Returns:
            Lines to tell the user: what was done.

        Raises:
            ValueError: if it cannot be done to this network, before anything long starts.
        """
        raise NotImplementedError


@dataclass(kw_only=True)
class RandomInit(Init):
    """He fan-out, as in the original (or the network's own law).

    Args:
        kind: "random".
    """

    kind: str = "random"

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device = CPU
    ) -> list[str]:
        if isinstance(backbone, Coates):
            raise ValueError("init=random gives arch=coates no centroids; set init=kmeans_patches, which learns them")
        return []


@dataclass(kw_only=True)
class CheckpointInit(Init):
    """The backbone of another run.

    Args:
        kind: "checkpoint".
        path: a run's folder or its checkpoint, of the same architecture.
    """

    kind: str = "checkpoint"
    path: str

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device = CPU
    ) -> list[str]:
        checkpoint.load_backbone(backbone, checkpoint.load(self.path), card)
        return []


@dataclass(kw_only=True)
class WeightsInit(Init):
    """Weights from a file of another program, or of ours: see recognise.py for those that are read.

    Every tensor of the network must be in the file with its shape; what belongs behind the network (classifiers,
    projection heads) is left out and named.

    Args:
        kind: "weights".
        path: a run's folder, a checkpoint, an exported backbone, a 2018 .pth.tar, a state dict in the names of
            torchvision, timm or ours.
        partial: also take a file of which only some tensors fit; the others start at random and are named.
    """

    kind: str = "weights"
    path: str
    partial: bool = False

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: torch.device = CPU
    ) -> list[str]:
        found = recognise.read(self.path)
        fitted = weights.fit(found, backbone, wanted=card, partial=self.partial)
        backbone.load_state_dict({**backbone.state_dict(), **fitted.state})
        n_taken = sum(name not in fitted.random for name in backbone.state_dict())
        lines = [f"{found.path}: {found.format}, {n_taken} tensors taken"]
        if fitted.left_out:
            lines.append(f"left out: {_grouped(fitted.left_out)}")
        if fitted.random:
            lines.append(f"at random, as the file has none that fit: {', '.join(fitted.random)}")
        if found.card is not None and any(list(found.card[name]) != list(card[name]) for name in ("mean", "std")):
            mean, std = (str(list(found.card[name])).replace(" ", "") for name in ("mean", "std"))
            lines.append(f"trained on images normalised otherwise; 'data.mean={mean}' 'data.std={std}' does the same")
        return lines


def _grouped(names: list[str]) -> str:
    """fc.weight, fc.bias; more than four of one beginning are counted."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    return ", ".join(
        ", ".join(group) if len(group) <= 4 else f"{first}.* ({len(group)} tensors)" for first, group in groups.items()
    )
