"""The networks of Coates, Ng and Lee 2011, of one layer or two: they compare patches with centroids. Next: head.py.

Gradients train nothing in them: init=kmeans_patches learns the centroids once, layer after layer.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.models.backbone import FEATURES, Backbone
from deepcluster.models.patches import Whitening, normalise_contrast

# Numbers of the maps (B, K, h, w) in memory at a time: 16 MB fit the processor's caches (1600 filters: 3 images).
NUMBERS_PER_BLOCK = 2**22
NUMBERS_PER_GPU_BLOCK = 2**28  # 1 GB: a GPU is fastest with few large products
POOLED = 3  # places of a side over which maps are averaged before the second layer (Coates and Ng 2011)
PATCH_OF_MAPS = 2  # side of the second layer's patches, in pooled places (Coates and Ng 2011)


class PatchCode(nn.Module):
    """Codes every patch of an image, contrast-normalised and whitened, by its distances to K centroids.

    (B, C, H, W) -> (B, K, H - s + 1, W - s + 1) for patches of s x s pixels. The code of centroid k is

    - triangle: max(0, mean of the distances to all centroids - distance to centroid k), about half of them 0;
    - hard: 1 if centroid k is the nearest, else 0.

    All that is learned is in buffers, so that checkpoints hold it: centroids (K, d), whitening (d, d) and mean (d,) of
    patches with d = C s s numbers, and the contrast constant, which is in grey levels of 0..255. Scale and shift (C,)
    turn normalised images back into grey levels.
    """

    scale: Tensor
    shift: Tensor
    contrast: Tensor
    mean: Tensor
    whitening: Tensor
    centroids: Tensor

    def __init__(self, in_channels: int, n_filters: int, patch_size: int, hard: bool) -> None:
        super().__init__()
        self.in_channels, self.n_filters, self.patch_size, self.hard = in_channels, n_filters, patch_size, hard
        d = in_channels * patch_size**2
        self.register_buffer("scale", torch.ones(in_channels))
        self.register_buffer("shift", torch.zeros(in_channels))
        self.register_buffer("contrast", torch.tensor(10.0))
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("whitening", torch.eye(d))
        self.register_buffer("centroids", torch.zeros(n_filters, d))

    @torch.no_grad()
    def learn(self, centroids: Tensor, whitening: Whitening, *, contrast: float) -> None:
        """Set what was learned from patches.

        Args:
            centroids: (K, d), of whitened patches.
            whitening: of contrast-normalised patches.
            contrast: added to a patch's variance.
        """
        self.centroids.copy_(centroids)
        self.whitening.copy_(whitening.matrix)
        self.mean.copy_(whitening.mean)
        self.contrast.fill_(contrast)

    @torch.no_grad()
    def see(self, mean: list[float], std: list[float]) -> None:
        """Turn images that are normalised by each channel's mean and std, in [0, 1], back into grey levels."""
        self.scale.copy_(255 * torch.tensor(std))
        self.shift.copy_(255 * torch.tensor(mean))

    def forward(self, images: Tensor) -> Tensor:
        """Codes (B, K, h, w) of normalised images (B, C, H, W), in the channels_last memory format.

        Raises:
            ValueError: if nothing was learned yet.
        """
        # a graph (weights/onnx_file.py) cannot branch on values; its first comparison with torch comes here
        if not torch.compiler.is_exporting() and not bool(self.centroids.any()):
            raise ValueError("arch=coates has learned no centroids yet; set init=kmeans_patches")
        height, width = images.shape[2] - self.patch_size + 1, images.shape[3] - self.patch_size + 1
        grey = images * self.scale.view(-1, 1, 1) + self.shift.view(-1, 1, 1)
        patches = (
            F.unfold(grey, self.patch_size).transpose(1, 2).flatten(0, 1)
        )  # (B h w, d): small beside the codes (B h w, K)
        whitened = Whitening(mean=self.mean, matrix=self.whitening).apply(normalise_contrast(patches, self.contrast))
        codes = self._code(whitened)
        return codes.view(-1, height, width, self.n_filters).permute(0, 3, 1, 2)

    def _code(self, whitened: Tensor) -> Tensor:
        """Codes (n, K) of whitened patches (n, d); computed in place, because they are large."""
        # |z - c|^2 = -2 z.c + |z|^2 + |c|^2 as one matrix product: z and c get two more columns each
        ones = torch.ones_like(whitened[:, :1])
        left = torch.cat([whitened, whitened.square().sum(dim=1, keepdim=True), ones], dim=1)
        c = self.centroids
        right = torch.cat([-2 * c, torch.ones_like(c[:, :1]), c.square().sum(dim=1, keepdim=True)], dim=1)
        codes = left @ right.T
        if self.hard:
            nearest = codes.argmin(dim=1, keepdim=True)
            codes = codes.detach()  # a one-hot code has no gradient
            return codes.zero_().scatter_(1, nearest, 1.0)
        if codes.requires_grad:  # gradient ascent, which operations in place would not allow
            distances = codes.clamp_min(torch.finfo(codes.dtype).tiny).sqrt()
            return (distances.mean(dim=1, keepdim=True) - distances).clamp_min(0)
        codes.clamp_min_(0).sqrt_()  # rounding can make a distance of 0 negative
        return codes.neg_().sub_(codes.mean(dim=1, keepdim=True)).clamp_min_(0)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.n_filters}, patch_size={self.patch_size}, hard={self.hard}"


