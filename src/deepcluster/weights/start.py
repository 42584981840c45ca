"""Initial weights of a new network: the config group `init`. Each kind is a settings dataclass.

settings/options.py names the kinds; run/parts.py applies one before the first features. Settings are read without
importing torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from deepcluster.system.setting import IS_PATH, check, setting
from deepcluster.weights.patch_settings import PatchSettings

if TYPE_CHECKING:
    import torch

    from deepcluster.data.images import ImageSet
    from deepcluster.data.view_settings import View
    from deepcluster.models.backbone import Backbone
    from deepcluster.weights.recognise import Weights

    Device = torch.device | str


@dataclass(kw_only=True)
class Init:
    """A kind of initial weights. It changes a network that has random weights already.

    Args:
        kind: its name, by which a stored config finds this class.
    """

    names_weights: ClassVar[bool] = False  # it takes weights that were trained before

    kind: str

    def network(self, arch: dict[str, Any], view: View) -> tuple[dict[str, Any], View, int | None]:
        """What only the file of weights tells of the network, of arch=onnx.

        Returns:
            The groups `arch` and `view` with it, and the channels of the images that it takes; None: any.

        Raises:
            ValueError: if no ONNX file is named, or it does not fit.
        """
        from deepcluster.weights import onnx_start

        if arch.get("_target_") != onnx_start.TARGET:
            return arch, view, None
        if not self.names_weights:
            raise ValueError("arch=onnx runs the network of a file: set init=weights init.path=FILE.onnx")
        weights = self._read()
        return onnx_start.told_by_file(weights.path, weights.tensors, weights.card, arch, view)

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        """Change the weights in place.

        Args:
            card: the network's description (checkpoint.py).
            images: the training images.
            seed: of the run.
            device: where long computations run; the network stays where it is.

        Returns:
            Lines for the user: what was done.

        Raises:
            ValueError: if it does not suit this network; raised before anything long starts.
        """
        raise NotImplementedError

    def _read(self) -> Weights:
        """The weights in the file."""
        from deepcluster.weights.recognise import read_weights

        return read_weights(vars(self)["path"])

    def learning_bytes(self, backbone: Backbone, card: dict[str, Any]) -> float:
        """Bytes of memory that :meth:`apply` takes to learn from the images, beside these; 0: it learns nothing.

        Raises:
            ValueError: if it does not suit this network.
        """
        return 0.0


@dataclass(kw_only=True)
class RandomInit(Init):
    """Random weights, as the network was built: He fan-out as in the original, or the library's own.

    Args:
        kind: "random".
    """

    kind: str = "random"

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        _refuse_coates(self.kind, backbone)
        return []


@dataclass(kw_only=True)
class CheckpointInit(Init):
    """The backbone of another run of the same architecture.

    Args:
        kind: "checkpoint".
        path: the run's folder or checkpoint.
    """

    names_weights: ClassVar[bool] = True

    kind: str = "checkpoint"
    path: str = field(metadata={IS_PATH: True})

    def __post_init__(self) -> None:
        check(self, "init")

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
    """Weights from a file, of another program or ours; recognise.py lists the formats.

    The file must hold every tensor of the network, with its shape. Classifiers and projection heads in the file are
    left out and reported.

    Args:
        kind: "weights".
        path: a run's folder, a checkpoint, an exported backbone, a 2018 .pth.tar, a state dict in the names of
            torchvision, timm or ours.
        partial: allow a file of which only some tensors fit; the others stay random and are reported.
    """

    names_weights: ClassVar[bool] = True

    kind: str = "weights"
    path: str = field(metadata={IS_PATH: True})
    partial: bool = False

    def __post_init__(self) -> None:
        check(self, "init")

    @cached_property
    def _weights(self) -> Weights:
        return super()._read()

    def _read(self) -> Weights:
        return self._weights

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        from deepcluster.weights.fit import fit_weights

        weights = self._weights  # read by network(), of an ONNX file
        del self._weights  # they may be large
        fitted = fit_weights(weights, backbone, card=card, partial=self.partial)
        backbone.load_state_dict({**backbone.state_dict(), **fitted.state})
        if backbone.needs_weights:
            return [f"{weights.path}: {weights.format}", *weights.notes]
        n_taken = sum(name not in fitted.random for name in backbone.state_dict())
        lines = [f"{weights.path}: {weights.format}, {n_taken} tensors taken"]
        if fitted.left_out:
            lines.append(f"left out: {_grouped(fitted.left_out)}")
        if fitted.random:
            lines.append(f"random, as the file has no tensors that fit: {', '.join(fitted.random)}")
        file_card = weights.card
        if file_card is not None and any(list(file_card[name]) != list(card[name]) for name in ("mean", "std")):
            mean, std = (str(list(file_card[name])).replace(" ", "") for name in ("mean", "std"))
            lines.append(
                f"trained on images normalised by other values; set 'view.mean={mean}' 'view.std={std}' for the same"
            )
        return lines


@dataclass(kw_only=True)
class KMeansPatchesInit(PatchSettings, Init):
    """Filters of the first convolution: k-means centroids of normalised, ZCA-whitened patches (Coates et al. 2011).

    Patches are cut from the layer's input: training images in the feature view, normalised, after Sobel if the network
    has it. arch=coates learns from patches in grey levels instead, as in its papers, and a second layer from patches of
    the first one's maps: fewer than n_patches if they would need more than 1 GB, with epsilon 1, spherical.

    Args:
        kind: "kmeans_patches".
    """

    kind: str = "kmeans_patches"

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        from deepcluster.weights.patch_filters import learn_from_patches

        return [learn_from_patches(self, backbone, card=card, images=images, seed=seed, device=device)]

    def learning_bytes(self, backbone: Backbone, card: dict[str, Any]) -> float:
        from deepcluster.weights.patch_filters import learning_bytes

        return learning_bytes(self, backbone, card)


@dataclass(kw_only=True)
class ScatterInit(Init):
    """Filters of the first convolution: the Morlet wavelets and low-passes of a scattering transform.

    Bruna and Mallat 2013. There is a low-pass for each channel of the layer's input; the other filters are wavelets of
    different orientations, then scales, then phases. Answers are as large as with random filters.

    Args:
        kind: "scatter".
        n_orientations: the most orientations; filters beyond them differ in phase.
        n_scales: sizes of wavelets, each twice the one before; null: as many as the kernel holds (3x3: 1, from 5x5: 2,
            from 10x10: 3) and leave room for four orientations.
    """

    kind: str = "scatter"
    n_orientations: int = setting(8, at_least=1)  # L of the paper's experiments
    n_scales: int | None = setting(None, at_least=1)

    def __post_init__(self) -> None:
        check(self, "init")

    def apply(
        self, backbone: Backbone, *, card: dict[str, Any], images: ImageSet, seed: int, device: Device = "cpu"
    ) -> list[str]:
        from deepcluster.weights.scatter_filters import set_scatter_filters

        _refuse_coates(self.kind, backbone)
        orientations, scales = self.n_orientations, self.n_scales
        return [
            set_scatter_filters(
                backbone, most_orientations=orientations, n_scales=scales, card=card, images=images, seed=seed
            )
        ]


def _refuse_coates(kind: str, backbone: Backbone) -> None:
    from deepcluster.models.coates import Coates

    if isinstance(backbone, Coates):
        raise ValueError(f"arch=coates has no centroids with init={kind}; set init=kmeans_patches, which learns them")


def _grouped(names: list[str]) -> str:
    """Names of tensors as text; more than four of one group are counted: fc.weight, fc.bias, layer4.* (60 tensors)."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    return ", ".join(
        ", ".join(group) if len(group) <= 4 else f"{first}.* ({len(group)} tensors)" for first, group in groups.items()
    )
