"""How a new network's weights start: the config group `init`. Each way is a settings dataclass.

settings/options.py names them; run/prepare.py applies one before the first features. They are read without torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deepcluster.weights.patch_settings import PatchSettings

if TYPE_CHECKING:
    import torch

    from deepcluster.data.images import ImageSet
    from deepcluster.models.backbone import Backbone

    Device = torch.device | str


@dataclass(kw_only=True)
class Init:
    """A way to start. The network that it is given was drawn at random already, by its own law.

    Args:
        kind: its name, by which a stored config finds the class again.
    """

    kind: str

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        """Change the weights in place.

        Args:
            card: the network's description (checkpoint.py).
            images: the training images.
            seed: of the run.
            device: where long computations go; the network stays where it is.

        Returns:
            Lines for the user: what was done.

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
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        from deepcluster.models.coates import Coates

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
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        from deepcluster.weights.checkpoint import check_same_network, load_checkpoint

        checkpoint = load_checkpoint(self.path)
        check_same_network(checkpoint.card, card, checkpoint.path)
        backbone.load_state_dict(checkpoint.backbone)
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
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        from deepcluster.weights.fit import fit_weights
        from deepcluster.weights.recognise import read_weights

        weights = read_weights(self.path)
        fitted = fit_weights(weights, backbone, card=card, partial=self.partial)
        backbone.load_state_dict({**backbone.state_dict(), **fitted.state})
        n_taken = sum(name not in fitted.random for name in backbone.state_dict())
        lines = [f"{weights.path}: {weights.format}, {n_taken} tensors taken"]
        if fitted.left_out:
            lines.append(f"left out: {_grouped(fitted.left_out)}")
        if fitted.random:
            lines.append(f"at random, as the file has none that fit: {', '.join(fitted.random)}")
        file_card = weights.card
        if file_card is not None and any(list(file_card[name]) != list(card[name]) for name in ("mean", "std")):
            mean, std = (str(list(file_card[name])).replace(" ", "") for name in ("mean", "std"))
            lines.append(
                f"trained on images normalised by other values; 'view.mean={mean}' 'view.std={std}' sets the same"
            )
        return lines


@dataclass(kw_only=True)
class KMeansPatchesInit(PatchSettings, Init):
    """The first convolution's filters: k-means centroids of normalised, ZCA-whitened patches (Coates et al. 2011).

    Patches are cut from what the layer sees: training images in the feature view, normalised, after Sobel if the
    network has it. arch=coates learns from patches in grey levels instead, as its papers do.

    Args:
        kind: "kmeans_patches".
    """

    kind: str = "kmeans_patches"

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        from deepcluster.weights.patch_filters import learn_from_patches

        return [learn_from_patches(self, backbone, card=card, images=images, seed=seed, device=device)]


def _grouped(names: list[str]) -> str:
    """fc.weight, fc.bias; more than four of one beginning are counted."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    return ", ".join(
        ", ".join(group) if len(group) <= 4 else f"{first}.* ({len(group)} tensors)" for first, group in groups.items()
    )