class GroupCode(nn.Module):
    """Codes patches of groups of maps: each group has its own whitening and centroids (Coates and Ng 2011).

    (B, C, H, W) -> (B, n_groups x group_filters, H - s + 1, W - s + 1), group after group. The buffer `groups`
    (n_groups, group_size) names the maps of each.
    """

    groups: Tensor

    def __init__(self, n_groups: int, group_size: int, group_filters: int, patch_size: int, hard: bool) -> None:
        super().__init__()
        self.group_filters = group_filters
        self.register_buffer("groups", torch.zeros(n_groups, group_size, dtype=torch.int64))
        self.codes = nn.ModuleList(PatchCode(group_size, group_filters, patch_size, hard) for _ in range(n_groups))

    def forward(self, maps: Tensor) -> Tensor:
        """Codes of maps, in the channels_last memory format."""
        return torch.cat([code(maps[:, group]) for group, code in zip(self.groups, self.codes, strict=True)], dim=1)


class QuadrantSum(nn.Module):
    """Sums maps over their quadrants: (B, K, h, w) -> (B, K, 2, 2). A middle row or column counts as upper or left."""

    def forward(self, maps: Tensor) -> Tensor:
        top, left = (maps.shape[2] + 1) // 2, (maps.shape[3] + 1) // 2
        halves = torch.stack([maps[:, :, :top].sum(dim=2), maps[:, :, top:].sum(dim=2)], dim=2)  # (B, K, 2, w)
        return torch.stack([halves[..., :left].sum(dim=3), halves[..., left:].sum(dim=3)], dim=3)


