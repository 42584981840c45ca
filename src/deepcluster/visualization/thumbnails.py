"""Thumbnails, cropped as the network sees the images: for galleries, mosaics and contact sheets."""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from deepcluster.data.decode import to_channels
from deepcluster.data.images import ImageSet, MemoryImages
from deepcluster.data.loader import feature_batches
from deepcluster.data.views import FeatureView
from deepcluster.evaluation.context import EvaluationContext

BATCH = 64


def thumbnail_size(images: ImageSet, largest: int) -> int:
    """Side of the thumbnails in pixels: `largest`, or the shorter side of images in memory if that is smaller."""
    if isinstance(images, MemoryImages):
        height, width = images.images.shape[2:]
        return min(largest, int(height), int(width))
    return largest


def thumbnails(
    context: EvaluationContext, images: ImageSet, indices: Tensor, size: int, advance: Callable[[int], None]
) -> Iterator[tuple[int, Tensor]]:
    """Yield (index, uint8 (3, size, size)) of these images, in their order, cropped as for the network.

    Files are decoded by workers as for features, and broken ones are treated by reading.on_broken.

    Args:
        advance: called with the number of images that are done.

    Raises:
        BrokenImage: if an image cannot be decoded and reading.on_broken does not skip it.
    """
    num_workers = 0 if isinstance(images, MemoryImages) else context.feature_pass(images).num_workers
    yield from small_pictures(images, indices, size, card=context.card, num_workers=num_workers, advance=advance)


def small_pictures(
    images: ImageSet,
    indices: Tensor,
    size: int,
    *,
    card: dict[str, Any],
    num_workers: int = 0,
    advance: Callable[[int], None] = lambda n: None,
) -> Iterator[tuple[int, Tensor]]:
    """:func:`thumbnails` for the network that `card` describes."""
    scale = card["resize"] / card["image_size"]
    view = FeatureView(size, max(size, round(size * scale)), card["mean"], card["std"], on_files=True)
    alpha = has_alpha(images)
    for batch in feature_batches(images, view, indices, BATCH, num_workers):
        for index, picture in zip(batch.indices.tolist(), batch.images, strict=True):
            yield index, in_colours(picture, alpha=alpha)
        advance(len(batch.indices))


def has_alpha(images: ImageSet) -> bool:
    """Whether the last channel is opacity: in image files of two and of four channels, not in arrays."""
    return images.n_channels in (2, 4) and not str(images.samples[0]).lower().endswith(".npy")


def in_colours(image: Tensor, *, alpha: bool = False) -> Tensor:
    """uint8 (C, H, W) as RGB (3, H, W): grey repeated, the first three of more channels, transparency on white."""
    if alpha:
        return to_channels(image, 3)
    return image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)


def magnified(image: Tensor, factor: int) -> Tensor:
    """Each pixel as factor x factor pixels: (3, H, W) -> (3, factor H, factor W)."""
    return image.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
