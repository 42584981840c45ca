"""The group `view`: how the images are shown to the network, to learn from and for features. Next: views.py."""

from dataclasses import dataclass, field, replace
from math import isfinite

from deepcluster.system.machine import free_memory, in_gb
from deepcluster.system.setting import check, setting


@dataclass(kw_only=True)
class SmallCrops:
    """Small crops beside the large ones, which see a part of the image (Caron et al. 2020, "multi-crop").

    Args:
        n: small crops of each image (SwAV on ImageNet: 6); 0: none.
        size: their side as the network sees them, in pixels; null: about 0.43 of the large crops' (96 of 224).
        crop_scale: smallest and largest share of the image's area (SwAV: 0.05 to 0.14).
    """

    n: int = setting(0, at_least=0, at_most=16)
    size: int | None = setting(None, at_least=4)
    crop_scale: list[float] = setting([0.05, 0.14])


@dataclass(kw_only=True)
class View:
    """How the two views are cut from the images: random crops to learn from, one fixed crop for features.

    Args:
        size: side of the square which the network sees, in pixels.
        train_size: training view: side of the large crops, in pixels; None: `size`. A crop enlarges what is in it, so
            things are as large in smaller ones as in the feature view, and an epoch takes less time (Touvron et al.
            2019, "Fixing the train-test resolution discrepancy"). Networks that take one size only (LeNet, AlexNet,
            VGG-16) learn from `size`, and the run says so.
        resize: feature view: the short side is brought to this before the centre crop of `size`; None: `size`.
        crop_scale: training view: smallest and largest share of the image's area in a crop.
        crop_ratio: training view: smallest and largest width / height of a crop.
        flip: training view: flip every second image from left to right.
        color_jitter: training view: how much brightness, contrast, saturation and hue are changed (SimCLR: 0.8, 0.8,
            0.8, 0.2); factors in 1 +- strength, hue in parts of the circle. Brightness and contrast change all
            channels alike (alpha too); saturation, hue and `grey_probability` change only images of three channels.
        jitter_probability: share of the images whose colours are changed, if `color_jitter` is not all 0.
        grey_probability: share of the images that become grey (with their three channels).
        blur_probability: share of the images that are blurred, by a Gaussian whose kernel is a tenth of the side.
        blur_sigma: smallest and largest standard deviation of the blur, in pixels.
        n_large: training view: large crops of each image; 2 for methods that compare crops.
        small: training view: further, smaller crops.
        mean: per-channel mean in [0, 1]; None: measured on the training images.
        std: per-channel standard deviation in [0, 1]; None: measured.
    """

    size: int = setting(32, at_least=4)
    train_size: int | None = setting(None, at_least=4)
    resize: int | None = None
    # torchvision's RandomResizedCrop, as in the 2018 code (main.py: ReassignedDataset's transform)
    crop_scale: list[float] = setting([0.08, 1.0])
    crop_ratio: list[float] = setting([0.75, 4 / 3])
    flip: bool = True
    color_jitter: list[float] = setting([0.0, 0.0, 0.0, 0.0])
    jitter_probability: float = setting(0.8, at_least=0, at_most=1)
    grey_probability: float = setting(0.0, at_least=0, at_most=1)
    blur_probability: float = setting(0.0, at_least=0, at_most=1)
    blur_sigma: list[float] = setting([0.1, 2.0])
    n_large: int = setting(1, at_least=1, at_most=2)
    small: SmallCrops = field(default_factory=SmallCrops)
    mean: list[float] | None = None
    std: list[float] | None = None

    def __post_init__(self) -> None:
        self._check_crops()
        self._check_colours()
        self._check_statistics()
        check(self, "view")
        check(self.small, "view.small")
        if self.resize is not None and self.resize < self.size:
            raise ValueError(
                f"view.resize must be at least view.size={self.size}, got {self.resize}: "
                "the centre crop cannot be larger than the image; raise it or leave it out"
            )

    def check_batch(self, batch_size: int, n_channels: int | None) -> None:
        """Refuse crops of which one batch is larger than the free memory.

        Args:
            batch_size: B, reading.batch_size.
            n_channels: C, data.n_channels; None: at least 1.

        Raises:
            ValueError: naming what it would take.
        """
        side = max(self.size, self.crop_size)
        needed, free = 4 * batch_size * (n_channels or 1) * side**2, free_memory()
        if needed > free:
            key = "view.size" if side == self.size else "view.train_size"
            raise ValueError(
                f"{key}={side} with reading.batch_size={batch_size} needs {in_gb(needed)} for one batch of "
                f"crops, {in_gb(free)} are free; lower one of them"
            )

    @property
    def crop_size(self) -> int:
        """Side of the large crops to learn from, in pixels."""
        return self.train_size or self.size

    def of_small_crops(self) -> "View":
        """The view of the small crops."""
        small = self.small
        size = small.size or max(4, round(self.crop_size * 96 / 224))
        return replace(
            self, size=size, train_size=None, resize=None, crop_scale=small.crop_scale, n_large=1, small=SmallCrops()
        )

    def check_channels(self, n_channels: int | None) -> None:
        """Refuse a mean and deviation of another number of channels than data.n_channels, where that is set.

        Raises:
            ValueError: naming both.
        """
        if self.mean is not None and n_channels is not None and n_channels != len(self.mean):
            raise ValueError(
                f"view.mean and view.std have {len(self.mean)} values, data.n_channels={n_channels}; "
                "give one per channel, or leave them out to measure them"
            )

    def _check_crops(self) -> None:
        for name, value, largest in (
            ("crop_scale", self.crop_scale, 1.0),
            ("crop_ratio", self.crop_ratio, float("inf")),
            ("small.crop_scale", self.small.crop_scale, 1.0),
        ):
            if len(value) != 2 or not 0 < value[0] <= value[1] <= largest:
                limit = f", both in (0, {largest:g}]" if isfinite(largest) else ", both above 0"
                raise ValueError(f"view.{name} must be [smallest, largest]{limit}, got {list(value)}")

    def _check_colours(self) -> None:
        jitter = self.color_jitter
        if len(jitter) != 4 or not all(0 <= strength < float("inf") for strength in jitter) or jitter[3] > 0.5:
            raise ValueError(
                "view.color_jitter must be [brightness, contrast, saturation, hue], all at least 0, hue at most 0.5 "
                f"(half the circle), got {list(jitter)}; [0, 0, 0, 0] changes nothing"
            )
        sigma = self.blur_sigma
        if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1] < float("inf"):
            raise ValueError(f"view.blur_sigma must be [smallest, largest], both above 0, got {list(sigma)}")

    def _check_statistics(self) -> None:
        if (self.mean is None) != (self.std is None):
            raise ValueError("view.mean and view.std belong together: set both, or neither to measure them")
        if self.mean is None or self.std is None:
            return
        if not self.mean or len(self.mean) != len(self.std):
            raise ValueError(f"view.mean and view.std need one value per channel, got {self.mean} and {self.std}")
        if not all(0 <= value <= 1 for value in self.mean) or not all(0 < value <= 1 for value in self.std):
            raise ValueError(
                f"view.mean and view.std are shares of white, in [0, 1], std above 0, "
                f"got {self.mean} and {self.std}; divide values in 0..255 by 255"
            )