class Coates(Backbone):
    """Codes of all patches, summed over quadrants: D = 4 K features for a linear classifier, of each layer.

    The second layer averages the first one's maps over 3x3 places and codes patches of 2x2 of these. A filter sees
    one group of maps, such as are strong at the same places (weights/receptive_fields.py).

    Args:
        in_channels: channels of the images.
        image_size: height and width of the images.
        n_filters: centroids K of the first layer (the papers: 1600, and 4000 for their best figure with one layer).
        patch_size: side s of the patches, which are cut at every pixel (the papers: 6).
        hard: one-hot codes instead of triangle codes.
        layers: 1 or 2.
        n_groups: groups of maps that filters of the second layer see; None: 32 (the paper), at most K.
        group_size: maps of a group; None: K / 8, so 200 of 1600 (the paper).
        group_filters: centroids for each group; None: K / 16, so 3200 in all beside 1600 (the paper).
    """

    # Distances and contrasts are small differences of large numbers.
    needs_float32 = True

    def __init__(
        self,
        in_channels: int = 3,
        image_size: int = 32,
        n_filters: int = 1600,
        patch_size: int = 6,
        hard: bool = False,
        layers: int = 1,
        n_groups: int | None = None,
        group_size: int | None = None,
        group_filters: int | None = None,
    ) -> None:
        if n_filters < 2:
            raise ValueError(f"arch.n_filters must be at least 2, got {n_filters}")
        if not 2 <= patch_size < image_size:
            raise ValueError(
                f"arch.patch_size must be at least 2 and below view.size={image_size}, got {patch_size}; "
                "larger patches cannot fill four quadrants"
            )
        groups = {"n_groups": n_groups, "group_size": group_size, "group_filters": group_filters}
        _check_layers(layers, groups, n_filters, image_size, patch_size)
        stages = OrderedDict[str, nn.Module](conv1=PatchCode(in_channels, n_filters, patch_size, hard))
        n_codes = n_filters
        if layers == 2:
            n_groups = n_groups or min(32, n_filters)
            group_size, group_filters = group_size or max(2, n_filters // 8), group_filters or max(2, n_filters // 16)
            stages["pool1"] = nn.AvgPool2d(POOLED)
            stages["conv2"] = GroupCode(n_groups, group_size, group_filters, PATCH_OF_MAPS, hard)
            n_codes += n_groups * group_filters
        super().__init__(
            features=nn.Sequential(stages),
            neck=nn.Sequential(OrderedDict(pool=QuadrantSum(), flatten=nn.Flatten())),
            feature_dim=4 * n_codes,
            stages=[name for name in stages if name != "pool1"],
            in_channels=in_channels,
            image_size=image_size,
            sobel=False,
        )
        places = image_size - patch_size + 1
        second_places = places // POOLED - PATCH_OF_MAPS + 1
        self.codes_per_image = max(n_filters * places**2, (n_codes - n_filters) * second_places**2)

    @property
    def code(self) -> PatchCode:
        """The first layer, which holds what was learned."""
        layer = self.features.conv1
        assert isinstance(layer, PatchCode)
        return layer

    @property
    def second(self) -> GroupCode | None:
        """The second layer, if there is one."""
        layer = getattr(self.features, "conv2", None)
        assert layer is None or isinstance(layer, GroupCode)
        return layer

    def pooled(self, images: Tensor) -> Tensor:
        """The first layer's maps of images as the second one sees them."""
        pool = self.features.pool1
        assert isinstance(pool, nn.AvgPool2d)
        return self.taps(images, {"conv1": pool})["conv1"]

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, D) of normalised images (B, C, H, W), computed for a few images at a time."""
        return self.taps(images, {FEATURES: lambda features: features})[FEATURES]

    def taps(self, images: Tensor, reads: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, Tensor]:
        """Read stages and features of a few images at a time; nothing is computed twice."""
        for name in reads:
            if name != FEATURES:
                self.check_stage(name)
        with torch.autocast(images.device.type, enabled=False):  # see needs_float32
            maps = self.input_maps(images).float()
            if torch.compiler.is_exporting():  # a graph cannot loop over blocks
                return self._read(maps, reads)
            parts = [self._read(block, reads) for block in torch.split(maps, self._block(images))]
        return {name: torch.cat([part[name] for part in parts]) for name in reads}

    def _read(self, maps: Tensor, reads: Mapping[str, Callable[[Tensor], Tensor]]) -> dict[str, Tensor]:
        tapped: dict[str, Tensor] = {}
        sums = []
        for name, child in self.features.named_children():
            if len(tapped) == len(reads):
                break
            maps = child(maps)
            if name in reads:
                tapped[name] = reads[name](maps)
            if FEATURES in reads and name in self.stages:
                sums.append(self.neck(maps))
        if FEATURES in reads:
            tapped[FEATURES] = reads[FEATURES](torch.cat(sums, dim=1))
        return tapped

    def _block(self, images: Tensor) -> int:
        """The number of images whose maps are in memory at a time."""
        n_numbers = NUMBERS_PER_GPU_BLOCK if images.device.type == "cuda" else NUMBERS_PER_BLOCK
        return max(1, n_numbers // self.codes_per_image)

    def convolutional(self, images: Tensor) -> Tensor:
        """The features, without a limit of 10,000 numbers: the papers' classifier reads them all."""
        features: Tensor = self(images)
        return features


def least_side(patch_size: int) -> int:
    """The smallest side of images for two layers: the maps of the second one must fill four quadrants."""
    return patch_size - 1 + POOLED * (PATCH_OF_MAPS + 1)


def _check_layers(layers: int, groups: dict[str, int | None], n_filters: int, image_size: int, patch_size: int) -> None:
    if layers not in (1, 2):
        raise ValueError(f"arch.layers must be 1 or 2, got {layers}")
    for name, value in groups.items():
        if value is None:
            continue
        if layers == 1:
            raise ValueError(f"arch.{name}={value} is of the second layer; leave it out, or set arch.layers=2")
        least, most = 1 if name == "n_groups" else 2, math.inf if name == "group_filters" else n_filters
        if not least <= value <= most:
            limit = "" if most == math.inf else f" and at most arch.n_filters={n_filters}, the number of maps"
            raise ValueError(f"arch.{name} must be at least {least}{limit}; got {value}")
    if layers == 2 and image_size < least_side(patch_size):
        raise ValueError(
            f"arch.layers=2 with arch.patch_size={patch_size} needs view.size={least_side(patch_size)} or more, got "
            f"{image_size}; raise it, lower arch.patch_size or set arch.layers=1"
        )
