"""What all backbones share: images (B, C, H, W) in, features (B, D) out. Next: init.py."""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.models.sobel import Sobel

# A probe reads at most so many numbers per image; original: eval_linear.py pools every layer to about 9600.
MAX_CONVOLUTIONAL = 10_000

FEATURES = "features"  # names, beside the stages, what `taps` reads after the neck

LARGEST_LEAST_SIZE = 256  # a network that refuses such an image has another reason than its size


class Backbone(nn.Module):
    """Sobel (optional) -> features (named stages of maps) -> neck (maps to one vector per image).

    The vector is what is clustered and what the head reads. It is taken before the last ReLU, which belongs
    to the head (original: main.py drops the last ReLU before clustering).

    Args:
        features: stages; a child named conv1, conv2, layer1 ... ends after its ReLU and can be tapped.
        neck: from the last maps to (B, D); it flattens.
        feature_dim: D.
        stages: the children of `features` that :meth:`stage` gives, in order.
        in_channels: channels C of the images, before Sobel.
        image_size: height and width H = W for which the neck is built.
        sobel: put :class:`Sobel` in front; `features` then takes 2 channels.
    """

    # Set by inference_copy: the type in which convolutions run (None: as the images come) and their layout.
    compute_dtype: torch.dtype | None = None
    memory_format: torch.memory_format = torch.preserve_format
    needs_float32 = False  # bfloat16 is too coarse for its maths: inference_copy leaves it in float32

    def __init__(
        self,
        *,
        features: nn.Sequential,
        neck: nn.Sequential,
        feature_dim: int,
        stages: Sequence[str],
        in_channels: int,
        image_size: int,
        sobel: bool,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.image_size = image_size
        self.sobel = Sobel(in_channels) if sobel else None
        self.features = features
        self.neck = neck
        self.feature_dim = feature_dim
        self.stages = list(stages)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of normalised images (B, C, H, W), before the head's ReLU."""
        features: Tensor = self.neck(self.features(self.prepare(images)))
        return self.finish(features)

    def stage(self, images: Tensor, name: str) -> Tensor:
        """The maps (B, c, h, w) at the end of a stage, after its ReLU and before any pooling.

        Raises:
            ValueError: if there is no such stage.
        """
        self.check_stage(name)
        maps = self.prepare(images)
        for child_name, child in self.features.named_children():
            maps = child(maps)
            if child_name == name:
                break
        return self.finish(maps)

    def taps(self, images: Tensor, reads: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, Tensor]:
        """What is read at several places in one forward pass, which ends at the last of them.

        Args:
            reads: stage -> a function of its maps (B, c, h, w), which are as :meth:`stage` gives them; "features" -> a
                function of the features (B, D). Each is called as soon as its maps are there: no others are kept.

        Raises:
            ValueError: if there is no such stage.
        """
        for name in reads:
            if name != FEATURES:
                self.check_stage(name)
        tapped: dict[str, Tensor] = {}
        maps = self.prepare(images)
        for name, child in self.features.named_children():
            if len(tapped) == len(reads):
                break
            maps = child(maps)
            if name in reads:
                tapped[name] = reads[name](self.finish(maps))
        if FEATURES in reads:
            tapped[FEATURES] = reads[FEATURES](self.finish(self.neck(maps)))
        return {name: tapped[name] for name in reads}

    def convolutional(self, images: Tensor) -> Tensor:
        """The last maps flattened to (B, M), for probes and neighbours; averaged to M <= 10,000 if larger."""
        return self.finish(pool_maps(self.features(self.prepare(images))).flatten(1))

    def check_stage(self, name: str) -> None:
        if name not in self.stages:
            known = ", ".join(self.stages) or "none"
            raise ValueError(f"this backbone has no stage {name!r}; it has {known}")

    def prepare(self, images: Tensor) -> Tensor:
        """Check the channels, apply Sobel, bring to the type and layout of the convolutions."""
        if images.ndim != 4 or images.shape[1] != self.in_channels:
            raise ValueError(
                f"this backbone takes images (B, {self.in_channels}, H, W), got {tuple(images.shape)}; "
                "set data.n_channels to the network's channels"
            )
        maps = images if self.sobel is None else self.sobel(images)
        return maps.to(dtype=self.compute_dtype or maps.dtype, memory_format=self.memory_format)

    def finish(self, result: Tensor) -> Tensor:
        """Inference copies answer in float32 whatever they compute in."""
        return result if self.compute_dtype is None else result.float()


def pool_maps(maps: Tensor, max_features: int = MAX_CONVOLUTIONAL) -> Tensor:
    """Average maps (B, c, h, w) down to a square grid until c x h x w is at most max_features."""
    channels, height, width = maps.shape[1:]
    if channels * height * width <= max_features:
        return maps
    side = max(1, math.isqrt(max_features // channels))
    return F.adaptive_avg_pool2d(maps, (min(side, height), min(side, width)))


def map_shape(features: nn.Sequential, in_channels: int, image_size: int) -> tuple[int, int, int]:
    """Shape (c, h, w) that `features` makes of one image, tapped by sending an empty one through.

    Raises:
        ValueError: if the image is too small for the stages; it tells the least size.
    """
    try:
        return _sent_through(features, in_channels, image_size)
    except RuntimeError as error:
        least = _least_size(features, in_channels, larger_than=image_size)
        if least is None:
            raise  # not the size: our own mistake
        raise ValueError(
            f"view.size={image_size} is too small for this network, which needs at least {least}; "
            f"set view.size={least} or more, or choose a network for smaller images (arch=...)"
        ) from error


@torch.no_grad()
def _sent_through(features: nn.Sequential, in_channels: int, image_size: int) -> tuple[int, int, int]:
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
            _sent_through(features, in_channels, size)
        except RuntimeError:
            continue
        return size
    return None
