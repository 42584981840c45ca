"""Ten fixed crops of an image, for tests: four corners, the centre, and their mirrors (Krizhevsky et al. 2012)."""

import torch
from torch import Tensor


def ten_crops(images: Tensor, size: int) -> Tensor:
    """The crops of side `size` of images (B, C, H, W), in the order of torchvision's TenCrop.

    Returns:
        (B, 10, C, size, size): top left, top right, bottom left, bottom right, centre; then the same of the
        mirrored image. Crop 4 is the unmirrored centre.

    Raises:
        ValueError: if an image is smaller than a crop.
    """
    height, width = images.shape[-2:]
    if not 1 <= size <= min(height, width):
        raise ValueError(
            f"ten crops of {size}x{size} pixels do not fit into images of {height}x{width} (height x width); "
            f"bring the images' short side to at least {size} (view.resize)"
        )
    return torch.cat([_five_crops(images, size), _five_crops(images.flip(-1), size)], dim=1)


def _five_crops(images: Tensor, size: int) -> Tensor:
    bottom, right = images.shape[-2] - size, images.shape[-1] - size
    centre = (round(bottom / 2), round(right / 2))  # halves to the even number, as torchvision's centre crop does
    corners = ((0, 0), (0, right), (bottom, 0), (bottom, right), centre)
    return torch.stack([images[..., top : top + size, left : left + size] for top, left in corners], dim=1)
