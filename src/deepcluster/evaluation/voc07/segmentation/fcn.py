"""The fully convolutional network: scores of the classes at every pixel (Long et al. 2015). Next: training.py.

The linear layers of AlexNet and VGG become convolutions with the same weights, so that they see every place. A network
that averages its last maps has none: there the scores read these maps. Scores are brought to the picture's size by
bilinear interpolation, after those of earlier stages were added, if asked for (FCN-16s, FCN-8s).
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepcluster.evaluation.voc07.cut import Maps, computing_in, larger_stages, linear_layers, map_shapes
from deepcluster.evaluation.voc07.segmentation.masks import N_CLASSES
from deepcluster.evaluation.voc07.settings import SegmentationTraining
from deepcluster.models.backbone import Backbone

DROPOUT = 0.5  # behind each linear layer (Long et al. 2015)


class FCN(nn.Module):
    """Scores (B, 21, H, W) of normalised images (B, C, h, w).

    Args:
        backbone: copied, not changed.
        skips: from how many earlier stages scores are added: 0 is FCN-32s, 1 FCN-16s, 2 FCN-8s.
        settings: what is trained.
        dtype: type in which the convolutions compute; all else is float32.

    Raises:
        ValueError: if the network has fewer stages of larger maps.
    """

    def __init__(self, backbone: Backbone, skips: int, settings: SegmentationTraining, dtype: torch.dtype) -> None:
        super().__init__()
        backbone = copy.deepcopy(backbone).requires_grad_(True).eval()
        shapes, larger = map_shapes(backbone), larger_stages(backbone)
        if skips > len(larger):
            raise ValueError(f"evaluation.skips={skips} must be at most {len(larger)}: so many stages have larger maps")
        self.skipped = larger[:skips]
        self.maps = Maps(backbone, None, dtype)
        self.maps.requires_grad_(settings.mode == "all")
        self.neck = convolutional_neck(backbone.neck, shapes[""])
        linear = linear_layers(backbone.neck)
        # even kernels see the place between two cells, from the left edge of the first to the right one of the last
        self.on_edges = bool(linear) and shapes[""][1] % 2 == 0
        n_channels = linear[-1].out_features if linear else shapes[""][0]
        self.score = zero_scores(n_channels)
        self.skip_scores = nn.ModuleList(zero_scores(shapes[stage][0]) for stage in self.skipped)
        self.dtype = dtype

    def forward(self, images: Tensor, height: int, width: int) -> Tensor:
        """Scores (B, 21, height, width)."""
        skipped: dict[str, Tensor] = {}
        maps = images if self.maps.sobel is None else self.maps.sobel(images)
        with computing_in(self.dtype, images):
            for name, child in self.maps.features.named_children():
                maps = child(maps)
                if name in self.skipped:
                    skipped[name] = maps
            scores = self.score(self.neck(maps)).float()
            added = [score(skipped[stage]).float() for stage, score in zip(self.skipped, self.skip_scores, strict=True)]
        on_edges = self.on_edges
        for finer in added:
            scores = resized(scores, finer.shape[2], finer.shape[3], on_edges) + finer
            on_edges = False
        return resized(scores, height, width, on_edges)

    def train(self, mode: bool = True) -> "FCN":
        """In training mode too, BatchNorm uses its running statistics."""
        super().train(mode)
        self.maps.eval()
        return self


def convolutional_neck(neck: nn.Sequential, shape: tuple[int, int, int]) -> nn.Sequential:
    """The neck's linear layers as convolutions, each followed by ReLU and dropout; nothing of a neck without them.

    Args:
        shape: (c, h, w) of the maps that the neck was made for.
    """
    layers: list[nn.Module] = []
    for place, linear in enumerate(linear_layers(neck)):
        c, h, w = shape if place == 0 else (linear.in_features, 1, 1)
        convolution = nn.utils.skip_init(  # type: ignore[no-untyped-call]
            nn.Conv2d, c, linear.out_features, (h, w), padding=(h // 2, w // 2)
        )
        convolution.weight.data.copy_(linear.weight.data.view(-1, c, h, w))
        convolution.bias.data.copy_(linear.bias.data)
        layers += [convolution, nn.ReLU(inplace=True), nn.Dropout(DROPOUT)]
    return nn.Sequential(*layers)


def zero_scores(n_channels: int) -> nn.Conv2d:
    """Scores of the classes at each place, all 0 at first (Long et al. 2015)."""
    layer: nn.Conv2d = nn.utils.skip_init(nn.Conv2d, n_channels, N_CLASSES, 1)  # type: ignore[no-untyped-call]
    for values in layer.parameters():
        nn.init.zeros_(values)
    return layer


def resized(scores: Tensor, height: int, width: int, on_edges: bool) -> Tensor:
    """Scores at another size; `on_edges`: the first and the last stand on the picture's edges, not within them."""
    return F.interpolate(scores, (height, width), mode="bilinear", align_corners=on_edges)
