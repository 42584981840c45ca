"""What all backbones share: images (B, C, H, W) in, features (B, D) out. Next: stages.py."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.models.sobel import fixed_layer

# The most numbers per image that a probe reads; original: eval_linear.py pools every layer to about 9600.
MAX_CONVOLUTIONAL = 10_000

FEATURES = "features"  # what `taps` calls the output of the neck, beside the names of the stages

LARGEST_LEAST_SIZE = 256  # where a network refuses images of this size, size is not the reason


class Backbone(nn.Module):
    """Sobel (optional) -> features (named stages of maps) -> neck (maps to one vector per image).

    This vector is clustered, and the head reads it. It is taken before the last ReLU, which belongs to the head
    (original: main.py drops the last ReLU before clustering).

    Args:
        features: the stages; a child named conv1, conv2, layer1 ... ends after its ReLU.
        neck: turns the last maps into features (B, D).
        feature_dim: D.
        stages: the children of `features` that :meth:`stage` gives, in order.
        in_channels: channels C of the images, before Sobel.
        image_size: height and width H = W of the images that the neck is built for.
        sobel: put :class:`Sobel` in front; `features` then takes 2 channels. "random": its filters are random.
    """

    # Set by inference_copy: the type and memory layout of the convolutions; None: the images' type.
    compute_dtype: torch.dtype | None = None
    memory_format: torch.memory_format = torch.preserve_format
    needs_float32 = False  # True where bfloat16 is too coarse: inference_copy then stays in float32
    needs_weights = False  # True where it computes nothing before weights of a file are loaded
    told: str | None = None  # what stands in place of the number of its parameters, for the user

    def __init__(
        self,
        *,
        features: nn.Sequential,
        neck: nn.Sequential,
        feature_dim: int,
        stages: Sequence[str],
        in_channels: int,
        image_size: int,
        sobel: bool | str,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.image_size = image_size
        self.sobel = fixed_layer(sobel, in_channels)
        self.features = features
        self.neck = neck
        self.feature_dim = feature_dim
        self.stages = list(stages)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of normalised images (B, C, H, W), before the head's ReLU."""
        features: Tensor = self.neck(self.features(self.input_maps(images)))
        return self.as_float32(features)

    def stage(self, images: Tensor, name: str) -> Tensor:
        """The maps (B, c, h, w) at the end of a stage, after its ReLU and before any pooling.

        Raises:
            ValueError: if there is no such stage.
        """
        self.check_stage(name)
        maps = self.input_maps(images)
        for child_name, child in self.features.named_children():
            maps = child(maps)
            if child_name == name:
                break
        return self.as_float32(maps)

    def taps(self, images: Tensor, reads: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, Tensor]:
        """Read several stages in one forward pass, which ends at the last of them.

        Args:
            reads: stage -> a function of its maps (B, c, h, w), which are those of :meth:`stage`; "features" -> a
                function of the features (B, D). Each is called as soon as its maps are computed; no maps are kept.

        Returns:
            Stage -> what its function returned.

        Raises:
            ValueError: if there is no such stage.
        """
        for name in reads:
            if name != FEATURES:
                self.check_stage(name)
        tapped: dict[str, Tensor] = {}
        maps = self.input_maps(images)
        for name, child in self.features.named_children():
            if len(tapped) == len(reads):
                break
            maps = child(maps)
            if name in reads:
                tapped[name] = reads[name](self.as_float32(maps))
        if FEATURES in reads:
            tapped[FEATURES] = reads[FEATURES](self.as_float32(self.neck(maps)))
        return {name: tapped[name] for name in reads}

    def convolutional(self, images: Tensor) -> Tensor:
        """The last maps flattened to (B, M), for probes and neighbours; averaged to M <= 10,000 if larger."""
        return self.as_float32(pool_maps(self.features(self.input_maps(images))).flatten(1))

    def stage_path(self, name: str) -> str:
        """The name of the module in `features` that a stage ends with."""
        return name

    def check_stage(self, name: str) -> None:
        if name not in self.stages:
            known = ", ".join(self.stages) or "none"
            raise ValueError(f"this backbone has no stage {name!r}; it has {known}")

    def input_maps(self, images: Tensor) -> Tensor:
        """What the first stage sees: images after Sobel, in the type and layout of the convolutions.

        Raises:
            ValueError: if the images have another number of channels than the network.
        """
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"this backbone takes images (B, {self.in_channels}, H, W), got {tuple(images.shape)}; "
                "set data.n_channels to the network's channels"
            )
        maps = images if self.sobel is None else self.sobel(images)
        return maps.to(dtype=self.compute_dtype or maps.dtype, memory_format=self.memory_format)

    def as_float32(self, result: Tensor) -> Tensor:
        """Inference copies return float32, whatever type they compute in."""
        return result if self.compute_dtype is None else result.float()


def pool_maps(maps: Tensor, max_features: int = MAX_CONVOLUTIONAL) -> Tensor:
    """Average maps (B, c, h, w) down to a square grid until c x h x w is at most max_features."""
    channels, height, width = maps.shape[1:]
    if channels * height * width <= max_features:
        return maps
    side = max(1, math.isqrt(max_features // channels))
    return F.adaptive_avg_pool2d(maps, (min(side, height), min(side, width)))


def map_shape(features: nn.Sequential, in_channels: int, image_size: int) -> tuple[int, int, int]:
    """Shape (c, h, w) of the maps that `features` gives for one image; found by sending an empty image through.

    Raises:
        ValueError: if the image is too small; names the least size.
    """
    try:
        return _maps_of_empty_image(features, in_channels, image_size)
    except RuntimeError as error:
        least = _least_size(features, in_channels, larger_than=image_size)
        if least is None:
            raise  # the size is not the reason: our own mistake
        raise ValueError(
            f"view.size={image_size} is too small for this network, which needs at least {least}; "
            f"set view.size={least} or more, or choose a network for smaller images (arch=...)"
        ) from error


@torch.no_grad()
def _maps_of_empty_image(features: nn.Sequential, in_channels: int, image_size: int) -> tuple[int, int, int]:
    was_training = features.training
    features.eval()  # BatchNorm must not count the empty image
    try:
        shape = features(torch.zeros(1, in_channels, image_size, image_size)).shape
    finally:
        features.train(was_training)
    return int(shape[1]), int(shape[2]), int(shape[3])


def _least_size(features: nn.Sequential, in_channels: int, larger_than: int) -> int | None:
    for size in range(larger_than + 1, LARGEST_LEAST_SIZE + 1):
        try:
            _maps_of_empty_image(features, in_channels, size)
        except RuntimeError:
            continue
        return size
    return None
